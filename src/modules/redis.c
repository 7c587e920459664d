#include "modules/module.h"
#include "modules/redis_feed.h"
#include "modules/redis_module.h"

#include "script/cells.h"

#define LINK "luamq.redis"
#define CALL "luamq.redis.call"

// --- calls ---

static struct redis_call *call_of(struct wait *w) { return container_of(w, struct redis_call, wait); }

static void begin(struct wait *w) { redis_request_begin(call_of(w)->request); }

static void cancel(struct wait *w) {
  struct redis_call *call = call_of(w);
  if (call->request) redis_request_forget(call->request);
  buf_release(&call->replies);
}

static int push_error(lua_State *L, const struct redis_error *e) {
  lua_pushnil(L);
  lua_pushstring(L, e->text);
  lua_pushstring(L, e->code);
  return 3;
}

// "WRONGTYPE Operation against ...": its first word is the code.
static int push_refusal(lua_State *L, struct slice text) {
  const char *space = memchr(text.ptr, ' ', text.len);
  lua_pushnil(L);
  lua_pushlstring(L, (const char *)text.ptr, text.len);
  lua_pushlstring(L, (const char *)text.ptr, space ? (size_t)(space - (const char *)text.ptr) : text.len);
  return 3;
}

static int finish_command(lua_State *L, struct wait *w) {
  struct redis_call *call = call_of(w);
  if (*call->error.text) return push_error(L, &call->error);
  struct slice run = buf_slice(&call->replies), rest = run;
  struct cell first;
  if (cells_next(&rest, &first) && first.type == CELL_ERROR) return push_refusal(L, first.text);
  cells_push(L, &run);
  buf_release(&call->replies);
  return 1;
}

static int finish_pipeline(lua_State *L, struct wait *w) {
  struct redis_call *call = call_of(w);
  if (*call->error.text) return push_error(L, &call->error);
  struct slice run = buf_slice(&call->replies);
  cells_push(L, &run);
  buf_release(&call->replies);
  return 1;
}

static int call_gc(lua_State *L) {
  struct redis_call *call = luaL_checkudata(L, 1, CALL);
  if (call->request) redis_request_free(call->request);
  buf_release(&call->replies);
  return 0;
}

// What raises does so before the call owns anything that is not released with it.
static struct redis_call *new_call(lua_State *L) {
  struct redis_call *call = lua_newuserdatauv(L, sizeof *call, 1);
  *call = (struct redis_call){.replies = BUF_INIT};
  luaL_setmetatable(L, CALL);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return call;
}

static struct redis_link *check_link(lua_State *L, const char *name) {
  struct redis_link *l = luaL_checkudata(L, 1, LINK);
  wait_check(L, name);
  struct loop *loop = wait_loop(L);
  if (!loop->base) return NULL;
  l->loop = loop; // of the program: there is one
  return l;
}

int redis_push_no_network(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "no network in a test: give a fake answer with broker:fake('redis', function ...)");
  lua_pushliteral(L, "no_network");
  return 3;
}

void redis_format_command(lua_State *L, int index, struct buf *to) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, index);
  buf_printf(to, "*%lld\r\n", (long long)count);
  for (lua_Integer i = 1; i <= count; i++) {
    size_t len;
    lua_rawgeti(L, index, i);
    const char *text = luaL_checklstring(L, -1, &len);
    buf_printf(to, "$%zu\r\n", len);
    buf_add(to, text, len);
    buf_add(to, "\r\n", 2);
    lua_pop(L, 1);
  }
}

// The call owns the request, and its replies are scratch meanwhile: both are released when this raises.
static void add_command(lua_State *L, int index, struct redis_call *call) {
  struct buf *raw = &call->replies;
  buf_consume(raw, raw->len);
  redis_format_command(L, index, raw);
  cells_add_string(&call->request->commands, CELL_TEXT, buf_slice(raw));
}

