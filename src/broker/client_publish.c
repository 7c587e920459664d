// Messages from a client: what PUBLISH, its acknowledgements and those of messages to the client lead to.
#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/inflight.h"

// A message that was retained is logged as it is routed: without the flag.
void client_log_published(struct client *c, const struct message *m) {
  if (!shard_wants(c->shard, EVENT_MESSAGE_PUBLISHED)) return;
  struct packet_message view = message_view(m);
  view.retain = false;
  shard_log(c->shard, (struct log_record){.event = EVENT_MESSAGE_PUBLISHED, .client = c, .message = &view});
}

void client_publish_refused(struct client *c, const struct message *m, const struct reply *reply) {
  c->shard->stats.messages_refused++;
  struct packet_message view = message_view(m);
  shard_log(c->shard, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                          .client = c,
                                          .message = &view,
                                          .error = reply_text(reply),
                                          .refusal = reply,
                                          .operation = OPERATION_PUBLISH});
}

// A PUBACK or PUBREC of a message that was refused, or acknowledged and dropped.
static void acknowledge(struct client *c, uint8_t type, uint16_t id, const struct reply *reply) {
  if (!reply->told || c->version != MQTT_5) {
    client_send_ack(c, type, id, reply->reason);
    return;
  }
  struct packet p = {.type = type, .id = id, .ack = {.reason = reason_for(type, reply->reason)}};
  client_send_telling(c, &p, reply->told);
}

static void publish(struct client *c, struct message *m, uint8_t ack_type, uint16_t id) {
  if (ack_type) c->publishes++;
  client_ops(c)->publish(c->shard->backend, m,
                         (struct ack){.client = c, .id = id, .type = ack_type, .message = m});
  client_log_published(c, m);
}

// Stored sessions keep these messages as long as they are kept themselves, so that there is a limit for all
// of them together as well. It closes nobody who has few.
static bool has_too_many_unreleased(const struct client *c) {
  const struct settings *limits = &c->shard->settings;
  uint32_t own = c->session->incoming_bytes;
  bool all = limits->queued_bytes && c->shard->pool.unreleased > limits->queued_bytes;
  return own > limits->incoming_bytes || (all && own > CLIENT_BYTES);
}

// QoS 2: saved before PUBREC, routed on PUBREL. Without a message it is only acknowledged.
static void save_incoming(struct client *c, struct message *m, uint16_t id) {
  struct stored packet = {.message = m, .id = id, .type = PACKET_PUBLISH, .qos = 2, .counted = true};
  if (!inflight_save(c, INCOMING, packet)) return;
  if (has_too_many_unreleased(c)) {
    c->shard->stats.incoming_bytes_exceeded++;
    client_fail(c, EVENT_CLIENT_ERROR, "too many bytes in unreleased messages");
    return;
  }
  client_send_ack(c, PACKET_PUBREC, id, REASON_SUCCESS);
}

// Takes over the reference to the message.
void client_accepted(struct client *c, struct message *m, uint16_t id, uint8_t qos,
                     const struct reply *reply) {
  bool refused = reply->reason != REASON_SUCCESS;
  client_tell_decision(c, PACKET_PUBLISH, id, reply);
  if (refused) {
    client_publish_refused(c, m, reply);
    if (c->version != MQTT_5 && c->shard->settings.disconnect_refused_publish) {
      client_fail(c, EVENT_CLIENT_ERROR, reply_text(reply));
      message_unref(m);
      return;
    }
  }
  bool route = !refused && !reply->drop;
  if (qos == 2 && refused && c->version == MQTT_5) {
    acknowledge(c, PACKET_PUBREC, id, reply); // the id is free again [MQTT-4.3.3-8]
  } else if (qos == 2) {
    save_incoming(c, route ? message_ref(m) : NULL, id);
  } else if (route) {
    publish(c, m, qos ? PACKET_PUBACK : 0, id);
  } else if (qos == 1) {
    acknowledge(c, PACKET_PUBACK, id, reply);
  }
  message_unref(m);
}

// --- acknowledgements ---

struct ack_parts {
  uint32_t left;
  struct ack whole;
};

struct ack ack_split(struct ack whole) {
  if (!whole.client) return whole;
  struct ack part = whole;
  part.parts = mem_alloc(sizeof *part.parts);
  *part.parts = (struct ack_parts){1, whole};
  client_ref(whole.client);
  message_ref(whole.message);
  return part;
}

struct ack ack_share(struct ack part) {
  if (part.parts) part.parts->left++;
  return part;
}

