// A row of `handlers` for each packet type that a server may send. An outgoing message is a struct pending
// from PUBLISH to its last ack, and knows the type of the ack that it waits for; a resend needs nothing else.
// The order of the list is that of the first PUBLISH, or for what waits for PUBCOMP that of PUBREC.
#include "client/client.h"

#include <assert.h>

#define RECEIVED_SIZE ((PACKET_ID_MAX + 1) / 8)

struct pending {
  struct list node;
  uint16_t id;
  uint8_t awaits;                // type of the ack
  uint32_t count;                // filters of a SUBSCRIBE
  struct packet_message message; // of a PUBLISH, in `bytes`; empty after PUBREC
  uint8_t bytes[];
};

static struct slice pending_key(const void *value) {
  const struct pending *p = value;
  return slice_of(&p->id, sizeof p->id);
}

static struct pending *find(const struct mqtt_client *c, uint16_t id, uint8_t awaits) {
  struct pending *p = map_get(&c->by_id, slice_of(&id, sizeof id));
  return p && p->awaits == awaits ? p : NULL;
}

static void add(struct mqtt_client *c, struct pending *p) {
  list_append(&c->pending, &p->node);
  map_put(&c->by_id, p);
}

static void forget(struct mqtt_client *c, struct pending *p) {
  if (p->awaits == PACKET_PUBACK || p->awaits == PACKET_PUBREC || p->awaits == PACKET_PUBCOMP) c->inflight--;
  map_remove(&c->by_id, pending_key(p));
  list_remove(&p->node);
  mem_free(p);
}

static uint16_t next_id(struct mqtt_client *c) {
  if (c->by_id.count >= PACKET_ID_MAX) return 0;
  do
    c->last_id = c->last_id == PACKET_ID_MAX ? 1 : (uint16_t)(c->last_id + 1);
  while (map_get(&c->by_id, slice_of(&c->last_id, sizeof c->last_id)));
  return c->last_id;
}

static void put(struct mqtt_client *c, const struct packet *p) {
  assert(c->state == MQTT_CLIENT_CONNECTED);
  packet_encode(p, c->version, &c->out);
  if (c->trace) c->trace(c->trace_arg, true, p);
}

// Incoming QoS 2

static bool was_received(const struct mqtt_client *c, uint16_t id) {
  return c->received && c->received[id / 8] >> id % 8 & 1;
}

static void set_received(struct mqtt_client *c, uint16_t id) {
  if (!c->received) c->received = mem_calloc(1, RECEIVED_SIZE);
  c->received[id / 8] |= (uint8_t)(1u << id % 8);
}

static void clear_received(struct mqtt_client *c, uint16_t id) {
  if (c->received) c->received[id / 8] &= (uint8_t) ~(1u << id % 8);
}

// Life

void mqtt_client_init(struct mqtt_client *c, const struct mqtt_client_options *options) {
  *c = (struct mqtt_client){
      .version = options->version ? options->version : MQTT_3_1_1,
      .clean_session = options->clean_session,
      .manual_acks = options->manual_acks,
  };
  assert(!options->has_password || options->has_username);
  list_init(&c->pending);
  map_init(&c->by_id, pending_key, 0);
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
          },
  };
  packet_encode(&connect, c->version, &c->connect);
}

void mqtt_client_release(struct mqtt_client *c) {
  list_each(node, &c->pending) forget(c, container_of(node, struct pending, node));
  map_release(&c->by_id);
  mem_free(c->received);
  buf_release(&c->out);
  buf_release(&c->in);
  if (c->connect.len) explicit_bzero(c->connect.ptr, c->connect.len);
  buf_release(&c->connect);
  *c = (struct mqtt_client){.state = MQTT_CLIENT_ENDED};
  list_init(&c->pending);
}

void mqtt_client_connect(struct mqtt_client *c) {
  list_each(node, &c->pending) {
    struct pending *p = container_of(node, struct pending, node);
    bool request = p->awaits == PACKET_SUBACK || p->awaits == PACKET_UNSUBACK;
    if (request || c->clean_session) forget(c, p);
  }
  if (c->received && c->clean_session) memset(c->received, 0, RECEIVED_SIZE);
  c->in.len = c->out.len = c->taken = 0;
  c->state = MQTT_CLIENT_CONNECTING;
  buf_add_slice(&c->out, buf_slice(&c->connect));
  struct packet p;
  if (c->trace && packet_decode(&p, buf_slice(&c->connect), MQTT_3_1_1, PACKET_MAX_SIZE) > 0)
    c->trace(c->trace_arg, true, &p);
}

