// What the conformance tests share. A test is a STATEMENT: its name begins with the ids of the normative
// statements that it checks, which scripts/statements counts, and it gets a broker of its own in *state.
//
//   static void ping(void **state) {
//     struct peer *p = peer_connect(*state, "a", true);
//     expect_alive(p);
//   }
//   const struct CMUnitTest tests[] = {STATEMENT("[MQTT-3.12.4-1] a PINGREQ is answered", ping)};
#ifndef LUAMQ_TESTS_CONFORMANCE_H
#define LUAMQ_TESTS_CONFORMANCE_H

#include "consistency.h"
#include "harness.h"

#define STATEMENT(name, fn)                                                                                  \
  { name, fn, start_broker, stop_broker, NULL }
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { RETAINED = 1, DUP = 8 }; // flags of a PUBLISH

static inline int start_broker(void **state) {
  *state = harness_new(NULL);
  return 0;
}

static inline int stop_broker(void **state) {
  consistency_check(*state);
  harness_free(*state);
  return 0;
}

// The same with other settings than the defaults.
static inline struct harness *restart_broker(void **state, const struct settings *settings) {
  harness_free(*state);
  return *state = harness_new(settings);
}

// --- sending ---

static inline struct packet_connect connect_with_will(const char *id, const char *topic, const char *payload,
                                                      uint8_t qos, bool retain) {
  struct packet_connect connect = peer_connect_defaults(id, true);
  connect.has_will = true;
  connect.will = (struct packet_message){
      .topic = slice_str(topic), .payload = slice_str(payload), .qos = qos, .retain = retain};
  return connect;
}

// A client of a clean session whose will is this.
static inline struct peer *peer_connect_will(struct harness *h, const char *id, const char *topic,
                                             const char *payload, uint8_t qos, bool retain) {
  struct packet_connect connect = connect_with_will(id, topic, payload, qos, retain);
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  return p;
}

// Connects with clean session 0; returns whether a session was present.
static inline bool peer_resume(struct harness *h, const char *id, struct peer **p) {
  struct packet_connect connect = peer_connect_defaults(id, false);
  bool present;
  *p = peer_open(h);
  assert_int_equal(peer_connect_with(*p, &connect, &present), 0);
  return present;
}

// A persistent session of this subscription, without a client.
static inline void leave_subscription(struct harness *h, const char *id, const char *filter, uint8_t qos) {
  struct peer *p = peer_connect(h, id, false);
  assert_int_equal(peer_subscribe(p, filter, qos), qos);
  peer_disconnect(p);
}

// Publishes and goes through the whole protocol of the QoS.
static inline void publish_fully(struct peer *p, const char *topic, const char *payload, uint8_t qos,
                                 bool retain) {
  uint16_t id = peer_publish(p, topic, payload, qos, retain);
  if (qos == 1) peer_expect_ack(p, PACKET_PUBACK, id);
  if (qos == 2) {
    peer_expect_ack(p, PACKET_PUBREC, id);
    peer_send_ack(p, PACKET_PUBREL, id);
    peer_expect_ack(p, PACKET_PUBCOMP, id);
  }
}

// As another client, which leaves again.
static inline void somebody_publishes(struct harness *h, const char *topic, const char *payload, uint8_t qos,
                                      bool retain) {
  struct peer *p = peer_connect(h, "", true);
  publish_fully(p, topic, payload, qos, retain);
  peer_disconnect(p);
}

// --- expecting ---

// A PUBLISH with exactly these contents; returns its packet id. Does not acknowledge it.
static inline uint16_t expect_publish(struct peer *p, const char *topic, const char *payload, uint8_t qos,
                                      unsigned flags) {
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  unsigned had = (got.publish.message.retain ? RETAINED : 0u) | (got.publish.dup ? DUP : 0u);
  const struct packet_message *m = &got.publish.message;
  if (!slice_eq(m->topic, slice_str(topic)) || !slice_eq(m->payload, slice_str(payload)) || m->qos != qos ||
      had != flags) {
    struct buf text = BUF_INIT;
    packet_format(&got, p->version, &text);
    fail_msg("expected %s of \"%s\" with QoS %u and flags %u, got %s", topic, payload, qos, flags,
             buf_text(&text));
  }
  return got.id;
}

// Finishes the protocol of a message that came with this QoS and id.
static inline void finish_delivery(struct peer *p, uint8_t qos, uint16_t id) {
  if (qos == 1) peer_send_ack(p, PACKET_PUBACK, id);
  if (qos == 2) {
    peer_send_ack(p, PACKET_PUBREC, id);
    peer_expect_ack(p, PACKET_PUBREL, id);
    peer_send_ack(p, PACKET_PUBCOMP, id);
  }
}

static inline void take_message(struct peer *p, const char *topic, const char *payload, uint8_t qos) {
  finish_delivery(p, qos, expect_publish(p, topic, payload, qos, 0));
}

