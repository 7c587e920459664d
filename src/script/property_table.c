#include "script/property_table.h"

#include <lauxlib.h>

#include "script/property.h"
#include "topic/topic.h"

#define HEAD_MAX 5 // bytes beside the texts of a property: its id, and a number or the lengths of two texts

// The packets of a client, and what only servers put into them.
static const struct command {
  const char *name;
  uint8_t packet_type;
  uint64_t not_from_clients;
} commands[] = {
    {"connect", PACKET_CONNECT, 0},
    // An alias is the client's own matter, see topic_aliases.
    {"publish", PACKET_PUBLISH,
     PROPERTY_BIT(PROPERTY_SUBSCRIPTION_IDENTIFIER) | PROPERTY_BIT(PROPERTY_TOPIC_ALIAS)},
    {"subscribe", PACKET_SUBSCRIBE, 0},
    {"unsubscribe", PACKET_UNSUBSCRIBE, 0},
    {"disconnect", PACKET_DISCONNECT, PROPERTY_BIT(PROPERTY_SERVER_REFERENCE)},
    {"auth", PACKET_AUTH, 0},
    {"will", PROPERTIES_OF_WILL, 0},
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static const struct command *check_command(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    if (!strcmp(commands[i].name, name)) return &commands[i];
  luaL_argerror(L, index, "not a packet of a client");
  return NULL;
}

static const struct command *command_of(uint8_t packet_type) {
  size_t i = 0;
  while (commands[i].packet_type != packet_type)
    i++;
  return &commands[i];
}

// The name of the field, or NULL when the packet has no such property.
static const char *field_of(const struct command *c, uint8_t id) {
  if (!packet_may_have_property(c->packet_type, id) || c->not_from_clients & PROPERTY_BIT(id)) return NULL;
  return id == PROPERTY_USER_PROPERTY ? "user_properties" : packet_property_name(id);
}

static const char *type_of(uint8_t id) {
  enum packet_property_type type = packet_property_type(id);
  return type <= PROPERTY_VARINT ? "integer" : type == PROPERTY_PAIR ? "table" : "string";
}

// Without metamethods, so that what is read is what was checked. Returns whether there is something.
static bool get(lua_State *L, int table, const char *name) {
  lua_pushstring(L, name);
  return lua_rawget(L, table) != LUA_TNIL;
}

int property_table_types(lua_State *L) {
  const struct command *c = check_command(L, 1);
  lua_newtable(L);
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    const char *name = field_of(c, id);
    if (!name) continue;
    lua_pushstring(L, type_of(id));
    lua_setfield(L, -2, name);
  }
  return 1;
}

// --- checking: the value is at the top. NULL, or a problem, whose text may be on the stack. ---

static const char *check_number(lua_State *L, uint8_t id) {
  uint32_t min, max;
  int is_integer;
  packet_property_range(id, &min, &max);
  lua_Integer n = lua_tointegerx(L, -1, &is_integer);
  if (lua_type(L, -1) == LUA_TNUMBER && is_integer && n >= min && n <= max) return NULL;
  return lua_pushfstring(L, "expected an integer from %I to %I", (LUAI_UACINT)min, (LUAI_UACINT)max);
}

static const char *check_binary(lua_State *L) {
  if (lua_type(L, -1) != LUA_TSTRING)
    return lua_pushfstring(L, "expected a string, got a %s", luaL_typename(L, -1));
  return lua_rawlen(L, -1) > UINT16_MAX ? "longer than 65535 bytes" : NULL;
}

static const char *check_string(lua_State *L, uint8_t id) {
  struct slice text;
  const char *problem = property_check_text(L, -1, &text);
  if (problem || id != PROPERTY_RESPONSE_TOPIC) return problem;
  return topic_name_valid(text) ? NULL : "not a topic";
}

static const char *check_value(lua_State *L, uint8_t id) {
  switch (packet_property_type(id)) {
  case PROPERTY_PAIR: return property_check_pairs(L, -1);
  case PROPERTY_STRING: return check_string(L, id);
  case PROPERTY_BINARY: return check_binary(L);
  default: return check_number(L, id);
  }
}

static const char *check(lua_State *L, int table, const struct command *c) {
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    const char *name = field_of(c, id);
    if (!name) continue;
    const char *problem = get(L, table, name) ? check_value(L, id) : NULL;
    if (problem) return lua_pushfstring(L, "%s: %s", name, problem);
    lua_pop(L, 1);
  }
  if (!field_of(c, PROPERTY_AUTHENTICATION_DATA)) return NULL;
  bool data = get(L, table, "authentication_data");
  bool method = get(L, table, "authentication_method");
  lua_pop(L, 2);
  return data && !method ? "authentication_data needs an authentication_method" : NULL;
}

int property_table_problem(lua_State *L) {
  const struct command *c = check_command(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *problem = check(L, 2, c);
  if (!problem) return 0;
  lua_pushstring(L, problem);
  return 1;
}

// --- reading what was checked ---

static size_t pairs_size(lua_State *L, int list) {
  size_t size = 0;
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    size += HEAD_MAX + lua_rawlen(L, -1) + lua_rawlen(L, -2);
    lua_pop(L, 3);
  }
  return size;
}

static size_t value_size(lua_State *L, uint8_t id) {
  switch (packet_property_type(id)) {
  case PROPERTY_PAIR: return pairs_size(L, lua_gettop(L));
  case PROPERTY_STRING:
  case PROPERTY_BINARY: return HEAD_MAX + lua_rawlen(L, -1);
  default: return HEAD_MAX;
  }
}

static void add_value(lua_State *L, uint8_t id, struct buf *raw) {
  size_t len;
  const char *text;
  switch (packet_property_type(id)) {
  case PROPERTY_PAIR: property_add_pairs(L, -1, raw); break;
  case PROPERTY_STRING:
  case PROPERTY_BINARY:
    text = lua_tolstring(L, -1, &len);
    packet_add_value(raw, id, slice_of(text, len));
    break;
  default: packet_add_number(raw, id, (uint32_t)lua_tointeger(L, -1));
  }
}

// With NULL it tells how many bytes there are at most.
static size_t walk(lua_State *L, int table, const struct command *c, struct buf *raw) {
  size_t size = 0;
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    const char *name = field_of(c, id);
    if (!name) continue;
    bool given = get(L, table, name);
    if (given && raw) add_value(L, id, raw);
    if (given) size += value_size(L, id);
    lua_pop(L, 1);
  }
  return size;
}

// The memory is Lua's, and large enough, so that nothing is lost when something raises.
struct packet_properties property_table_read(lua_State *L, int index, uint8_t packet_type) {
  const struct command *c = command_of(packet_type);
  int table = lua_absindex(L, index);
  luaL_checkstack(L, 8, NULL);
  if (lua_isnoneornil(L, table)) {
    lua_pushnil(L);
    return (struct packet_properties){0};
  }
  luaL_checktype(L, table, LUA_TTABLE);
  if (check(L, table, c)) lua_error(L);
  size_t size = walk(L, table, c, NULL);
  luaL_argcheck(L, size < PACKET_MAX_SIZE / 4, index, "too many properties for one packet");
  struct buf raw = {.ptr = lua_newuserdatauv(L, size + HEAD_MAX, 0), .cap = size + HEAD_MAX};
  walk(L, table, c, &raw);
  return packet_properties_of(buf_slice(&raw));
}
