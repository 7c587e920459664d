// Packets and subscriptions, as hooks see them: read only, fields under their names in snake case, and nil
// for a field that this type of packet does not have. There is no way to a password, nor to authentication
// data.
#include <lauxlib.h>

#include "script/property.h"
#include "script/script_impl.h"

struct packet_object {
  struct borrowed head;
  uint8_t version;
  const struct packet *p;
};

struct subscription_object {
  struct borrowed head;
  bool has_options; // those of MQTT 5
  uint32_t identifier;
  const struct subscribe_item *item;
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
                                     "reason_code",
                                     "reason",
                                     "reasons",
                                     "subscription_identifier",
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
  FIELD_REASON_CODE,
  FIELD_REASON,
  FIELD_REASONS,
  FIELD_SUBSCRIPTION_IDENTIFIER,
};

// Each of these pushes one value for a field that the type has, or answers false.

static bool push_connect_field(lua_State *L, const struct packet_connect *c, enum field field) {
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
    message_object_push_part(L, script_home(L), 1);
    return true;
  default: return false;
  }
}

static bool push_publish_field(lua_State *L, const struct packet_publish *p, enum field field) {
  if (field == FIELD_DUP)
    lua_pushboolean(L, p->dup);
  else if (field == FIELD_MESSAGE)
    message_object_push_part(L, script_home(L), 1);
  else
    return false;
  return true;
}

void subscription_set_options(lua_State *L, uint8_t options) {
  lua_pushboolean(L, options & SUBSCRIPTION_NO_LOCAL);
  lua_setfield(L, -2, "no_local");
  lua_pushboolean(L, options & SUBSCRIPTION_RETAIN_AS_PUBLISHED);
  lua_setfield(L, -2, "retain_as_published");
}

static unsigned retain_handling(uint8_t options) {
  return (options & SUBSCRIPTION_RETAIN_HANDLING) >> SUBSCRIPTION_RETAIN_HANDLING_SHIFT;
}

