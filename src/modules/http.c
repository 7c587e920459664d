// The module `luamq.core.http`, for lua/luamq/http.lua, which checks what it hands over:
//
//   request(t)               http_request.h
//   origin(url [, base])     http_url.h
//   limits([t])              sets max_per_host, max_total and idle_ms, for requests to come
//   counts() -> t            what the pool has done
//   queued() -> n            requests that had to wait for a connection
//   check() -> ms            raises where nothing can wait; the time of the broker's clock
//
// The pool is a userdata, and closed with its Lua state.
#include <lauxlib.h>

#include "base/api.h"
#include "modules/http_pool.h"
#include "modules/http_request.h"
#include "modules/http_url.h"
#include "script/wait.h"

static const struct http_limits limits = {.max_per_host = 256, .max_total = 1024, .idle_ms = 30000};

static int collect(lua_State *L) {
  http_pool_release(lua_touserdata(L, 1));
  return 0;
}

static void push_pool(lua_State *L) {
  struct http_pool *p = lua_newuserdatauv(L, sizeof *p, 0);
  http_pool_init(p, &limits);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
}

static struct http_pool *pool_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

static uint32_t limit(lua_State *L, const char *name, uint32_t unless_given) {
  lua_getfield(L, 1, name);
  return (uint32_t)luaL_optinteger(L, -1, unless_given);
}

static int set_limits(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct http_limits *now = &pool_of(L)->limits;
  *now = (struct http_limits){.max_per_host = limit(L, "max_per_host", now->max_per_host),
                              .max_total = limit(L, "max_total", now->max_total),
                              .idle_ms = limit(L, "idle_ms", now->idle_ms)};
  return 0;
}

static void push_count(lua_State *L, const char *name, uint64_t count) {
  lua_pushinteger(L, (lua_Integer)count);
  lua_setfield(L, -2, name);
}

static int counts(lua_State *L) {
  const struct http_counts *c = &pool_of(L)->counts;
  lua_createtable(L, 0, 6);
  push_count(L, "requests", c->requests);
  push_count(L, "failed", c->failed);
  push_count(L, "queued", c->queued);
  push_count(L, "connections", c->connections);
  push_count(L, "active", c->active);
  push_count(L, "waiting", c->waiting_jobs);
  return 1;
}

static int queued(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)pool_of(L)->counts.queued);
  return 1;
}

static int check(lua_State *L) {
  wait_check(L, "luamq.http");
  lua_pushinteger(L, (lua_Integer)wait_loop(L)->clock.now_ms);
  return 1;
}

LUAMQ_API int luaopen_luamq_core_http(lua_State *L);

int luaopen_luamq_core_http(lua_State *L) {
  static const luaL_Reg functions[] = {{"request", http_request},
                                       {"origin", http_url_origin},
                                       {"limits", set_limits},
                                       {"counts", counts},
                                       {"queued", queued},
                                       {"check", check},
                                       {NULL, NULL}};
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return luaL_error(L, "libcurl cannot be used");
  http_request_define(L);
  luaL_newlibtable(L, functions);
  push_pool(L);
  luaL_setfuncs(L, functions, 1);
  return 1;
}
