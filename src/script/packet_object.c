// Packets and subscriptions, as hooks see them: read only, fields under their names in snake case, and nil
// for a field that this type of packet does not have. There is no way to a password.
#include <lauxlib.h>

#include "script/script_impl.h"

struct packet_object {
  struct borrowed head;
  uint8_t version;
  const struct packet *p;
};

struct subscription_object {
  struct borrowed head;
  uint8_t qos;
  struct slice topic;
};

static const char *const type_names[] = {
    [PACKET_CONNECT] = "connect",         [PACKET_CONNACK] = "connack",       [PACKET_PUBLISH] = "publish",
    [PACKET_PUBACK] = "puback",           [PACKET_PUBREC] = "pubrec",         [PACKET_PUBREL] = "pubrel",
    [PACKET_PUBCOMP] = "pubcomp",         [PACKET_SUBSCRIBE] = "subscribe",   [PACKET_SUBACK] = "suback",
    [PACKET_UNSUBSCRIBE] = "unsubscribe", [PACKET_UNSUBACK] = "unsuback",     [PACKET_PINGREQ] = "pingreq",
    [PACKET_PINGRESP] = "pingresp",       [PACKET_DISCONNECT] = "disconnect", [PACKET_AUTH] = "auth",
};

static const char *const fields[] = {"type",
                                     "id",
                                     "client_id",
                                     "keep_alive",
                                     "clean_session",
                                     "username",
                                     "version",
                                     "will",
                                     "session_present",
                                     "return_code",
                                     "subscriptions",
                                     "topics",
                                     "return_codes",
                                     "message",
                                     "dup",
                                     NULL};
enum field {
  FIELD_TYPE = 1,
  FIELD_ID,
  FIELD_CLIENT_ID,
  FIELD_KEEP_ALIVE,
  FIELD_CLEAN_SESSION,
  FIELD_USERNAME,
  FIELD_VERSION,
  FIELD_WILL,
  FIELD_SESSION_PRESENT,
  FIELD_RETURN_CODE,
  FIELD_SUBSCRIPTIONS,
  FIELD_TOPICS,
  FIELD_RETURN_CODES,
  FIELD_MESSAGE,
  FIELD_DUP,
};

// Each of these pushes one value for a field that the type has, or answers false.

static bool push_connect_field(lua_State *L, const struct packet_connect *c, enum field field) {
  const struct script_home *home = script_home(L);
  switch (field) {
  case FIELD_CLIENT_ID: object_push_slice(L, c->client_id); return true;
  case FIELD_KEEP_ALIVE: lua_pushinteger(L, c->keep_alive); return true;
  case FIELD_CLEAN_SESSION: lua_pushboolean(L, c->clean_session); return true;
  case FIELD_VERSION: lua_pushinteger(L, c->version); return true;
  case FIELD_USERNAME:
    if (!c->has_username) return false;
    object_push_slice(L, c->username);
    return true;
  case FIELD_WILL:
    if (!c->has_will) return false;
    message_object_push_part(L, home, &c->will, 1);
    return true;
  default: return false;
  }
}

static bool push_publish_field(lua_State *L, const struct packet_publish *p, enum field field) {
  if (field == FIELD_DUP)
    lua_pushboolean(L, p->dup);
  else if (field == FIELD_MESSAGE)
    message_object_push_part(L, script_home(L), &p->message, 1);
  else
    return false;
  return true;
}

static void push_subscriptions(lua_State *L, const struct packet_list *list, uint8_t version) {
  struct slice rest = list->list;
  struct packet_subscription entry;
  lua_newtable(L);
  for (int i = 1; packet_next_subscription(&rest, version, &entry); i++) {
    lua_createtable(L, 0, 2);
    object_push_slice(L, entry.filter);
    lua_setfield(L, -2, "topic");
    lua_pushinteger(L, entry.options & 3);
    lua_setfield(L, -2, "qos");
    lua_rawseti(L, -2, i);
  }
}

static void push_filters(lua_State *L, const struct packet_list *list) {
  struct slice rest = list->list, filter;
  lua_newtable(L);
  for (int i = 1; packet_next_filter(&rest, &filter); i++) {
    object_push_slice(L, filter);
    lua_rawseti(L, -2, i);
  }
}