static void part_given(struct ack_parts *parts) {
  if (--parts->left) return;
  client_acknowledge(parts->whole);
  client_unref(parts->whole.client);
  message_unref(parts->whole.message);
  mem_free(parts);
}

void client_acknowledge(struct ack ack) {
  struct client *c = ack.client;
  if (ack.parts) {
    part_given(ack.parts);
    return;
  }
  if (!c || !ack.type) return;
  c->publishes--;
  if (shard_wants(c->shard, EVENT_MESSAGE_ACKNOWLEDGED)) {
    struct packet_message view = message_view(ack.message);
    shard_log(c->shard,
              (struct log_record){.event = EVENT_MESSAGE_ACKNOWLEDGED, .client = c, .message = &view});
  }
  if (c->state != CLIENT_CONNECTED) return;
  client_send_ack(c, ack.type, ack.id, ack.reason);
  client_continue(c);
}

// --- packets ---

// What holds for all, also for a message that a decision has changed: $SYS/ is the broker's own, length and
// levels are bounded, and the payload is what it is said to be.
static void check_message(const struct client *c, const struct message *m, struct reply *reply) {
  static const struct verdict by_length = {DECIDER_LIMIT, .name = "limits.topic_length"};
  static const struct verdict by_levels = {DECIDER_LIMIT, .name = "limits.topic_levels"};
  static const struct verdict by_format = {DECIDER_LIMIT, .name = "backend.check_payload_format"};
  struct slice topic = message_topic(m);
  const struct settings *limits = &c->shard->settings;
  uint32_t most = limits->topic_levels;
  if (topic.ptr[0] == '$' && slice_starts(topic, SLICE("$SYS/")))
    reply_refuse(reply, REASON_NOT_AUTHORIZED, &verdict_of_protocol);
  else if (topic.len > limits->topic_length)
    reply_refuse(reply, REASON_TOPIC_NAME_INVALID, &by_length);
  else if (topic.len >= most && topic_levels(topic) > most)
    reply_refuse(reply, REASON_TOPIC_NAME_INVALID, &by_levels);
  else if (m->properties_len && c->shard->settings.check_payload_format && !client_5_payload_fits(m))
    reply_refuse(reply, REASON_PAYLOAD_FORMAT_INVALID, &by_format); // [MQTT5 3.3.2.3.2]
}

enum backend_status client_accept(struct client *c, struct message **m, struct reply *reply) {
  check_message(c, *m, reply);
  if (reply->reason != REASON_SUCCESS) return BACKEND_DONE;
  const struct message *before = *m;
  enum backend_status status = client_ops(c)->accept(c->shard->backend, c, m, reply);
  if (*m != before && reply->reason == REASON_SUCCESS) check_message(c, *m, reply);
  return status;
}

static void drop_for_memory(struct client *c, const struct packet_message *m) {
  c->shard->stats.messages_dropped_memory++;
  shard_log(c->shard,
            (struct log_record){
                .event = EVENT_BACKEND_ERROR, .client = c, .message = m, .error = ERROR_MEMORY_LIMIT});
}

// Whether a PUBLISH of an MQTT 5 client is one more than it may have unacknowledged [MQTT5 4.9].
static bool exceeds_receive_maximum(const struct client *c, const struct packet_message *m, uint16_t id) {
  const struct stored *entry = m->qos == 2 ? store_lookup(&c->session->incoming, id) : NULL;
  if (!m->qos || (entry && entry->counted)) return false;
  return c->publishes + c->session->incoming.counted >= c->v5->incoming_receive_maximum;
}

// What an MQTT 5 client was told that it may not send. Puts the topic in the place of an alias. False: it is
// closed for it.
static bool check_publish_5(struct client *c, struct packet_message *m, uint16_t id) {
  const struct settings *s = &c->shard->settings;
  uint8_t reason = REASON_SUCCESS;
  const char *error = ERROR_PROTOCOL;
  if (packet_has_property(&m->properties, PROPERTY_SUBSCRIPTION_IDENTIFIER)) { // [MQTT-3.3.4-6]
    reason = REASON_PROTOCOL_ERROR;
  } else if (m->qos > s->maximum_qos) { // [MQTT-3.2.2-11]
    reason = REASON_QOS_NOT_SUPPORTED;
  } else if (m->retain && !s->retain_available) { // [MQTT-3.2.2-14]
    reason = REASON_RETAIN_NOT_SUPPORTED;
  } else if (exceeds_receive_maximum(c, m, id)) { // [MQTT-3.3.4-7]
    reason = REASON_RECEIVE_MAXIMUM_EXCEEDED;
    error = ERROR_RECEIVE_MAXIMUM;
  } else if (packet_has_property(&m->properties, PROPERTY_TOPIC_ALIAS)) {
    reason = aliases_resolve(&c->v5->incoming, m);
  }
  if (reason == REASON_SUCCESS) return true;
  c->shard->stats.protocol_errors++;
  client_fail_with(c, EVENT_CLIENT_ERROR, reason, error);
  return false;
}

