#include "modules/postgres.h"

#include <lauxlib.h>

#include "modules/module.h"

#define POOL  "luamq.postgres"
#define CALL  "luamq.postgres.call"
#define LEASE "luamq.postgres.lease"

// --- calls ---

static struct pg_call *call_of(struct wait *w) { return container_of(w, struct pg_call, wait); }

static void begin(struct wait *w) { pg_request_begin(call_of(w)->request); }

static void cancel(struct wait *w) {
  struct pg_call *call = call_of(w);
  if (call->request) pg_request_forget(call->request);
  rows_release(&call->rows);
}

static void cancel_lease(struct wait *w) {
  cancel(w);
  pg_lease_end(call_of(w)->lease);
}

static int push_error(lua_State *L, const struct pg_error *e) {
  lua_pushnil(L);
  lua_pushstring(L, e->text);
  lua_pushstring(L, e->code);
  return 3;
}

static int finish(lua_State *L, struct wait *w) {
  struct pg_call *call = call_of(w);
  if (*call->error.text) return push_error(L, &call->error);
  rows_push(L, &call->rows);
  rows_release(&call->rows);
  return 1;
}

static int finish_lease(lua_State *L, struct wait *w) {
  struct pg_call *call = call_of(w);
  if (*call->error.text) return push_error(L, &call->error);
  lua_pushvalue(L, 1);
  return 1;
}

static int call_gc(lua_State *L) {
  struct pg_call *call = luaL_checkudata(L, 1, CALL);
  if (call->request) pg_request_free(call->request);
  rows_release(&call->rows);
  return 0;
}

// With a request, which it owns until it waits. `pool` is the index of the pool's userdata.
static struct pg_call *new_call(lua_State *L, int pool, struct pg_pool *p) {
  struct pg_call *call = lua_newuserdatauv(L, sizeof *call, 2);
  *call = (struct pg_call){.request = NULL};
  luaL_setmetatable(L, CALL);
  lua_pushvalue(L, pool);
  lua_setiuservalue(L, -2, 1);
  call->request = pg_request_new(p, call);
  return call;
}

// NULL: time is virtual, and there is no network.
static struct pg_pool *use_pool(lua_State *L, struct pg_pool *p, const char *name) {
  wait_check(L, name);
  struct loop *loop = wait_loop(L);
  if (!loop->base) return NULL;
  p->loop = loop; // of the program: there is one
  return p;
}

static int push_no_network(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "no network in a test: give a fake answer with broker:fake('postgres', function ...)");
  lua_pushliteral(L, "no_network");
  return 3;
}

static void take_query(lua_State *L, struct pg_request *r) {
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  buf_add(&r->sql, sql, len + 1);
  for (int i = 3; i <= lua_gettop(L) - 1; i++) // the call is at the top
    if (!cells_add_value(&r->parameters, L, i))
      luaL_argerror(L, i, "a nil, boolean, number or string expected");
}

static const struct wait_ops query_ops = {"a postgres query", begin, finish, cancel};

// pool:query(sql, ...) -> rows | nil, message, code
static int l_query(lua_State *L) {
  struct pg_pool *p = use_pool(L, luaL_checkudata(L, 1, POOL), query_ops.name);
  if (!p) return push_no_network(L);
  struct pg_call *call = new_call(L, 1, p);
  take_query(L, call->request);
  return wait_for(L, &call->wait, &query_ops);
}

// pool:lease() -> lease | nil, message, code
static int l_lease(lua_State *L) {
  static const struct wait_ops ops = {"a postgres transaction", begin, finish_lease, cancel_lease};
  struct pg_pool *p = use_pool(L, luaL_checkudata(L, 1, POOL), ops.name);
  if (!p) return push_no_network(L);
  lua_settop(L, 1);
  struct pg_call *call = new_call(L, 1, p);
  call->request->wants_lease = true;
  call->lease = lua_newuserdatauv(L, sizeof *call->lease, 1);
  *call->lease = (struct pg_lease){.connection = NULL};
  luaL_setmetatable(L, LEASE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_replace(L, 1); // from here on it is the call that keeps the pool
  return wait_for(L, &call->wait, &ops);
}

// lease:query(sql, ...) -> rows | nil, message, code
static int l_lease_query(lua_State *L) {
  struct pg_lease *lease = luaL_checkudata(L, 1, LEASE);
  lua_getiuservalue(L, 1, 1);
  struct pg_pool *p = use_pool(L, luaL_checkudata(L, -1, POOL), query_ops.name);
  int pool = lua_gettop(L);
  if (!p) return push_no_network(L);
  struct pg_call *call = new_call(L, pool, p);
  call->lease = lease;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 2);
  lua_remove(L, pool);
  take_query(L, call->request);
  return wait_for(L, &call->wait, &query_ops);
}

// lease:give_back(): what is not committed is rolled back
static int l_give_back(lua_State *L) {
  pg_lease_end(luaL_checkudata(L, 1, LEASE));
  return 0;
}

