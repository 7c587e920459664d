// Messages: `message` in hooks, a packet's message and will, a client's will. Read only; strings are made
// when they are asked for.
#include <lauxlib.h>

#include "packet/utf8.h"
#include "script/script_impl.h"
#include "topic/topic.h"

struct message_object {
  struct borrowed head;
  const struct borrowed *owner; // NULL, or what it is a part of: user value 1
  struct packet_message m;
  struct message *held; // of an OBJECT_HELD_MESSAGE; or NULL
};

static const char *const fields[] = {"topic", "payload", "qos", "retain", NULL};
enum field { FIELD_TOPIC = 1, FIELD_PAYLOAD, FIELD_QOS, FIELD_RETAIN };

static struct message_object *self(lua_State *L) {
  struct message_object *o = object_self(L, "message");
  object_use(L, &o->head, "message");
  if (o->owner) object_use(L, o->owner, "message");
  return o;
}

static int index_message(lua_State *L) {
  const struct message_object *o = self(L);
  switch ((enum field)object_field(L)) {
  case FIELD_TOPIC: object_push_slice(L, o->m.topic); break;
  case FIELD_PAYLOAD: object_push_slice(L, o->m.payload); break;
  case FIELD_QOS: lua_pushinteger(L, o->m.qos); break;
  case FIELD_RETAIN: lua_pushboolean(L, o->m.retain); break;
  }
  return 1;
}

static int message_text(lua_State *L) {
  const struct message_object *o = self(L);
  struct buf *text = object_text(L);
  packet_format_message(&o->m, text);
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
                &(struct object_methods){.name = "message", .meta = meta, .fields = fields});
  object_define(L, home, OBJECT_HELD_MESSAGE,
                &(struct object_methods){.name = "message", .meta = held_meta, .fields = fields});
}

struct borrowed *message_object_push(lua_State *L, const struct script_home *home,
                                     const struct packet_message *m) {
  struct message_object *o = object_new(L, home, OBJECT_MESSAGE, sizeof *o, 0);
  o->head.over = false;
  o->owner = NULL;
  o->m = *m;
  return &o->head;
}

void message_object_push_part(lua_State *L, const struct script_home *home, const struct packet_message *m,
                              int owner) {
  owner = lua_absindex(L, owner);
  struct message_object *o = object_new(L, home, OBJECT_MESSAGE, sizeof *o, 1);
  o->head.over = false;
  o->owner = lua_touserdata(L, owner);
  o->m = *m;
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, -2, 1);
}

struct message_object *message_object_push_held(lua_State *L, const struct script_home *home) {
  struct message_object *o = object_new(L, home, OBJECT_HELD_MESSAGE, sizeof *o, 0);
  *o = (struct message_object){0};
  return o;
}

void message_object_hold(struct message_object *o, const struct stored *entry) {
  o->held = message_ref(entry->message);
  o->m = message_view(entry->message);
  o->m.qos = entry->qos;
  o->m.retain = entry->retain;
}

void message_object_push_copy(lua_State *L, const struct script_home *home, const struct packet_message *m) {
  struct message_object *o =
      object_new(L, home, OBJECT_MESSAGE, sizeof *o + m->topic.len + m->payload.len, 0);
  uint8_t *bytes = (uint8_t *)(o + 1);
  o->head.over = false;
  o->owner = NULL;
  o->m = (struct packet_message){.qos = m->qos, .retain = m->retain};
  if (m->topic.len) memcpy(bytes, m->topic.ptr, m->topic.len);
  if (m->payload.len) memcpy(bytes + m->topic.len, m->payload.ptr, m->payload.len);
  o->m.topic = slice_of(bytes, m->topic.len);
  o->m.payload = slice_of(bytes + m->topic.len, m->payload.len);
}

// --- messages that a script writes ---

const char *message_problem(const struct packet_message *m) {
  if (!utf8_valid(m->topic)) return "the topic is not valid UTF-8";
  if (!topic_name_valid(m->topic)) return "the topic is not valid for a publish";
  if (m->payload.len > PACKET_MAX_SIZE - PACKET_PUBLISH_HEADER_MAX - TOPIC_MAX)
    return "the payload is too large";
  return NULL;
}

static void check_option_names(lua_State *L, int options) {
  for (lua_pushnil(L); lua_next(L, options); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (!name) {
      luaL_argerror(L, options, "options have the form name = value");
      return; // never: it raises
    }
    if (strcmp(name, "qos") != 0 && strcmp(name, "retain") != 0)
      luaL_argerror(L, options, lua_pushfstring(L, "unknown option '%s'", name));
  }
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
  check_option_names(L, options);
  if (lua_getfield(L, options, "qos") != LUA_TNIL) {
    int is_integer;
    lua_Integer qos = lua_tointegerx(L, -1, &is_integer);
    luaL_argcheck(L, is_integer && qos >= 0 && qos <= 2, options, "qos must be 0, 1 or 2");
    m.qos = (uint8_t)qos;
  }
  if (lua_getfield(L, options, "retain") != LUA_TNIL) {
    luaL_argcheck(L, lua_isboolean(L, -1), options, "retain must be true or false");
    m.retain = lua_toboolean(L, -1);
  }
  lua_pop(L, 2);
  return m;
}
