// What comes in: a row of `handlers` for each packet type that a server may send. A handler returns whether
// *e is an event for the caller.
#include "client/client_impl.h"

// Incoming QoS 2

static bool was_received(const struct mqtt_client *c, uint16_t id) {
  return c->received && c->received[id / 8] >> id % 8 & 1;
}

static void set_received(struct mqtt_client *c, uint16_t id) {
  if (!c->received) c->received = mem_calloc(1, RECEIVED_SIZE);
  c->received[id / 8] |= (uint8_t)(1u << id % 8);
  c->incoming++;
}

static void clear_received(struct mqtt_client *c, uint16_t id) {
  c->received[id / 8] &= (uint8_t) ~(1u << id % 8);
  c->incoming--;
}

static void clear_all_received(struct mqtt_client *c) {
  if (c->received) memset(c->received, 0, RECEIVED_SIZE);
  c->incoming = 0;
}

// Failing

// The server is told [MQTT5 4.13]; older ones are not.
static bool fail(struct mqtt_client *c, struct mqtt_client_event *e, const char *error, uint8_t reason) {
  if (c->version != MQTT_5)
    reason = REASON_SUCCESS;
  else if (c->state == MQTT_CLIENT_CONNECTED)
    mqtt_client_disconnect(c, (enum reason)reason, NULL);
  c->state = MQTT_CLIENT_ENDED;
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_ERROR, .code = reason, .error = error};
  return true;
}

// No acks after DISCONNECT [MQTT-3.14.4-2].
static void auto_ack(struct mqtt_client *c, enum packet_type type, uint16_t id, enum reason reason) {
  if (!c->manual_acks && c->state == MQTT_CLIENT_CONNECTED) mqtt_client_ack(c, type, id, reason);
}

// CONNACK

// False: the server does not take it.
static bool resend_message(struct mqtt_client *c, struct pending *p, bool dup) {
  if (!dup) p->sent = false;
  if (mqtt_client_refuses(c, &p->message)) return false;
  if (c->under_way < c->server.receive_maximum)
    mqtt_client_send(c, p);
  else
    pending_hold(c, p);
  return true;
}

// A server that lost the session gets messages as new ones. Before 3.1.1 it cannot tell. False: there is one
// that this server does not take.
static bool resend(struct mqtt_client *c, bool session_present) {
  bool dup = session_present || c->version == MQTT_3_1;
  list_each(node, &c->pending) {
    struct pending *p = container_of(node, struct pending, node);
    if (p->awaits == PACKET_PUBCOMP) {
      c->under_way++;
      mqtt_client_ack(c, PACKET_PUBREL, p->id, REASON_SUCCESS);
    } else if (pending_is_message(p) && !resend_message(c, p, dup)) {
      return false;
    }
  }
  return true;
}

static uint32_t number_of(const struct packet *p, enum packet_property_id id, uint32_t otherwise) {
  return packet_property_number(&p->connack.properties, id, otherwise);
}

static void take_announcements(struct mqtt_client *c, const struct packet *p) {
  uint32_t aliases = number_of(p, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
  c->server = (struct mqtt_client_server){
      .maximum_packet_size = number_of(p, PROPERTY_MAXIMUM_PACKET_SIZE, PACKET_MAX_SIZE),
      .receive_maximum = (uint16_t)number_of(p, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX),
      .topic_alias_maximum = (uint16_t)aliases,
      .maximum_qos = (uint8_t)number_of(p, PROPERTY_MAXIMUM_QOS, 2),
      .retain_available = number_of(p, PROPERTY_RETAIN_AVAILABLE, 1),
  };
  c->aliases_out.maximum = (uint16_t)(aliases < c->topic_aliases ? aliases : c->topic_aliases);
  c->keep_alive = (uint16_t)number_of(p, PROPERTY_SERVER_KEEP_ALIVE, c->wanted_keep_alive);
  struct packet_property id;
  if (packet_find_property(&p->connack.properties, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER, &id))
    mqtt_client_set_id(c, id.value);
}

static bool on_connack(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_CONNACK,
      .code = p->connack.code,
      .session_present = p->connack.session_present,
      .properties = p->connack.properties,
  };
  if (p->connack.code != CONNACK_ACCEPTED) {
    c->state = MQTT_CLIENT_ENDED;
    return true;
  }
  c->state = MQTT_CLIENT_CONNECTED;
  if (c->clean_session && p->connack.session_present && c->version == MQTT_5)
    return fail(c, e, "session present after a clean start", REASON_PROTOCOL_ERROR); // [MQTT5-3.2.2-4]
  if (c->version == MQTT_5) take_announcements(c, p);
  bool lost = c->version != MQTT_3_1 && !p->connack.session_present;
  if (lost) clear_all_received(c);
  if (!resend(c, p->connack.session_present))
    return fail(c, e, "the server does not take a message in flight any more", REASON_SUCCESS);
  return true;
}

