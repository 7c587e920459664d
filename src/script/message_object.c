// Messages: `message` in hooks, a packet's message and will, a client's will. Read only; strings are made
// when they are asked for.
#include <lauxlib.h>

#include "packet/utf8.h"
#include "script/message_fields.h"
#include "script/property.h"
#include "script/script_impl.h"
#include "topic/topic.h"

struct message_object {
  struct borrowed head;
  uint32_t expiry_s;              // what is left; MESSAGE_NEVER: as `m` says
  const struct borrowed *owner;   // NULL, or the packet that it is a part of: user value 1
  const struct packet_message *m; // one that is lent, of the packet, or `own`
  struct message *held;           // of an OBJECT_HELD_MESSAGE; or NULL
  struct packet_message own[];    // one, of an object that is valid for ever
};

static const char *const fields[] = {"topic", "payload", "qos", "retain", NULL};
enum field { FIELD_TOPIC = 1, FIELD_PAYLOAD, FIELD_QOS, FIELD_RETAIN };

static struct message_object *self(lua_State *L) {
  struct message_object *o = object_self(L, "message");
  object_use(L, &o->head, "message");
  if (!o->owner) return o;
  object_use(L, o->owner, "message");
  o->m = packet_object_message(o->owner); // it may have moved
  return o;
}

static void push_property(lua_State *L, const struct message_object *o, enum packet_property_id id) {
  if (id == PROPERTY_MESSAGE_EXPIRY_INTERVAL && o->expiry_s != MESSAGE_NEVER)
    lua_pushinteger(L, o->expiry_s);
  else
    property_push(L, &o->m->properties, id);
}

static int index_message(lua_State *L) {
  const struct message_object *o = self(L);
  int field = object_field(L);
  switch (field) {
  case 0: break; // there is no such field
  case FIELD_TOPIC: object_push_slice(L, o->m->topic); break;
  case FIELD_PAYLOAD: object_push_slice(L, o->m->payload); break;
  case FIELD_QOS: lua_pushinteger(L, o->m->qos); break;
  case FIELD_RETAIN: lua_pushboolean(L, o->m->retain); break;
  default: push_property(L, o, (enum packet_property_id)(field - PROPERTY_FIELD));
  }
  return 1;
}

static int message_text(lua_State *L) {
  const struct message_object *o = self(L);
  struct buf *text = object_text(L);
  packet_format_message(o->m, text);
  return object_push_text(L, text);
}

static int drop_held(lua_State *L) {
  struct message_object *o = object_self(L, "message");
  if (o->held) message_unref(o->held);
  o->held = NULL;
  o->head.over = true;
  return 0;
}

void message_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_message},
                                  {"__newindex", object_read_only},
                                  {"__tostring", message_text},
                                  {NULL, NULL}};
  static const luaL_Reg held_meta[] = {{"__index", index_message},
                                       {"__newindex", object_read_only},
                                       {"__tostring", message_text},
                                       {"__gc", drop_held},
                                       {NULL, NULL}};
  object_define(L, home, OBJECT_MESSAGE,
                &(struct object_methods){
                    .name = "message", .meta = meta, .fields = fields, .properties = PROPERTIES_OF_MESSAGE});
  object_define(
      L, home, OBJECT_HELD_MESSAGE,
      &(struct object_methods){
          .name = "message", .meta = held_meta, .fields = fields, .properties = PROPERTIES_OF_MESSAGE});
}

struct borrowed *message_object_push(lua_State *L, const struct script_home *home,
                                     const struct packet_message *m, uint32_t expiry_s) {
  struct message_object *o = object_new(L, home, OBJECT_MESSAGE, sizeof *o, 0);
  *o = (struct message_object){.expiry_s = expiry_s, .m = m};
  return &o->head;
}

void message_object_move(struct borrowed *message, const struct packet_message *m) {
  container_of(message, struct message_object, head)->m = m;
}

