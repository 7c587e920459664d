#include "modules/sqlite.h"

#include <lauxlib.h>

#include "modules/module.h"

#define DATABASE "luamq.sqlite"
#define CALL     "luamq.sqlite.call"

struct handle { // the userdata of a database
  struct sqlite_database *database;
};

// --- calls ---

static struct sqlite_call *call_of(struct wait *w) { return container_of(w, struct sqlite_call, wait); }

static void begin(struct wait *w) { sqlite_request_begin(call_of(w)->request); }

static void release_results(struct sqlite_call *call) {
  sqlite_results_free(call->results, call->count);
  call->results = NULL;
}

static void cancel(struct wait *w) {
  struct sqlite_call *call = call_of(w);
  if (call->request) sqlite_request_forget(call->request);
  release_results(call);
}

static int push_error(lua_State *L, const struct sqlite_error *e) {
  lua_pushnil(L);
  lua_pushstring(L, e->text);
  lua_pushstring(L, e->code);
  return 3;
}

static void push_list(lua_State *L, const struct sqlite_call *call) {
  lua_createtable(L, (int)call->count, 0);
  for (uint32_t i = 0; i < call->count; i++) {
    rows_push(L, &call->results[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static int finish(lua_State *L, struct wait *w) {
  struct sqlite_call *call = call_of(w);
  if (*call->error.text) return push_error(L, &call->error);
  if (call->kind == SQLITE_SCRIPT)
    lua_pushboolean(L, true);
  else if (call->kind == SQLITE_BATCH)
    push_list(L, call);
  else
    rows_push(L, call->results);
  release_results(call);
  return 1;
}

static int call_gc(lua_State *L) {
  struct sqlite_call *call = luaL_checkudata(L, 1, CALL);
  if (call->request) sqlite_request_free(call->request);
  release_results(call);
  return 0;
}

static struct sqlite_database *check_database(lua_State *L) {
  return ((struct handle *)luaL_checkudata(L, 1, DATABASE))->database;
}

static const struct wait_ops ops = {"a query of sqlite", begin, finish, cancel};

// With a request, which it owns until it waits. The database is at index 1.
static struct sqlite_call *new_call(lua_State *L, enum sqlite_kind kind, uint32_t count) {
  struct sqlite_database *d = check_database(L);
  wait_check(L, ops.name);
  struct loop *loop = wait_loop(L);
  struct sqlite_call *call = lua_newuserdatauv(L, sizeof *call, 1);
  *call = (struct sqlite_call){.kind = kind, .count = count};
  luaL_setmetatable(L, CALL);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  call->request = sqlite_request_new(d, loop, kind, count);
  call->request->call = call;
  return call;
}

static void add_sql(lua_State *L, int index, struct buf *to) {
  size_t len;
  const char *sql = luaL_checklstring(L, index, &len);
  cells_add_string(to, CELL_TEXT, slice_of(sql, len + 1));
}

static void add_parameter(lua_State *L, int index, struct buf *to) {
  if (!cells_add_value(to, L, index)) luaL_error(L, "a parameter is of a wrong type");
}

// database:query(sql, ...) -> rows | nil, message, code
static int l_query(lua_State *L) {
  int last = lua_gettop(L);
  struct sqlite_call *call = new_call(L, SQLITE_QUERY, 1);
  struct buf *to = &call->request->statements;
  add_sql(L, 2, to);
  cells_add_integer(to, last - 2);
  for (int i = 3; i <= last; i++)
    add_parameter(L, i, to);
  return wait_for(L, &call->wait, &ops);
}

// The packed statement at the top: {sql, ..., n = count}.
static void add_packed(lua_State *L, struct buf *to) {
  int statement = lua_gettop(L);
  luaL_argcheck(L, lua_istable(L, statement), 2, "a list of statements expected");
  lua_getfield(L, statement, "n");
  lua_Integer count = lua_tointeger(L, -1);
  lua_rawgeti(L, statement, 1);
  add_sql(L, -1, to);
  cells_add_integer(to, count - 1);
  lua_settop(L, statement);
  for (lua_Integer i = 2; i <= count; i++) {
    lua_rawgeti(L, statement, i);
    add_parameter(L, -1, to);
    lua_pop(L, 1);
  }
}

// database:batch(list of packed statements) -> list of rows | nil, message, code
static int l_batch(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  uint32_t count = (uint32_t)lua_rawlen(L, 2);
  struct sqlite_call *call = new_call(L, SQLITE_BATCH, count);
  for (uint32_t i = 1; i <= count; i++) {
    lua_rawgeti(L, 2, i);
    add_packed(L, &call->request->statements);
    lua_pop(L, 1);
  }
  return wait_for(L, &call->wait, &ops);
}

// database:exec(sql) -> true | nil, message, code
static int l_exec(lua_State *L) {
  struct sqlite_call *call = new_call(L, SQLITE_SCRIPT, 0);
  add_sql(L, 2, &call->request->statements);
  return wait_for(L, &call->wait, &ops);
}

// --- the database ---

static char *string(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  size_t len;
  const char *text = luaL_checklstring(L, -1, &len);
  char *copy = mem_dup(text, len + 1);
  lua_pop(L, 1);
  return copy;
}

static uint32_t integer(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  uint32_t value = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool boolean(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

// One after the other: reading may raise, and what is there by then is the database's.
static void read_options(lua_State *L, int index, struct sqlite_options *o) {
  o->path = string(L, index, "path");
  o->synchronous = string(L, index, "synchronous");
  o->readonly = boolean(L, index, "readonly");
  o->create = boolean(L, index, "create");
  o->wal = boolean(L, index, "wal");
  o->foreign_keys = boolean(L, index, "foreign_keys");
  o->timeout_ms = integer(L, index, "timeout_ms");
  o->busy_timeout_ms = integer(L, index, "busy_timeout_ms");
  o->max_pending = integer(L, index, "max_pending");
  o->statements = integer(L, index, "statements");
  o->limits = (struct rows_limits){integer(L, index, "max_rows"), integer(L, index, "max_bytes")};
}

// open(options) -> database. lua/luamq/sqlite.lua has checked and completed them. Nothing is opened yet.
static int l_open(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  h->database = NULL;
  luaL_setmetatable(L, DATABASE);
  h->database = sqlite_database_new();
  read_options(L, 1, &h->database->options);
  return 1;
}

static int l_close(lua_State *L) {
  struct sqlite_database *d = check_database(L);
  sqlite_database_close(d, d->loop);
  return 0;
}

static int database_gc(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, DATABASE);
  if (h->database) sqlite_database_leave(h->database);
  h->database = NULL;
  return 0;
}

// database:stats() -> table of numbers
static int l_stats(lua_State *L) {
  const struct sqlite_database *d = check_database(L);
  const struct module_count rows[] = {{"requests", d->counts.requests},
                                      {"errors", d->counts.errors},
                                      {"timeouts", d->counts.timeouts},
                                      {"refused", d->counts.refused},
                                      {"pending", d->pending}};
  module_push_counts(L, rows, sizeof rows / sizeof *rows);
  return 1;
}

LUAMQ_API int luaopen_luamq_core_sqlite(lua_State *L);
int luaopen_luamq_core_sqlite(lua_State *L) {
  static const luaL_Reg database_methods[] = {{"query", l_query}, {"batch", l_batch}, {"exec", l_exec},
                                              {"close", l_close}, {"stats", l_stats}, {"__gc", database_gc},
                                              {NULL, NULL}};
  static const luaL_Reg call_methods[] = {{"__gc", call_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};
  module_define(L, DATABASE, database_methods);
  module_define(L, CALL, call_methods);
  luaL_newlib(L, functions);
  return 1;
}