// Messages

// False: *e tells of a failure.
static bool resolve(struct mqtt_client *c, struct packet_message *m, struct mqtt_client_event *e) {
  uint8_t reason = aliases_resolve(&c->aliases_in, m);
  if (!reason) return true;
  fail(c, e, reason == REASON_PROTOCOL_ERROR ? "unknown topic alias" : "topic alias above the maximum",
       reason);
  return false;
}

static bool on_publish(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_MESSAGE, .id = p->id, .message = p->publish.message, .dup = p->publish.dup};
  struct packet_message *m = &e->message;
  if (c->version == MQTT_5 && !resolve(c, m, e)) return true;
  if (m->qos == 1) auto_ack(c, PACKET_PUBACK, p->id, REASON_SUCCESS);
  if (m->qos < 2) return true;
  bool known = was_received(c, p->id);
  if (!known && c->incoming >= c->receive_maximum)
    return fail(c, e, "receive maximum exceeded", REASON_RECEIVE_MAXIMUM_EXCEEDED); // [MQTT5-3.3.4-9]
  if (!known) set_received(c, p->id);
  auto_ack(c, PACKET_PUBREC, p->id, REASON_SUCCESS);
  return !known || c->manual_acks;
}

static bool on_pubrel(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  bool known = was_received(c, p->id);
  if (known) clear_received(c, p->id);
  auto_ack(c, PACKET_PUBCOMP, p->id, known ? REASON_SUCCESS : REASON_PACKET_IDENTIFIER_NOT_FOUND);
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_PUBREL, .id = p->id, .code = p->ack.reason, .properties = p->ack.properties};
  return c->manual_acks;
}

// Acks

// The message has come to its end, and makes room for one that is held.
static bool published(struct mqtt_client *c, struct pending *message, const struct packet *p,
                      struct mqtt_client_event *e) {
  pending_forget(c, message);
  if (c->state == MQTT_CLIENT_CONNECTED) mqtt_client_send_held(c);
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_PUBLISHED, .id = p->id, .code = p->ack.reason, .properties = p->ack.properties};
  return true;
}

static bool on_puback(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *message = pending_find(c, p->id, p->type);
  return message ? published(c, message, p, e) : false;
}

// What was acknowledged already is released again: the server may have lost the PUBREL.
static bool on_pubrec(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *message = pending_find(c, p->id, PACKET_PUBREC);
  bool known = message || pending_find(c, p->id, PACKET_PUBCOMP);
  if (p->ack.reason >= REASON_UNSPECIFIED_ERROR) // it ends here [MQTT5 4.3.3]
    return message ? published(c, message, p, e) : false;
  if (message) {
    list_remove(&message->node);
    list_append(&c->pending, &message->node);
    message->awaits = PACKET_PUBCOMP;
    message->message = (struct packet_message){0};
  }
  auto_ack(c, PACKET_PUBREL, p->id, known ? REASON_SUCCESS : REASON_PACKET_IDENTIFIER_NOT_FOUND);
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_PUBREC, .id = p->id, .code = p->ack.reason, .properties = p->ack.properties};
  return c->manual_acks;
}

