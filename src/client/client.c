#include <assert.h>
#include <stdio.h>

#include "client/client_impl.h"

static const struct mqtt_client_server no_limits = {
    .maximum_packet_size = PACKET_MAX_SIZE,
    .receive_maximum = UINT16_MAX,
    .maximum_qos = 2,
    .retain_available = true,
};

static const struct packet_properties none;

// What waits for an ack

static struct slice pending_key(const void *value) {
  const struct pending *p = value;
  return slice_of(&p->id, sizeof p->id);
}

struct pending *pending_find(const struct mqtt_client *c, uint16_t id, uint8_t awaits) {
  struct pending *p = map_get(&c->by_id, slice_of(&id, sizeof id));
  return p && !p->held && p->awaits == awaits ? p : NULL;
}

static void add(struct mqtt_client *c, struct pending *p) {
  list_append(&c->pending, &p->node);
  map_put(&c->by_id, p);
}

// Takes it out of either list.
static void drop(struct mqtt_client *c, struct pending *p) {
  if (pending_is_message(p)) c->inflight--;
  map_remove(&c->by_id, pending_key(p));
  list_remove(&p->node);
  mem_free(p);
}

void pending_forget(struct mqtt_client *c, struct pending *p) {
  if (pending_is_message(p)) c->under_way--;
  drop(c, p);
}

void pending_hold(struct mqtt_client *c, struct pending *p) {
  p->held = true;
  list_remove(&p->node);
  list_append(&c->held, &p->node);
}

// Moves the first one that is held to the end of `pending`. NULL: there is none.
static struct pending *release_held(struct mqtt_client *c) {
  struct list *node = list_take(&c->held);
  if (!node) return NULL;
  struct pending *p = container_of(node, struct pending, node);
  p->held = false;
  list_append(&c->pending, node);
  return p;
}

static uint16_t next_id(struct mqtt_client *c) {
  if (c->by_id.count >= PACKET_ID_MAX) return 0;
  do
    c->last_id = c->last_id == PACKET_ID_MAX ? 1 : (uint16_t)(c->last_id + 1);
  while (map_get(&c->by_id, slice_of(&c->last_id, sizeof c->last_id)));
  return c->last_id;
}

bool mqtt_client_put(struct mqtt_client *c, const struct packet *p) {
  assert(c->state == MQTT_CLIENT_CONNECTED || (c->state == MQTT_CLIENT_CONNECTING && c->version == MQTT_5));
  size_t before = c->out.len;
  packet_encode(p, c->version, &c->out);
  if (c->out.len - before > c->server.maximum_packet_size) { // [MQTT5-3.2.2-15]
    c->out.len = before;
    return false;
  }
  if (c->trace) c->trace(c->trace_arg, true, p);
  return true;
}

// Life

