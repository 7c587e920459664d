#include "script/lua_mqtt.h"

#include <lauxlib.h>

#include "packet/utf8.h"
#include "script/property.h"
#include "script/property_table.h"
#include "topic/topic.h"

struct received {
  struct list node;
  uint16_t id;
  bool dup;
  struct packet_message message; // in `bytes`
  uint8_t bytes[];
};

void inbox_init(struct inbox *in) { list_init(&in->messages); }

void inbox_release(struct inbox *in) {
  for (struct list *node; (node = list_take(&in->messages));)
    mem_free(container_of(node, struct received, node));
}

void inbox_add(struct inbox *in, const struct mqtt_client_event *e) {
  const struct packet_message *m = &e->message;
  struct slice properties = m->properties.raw;
  struct received *r = mem_alloc(sizeof *r + m->topic.len + m->payload.len + properties.len);
  *r = (struct received){.id = e->id, .dup = e->dup, .message = *m};
  if (m->topic.len) memcpy(r->bytes, m->topic.ptr, m->topic.len);
  if (m->payload.len) memcpy(r->bytes + m->topic.len, m->payload.ptr, m->payload.len);
  if (properties.len) memcpy(r->bytes + m->topic.len + m->payload.len, properties.ptr, properties.len);
  r->message.topic.ptr = r->bytes;
  r->message.payload.ptr = r->bytes + m->topic.len;
  r->message.properties.raw.ptr = r->bytes + m->topic.len + m->payload.len;
  list_append(&in->messages, &r->node);
}

void lua_mqtt_push_slice(lua_State *L, struct slice s) {
  lua_pushlstring(L, s.len ? (const char *)s.ptr : "", s.len);
}