static bool on_codes(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  struct pending *asked = pending_find(c, p->id, p->type);
  if (!asked) return false;
  bool has_codes = p->type == PACKET_SUBACK || c->version == MQTT_5;
  bool same = !has_codes || asked->count == p->suback.count; // [MQTT-3.8.4-5]
  pending_forget(c, asked);
  if (!same)
    return fail(c, e,
                p->type == PACKET_SUBACK ? "wrong number of return codes in a Suback"
                                         : "wrong number of return codes in an Unsuback",
                REASON_PROTOCOL_ERROR);
  *e = (struct mqtt_client_event){
      .type = p->type == PACKET_SUBACK ? MQTT_CLIENT_SUBACK : MQTT_CLIENT_UNSUBACK,
      .id = p->id,
      .codes = p->suback.list,
      .properties = p->suback.properties,
  };
  return true;
}

static bool on_pingresp(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  (void)c, (void)p;
  *e = (struct mqtt_client_event){.type = MQTT_CLIENT_PINGRESP};
  return true;
}

// Only MQTT 5 servers send these two.

static bool on_disconnect(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  c->state = MQTT_CLIENT_ENDED;
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_DISCONNECTED, .code = p->ack.reason, .properties = p->ack.properties};
  return true;
}

static bool on_auth(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e) {
  (void)c;
  *e = (struct mqtt_client_event){
      .type = MQTT_CLIENT_AUTH, .code = p->ack.reason, .properties = p->ack.properties};
  return true;
}

// Dispatch

typedef bool handler(struct mqtt_client *c, const struct packet *p, struct mqtt_client_event *e);

static handler *const handlers[16] = {
    [PACKET_PUBLISH] = on_publish, [PACKET_PUBACK] = on_puback,     [PACKET_PUBREC] = on_pubrec,
    [PACKET_PUBREL] = on_pubrel,   [PACKET_PUBCOMP] = on_puback,    [PACKET_SUBACK] = on_codes,
    [PACKET_UNSUBACK] = on_codes,  [PACKET_PINGRESP] = on_pingresp,
};
static handler *const handlers_5[16] = {[PACKET_DISCONNECT] = on_disconnect, [PACKET_AUTH] = on_auth};

// CONNACK is the first packet and comes once [MQTT-3.2.0-1]; in MQTT 5 AUTH may come before it.
static handler *handler_for(const struct mqtt_client *c, const struct packet *p) {
  handler *only_5 = c->version == MQTT_5 ? handlers_5[p->type] : NULL;
  if (p->type == PACKET_AUTH && !c->authenticates) return NULL; // [MQTT5-4.12.0-6]
  if (c->state == MQTT_CLIENT_CONNECTING && p->type == PACKET_CONNACK) return on_connack;
  if (c->state == MQTT_CLIENT_CONNECTING) return p->type == PACKET_AUTH ? only_5 : NULL;
  return only_5 ? only_5 : handlers[p->type];
}

void mqtt_client_feed(struct mqtt_client *c, struct slice bytes) {
  buf_consume(&c->in, c->taken);
  c->taken = 0;
  buf_add_slice(&c->in, bytes);
}

int mqtt_client_next_packet(struct mqtt_client *c, struct packet *p) {
  if (c->taken == c->in.len) return 0;
  struct slice in = slice_from(buf_slice(&c->in), c->taken);
  ssize_t n = packet_decode(p, in, c->version, c->maximum_packet_size);
  if (n <= 0) return (int)n;
  c->taken += (size_t)n;
  if (c->trace) c->trace(c->trace_arg, false, p);
  return 1;
}

// What a server is told of a packet that cannot be decoded; a CONNECT of another version is one it never
// sends.
static uint8_t disconnect_reason(int error) {
  uint8_t reason = packet_error_reason(error);
  return packet_may_have_reason(PACKET_DISCONNECT, reason) ? reason : REASON_PROTOCOL_ERROR;
}

bool mqtt_client_next(struct mqtt_client *c, struct mqtt_client_event *e) {
  while (c->state == MQTT_CLIENT_CONNECTING || c->state == MQTT_CLIENT_CONNECTED) {
    struct packet p;
    int n = mqtt_client_next_packet(c, &p);
    if (n == 0) return false;
    if (n < 0) return fail(c, e, packet_strerror(n), disconnect_reason(n));
    handler *h = handler_for(c, &p);
    if (!h) return fail(c, e, "unexpected packet", REASON_PROTOCOL_ERROR);
    if (h(c, &p, e)) return true;
  }
  return false;
}