void message_object_push_part(lua_State *L, const struct script_home *home, int owner) {
  owner = lua_absindex(L, owner);
  struct message_object *o = object_new(L, home, OBJECT_MESSAGE, sizeof *o, 1);
  o->head.over = false;
  o->owner = lua_touserdata(L, owner);
  o->expiry_s = MESSAGE_NEVER;
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, -2, 1);
}

struct message_object *message_object_push_held(lua_State *L, const struct script_home *home) {
  struct message_object *o = object_new(L, home, OBJECT_HELD_MESSAGE, sizeof *o + sizeof *o->own, 0);
  *o = (struct message_object){.m = o->own};
  return o;
}

void message_object_hold(struct message_object *o, const struct stored *entry, uint64_t now_ms) {
  o->held = message_ref(entry->message);
  o->expiry_s = message_expires_in(entry->message, now_ms);
  *o->own = message_view(entry->message);
  o->own->qos = entry->qos;
  o->own->retain = entry->retain;
}

struct message *message_object_held(lua_State *L, int index, uint8_t *qos, bool *retain) {
  const struct message_object *o = lua_touserdata(L, index);
  if (!o || !lua_getmetatable(L, index)) return NULL;
  lua_rawgeti(L, LUA_REGISTRYINDEX, script_home(L)->types[OBJECT_HELD_MESSAGE]);
  bool is_one = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  if (!is_one) return NULL;
  *qos = o->m->qos;
  *retain = o->m->retain;
  return o->held;
}

// `bytes` moves behind the copy.
static struct slice copy(uint8_t **bytes, struct slice s) {
  uint8_t *at = *bytes;
  if (s.len) memcpy(at, s.ptr, s.len);
  *bytes += s.len;
  return slice_of(at, s.len);
}

void message_object_push_will(lua_State *L, const struct script_home *home, const struct message *will,
                              uint32_t delay_s) {
  struct packet_message m = message_view(will);
  size_t room = m.properties.raw.len + 2 * (1 + sizeof(uint32_t)); // and those that a message keeps apart
  struct message_object *o =
      object_new(L, home, OBJECT_MESSAGE, sizeof *o + sizeof m + m.topic.len + m.payload.len + room, 0);
  uint8_t *bytes = (uint8_t *)(o->own + 1);
  *o = (struct message_object){.m = o->own, .expiry_s = MESSAGE_NEVER};
  m.topic = copy(&bytes, m.topic);
  m.payload = copy(&bytes, m.payload);
  struct buf raw = {bytes, 0, room};
  buf_add_slice(&raw, m.properties.raw);
  if (will->expiry_s != MESSAGE_NEVER)
    packet_add_number(&raw, PROPERTY_MESSAGE_EXPIRY_INTERVAL, will->expiry_s);
  if (delay_s) packet_add_number(&raw, PROPERTY_WILL_DELAY_INTERVAL, delay_s);
  m.properties = packet_properties_of(buf_slice(&raw));
  *o->own = m;
}

// --- messages that a script writes ---

const char *message_problem(const struct packet_message *m) {
  if (!utf8_valid(m->topic)) return "the topic is not valid UTF-8";
  if (!topic_name_valid(m->topic)) return "the topic is not valid for a publish";
  if (m->payload.len + m->properties.raw.len > PACKET_MAX_SIZE - PACKET_PUBLISH_HEADER_MAX - 2 * TOPIC_MAX)
    return "the message is too large";
  return NULL;
}

struct packet_message message_check_arguments(lua_State *L, int topic) {
  struct packet_message m = {0};
  size_t len;
  m.topic.ptr = (const uint8_t *)luaL_checklstring(L, topic, &len);
  m.topic.len = len;
  m.payload.ptr = (const uint8_t *)luaL_optlstring(L, topic + 1, "", &len);
  m.payload.len = len;
  int options = topic + 2;
  if (lua_isnoneornil(L, options)) return m;
  luaL_checktype(L, options, LUA_TTABLE);
  uint64_t given;
  const char *problem = message_fields_read(L, options, MESSAGE_OPTIONS, &m, &given);
  if (problem) luaL_argerror(L, options, problem);
  return m;
}
