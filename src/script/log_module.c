// luamq.log.*: lines of a script in the broker's log. Fields are turned into strings first, which may run
// code of the script and log from there, and written afterwards without a call that may raise.
#include <lauxlib.h>
#include <stdlib.h>

#include "script/script_impl.h"

#define FIELDS_MAX 64

struct log_field { // strings belong to a table on the stack
  struct slice name, value;
  bool literal;
};

static struct slice top_string(lua_State *L) {
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  return slice_of(text, len);
}

// Keeps the string at the top in the table `kept`, and takes it off the stack.
static struct slice keep(lua_State *L, int kept) {
  struct slice s = top_string(L);
  lua_rawseti(L, kept, (lua_Integer)lua_rawlen(L, kept) + 1);
  return s;
}

// The key at -2 and the value at -1 stay.
static struct log_field read_field(lua_State *L, int kept) {
  struct log_field field;
  int type = lua_type(L, -1);
  double number = lua_tonumber(L, -1);
  bool finite = number - number == 0;
  field.literal = type == LUA_TBOOLEAN || (type == LUA_TNUMBER && finite);
  luaL_tolstring(L, -1, NULL);
  field.value = keep(L, kept);
  luaL_tolstring(L, -2, NULL);
  field.name = keep(L, kept);
  return field;
}

static int compare(const void *a, const void *b) {
  struct slice x = ((const struct log_field *)a)->name, y = ((const struct log_field *)b)->name;
  int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
  return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int write_line(lua_State *L, enum log_level level) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct script *s = script_current(L);
  struct log *log = s && s->shard ? &s->log : &script_home(L)->log;
  if (!log_wants(log, level)) return 0;
  struct log_field fields[FIELDS_MAX];
  int count = 0;
  lua_newtable(L); // 3: what is kept
  for (lua_pushnil(L); lua_istable(L, 2) && lua_next(L, 2) && count < FIELDS_MAX; lua_pop(L, 1))
    fields[count++] = read_field(L, 3);
  if (count) qsort(fields, (size_t)count, sizeof fields[0], compare);
  if (!log_begin(log, level, slice_of(text, len))) return 0;
  for (int i = 0; i < count; i++) {
    if (fields[i].literal)
      log_any_literal(log, fields[i].name, fields[i].value);
    else
      log_any_string(log, fields[i].name, fields[i].value);
  }
  log_end(log);
  return 0;
}

static int log_debug(lua_State *L) { return write_line(L, LEVEL_DEBUG); }
static int log_info(lua_State *L) { return write_line(L, LEVEL_INFO); }
static int log_warn(lua_State *L) { return write_line(L, LEVEL_WARN); }
static int log_error(lua_State *L) { return write_line(L, LEVEL_ERROR); }

void log_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"debug", log_debug}, {"info", log_info}, {"warn", log_warn}, {"error", log_error}, {NULL, NULL}};
  luaL_newlib(L, functions);
}