// Requests

static struct pending *request_new(uint16_t id, uint8_t awaits, size_t count) {
  struct pending *p = mem_calloc(1, sizeof *p);
  p->id = id;
  p->awaits = awaits;
  p->count = (uint32_t)count;
  return p;
}

uint16_t mqtt_client_subscribe(struct mqtt_client *c, const struct packet_subscription *list, size_t count) {
  assert(count);
  uint16_t id = next_id(c);
  if (!id) return 0;
  struct buf filters = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    packet_add_subscription(&filters, list[i].filter, list[i].options);
  add(c, request_new(id, PACKET_SUBACK, count));
  put(c, &(struct packet){.type = PACKET_SUBSCRIBE,
                          .id = id,
                          .subscribe = {.count = (uint32_t)count, .list = buf_slice(&filters)}});
  buf_release(&filters);
  return id;
}

uint16_t mqtt_client_unsubscribe(struct mqtt_client *c, const struct slice *list, size_t count) {
  assert(count);
  uint16_t id = next_id(c);
  if (!id) return 0;
  struct buf filters = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    packet_add_filter(&filters, list[i]);
  add(c, request_new(id, PACKET_UNSUBACK, count));
  put(c, &(struct packet){.type = PACKET_UNSUBSCRIBE,
                          .id = id,
                          .unsubscribe = {.count = (uint32_t)count, .list = buf_slice(&filters)}});
  buf_release(&filters);
  return id;
}

static void put_publish(struct mqtt_client *c, const struct packet_message *m, uint16_t id, bool dup) {
  put(c, &(struct packet){.type = PACKET_PUBLISH, .id = id, .publish = {.message = *m, .dup = dup}});
}

static struct pending *message_copy(const struct packet_message *m, uint16_t id) {
  struct pending *p = mem_alloc(sizeof *p + m->topic.len + m->payload.len);
  *p = (struct pending){.id = id, .awaits = m->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, .message = *m};
  if (m->topic.len) memcpy(p->bytes, m->topic.ptr, m->topic.len);
  if (m->payload.len) memcpy(p->bytes + m->topic.len, m->payload.ptr, m->payload.len);
  p->message.topic.ptr = p->bytes;
  p->message.payload.ptr = p->bytes + m->topic.len;
  return p;
}

uint16_t mqtt_client_publish(struct mqtt_client *c, const struct packet_message *m) {
  uint16_t id = m->qos ? next_id(c) : 0;
  if (m->qos && !id) return 0;
  if (m->qos) {
    add(c, message_copy(m, id));
    c->inflight++;
  }
  put_publish(c, m, id, false);
  return id;
}

void mqtt_client_ping(struct mqtt_client *c) { put(c, &(struct packet){.type = PACKET_PINGREQ}); }

void mqtt_client_disconnect(struct mqtt_client *c) {
  put(c, &(struct packet){.type = PACKET_DISCONNECT});
  c->state = MQTT_CLIENT_ENDED;
}

void mqtt_client_ack(struct mqtt_client *c, enum packet_type type, uint16_t id) {
  put(c, &(struct packet){.type = (uint8_t)type, .id = id});
}

// What comes in. A handler returns whether *e is an event for the caller.

static bool fail(struct mqtt_client *c, struct mqtt_client_event *e, const char *error) {
  c->state = MQTT_CLIENT_ENDED;
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_ERROR, .error = error};
  return true;
}

// No acks after DISCONNECT [MQTT-3.14.4-2].
static void auto_ack(struct mqtt_client *c, enum packet_type type, uint16_t id) {
  if (!c->manual_acks && c->state == MQTT_CLIENT_CONNECTED) mqtt_client_ack(c, type, id);
}

// A server that lost the session gets messages as new ones. Before 3.1.1 it cannot tell.
static void resend(struct mqtt_client *c, bool session_present) {
  bool dup = session_present || c->version == MQTT_3_1;
  list_each(node, &c->pending) {
    struct pending *p = container_of(node, struct pending, node);
    if (p->awaits == PACKET_PUBCOMP)
      mqtt_client_ack(c, PACKET_PUBREL, p->id);
    else if (p->awaits == PACKET_PUBACK || p->awaits == PACKET_PUBREC)
      put_publish(c, &p->message, p->id, dup);
  }
}

static bool on_connack(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_CONNACK, .code = p->connack.code, .session_present = p->connack.session_present};
  if (p->connack.code != CONNACK_ACCEPTED) {
    c->state = MQTT_CLIENT_ENDED;
    return true;
  }
  c->state = MQTT_CLIENT_CONNECTED;
  bool lost = c->version != MQTT_3_1 && !p->connack.session_present;
  if (lost && c->received) memset(c->received, 0, RECEIVED_SIZE);
  resend(c, p->connack.session_present);
  return true;
}