// Exactly these bytes and no more.
static inline void expect_bytes(struct peer *p, struct slice wanted) {
  harness_run(p->harness);
  struct slice got = memory_received(p->memory);
  assert_int_equal(got.len, wanted.len);
  assert_memory_equal(got.ptr, wanted.ptr, wanted.len);
  memory_consume(p->memory, got.len);
}

// It is still served, and was sent nothing that the test did not take.
static inline void expect_alive(struct peer *p) {
  peer_send_packet(p, &(struct packet){.type = PACKET_PINGREQ});
  peer_expect(p, PACKET_PINGRESP, NULL);
  peer_expect_nothing(p);
}

// These bytes as the first ones of a connection close it, without any answer.
static inline void expect_no_connack(struct harness *h, struct slice bytes) {
  struct peer *p = peer_open(h);
  peer_send(p, bytes);
  peer_expect_closed(p);
}

// These bytes of a connected client of that version are a violation: its connection is closed as if the
// network had failed, its will is published once, and nobody else is disturbed.
static inline void expect_violation_by(struct harness *h, uint8_t version, struct slice bytes) {
  struct peer *bystander = peer_connect(h, "bystander", true);
  peer_subscribe(bystander, "#", 0);
  struct packet_connect connect = connect_with_will("offender", "will", "gone", 0, false);
  connect.version = version;
  struct peer *offender = peer_open(h);
  assert_int_equal(peer_connect_with(offender, &connect, NULL), 0);
  peer_send(offender, bytes);
  peer_expect_closed(offender);
  expect_publish(bystander, "will", "gone", 0, 0);
  expect_alive(bystander);
  peer_disconnect(bystander);
}

static inline void expect_violation(struct harness *h, struct slice bytes) {
  expect_violation_by(h, MQTT_3_1_1, bytes);
}

// --- MQTT 5 ---

// A connection that waits for the answer to a CONNECT that it has sent as bytes.
static inline struct peer *open_5(struct harness *h, struct slice bytes) {
  struct peer *p = peer_open(h);
  p->version = MQTT_5;
  peer_send(p, bytes);
  return p;
}

static inline bool peer_resume_5(struct harness *h, const char *id, const char *properties, struct peer **p) {
  struct packet_connect connect = peer_connect_5_defaults(h, id, false, properties);
  bool present;
  *p = peer_open(h);
  assert_int_equal(peer_connect_with(*p, &connect, &present), 0);
  return present;
}

// Connects with a session of that long an expiry, and these settings and subscription, and leaves it.
static inline void leave_subscription_5(struct harness *h, const char *id, const char *properties,
                                        const char *filter, uint8_t options) {
  struct peer *p = peer_connect_5(h, id, true, properties);
  assert_int_equal(peer_subscribe(p, filter, options), options & SUBSCRIPTION_QOS);
  peer_disconnect(p);
}

static inline void somebody_publishes_5(struct harness *h, const char *topic, const char *payload,
                                        uint8_t qos, bool retain, const char *properties) {
  struct peer *p = peer_connect_5(h, "", true, "");
  uint16_t id = peer_publish_5(p, topic, payload, qos, retain, properties);
  if (qos == 1) peer_expect_ack(p, PACKET_PUBACK, id);
  if (qos == 2) {
    peer_expect_ack(p, PACKET_PUBREC, id);
    peer_send_ack(p, PACKET_PUBREL, id);
    peer_expect_ack(p, PACKET_PUBCOMP, id);
  }
  peer_disconnect(p);
}

// CONNACK with that reason for a refusal and no session present, and the end.
static inline void expect_refused(struct peer *p, uint8_t reason) {
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_int_equal(got.connack.code, reason);
  assert_false(got.connack.session_present);
  peer_expect_closed(p);
}

static inline void expect_connect_refused(struct harness *h, const struct packet_connect *connect,
                                          uint8_t reason) {
  struct peer *p = peer_open(h);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = *connect});
  expect_refused(p, reason);
}

// As expect_violation, of an MQTT 5 client, which is told the reason. The bystander "bystander" gets the
// will.
static inline void expect_violation_5(struct harness *h, struct slice bytes, uint8_t reason) {
  struct peer *bystander = peer_connect_5(h, "bystander", true, "");
  peer_subscribe(bystander, "will", 0);
  struct packet_connect connect = connect_with_will("offender", "will", "gone", 0, false);
  connect.version = MQTT_5;
  struct peer *offender = peer_open(h);
  assert_int_equal(peer_connect_with(offender, &connect, NULL), 0);
  peer_send(offender, bytes);
  peer_expect_disconnect(offender, reason);
  expect_publish(bystander, "will", "gone", 0, 0);
  expect_alive(bystander);
  peer_disconnect(bystander);
}

#endif