// lease:failed() -> whether the server answers nothing but errors until the transaction is over
static int l_failed(lua_State *L) {
  const struct pg_lease *lease = luaL_checkudata(L, 1, LEASE);
  lua_pushboolean(L, lease->connection && PQtransactionStatus(lease->connection->pg) == PQTRANS_INERROR);
  return 1;
}

// --- the pool ---

static uint32_t integer(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  uint32_t value = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static char *copy_string(lua_State *L, int index) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  return mem_dup(text, len + 1);
}

// The table of libpq's keywords at `index`.
static void take_keywords(lua_State *L, int index, struct pg_options *o) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    count++;
  if (count > PG_KEYWORDS_MAX) luaL_error(L, "too many keywords");
  o->names = mem_calloc(count + 1, sizeof *o->names);
  o->values = mem_calloc(count + 1, sizeof *o->values);
  count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    o->values[count] = copy_string(L, -1);
    o->names[count++] = copy_string(L, -2);
  }
}

// new(options) -> pool. lua/luamq/postgres.lua has checked and completed them.
static int l_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "keywords");
  luaL_checktype(L, 2, LUA_TTABLE);
  struct pg_pool *p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = (struct pg_pool){.loop = NULL};
  pg_pool_init(p);
  luaL_setmetatable(L, POOL);
  p->options = (struct pg_options){
      .connections = integer(L, 1, "pool"),
      .statements = integer(L, 1, "statements"),
      .max_pending = integer(L, 1, "max_pending"),
      .timeout_ms = integer(L, 1, "timeout_ms"),
      .connect_timeout_ms = integer(L, 1, "connect_timeout_ms"),
      .limits = {.rows = integer(L, 1, "max_rows"), .bytes = integer(L, 1, "max_bytes")},
  };
  take_keywords(L, 2, &p->options);
  lua_getfield(L, 1, "lookup");
  if (lua_isstring(L, -1)) p->options.host = copy_string(L, -1);
  lua_pop(L, 1);
  return 1;
}

static int push_keywords(lua_State *L) {
  lua_newtable(L);
  for (const PQconninfoOption *o = lua_touserdata(L, 1); o->keyword; o++) {
    if (!o->val) continue;
    lua_pushstring(L, o->val);
    lua_setfield(L, -2, o->keyword);
  }
  return 1;
}

// is_address(host) -> whether it is numeric
static int l_is_address(lua_State *L) {
  lua_pushboolean(L, resolve_is_address(luaL_checkstring(L, 1)));
  return 1;
}

// parse(uri) -> table of keywords | nil. What libpq says of a wrong one may have the password in it.
static int l_parse(lua_State *L) {
  char *problem = NULL;
  PQconninfoOption *all = PQconninfoParse(luaL_checkstring(L, 1), &problem);
  if (problem) PQfreemem(problem);
  if (!all) return 0;
  lua_pushcfunction(L, push_keywords);
  lua_pushlightuserdata(L, all);
  int status = lua_pcall(L, 1, 1, 0);
  PQconninfoFree(all);
  return status == LUA_OK ? 1 : lua_error(L);
}

static int l_close(lua_State *L) {
  pg_pool_close(luaL_checkudata(L, 1, POOL));
  return 0;
}

static int pool_gc(lua_State *L) {
  pg_pool_release(luaL_checkudata(L, 1, POOL));
  return 0;
}

// pool:stats() -> table of numbers
static int l_stats(lua_State *L) {
  const struct pg_pool *p = luaL_checkudata(L, 1, POOL);
  const struct pg_counts *c = &p->counts;
  const struct module_count rows[] = {
      {"queries", c->queries},   {"errors", c->errors},      {"timeouts", c->timeouts},
      {"refused", c->refused},   {"opened", c->connections}, {"failures", c->failures},
      {"prepared", c->prepared}, {"connections", p->count},  {"waiting", p->waiting_count},
  };
  module_push_counts(L, rows, sizeof rows / sizeof *rows);
  return 1;
}

LUAMQ_API int luaopen_luamq_core_postgres(lua_State *L);
int luaopen_luamq_core_postgres(lua_State *L) {
  static const luaL_Reg pool_methods[] = {{"query", l_query}, {"lease", l_lease}, {"close", l_close},
                                          {"stats", l_stats}, {"__gc", pool_gc},  {NULL, NULL}};
  static const luaL_Reg lease_methods[] = {{"query", l_lease_query}, {"give_back", l_give_back},
                                           {"failed", l_failed},     {"__gc", l_give_back},
                                           {"__close", l_give_back}, {NULL, NULL}};
  static const luaL_Reg call_methods[] = {{"__gc", call_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"new", l_new}, {"parse", l_parse}, {"is_address", l_is_address}, {NULL, NULL}};
  module_define(L, POOL, pool_methods);
  module_define(L, LEASE, lease_methods);
  module_define(L, CALL, call_methods);
  luaL_newlib(L, functions);
  return 1;
}