void client_on_publish(struct client *c, const struct packet *p) {
  struct packet_message copy = p->publish.message, *message = &copy;
  c->shard->stats.messages_received++;
  if (c->v5 && !check_publish_5(c, message, p->id)) return;
  if (pace_is_set(client_quick_settings(c)))
    client_charge_publish(c, message->topic.len + message->payload.len);
  if (!message->qos && c->shard->pressure.high) {
    drop_for_memory(c, message);
    return;
  }
  if (!message->qos && c->shard->overload == OVERLOAD_SHEDS_QOS0) {
    c->shard->stats.messages_shed++;
    return;
  }
  if (message->qos == 2 && !inflight_look(c, INCOMING, p->id)) return;
  // A duplicate is acknowledged again, and nothing else [MQTT-4.3.3-2].
  if (message->qos == 2 && store_lookup(&c->session->incoming, p->id)) {
    store_count(&c->session->incoming, p->id);
    client_send_ack(c, PACKET_PUBREC, p->id, REASON_SUCCESS);
    return;
  }
  struct message *m = message_new(message, client_now(c));
  struct reply reply = {0};
  if (client_accept(c, &m, &reply) == BACKEND_PENDING) {
    client_hold(c, PACKET_PUBLISH, p->id, m);
    return;
  }
  client_accepted(c, m, p->id, message->qos, &reply);
  reply_release(&reply);
}

void client_on_puback(struct client *c, const struct packet *p) {
  if (!inflight_look(c, OUTGOING, p->id)) return;
  const struct stored *entry = store_lookup(&c->session->outgoing, p->id);
  if (!entry || entry->type != PACKET_PUBLISH || entry->qos != 1) return;
  if (inflight_delete(c, OUTGOING, p->id)) client_wake(c);
}

// A message that the peer refuses is done with [MQTT-4.3.3-4].
static void forget_refused(struct client *c, uint16_t id) {
  if (!inflight_delete(c, OUTGOING, id)) return;
  c->shard->stats.messages_refused_peer++;
  client_wake(c);
}

void client_on_pubrec(struct client *c, const struct packet *p) {
  if (!inflight_look(c, OUTGOING, p->id)) return;
  const struct stored *entry = store_lookup(&c->session->outgoing, p->id);
  bool refused = p->ack.reason >= REASON_UNSPECIFIED_ERROR, known = entry != NULL;
  if (entry && entry->type == PACKET_PUBLISH) {
    if (entry->qos != 2) return;
    if (refused) {
      forget_refused(c, p->id);
      return;
    }
    struct stored pubrel = {.id = p->id, .type = PACKET_PUBREL, .qos = 2, .counted = entry->counted};
    if (!inflight_save(c, OUTGOING, pubrel)) return;
  }
  if (refused) return; // the id is free for the peer
  // Also for an id that is unknown: the peer wants to finish.
  client_send_ack(c, PACKET_PUBREL, p->id, known ? REASON_SUCCESS : REASON_PACKET_IDENTIFIER_NOT_FOUND);
}

void client_on_pubrel(struct client *c, const struct packet *p) {
  if (!inflight_look(c, INCOMING, p->id)) return;
  const struct stored *entry = store_lookup(&c->session->incoming, p->id);
  struct message *m = entry && entry->message ? message_ref(entry->message) : NULL;
  uint8_t reason = entry ? REASON_SUCCESS : REASON_PACKET_IDENTIFIER_NOT_FOUND;
  bool is_deleted = !entry || inflight_delete(c, INCOMING, p->id);
  if (m && is_deleted)
    publish(c, m, PACKET_PUBCOMP, p->id);
  else if (is_deleted) // unknown, refused or dropped
    client_send_ack(c, PACKET_PUBCOMP, p->id, reason);
  if (m) message_unref(m);
}

void client_on_pubcomp(struct client *c, const struct packet *p) {
  if (!inflight_look(c, OUTGOING, p->id)) return;
  const struct stored *entry = store_lookup(&c->session->outgoing, p->id);
  if (!entry || entry->type != PACKET_PUBREL) return;
  if (inflight_delete(c, OUTGOING, p->id)) client_wake(c);
}