void lua_mqtt_push_codes(lua_State *L, struct slice codes) {
  lua_createtable(L, (int)codes.len, 0);
  for (size_t i = 0; i < codes.len; i++) {
    lua_pushinteger(L, codes.ptr[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void set_slice(lua_State *L, const char *name, struct slice s) {
  lua_mqtt_push_slice(L, s);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool b) {
  lua_pushboolean(L, b);
  lua_setfield(L, -2, name);
}

static void set_message(lua_State *L, const struct packet_message *m) {
  set_slice(L, "topic", m->topic);
  set_slice(L, "payload", m->payload);
  set_number(L, "qos", m->qos);
  set_boolean(L, "retain", m->retain);
  property_set_fields(L, &m->properties);
}

static void set_published(lua_State *L, const struct packet_message *m, bool dup, uint16_t id) {
  set_message(L, m);
  set_boolean(L, "dup", dup);
  if (id) set_number(L, "id", id);
}

void lua_mqtt_push_message(lua_State *L, const struct packet_message *m) {
  lua_createtable(L, 0, 6);
  set_message(L, m);
}

void lua_mqtt_push_answer(lua_State *L, uint8_t code, const struct packet_properties *properties) {
  lua_createtable(L, 0, 4);
  set_number(L, "code", code);
  lua_pushstring(L, reason_name(code));
  lua_setfield(L, -2, "reason");
  property_set_fields(L, properties);
}

bool inbox_push(lua_State *L, struct inbox *in) {
  struct list *first = list_first(&in->messages);
  if (!first) return false;
  struct received *r = container_of(first, struct received, node);
  lua_createtable(L, 0, 6);
  set_published(L, &r->message, r->dup, r->id);
  list_remove(&r->node);
  mem_free(r);
  return true;
}

static void set_codes(lua_State *L, const struct packet_list *list) {
  lua_mqtt_push_codes(L, list->list);
  lua_setfield(L, -2, "codes");
  property_set_fields(L, &list->properties);
}

// The text form is owned by the caller, because pushing may raise.
void lua_mqtt_push_packet(lua_State *L, const struct packet *p, uint8_t version, struct buf *scratch) {
  scratch->len = 0;
  packet_format(p, version, scratch);
  lua_createtable(L, 0, 8);
  set_slice(L, "text", buf_slice(scratch));
  lua_pushstring(L, packet_type_name(p->type));
  lua_setfield(L, -2, "type");
  if (p->id) set_number(L, "id", p->id);
  switch (p->type) {
  case PACKET_CONNACK:
    set_boolean(L, "session_present", p->connack.session_present);
    set_number(L, "code", p->connack.code);
    property_set_fields(L, &p->connack.properties);
    break;
  case PACKET_PUBLISH: set_published(L, &p->publish.message, p->publish.dup, p->id); break;
  case PACKET_SUBACK: set_codes(L, &p->suback); break;
  case PACKET_UNSUBACK:
    if (version == MQTT_5) set_codes(L, &p->unsuback);
    break;
  case PACKET_PUBACK:
  case PACKET_PUBREC:
  case PACKET_PUBREL:
  case PACKET_PUBCOMP:
  case PACKET_DISCONNECT:
  case PACKET_AUTH:
    if (version != MQTT_5) break;
    set_number(L, "code", p->ack.reason);
    property_set_fields(L, &p->ack.properties);
  }
}

// Arguments

static struct slice get_slice(lua_State *L, int table, const char *name, bool *given) {
  *given = lua_getfield(L, table, name) == LUA_TSTRING;
  size_t len = 0;
  const char *text = *given ? lua_tolstring(L, -1, &len) : "";
  return slice_of(text, len);
}

static bool get_boolean(lua_State *L, int table, const char *name, bool otherwise) {
  bool value = lua_getfield(L, table, name) == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static lua_Integer get_number(lua_State *L, int table, const char *name, lua_Integer otherwise) {
  lua_Integer value = lua_getfield(L, table, name) == LUA_TNIL ? otherwise : lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

struct mqtt_client_options lua_mqtt_options(lua_State *L, int index) {
  luaL_checkstack(L, 20, NULL);
  int table = lua_absindex(L, index);
  bool given;
  struct mqtt_client_options o = {
      .version = (uint8_t)get_number(L, table, "version", MQTT_3_1_1),
      .clean_session = get_boolean(L, table, "clean", true),
      .keep_alive = (uint16_t)get_number(L, table, "keep_alive", 60),
      .topic_aliases = (uint16_t)get_number(L, table, "topic_aliases", 0),
  };
  if (o.version == MQTT_5) o.properties = property_table_read(L, table, PACKET_CONNECT);
  o.id = get_slice(L, table, "id", &given);
  o.username = get_slice(L, table, "username", &o.has_username);
  o.password = get_slice(L, table, "password", &o.has_password);
  o.has_will = lua_getfield(L, table, "will") == LUA_TTABLE;
  if (o.has_will) {
    int will = lua_gettop(L);
    o.will.topic = get_slice(L, will, "topic", &given);
    o.will.payload = get_slice(L, will, "payload", &given);
    o.will.qos = (uint8_t)get_number(L, will, "qos", 0);
    o.will.retain = get_boolean(L, will, "retain", false);
    if (o.version == MQTT_5) o.will.properties = property_table_read(L, will, PROPERTIES_OF_WILL);
  }
  return o;
}

struct slice *lua_mqtt_filters(lua_State *L, int index, size_t *count) {
  int list = lua_absindex(L, index);
  luaL_checktype(L, list, LUA_TTABLE);
  *count = lua_rawlen(L, list);
  luaL_argcheck(L, *count > 0 && *count < 10000, list, "expected one filter or more");
  struct slice *filters = lua_newuserdatauv(L, *count * sizeof *filters, 0);
  size_t total = 0;
  for (size_t i = 0; i < *count; i++) {
    luaL_argcheck(L, lua_rawgeti(L, list, (lua_Integer)i + 1) == LUA_TSTRING, list,
                  "expected filters as strings");
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    filters[i] = slice_of(text, len); // the list keeps the string
    total += len + 3;
    luaL_argcheck(L, total < PACKET_MAX_SIZE / 2, list, "too many bytes for one packet");
    lua_pop(L, 1);
  }
  return filters;
}

struct packet_subscription *lua_mqtt_subscriptions(lua_State *L, int index, size_t *count) {
  lua_Integer options = luaL_checkinteger(L, index + 1);
  luaL_argcheck(L, options >= 0 && options < 0x30 && (options & SUBSCRIPTION_QOS) < 3, index + 1,
                "expected subscription options");
  struct slice *filters = lua_mqtt_filters(L, index, count);
  struct packet_subscription *list = lua_newuserdatauv(L, *count * sizeof *list, 0);
  for (size_t i = 0; i < *count; i++)
    list[i] = (struct packet_subscription){filters[i], (uint8_t)options};
  return list;
}

struct packet_message lua_mqtt_message(lua_State *L, int index) {
  size_t topic_len, payload_len;
  const char *topic = luaL_checklstring(L, index, &topic_len);
  const char *payload = luaL_checklstring(L, index + 1, &payload_len);
  lua_Integer qos = luaL_checkinteger(L, index + 2);
  luaL_argcheck(L, topic_len <= TOPIC_MAX, index, "the topic is longer than 65535 bytes");
  luaL_argcheck(L, payload_len <= PACKET_MAX_SIZE - 9 - topic_len, index + 1,
                "the payload is too large for MQTT");
  luaL_argcheck(L, qos >= 0 && qos <= 2, index + 2, "expected a QoS from 0 to 2");
  return (struct packet_message){.topic = slice_of(topic, topic_len),
                                 .payload = slice_of(payload, payload_len),
                                 .qos = (uint8_t)qos,
                                 .retain = lua_toboolean(L, index + 3)};
}

static struct slice check_slice(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  return slice_of(text, len);
}

int lua_mqtt_is_topic(lua_State *L) {
  struct slice topic = check_slice(L);
  lua_pushboolean(L, topic_name_valid(topic) && utf8_valid(topic));
  return 1;
}

int lua_mqtt_is_filter(lua_State *L) {
  struct slice filter = check_slice(L);
  lua_pushboolean(L, topic_filter_valid(filter) && utf8_valid(filter));
  return 1;
}