static bool on_publish(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  const struct packet_message *m = &p->publish.message;
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_MESSAGE, .id = p->id, .message = *m, .dup = p->publish.dup};
  if (m->qos == 1) auto_ack(c, PACKET_PUBACK, p->id);
  if (m->qos < 2) return true;
  bool known = was_received(c, p->id);
  set_received(c, p->id);
  auto_ack(c, PACKET_PUBREC, p->id);
  return !known || c->manual_acks;
}

static bool on_puback(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *message = find(c, p->id, p->type);
  if (!message) return false;
  forget(c, message);
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_PUBLISHED, .id = p->id};
  return true;
}

// What was acknowledged already is released again: the server may have lost the PUBREL.
static bool on_pubrec(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *message = find(c, p->id, PACKET_PUBREC);
  if (message) {
    list_remove(&message->node);
    list_append(&c->pending, &message->node);
    message->awaits = PACKET_PUBCOMP;
    message->message = (struct packet_message){0};
  }
  auto_ack(c, PACKET_PUBREL, p->id);
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_PUBREC, .id = p->id};
  return c->manual_acks;
}

static bool on_pubrel(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  clear_received(c, p->id);
  auto_ack(c, PACKET_PUBCOMP, p->id);
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_PUBREL, .id = p->id};
  return c->manual_acks;
}

static bool on_suback(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *request = find(c, p->id, PACKET_SUBACK);
  if (!request) return false;
  bool same = request->count == p->suback.count; // [MQTT-3.8.4-5]
  forget(c, request);
  if (!same) return fail(c, e, "wrong number of return codes in a Suback");
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_SUBACK, .id = p->id, .codes = p->suback.list};
  return true;
}

static bool on_unsuback(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *request = find(c, p->id, PACKET_UNSUBACK);
  if (!request) return false;
  forget(c, request);
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_UNSUBACK, .id = p->id};
  return true;
}

static bool on_pingresp(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  (void)c, (void)p;
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_PINGRESP};
  return true;
}

typedef bool handler(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e);

static handler *const handlers[16] = {
    [PACKET_PUBLISH] = on_publish,   [PACKET_PUBACK] = on_puback,     [PACKET_PUBREC] = on_pubrec,
    [PACKET_PUBREL] = on_pubrel,     [PACKET_PUBCOMP] = on_puback,    [PACKET_SUBACK] = on_suback,
    [PACKET_UNSUBACK] = on_unsuback, [PACKET_PINGRESP] = on_pingresp,
};

// CONNACK is the first packet and comes once [MQTT-3.2.0-1].
static handler *handler_for(const struct mqtt_client *c, const struct packet *p) {
  if (c->state == MQTT_CLIENT_CONNECTING) return p->type == PACKET_CONNACK ? on_connack : NULL;
  return handlers[p->type];
}

void mqtt_client_feed(struct mqtt_client *c, struct slice bytes) {
  buf_consume(&c->in, c->taken);
  c->taken = 0;
  buf_add_slice(&c->in, bytes);
}

int mqtt_client_next_packet(struct mqtt_client *c, struct packet *p) {
  if (c->taken == c->in.len) return 0;
  struct slice in = slice_from(buf_slice(&c->in), c->taken);
  ssize_t n = packet_decode(p, in, c->version, PACKET_MAX_SIZE);
  if (n <= 0) return (int)n;
  c->taken += (size_t)n;
  if (c->trace) c->trace(c->trace_arg, false, p);
  return 1;
}

bool mqtt_client_next(struct mqtt_client *c, struct mqtt_client_event *e) {
  while (c->state == MQTT_CLIENT_CONNECTING || c->state == MQTT_CLIENT_CONNECTED) {
    struct packet p;
    int n = mqtt_client_next_packet(c, &p);
    if (n == 0) return false;
    if (n < 0) return fail(c, e, packet_strerror(n));
    handler *h = handler_for(c, &p);
    if (!h) return fail(c, e, "unexpected packet");
    if (h(c, &p, e)) return true;
  }
  return false;
}

const char *mqtt_client_connack_text(uint8_t code) {
  static const char *const texts[] = {
      "accepted",           "unacceptable protocol version", "client id rejected",
      "server unavailable", "bad user name or password",     "not authorized"};
  return code < sizeof texts / sizeof *texts ? texts[code] : "unknown return code";
}