static void push_codes(lua_State *L, const struct packet_list *list) {
  lua_newtable(L);
  for (size_t i = 0; i < list->list.len; i++) {
    lua_pushinteger(L, list->list.ptr[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static bool push_field(lua_State *L, const struct packet_object *o, enum field field) {
  const struct packet *p = o->p;
  if (field == FIELD_TYPE) {
    lua_pushstring(L, type_names[p->type]);
    return true;
  }
  if (field == FIELD_ID) {
    if (p->id) lua_pushinteger(L, p->id);
    return p->id != 0;
  }
  switch (p->type) {
  case PACKET_CONNECT: return push_connect_field(L, &p->connect, field);
  case PACKET_PUBLISH: return push_publish_field(L, &p->publish, field);
  case PACKET_CONNACK:
    if (field == FIELD_SESSION_PRESENT)
      lua_pushboolean(L, p->connack.session_present);
    else if (field == FIELD_RETURN_CODE)
      lua_pushinteger(L, p->connack.code);
    else
      return false;
    return true;
  case PACKET_SUBSCRIBE:
    if (field == FIELD_SUBSCRIPTIONS) push_subscriptions(L, &p->subscribe, o->version);
    return field == FIELD_SUBSCRIPTIONS;
  case PACKET_UNSUBSCRIBE:
    if (field == FIELD_TOPICS) push_filters(L, &p->unsubscribe);
    return field == FIELD_TOPICS;
  case PACKET_SUBACK:
    if (field == FIELD_RETURN_CODES) push_codes(L, &p->suback);
    return field == FIELD_RETURN_CODES;
  default: return false;
  }
}

static struct packet_object *self(lua_State *L) {
  struct packet_object *o = object_self(L, "packet");
  object_use(L, &o->head, "packet");
  return o;
}

static int index_packet(lua_State *L) {
  const struct packet_object *o = self(L);
  int field = object_field(L);
  if (field && !push_field(L, o, (enum field)field)) lua_pushnil(L);
  return 1;
}

static int packet_text(lua_State *L) {
  const struct packet_object *o = self(L);
  struct buf *text = object_text(L);
  packet_format(o->p, o->version, text);
  return object_push_text(L, text);
}

struct borrowed *packet_object_push(lua_State *L, const struct script_home *home, const struct packet *p,
                                    uint8_t version) {
  struct packet_object *o = object_new(L, home, OBJECT_PACKET, sizeof *o, 0);
  *o = (struct packet_object){.p = p, .version = version};
  return &o->head;
}

// --- subscriptions ---

static struct subscription_object *subscription_self(lua_State *L) {
  struct subscription_object *o = object_self(L, "subscription");
  object_use(L, &o->head, "subscription");
  return o;
}

static int index_subscription(lua_State *L) {
  const struct subscription_object *o = subscription_self(L);
  int field = object_field(L);
  if (field == 1)
    object_push_slice(L, o->topic);
  else if (field)
    lua_pushinteger(L, o->qos);
  return 1;
}

static int subscription_text(lua_State *L) {
  const struct subscription_object *o = subscription_self(L);
  struct buf *text = object_text(L);
  buf_add_str(text, "<Subscription Topic=");
  packet_format_string(o->topic, text);
  buf_printf(text, " QOS=%d>", o->qos);
  return object_push_text(L, text);
}

struct borrowed *subscription_object_push(lua_State *L, const struct script_home *home,
                                          const struct subscribe_item *item) {
  struct subscription_object *o = object_new(L, home, OBJECT_SUBSCRIPTION, sizeof *o, 0);
  *o = (struct subscription_object){.topic = item->filter, .qos = item->qos};
  return &o->head;
}

void packet_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg packet_meta[] = {
      {"__index", index_packet}, {"__newindex", object_read_only}, {"__tostring", packet_text}, {NULL, NULL}};
  static const luaL_Reg subscription_meta[] = {{"__index", index_subscription},
                                               {"__newindex", object_read_only},
                                               {"__tostring", subscription_text},
                                               {NULL, NULL}};
  static const char *const subscription_fields[] = {"topic", "qos", NULL};
  object_define(L, home, OBJECT_PACKET,
                &(struct object_methods){.name = "packet", .meta = packet_meta, .fields = fields});
  object_define(L, home, OBJECT_SUBSCRIPTION,
                &(struct object_methods){
                    .name = "subscription", .meta = subscription_meta, .fields = subscription_fields});
}