static void push_subscriptions(lua_State *L, const struct packet_list *list, uint8_t version) {
  struct slice rest = list->list;
  struct packet_subscription entry;
  lua_newtable(L);
  for (int i = 1; packet_next_subscription(&rest, version, &entry); i++) {
    lua_createtable(L, 0, version == MQTT_5 ? 5 : 2);
    object_push_slice(L, entry.filter);
    lua_setfield(L, -2, "topic");
    lua_pushinteger(L, entry.options & SUBSCRIPTION_QOS);
    lua_setfield(L, -2, "qos");
    if (version == MQTT_5) {
      subscription_set_options(L, entry.options);
      lua_pushinteger(L, retain_handling(entry.options));
      lua_setfield(L, -2, "retain_handling");
    }
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

static void push_reasons(lua_State *L, uint8_t type, const struct packet_list *list) {
  lua_newtable(L);
  for (size_t i = 0; i < list->list.len; i++) {
    lua_pushstring(L, reason_name_in(type, list->list.ptr[i]));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static bool push_codes_field(lua_State *L, uint8_t type, const struct packet_list *list, enum field field) {
  if (field == FIELD_RETURN_CODES)
    push_codes(L, list);
  else if (field == FIELD_REASONS)
    push_reasons(L, type, list);
  else
    return false;
  return true;
}

static bool push_reason_field(lua_State *L, uint8_t type, uint8_t reason, enum field field) {
  if (field == FIELD_REASON_CODE)
    lua_pushinteger(L, reason);
  else if (field == FIELD_REASON)
    lua_pushstring(L, reason_name_in(type, reason));
  else
    return false;
  return true;
}

static bool push_connack_field(lua_State *L, const struct packet_object *o, enum field field) {
  const struct packet_connack *c = &o->p->connack;
  if (field == FIELD_SESSION_PRESENT)
    lua_pushboolean(L, c->session_present);
  else if (field == FIELD_RETURN_CODE)
    lua_pushinteger(L, c->code);
  else
    return o->version == MQTT_5 && push_reason_field(L, PACKET_CONNACK, c->code, field);
  return true;
}

static bool push_subscribe_field(lua_State *L, const struct packet_object *o, enum field field) {
  const struct packet_list *list = &o->p->subscribe;
  uint32_t id = packet_property_number(&list->properties, PROPERTY_SUBSCRIPTION_IDENTIFIER, 0);
  if (field == FIELD_SUBSCRIPTIONS)
    push_subscriptions(L, list, o->version);
  else if (field == FIELD_SUBSCRIPTION_IDENTIFIER && id)
    lua_pushinteger(L, id);
  else
    return false;
  return true;
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
  case PACKET_CONNACK: return push_connack_field(L, o, field);
  case PACKET_SUBSCRIBE: return push_subscribe_field(L, o, field);
  case PACKET_UNSUBSCRIBE:
    if (field == FIELD_TOPICS) push_filters(L, &p->unsubscribe);
    return field == FIELD_TOPICS;
  case PACKET_SUBACK: return push_codes_field(L, p->type, &p->suback, field);
  case PACKET_UNSUBACK: return o->version == MQTT_5 && push_codes_field(L, p->type, &p->unsuback, field);
  case PACKET_PINGREQ:
  case PACKET_PINGRESP: return false;
  default: return o->version == MQTT_5 && push_reason_field(L, p->type, p->ack.reason, field);
  }
}

static void push_property(lua_State *L, const struct packet *p, enum packet_property_id id) {
  static const struct packet_properties none;
  const struct packet_properties *properties = &none;
  switch (p->type) {
  case PACKET_CONNECT: properties = &p->connect.properties; break;
  case PACKET_CONNACK: properties = &p->connack.properties; break;
  case PACKET_PUBLISH: properties = &p->publish.message.properties; break;
  case PACKET_SUBSCRIBE:
  case PACKET_SUBACK:
  case PACKET_UNSUBSCRIBE:
  case PACKET_UNSUBACK: properties = &p->subscribe.properties; break; // at the same place in each of them
  case PACKET_PINGREQ:
  case PACKET_PINGRESP: break;
  default: properties = &p->ack.properties;
  }
  property_push(L, properties, id);
}

static struct packet_object *self(lua_State *L) {
  struct packet_object *o = object_self(L, "packet");
  object_use(L, &o->head, "packet");
  return o;
}

static int index_packet(lua_State *L) {
  const struct packet_object *o = self(L);
  int field = object_field(L);
  if (field >= PROPERTY_FIELD && o->version == MQTT_5)
    push_property(L, o->p, (enum packet_property_id)(field - PROPERTY_FIELD));
  else if (field && (field >= PROPERTY_FIELD || !push_field(L, o, (enum field)field)))
    lua_pushnil(L);
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
  bool tells_version = p->type == PACKET_CONNECT; // the connection has none before it
  *o = (struct packet_object){.p = p, .version = tells_version ? p->connect.version : version};
  return &o->head;
}

void packet_object_move(struct borrowed *packet, const struct packet *p) {
  container_of(packet, struct packet_object, head)->p = p;
}

const struct packet_message *packet_object_message(const struct borrowed *packet) {
  const struct packet *p = ((const struct packet_object *)packet)->p;
  return p->type == PACKET_CONNECT ? &p->connect.will : &p->publish.message;
}

// --- subscriptions ---

static struct subscription_object *subscription_self(lua_State *L) {
  struct subscription_object *o = object_self(L, "subscription");
  object_use(L, &o->head, "subscription");
  return o;
}

static const char *const subscription_fields[] = {
    "topic", "qos", "share", "no_local", "retain_as_published", "retain_handling", "identifier", NULL};
enum subscription_field {
  SUBSCRIPTION_FIELD_TOPIC = 1,
  SUBSCRIPTION_FIELD_QOS,
  SUBSCRIPTION_FIELD_SHARE,
  SUBSCRIPTION_FIELD_NO_LOCAL,
  SUBSCRIPTION_FIELD_RETAIN_AS_PUBLISHED,
  SUBSCRIPTION_FIELD_RETAIN_HANDLING,
  SUBSCRIPTION_FIELD_IDENTIFIER,
};

// Whether it pushed the field: what MQTT 5 alone has is absent in older versions.
static bool push_subscription_field(lua_State *L, const struct subscription_object *o, int field) {
  const struct subscribe_item *item = o->item;
  if (field >= SUBSCRIPTION_FIELD_NO_LOCAL && !o->has_options) return false;
  switch (field) {
  case SUBSCRIPTION_FIELD_TOPIC: object_push_slice(L, item->filter); return true;
  case SUBSCRIPTION_FIELD_QOS: lua_pushinteger(L, item->qos); return true;
  case SUBSCRIPTION_FIELD_SHARE:
    if (item->share.len) object_push_slice(L, item->share);
    return item->share.len;
  case SUBSCRIPTION_FIELD_NO_LOCAL: lua_pushboolean(L, item->options & SUBSCRIPTION_NO_LOCAL); return true;
  case SUBSCRIPTION_FIELD_RETAIN_AS_PUBLISHED:
    lua_pushboolean(L, item->options & SUBSCRIPTION_RETAIN_AS_PUBLISHED);
    return true;
  case SUBSCRIPTION_FIELD_RETAIN_HANDLING: lua_pushinteger(L, retain_handling(item->options)); return true;
  case SUBSCRIPTION_FIELD_IDENTIFIER:
    if (o->identifier) lua_pushinteger(L, o->identifier);
    return o->identifier;
  default: return false;
  }
}

static int index_subscription(lua_State *L) {
  const struct subscription_object *o = subscription_self(L);
  int field = object_field(L);
  if (field && !push_subscription_field(L, o, field)) lua_pushnil(L);
  return 1;
}

static int subscription_text(lua_State *L) {
  const struct subscription_object *o = subscription_self(L);
  struct buf *text = object_text(L);
  buf_add_str(text, "<Subscription Topic=");
  packet_format_string(o->item->filter, text);
  buf_printf(text, " QOS=%d>", o->item->qos);
  return object_push_text(L, text);
}

struct borrowed *subscription_object_push(lua_State *L, const struct script_home *home,
                                          const struct subscribe_item *item, uint8_t version,
                                          uint32_t identifier) {
  struct subscription_object *o = object_new(L, home, OBJECT_SUBSCRIPTION, sizeof *o, 0);
  *o = (struct subscription_object){.item = item, .has_options = version == MQTT_5, .identifier = identifier};
  return &o->head;
}

void packet_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg packet_meta[] = {
      {"__index", index_packet}, {"__newindex", object_read_only}, {"__tostring", packet_text}, {NULL, NULL}};
  static const luaL_Reg subscription_meta[] = {{"__index", index_subscription},
                                               {"__newindex", object_read_only},
                                               {"__tostring", subscription_text},
                                               {NULL, NULL}};
  object_define(L, home, OBJECT_PACKET,
                &(struct object_methods){.name = "packet",
                                         .meta = packet_meta,
                                         .fields = fields,
                                         .properties = ~PROPERTIES_SECRET &
                                                       ~PROPERTY_BIT(PROPERTY_SUBSCRIPTION_IDENTIFIER)});
  object_define(L, home, OBJECT_SUBSCRIPTION,
                &(struct object_methods){
                    .name = "subscription", .meta = subscription_meta, .fields = subscription_fields});
}
