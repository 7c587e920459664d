#include "script/message_fields.h"

#include <lauxlib.h>

#include "script/property.h"
#include "script/script_impl.h"
#include "topic/topic.h"

struct reading {
  struct packet_message *m;
  struct buf *raw;            // properties that are set
  uint64_t given;             // properties that are set or taken away
  int user_properties, added; // places of the lists on the stack; their values are nil until they come
};

struct field {
  const char *name;
  const char *(*read)(lua_State *L, const struct field *f, struct reading *r); // the value at the top
  uint8_t property; // enum packet_property_id, or 0
  bool change_only;
};

// --- what is no property ---

static const char *wrong_type(lua_State *L, const char *expected) {
  return lua_pushfstring(L, "expected %s, got a %s", expected, luaL_typename(L, -1));
}

static const char *read_string(lua_State *L, struct slice *to) {
  if (lua_type(L, -1) != LUA_TSTRING) return wrong_type(L, "a string");
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  *to = slice_of(text, len);
  return NULL;
}

static const char *read_topic(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  return read_string(L, &r->m->topic);
}

static const char *read_payload(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  return read_string(L, &r->m->payload);
}

static const char *read_qos(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  int is_integer;
  lua_Integer qos = lua_tointegerx(L, -1, &is_integer);
  if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || qos < 0 || qos > 2) return "a QoS is 0, 1 or 2";
  r->m->qos = (uint8_t)qos;
  return NULL;
}

static const char *read_retain(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  if (!lua_isboolean(L, -1)) return wrong_type(L, "true or false");
  r->m->retain = lua_toboolean(L, -1);
  return NULL;
}

// --- properties ---

static const char *read_text(lua_State *L, const struct field *f, struct reading *r) {
  struct slice text;
  const char *problem = property_check_text(L, -1, &text);
  if (problem) return problem;
  if (f->property == PROPERTY_RESPONSE_TOPIC && !topic_name_valid(text)) return "not valid for a publish";
  packet_add_value(r->raw, f->property, text);
  return NULL;
}

static const char *read_bytes(lua_State *L, const struct field *f, struct reading *r) {
  struct slice bytes = {0};
  const char *problem = read_string(L, &bytes);
  if (problem) return problem;
  if (bytes.len > UINT16_MAX) return "longer than 65535 bytes";
  packet_add_value(r->raw, f->property, bytes);
  return NULL;
}

static const char *read_number(lua_State *L, const struct field *f, struct reading *r) {
  lua_Integer maximum = f->property == PROPERTY_PAYLOAD_FORMAT_INDICATOR ? 1 : UINT32_MAX;
  int is_integer;
  lua_Integer number = lua_tointegerx(L, -1, &is_integer);
  if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || number < 0 || number > maximum)
    return lua_pushfstring(L, "expected an integer between 0 and %I", (LUAI_UACINT)maximum);
  packet_add_number(r->raw, f->property, (uint32_t)number);
  return NULL;
}

static const char *keep_pairs(lua_State *L, int place) {
  const char *problem = property_check_pairs(L, -1);
  if (!problem) lua_copy(L, -1, place);
  return problem;
}

static const char *read_pairs(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  return keep_pairs(L, r->user_properties);
}

static const char *read_added(lua_State *L, const struct field *f, struct reading *r) {
  (void)f;
  return keep_pairs(L, r->added);
}

static const struct field fields[] = {
    {"topic", read_topic, 0, true},
    {"payload", read_payload, 0, true},
    {"qos", read_qos, 0, false},
    {"retain", read_retain, 0, false},
    {"content_type", read_text, PROPERTY_CONTENT_TYPE, false},
    {"response_topic", read_text, PROPERTY_RESPONSE_TOPIC, false},
    {"correlation_data", read_bytes, PROPERTY_CORRELATION_DATA, false},
    {"payload_format_indicator", read_number, PROPERTY_PAYLOAD_FORMAT_INDICATOR, false},
    {"message_expiry_interval", read_number, PROPERTY_MESSAGE_EXPIRY_INTERVAL, false},
    {"user_properties", read_pairs, PROPERTY_USER_PROPERTY, false},
    {"add_user_properties", read_added, 0, true},
};

static const struct field *find_field(const char *name, enum message_fields which) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (!strcmp(fields[i].name, name))
      return fields[i].change_only && which == MESSAGE_OPTIONS ? NULL : &fields[i];
  return NULL;
}

static bool takes_away(lua_State *L, const struct field *f) {
  return f->property && lua_isboolean(L, -1) && !lua_toboolean(L, -1);
}

static const char *read_field(lua_State *L, enum message_fields which, struct reading *r) {
  if (lua_type(L, -2) != LUA_TSTRING) return "fields of a message have the form name = value";
  const char *name = lua_tostring(L, -2);
  const struct field *f = find_field(name, which);
  if (!f) return lua_pushfstring(L, "unknown field of a message '%s'", name);
  if (f->property) r->given |= PROPERTY_BIT(f->property);
  if (takes_away(L, f)) return NULL;
  const char *problem = f->read(L, f, r);
  return problem ? lua_pushfstring(L, "%s: %s", name, problem) : NULL;
}

// Those of the message that were not given stay; user properties that are added come last.
static void add_others(lua_State *L, struct reading *r) {
  struct slice rest = r->m->properties.raw;
  const uint8_t *from = rest.ptr;
  for (struct packet_property p; packet_next_property(&rest, &p); from = rest.ptr)
    if (!(r->given >> p.id & 1)) buf_add(r->raw, from, (size_t)(rest.ptr - from));
  if (!lua_isnil(L, r->user_properties)) property_add_pairs(L, r->user_properties, r->raw);
  if (!lua_isnil(L, r->added)) property_add_pairs(L, r->added, r->raw);
}

const char *message_fields_read(lua_State *L, int index, enum message_fields which, struct packet_message *m,
                                uint64_t *given) {
  luaL_checkstack(L, 16, NULL);
  index = lua_absindex(L, index);
  int top = lua_gettop(L);
  struct reading r = {.m = m, .raw = &script_home(L)->raw, .user_properties = top + 1, .added = top + 2};
  r.raw->len = 0;
  lua_pushnil(L);
  lua_pushnil(L);
  for (lua_pushnil(L); lua_next(L, index); lua_settop(L, top + 3)) {
    const char *problem = read_field(L, which, &r);
    if (problem) return problem;
  }
  add_others(L, &r);
  m->properties = packet_properties_of(buf_slice(r.raw));
  *given = r.given;
  lua_settop(L, top);
  return NULL;
}

void message_fields_copy(lua_State *L, int index) {
  index = lua_absindex(L, index);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (fields[i].change_only) continue;
    lua_getfield(L, index, fields[i].name);
    lua_setfield(L, -2, fields[i].name);
  }
}
