// Enhanced authentication [MQTT5 4.12] with a backend that may take its time; the hook `auth` has a spec of
// its own, spec/auth_spec.lua.
#include "conformance.h"
#include "decorator.h"

#define METHOD "authentication_method=M"

struct fixture {
  struct harness *h;
  struct decorator d;
};

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->h = harness_new(NULL);
  decorator_init(&f->d, f->h);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  decorator_abandon(&f->d);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static struct peer *begin(struct fixture *f, const char *properties) {
  struct packet_connect connect = peer_connect_5_defaults(f->h, "c", true, properties);
  struct peer *p = peer_open(f->h);
  p->version = MQTT_5;
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
  return p;
}

static void expect_connack(struct peer *p, uint8_t code) {
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_int_equal(got.connack.code, code);
}

static struct peer *log_in(struct fixture *f) {
  struct peer *p = begin(f, METHOD " authentication_data=good");
  expect_connack(p, REASON_SUCCESS);
  return p;
}

static void send_auth(struct peer *p, uint8_t reason, const char *properties) {
  peer_send_reason(p, PACKET_AUTH, 0, reason, properties);
}

static void goes_round(void **state) {
  struct fixture *f = *state;
  struct peer *p = begin(f, METHOD " authentication_data=one");
  for (int i = 0; i < 3; i++) {
    peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
    peer_expect_properties(p, i ? METHOD " authentication_data=more" : METHOD " authentication_data=one");
    send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD " authentication_data=more");
  }
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD " authentication_data=good");
  expect_connack(p, REASON_SUCCESS);
  expect_alive(p);
}

static void is_refused(void **state) {
  struct fixture *f = *state;
  struct peer *p = begin(f, METHOD " authentication_data=bad");
  expect_connack(p, REASON_NOT_AUTHORIZED);
  peer_expect_properties(p, "reason_string=wrong");
  peer_expect_closed(p);
  assert_null(harness_session(f->h, "c"));
}

static void waits_for_the_backend(void **state) {
  struct fixture *f = *state;
  f->d.hold_auth = true;
  struct peer *p = begin(f, METHOD);
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD " authentication_data=early"); // waits its turn
  peer_expect_nothing(p);
  harness_advance(f->h, 60000); // the backend's time is not the client's
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_CONTINUE_AUTHENTICATION});
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  assert_int_equal(f->d.pending_count, 1);
  decorator_resume(&f->d, f->h, (struct reply){0});
  expect_connack(p, REASON_SUCCESS);
  send_auth(p, REASON_RE_AUTHENTICATE, METHOD);
  peer_publish_5(p, "t", "x", 1, false, "");
  peer_expect_nothing(p);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_CONTINUE_AUTHENTICATION});
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  peer_expect_ack(p, PACKET_PUBACK, 1);
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  peer_expect_disconnect(p, REASON_NOT_AUTHORIZED);
}

static void is_lost_meanwhile(void **state) {
  struct fixture *f = *state;
  struct peer *p = log_in(f);
  f->d.hold_auth = true;
  send_auth(p, REASON_RE_AUTHENTICATE, METHOD);
  peer_drop(p);
  p = begin(f, METHOD);
  peer_drop(p);
  assert_int_equal(f->d.pending_count, 2);
  decorator_resume(&f->d, f->h, (struct reply){0});
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_CONTINUE_AUTHENTICATION});
  assert_int_equal(f->h->shard->stats.connections, 0);
  assert_int_equal(f->h->shard->stats.sessions, 0);
}

static void told_too_much(struct fixture *f, struct peer *p, const char *told) {
  struct reply reply = {.reason = REASON_CONTINUE_AUTHENTICATION};
  reply_tell(&reply, told_new());
  buf_add_slice(reply.told, harness_properties(f->h, told).raw);
  decorator_resume(&f->d, f->h, reply);
  reply_release(&reply);
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
}

static void has_little_room(void **state) {
  struct fixture *f = *state;
  f->d.hold_auth = true;
  struct peer *p = begin(f, METHOD " maximum_packet_size=30");
  told_too_much(f, p, "reason_string=0123456789012345 user_property=a:b authentication_data=x");
  peer_expect_properties(p, METHOD " user_property=a:b authentication_data=x");
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD);
  told_too_much(f, p, "reason_string=0 user_property=a:0123456789012345 authentication_data=x");
  peer_expect_properties(p, METHOD " authentication_data=x");
}

static void wants_no_problem_information(void **state) {
  struct fixture *f = *state;
  f->d.hold_auth = true;
  struct peer *p = begin(f, METHOD " request_problem_information=0");
  told_too_much(f, p, "reason_string=0 user_property=a:b authentication_data=x");
  peer_expect_properties(p, METHOD " authentication_data=x");
}