// link:command(list of strings) -> reply | nil, message, code
static int l_command(lua_State *L) {
  static const struct wait_ops ops = {"a redis command", begin, finish_command, cancel};
  luaL_checktype(L, 2, LUA_TTABLE);
  struct redis_link *l = check_link(L, ops.name);
  if (!l) return redis_push_no_network(L);
  struct redis_call *call = new_call(L);
  call->request = redis_request_new(l, call, 1);
  add_command(L, 2, call);
  buf_release(&call->replies);
  return wait_for(L, &call->wait, &ops);
}

// link:pipeline(list of lists of strings) -> list of replies | nil, message, code
static int l_pipeline(lua_State *L) {
  static const struct wait_ops ops = {"a redis pipeline", begin, finish_pipeline, cancel};
  luaL_checktype(L, 2, LUA_TTABLE);
  struct redis_link *l = check_link(L, ops.name);
  if (!l) return redis_push_no_network(L);
  struct redis_call *call = new_call(L);
  unsigned count = (unsigned)lua_rawlen(L, 2);
  call->request = redis_request_new(l, call, count);
  for (unsigned i = 1; i <= count; i++) {
    lua_rawgeti(L, 2, i);
    add_command(L, lua_gettop(L), call);
    lua_pop(L, 1);
  }
  buf_release(&call->replies);
  cells_add_list(&call->request->replies, count);
  return wait_for(L, &call->wait, &ops);
}

// --- the link ---

static char *optional_string(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  char *copy = text ? mem_dup(text, len + 1) : NULL;
  lua_pop(L, 1);
  return copy;
}

static uint32_t integer(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  uint32_t value = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

// One after the other: reading may raise, and what is there by then is the link's.
void redis_read_options(lua_State *L, int index, struct redis_options *o) {
  o->host = optional_string(L, index, "host");
  o->path = optional_string(L, index, "unix");
  o->username = optional_string(L, index, "username");
  o->password = optional_string(L, index, "password");
  o->port = integer(L, index, "port");
  o->database = integer(L, index, "database");
  o->timeout_ms = integer(L, index, "timeout_ms");
  o->connect_timeout_ms = integer(L, index, "connect_timeout_ms");
  o->max_pending = integer(L, index, "max_pending");
  o->max_reply_bytes = integer(L, index, "max_reply");
}

// new(options) -> link. lua/luamq/redis.lua has checked and completed them.
static int l_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct redis_link *l = lua_newuserdatauv(L, sizeof *l, 0);
  *l = (struct redis_link){.loop = NULL};
  redis_link_init(l);
  luaL_setmetatable(L, LINK);
  redis_read_options(L, 1, &l->options);
  return 1;
}

static int l_close(lua_State *L) {
  redis_link_close(luaL_checkudata(L, 1, LINK));
  return 0;
}

static int link_gc(lua_State *L) {
  redis_link_release(luaL_checkudata(L, 1, LINK));
  return 0;
}

// link:stats() -> table of numbers
static int l_stats(lua_State *L) {
  const struct redis_link *l = luaL_checkudata(L, 1, LINK);
  const struct module_count rows[] = {
      {"commands", l->counts.commands},
      {"replies", l->counts.replies},
      {"timeouts", l->counts.timeouts},
      {"refused", l->counts.refused},
      {"connections", l->counts.connections},
      {"failures", l->counts.failures},
      {"pending", l->pending},
  };
  module_push_counts(L, rows, sizeof rows / sizeof *rows);
  return 1;
}

LUAMQ_API int luaopen_luamq_core_redis(lua_State *L);
int luaopen_luamq_core_redis(lua_State *L) {
  static const luaL_Reg link_methods[] = {{"command", l_command}, {"pipeline", l_pipeline},
                                          {"close", l_close},     {"stats", l_stats},
                                          {"__gc", link_gc},      {NULL, NULL}};
  static const luaL_Reg call_methods[] = {{"__gc", call_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"new", l_new}, {"feed", redis_feed_new}, {NULL, NULL}};
  module_define(L, LINK, link_methods);
  module_define(L, CALL, call_methods);
  redis_feed_define(L);
  luaL_newlib(L, functions);
  return 1;
}
