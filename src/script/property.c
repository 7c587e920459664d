#include "script/property.h"

#include <lauxlib.h>

#include "packet/utf8.h"
#include "script/script_impl.h"

// --- names ---

static const char *field_name(uint8_t id) {
  switch (id) {
  case PROPERTY_USER_PROPERTY: return "user_properties";
  case PROPERTY_SUBSCRIPTION_IDENTIFIER: return "subscription_identifiers";
  default: return packet_property_name(id);
  }
}

void property_add_fields(lua_State *L, uint64_t which) {
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    const char *name = which >> id & 1 ? field_name(id) : NULL;
    if (!name) continue;
    lua_pushinteger(L, PROPERTY_FIELD + id);
    lua_setfield(L, -2, name);
  }
}

// --- to Lua ---

static void push_pair(lua_State *L, const struct packet_property *p) {
  lua_createtable(L, 2, 0);
  object_push_slice(L, p->name);
  lua_rawseti(L, -2, 1);
  object_push_slice(L, p->value);
  lua_rawseti(L, -2, 2);
}

static void push_one(lua_State *L, const struct packet_property *p) {
  switch (p->type) {
  case PROPERTY_PAIR: push_pair(L, p); break;
  case PROPERTY_STRING:
  case PROPERTY_BINARY: object_push_slice(L, p->value); break;
  default: lua_pushinteger(L, p->number);
  }
}

static bool is_list(enum packet_property_id id) {
  return id == PROPERTY_USER_PROPERTY || id == PROPERTY_SUBSCRIPTION_IDENTIFIER;
}

static void push_list(lua_State *L, const struct packet_properties *p, enum packet_property_id id) {
  struct slice rest = p->raw;
  lua_Integer count = 0;
  lua_newtable(L);
  for (struct packet_property q; packet_next_property(&rest, &q);) {
    if (q.id != id) continue;
    push_one(L, &q);
    lua_rawseti(L, -2, ++count);
  }
}

void property_push(lua_State *L, const struct packet_properties *p, enum packet_property_id id) {
  struct packet_property found;
  if (!packet_has_property(p, id))
    lua_pushnil(L);
  else if (is_list(id))
    push_list(L, p, id);
  else if (packet_find_property(p, id, &found))
    push_one(L, &found);
}

void property_set_fields(lua_State *L, const struct packet_properties *p) {
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    if (!packet_has_property(p, id)) continue;
    property_push(L, p, id);
    lua_setfield(L, -2, field_name(id));
  }
}

// --- from Lua ---

static struct slice slice_at(lua_State *L, int index) {
  size_t len;
  const char *text = lua_tolstring(L, index, &len);
  return slice_of(text, len);
}

const char *property_check_text(lua_State *L, int index, struct slice *out) {
  if (lua_type(L, index) != LUA_TSTRING)
    return lua_pushfstring(L, "expected a string, got a %s", luaL_typename(L, index));
  *out = slice_at(L, index);
  return out->len > UINT16_MAX || !utf8_valid(*out) ? "not valid UTF-8, or longer than 65535 bytes" : NULL;
}

// Whether the table has the keys 1 to `count` and no others.
static bool is_list_of(lua_State *L, int table, lua_Integer count) {
  lua_Integer keys = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    keys++;
  return keys == count && (lua_Integer)lua_rawlen(L, table) == count;
}

static const char *check_pair(lua_State *L, int pair) {
  if (!lua_istable(L, pair))
    return lua_pushfstring(L, "expected a pair { name, value }, got a %s", luaL_typename(L, pair));
  if (!is_list_of(L, pair, 2)) return "expected pairs { name, value }";
  for (int i = 1; i <= 2; i++) {
    struct slice text;
    lua_rawgeti(L, pair, i);
    const char *problem = property_check_text(L, -1, &text);
    if (problem) return problem;
    lua_pop(L, 1);
  }
  return NULL;
}

const char *property_check_pairs(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!lua_istable(L, index))
    return lua_pushfstring(L, "expected a list of { name, value }, got a %s", luaL_typename(L, index));
  lua_Integer count = (lua_Integer)lua_rawlen(L, index);
  if (!is_list_of(L, index, count)) return "expected a list of { name, value }";
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, index, i);
    const char *problem = check_pair(L, lua_gettop(L));
    if (problem) return problem;
    lua_pop(L, 1);
  }
  return NULL;
}

void property_add_pairs(lua_State *L, int index, struct buf *raw) {
  index = lua_absindex(L, index);
  lua_Integer count = (lua_Integer)lua_rawlen(L, index);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, index, i);
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    packet_add_pair(raw, slice_at(L, -2), slice_at(L, -1));
    lua_pop(L, 3);
  }
}