static void remember_options(struct mqtt_client *c, const struct mqtt_client_options *o) {
  c->maximum_packet_size =
      packet_property_number(&o->properties, PROPERTY_MAXIMUM_PACKET_SIZE, PACKET_MAX_SIZE);
  c->receive_maximum = (uint16_t)packet_property_number(&o->properties, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX);
  c->authenticates = packet_has_property(&o->properties, PROPERTY_AUTHENTICATION_METHOD);
  c->aliases_in.maximum = (uint16_t)packet_property_number(&o->properties, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
}

void mqtt_client_init(struct mqtt_client *c, const struct mqtt_client_options *options) {
  *c = (struct mqtt_client){
      .version = options->version ? options->version : MQTT_3_1_1,
      .clean_session = options->clean_session,
      .manual_acks = options->manual_acks,
      .topic_aliases = options->topic_aliases,
      .wanted_keep_alive = options->keep_alive,
      .keep_alive = options->keep_alive,
      .server = no_limits,
  };
  assert(c->version == MQTT_5 || !options->has_password || options->has_username);
  assert(c->version == MQTT_5 || !options->properties.raw.len);
  list_init(&c->pending);
  list_init(&c->held);
  map_init(&c->by_id, pending_key, 0);
  remember_options(c, options);
  struct packet connect = {
      .type = PACKET_CONNECT,
      .connect =
          {
              .version = c->version,
              .clean_session = options->clean_session,
              .has_will = options->has_will,
              .has_username = options->has_username,
              .has_password = options->has_password,
              .keep_alive = options->keep_alive,
              .client_id = options->id,
              .username = options->username,
              .password = options->password,
              .will = options->will,
              .properties = options->properties,
          },
  };
  packet_encode(&connect, c->version, &c->connect);
}

static void release_secret(struct buf *b) {
  if (b->len) explicit_bzero(b->ptr, b->len);
  buf_release(b);
}

void mqtt_client_release(struct mqtt_client *c) {
  list_each(node, &c->held) drop(c, container_of(node, struct pending, node));
  list_each(node, &c->pending) drop(c, container_of(node, struct pending, node));
  map_release(&c->by_id);
  mem_free(c->received);
  aliases_release(&c->aliases_in);
  aliases_release(&c->aliases_out);
  buf_release(&c->out);
  buf_release(&c->in);
  release_secret(&c->connect);
  *c = (struct mqtt_client){.state = MQTT_CLIENT_ENDED};
  list_init(&c->pending);
  list_init(&c->held);
}

static bool decode_connect(const struct mqtt_client *c, struct packet *p) {
  return packet_decode(p, buf_slice(&c->connect), MQTT_3_1_1, PACKET_MAX_SIZE) > 0;
}

void mqtt_client_set_id(struct mqtt_client *c, struct slice id) {
  struct packet p;
  struct buf connect = BUF_INIT;
  if (!decode_connect(c, &p)) return;
  p.connect.client_id = id;
  packet_encode(&p, c->version, &connect);
  release_secret(&c->connect);
  c->connect = connect;
}

// What is kept waits for CONNACK: all of it in `pending`, none of it under way.
static void begin_again(struct mqtt_client *c) {
  while (release_held(c)) {
  }
  list_each(node, &c->pending) {
    struct pending *p = container_of(node, struct pending, node);
    if (!pending_is_message(p) || c->clean_session) drop(c, p);
  }
  c->under_way = 0;
  c->server = no_limits;
  c->keep_alive = c->wanted_keep_alive;
  aliases_release(&c->aliases_in); // they are the connection's [MQTT5-3.3.2-7]
  aliases_release(&c->aliases_out);
  c->aliases_out.maximum = 0;
}

void mqtt_client_connect(struct mqtt_client *c) {
  begin_again(c);
  if (c->received && c->clean_session) memset(c->received, 0, RECEIVED_SIZE);
  if (c->clean_session) c->incoming = 0;
  c->in.len = c->out.len = c->taken = 0;
  c->state = MQTT_CLIENT_CONNECTING;
  buf_add_slice(&c->out, buf_slice(&c->connect));
  struct packet p;
  if (c->trace && decode_connect(c, &p)) c->trace(c->trace_arg, true, &p);
}

// Requests

static const struct packet_properties *or_none(const struct packet_properties *properties) {
  return properties ? properties : &none;
}

// Sends a SUBSCRIBE or UNSUBSCRIBE, and waits for its ack. Returns its id or 0.
static uint16_t request(struct mqtt_client *c, uint8_t type, size_t count, const struct buf *list,
                        const struct packet_properties *properties) {
  assert(count);
  uint16_t id = next_id(c);
  struct packet_list body = {
      .count = (uint32_t)count, .list = buf_slice(list), .properties = *or_none(properties)};
  if (!id || !mqtt_client_put(c, &(struct packet){.type = type, .id = id, .subscribe = body})) return 0;
  struct pending *p = mem_calloc(1, sizeof *p);
  p->id = id;
  p->awaits = type == PACKET_SUBSCRIBE ? PACKET_SUBACK : PACKET_UNSUBACK;
  p->count = (uint32_t)count;
  add(c, p);
  return id;
}

uint16_t mqtt_client_subscribe(struct mqtt_client *c, const struct packet_subscription *list, size_t count,
                               const struct packet_properties *properties) {
  struct buf filters = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    packet_add_subscription(&filters, list[i].filter, list[i].options);
  uint16_t id = request(c, PACKET_SUBSCRIBE, count, &filters, properties);
  buf_release(&filters);
  return id;
}

uint16_t mqtt_client_unsubscribe(struct mqtt_client *c, const struct slice *list, size_t count,
                                 const struct packet_properties *properties) {
  struct buf filters = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    packet_add_filter(&filters, list[i]);
  uint16_t id = request(c, PACKET_UNSUBSCRIBE, count, &filters, properties);
  buf_release(&filters);
  return id;
}

// Publishing

const char *mqtt_client_refuses(const struct mqtt_client *c, const struct packet_message *m) {
  const struct mqtt_client_server *s = &c->server;
  if (m->qos > s->maximum_qos) return "the server does not take this qos";             // [MQTT5-3.2.2-11]
  if (m->retain && !s->retain_available) return "the server does not retain messages"; // [MQTT5-3.2.2-14]
  if (packet_property_number(&m->properties, PROPERTY_TOPIC_ALIAS, 0) > s->topic_alias_maximum)
    return "the server does not take this topic alias"; // [MQTT5-3.2.2-17]
  size_t size = packet_publish_size(m->qos, m->topic.len, m->properties.raw.len, m->payload.len, c->version);
  return size > s->maximum_packet_size ? "the message is larger than the server takes" : NULL;
}

// Whether it may be sent with an alias beside its topic, which takes 3 bytes.
static bool has_room_for_alias(const struct mqtt_client *c, const struct packet_message *m) {
  if (!c->aliases_out.maximum || packet_has_property(&m->properties, PROPERTY_TOPIC_ALIAS)) return false;
  size_t properties_len = m->properties.raw.len + 3;
  size_t size = packet_publish_size(m->qos, m->topic.len, properties_len, m->payload.len, c->version);
  return size <= c->server.maximum_packet_size;
}

// The message with an alias in the place of its topic, or beside it; `raw` is for its properties.
static struct packet_message with_alias(struct mqtt_client *c, const struct packet_message *m,
                                        struct buf *raw) {
  struct packet_message sent = *m;
  if (!has_room_for_alias(c, m)) return sent;
  struct alias_use use = aliases_use(&c->aliases_out, m->topic);
  if (!use.alias) return sent;
  buf_add_slice(raw, m->properties.raw);
  packet_add_number(raw, PROPERTY_TOPIC_ALIAS, use.alias);
  sent.properties = packet_properties_of(buf_slice(raw));
  if (use.known) sent.topic = slice_of(NULL, 0);
  return sent;
}

static void put_publish(struct mqtt_client *c, const struct packet_message *m, uint16_t id, bool dup) {
  struct buf raw = BUF_INIT;
  struct packet p = {.type = PACKET_PUBLISH, .id = id, .publish = {.message = *m, .dup = dup}};
  p.publish.message = with_alias(c, m, &raw);
  mqtt_client_put(c, &p);
  buf_release(&raw);
}

void mqtt_client_send(struct mqtt_client *c, struct pending *p) {
  put_publish(c, &p->message, p->id, p->sent);
  p->sent = true;
  c->under_way++;
}

void mqtt_client_send_held(struct mqtt_client *c) {
  struct pending *p;
  while (c->under_way < c->server.receive_maximum && (p = release_held(c)))
    mqtt_client_send(c, p);
}

// Appends to bytes at *at.
static struct slice keep(uint8_t **at, struct slice s) {
  uint8_t *place = *at;
  if (s.len) memcpy(place, s.ptr, s.len);
  *at += s.len;
  return slice_of(place, s.len);
}

static struct pending *message_copy(const struct packet_message *m, uint16_t id) {
  struct pending *p = mem_alloc(sizeof *p + m->topic.len + m->payload.len + m->properties.raw.len);
  *p = (struct pending){.id = id, .awaits = m->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, .message = *m};
  uint8_t *at = p->bytes;
  p->message.topic = keep(&at, m->topic);
  p->message.payload = keep(&at, m->payload);
  p->message.properties.raw = keep(&at, m->properties.raw);
  return p;
}

uint16_t mqtt_client_publish(struct mqtt_client *c, const struct packet_message *m) {
  if (mqtt_client_refuses(c, m)) return 0;
  if (!m->qos) {
    put_publish(c, m, 0, false);
    return 0;
  }
  uint16_t id = next_id(c);
  if (!id) return 0;
  struct pending *p = message_copy(m, id);
  add(c, p);
  c->inflight++;
  if (c->under_way < c->server.receive_maximum)
    mqtt_client_send(c, p);
  else
    pending_hold(c, p);
  return id;
}

// The others

void mqtt_client_ping(struct mqtt_client *c) { mqtt_client_put(c, &(struct packet){.type = PACKET_PINGREQ}); }

void mqtt_client_disconnect(struct mqtt_client *c, enum reason reason,
                            const struct packet_properties *properties) {
  struct packet_ack body = {.reason = (uint8_t)reason, .properties = *or_none(properties)};
  if (!mqtt_client_put(c, &(struct packet){.type = PACKET_DISCONNECT, .ack = body}))
    mqtt_client_put(c, &(struct packet){.type = PACKET_DISCONNECT, .ack = {.reason = (uint8_t)reason}});
  c->state = MQTT_CLIENT_ENDED;
}

void mqtt_client_auth(struct mqtt_client *c, enum reason reason, const struct packet_properties *properties) {
  assert(c->authenticates);
  struct packet_ack body = {.reason = (uint8_t)reason, .properties = *or_none(properties)};
  mqtt_client_put(c, &(struct packet){.type = PACKET_AUTH, .ack = body});
}

void mqtt_client_ack(struct mqtt_client *c, enum packet_type type, uint16_t id, enum reason reason) {
  mqtt_client_put(c, &(struct packet){.type = (uint8_t)type, .id = id, .ack = {.reason = (uint8_t)reason}});
}

const char *mqtt_client_connack_text(const struct mqtt_client *c, uint8_t code, char text[REASON_TEXT_SIZE]) {
  static const char *const texts[] = {
      "accepted",           "unacceptable protocol version", "client id rejected",
      "server unavailable", "bad user name or password",     "not authorized"};
  if (c->version == MQTT_5) return reason_text(code, text);
  snprintf(text, REASON_TEXT_SIZE, "%s",
           code < sizeof texts / sizeof *texts ? texts[code] : "unknown return code");
  return text;
}