// The answer goes with CONNACK, also when that has to wait for the session.
static void waits_for_the_session(void **state) {
  struct fixture *f = *state;
  struct peer *old = log_in(f);
  f->d.hold_accept = true;
  peer_publish_5(old, "t", "x", 1, false, "");
  f->d.hold_auth = true;
  struct peer *p = begin(f, METHOD);
  struct reply reply = {0};
  reply_tell(&reply, told_new());
  packet_add_value(reply.told, PROPERTY_AUTHENTICATION_DATA, SLICE("welcome"));
  struct client *held = f->d.pending[1];
  f->d.pending[1] = f->d.pending[0]; // the newer one first
  f->d.pending[0] = held;
  decorator_resume(&f->d, f->h, reply);
  reply_release(&reply);
  peer_expect_nothing(p);
  decorator_resume(&f->d, f->h, (struct reply){0});
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  struct packet_property data;
  assert_true(packet_find_property(&got.connack.properties, PROPERTY_AUTHENTICATION_DATA, &data));
  assert_true(slice_eq(data.value, SLICE("welcome")));
}

static void is_bounded(void **state) {
  struct fixture *f = *state;
  struct peer *p = begin(f, METHOD);
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  harness_advance(f->h, f->h->shard->settings.connect_timeout_ms - 1);
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD);
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  harness_advance(f->h, 1);
  peer_expect_closed(p);
  assert_int_equal(f->h->shard->stats.connects_timed_out, 1);
}

static void authenticates_again(void **state) {
  struct fixture *f = *state;
  struct peer *p = log_in(f);
  send_auth(p, REASON_RE_AUTHENTICATE, METHOD " authentication_data=one");
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  expect_alive(p);
  send_auth(p, REASON_CONTINUE_AUTHENTICATION, METHOD " authentication_data=good");
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_SUCCESS);
  peer_expect_properties(p, METHOD);
  send_auth(p, REASON_RE_AUTHENTICATE, METHOD " authentication_data=bad");
  peer_expect_disconnect(p, REASON_NOT_AUTHORIZED);
  assert_int_equal(f->h->shard->stats.reauthentications_failed, 1);
}

static void is_out_of_order(void **state) {
  struct fixture *f = *state;
  static const struct {
    uint8_t reason;
    const char *properties;
  } rows[] = {
      {REASON_CONTINUE_AUTHENTICATION, METHOD},
      {REASON_SUCCESS, METHOD},
      {REASON_RE_AUTHENTICATE, ""},
      {REASON_RE_AUTHENTICATE, "authentication_method=N"},
      {REASON_RE_AUTHENTICATE, "authentication_data=good"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct peer *p = log_in(f);
    send_auth(p, rows[i].reason, rows[i].properties);
    peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
  }
  struct peer *p = peer_connect_5(f->h, "plain", true, "");
  send_auth(p, REASON_RE_AUTHENTICATE, METHOD " authentication_data=good");
  peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);
}

static void is_out_of_order_before_connack(void **state) {
  struct fixture *f = *state;
  static const char *const rows[] = {"f0 00",
                                     "f0 02 18 00",
                                     "f0 06 19 04 15 00 01 4d",
                                     "f0 06 00 04 15 00 01 4d",
                                     "f0 06 18 04 15 00 01 4e",
                                     "c0 00",
                                     "30 04 00 01 74 00"};
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct peer *p = begin(f, METHOD);
    peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
    peer_send_hex(p, rows[i]);
    expect_refused(p, REASON_PROTOCOL_ERROR);
  }
}

static void leaves(void **state) {
  struct fixture *f = *state;
  struct peer *p = begin(f, METHOD);
  peer_expect_reason(p, PACKET_AUTH, 0, REASON_CONTINUE_AUTHENTICATION);
  peer_disconnect(p);
  assert_int_equal(f->h->shard->stats.connects_refused, 0);
}

#define TEST(name, fn)                                                                                       \
  { name, fn, set_up, tear_down, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST("[MQTT5-4.12.0-2] [MQTT5-4.12.0-3] [MQTT5-4.12.0-5] steps go to and fro before CONNACK",
           goes_round),
      TEST("[MQTT5-4.12.0-4] a refusal is told in CONNACK, and closes", is_refused),
      TEST("steps that the backend takes its time for are in order", waits_for_the_backend),
      TEST("a client that is lost while the backend takes its time is gone", is_lost_meanwhile),
      TEST("[MQTT5-3.15.2-2] [MQTT5-3.15.2-3] what the client has no room for is left out", has_little_room),
      TEST("[MQTT5-3.1.2-29] and what it does not want to know", wants_no_problem_information),
      TEST("the answer of the last step goes with CONNACK", waits_for_the_session),
      TEST("the connect timeout bounds all steps", is_bounded),
      TEST("[MQTT5-4.12.1-1] [MQTT5-4.12.1-2] a client authenticates itself again", authenticates_again),
      TEST("[MQTT5-4.12.0-5] [MQTT5-4.12.0-6] [MQTT5-4.12.0-7] [MQTT5-3.15.2-1] out of order closes with the "
           "reason",
           is_out_of_order),
      TEST("[MQTT5-3.1.2-30] what comes instead of AUTH is refused in CONNACK",
           is_out_of_order_before_connack),
      TEST("a client may leave in the middle", leaves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
