// What the log hook is told, and in which order.
#include <errno.h>

#include "decorator.h"

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
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static void the_reference_run(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("", true);
  connect.keep_alive = 30;
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  assert_int_equal(peer_subscribe(p, "test", 0), 0);
  peer_publish(p, "test", "test", 0, false);
  peer_expect_message(p, "test", "test", 0);
  peer_disconnect(p);
  decorator_expect_log(
      &f->d,
      "[new connection]\n"
      "[packet received] <Connect ClientID=\"\" KeepAlive=30 Username=\"\" Password=\"\" CleanSession=true "
      "Will=nil Version=4>\n"
      "[packet sent] <Connack SessionPresent=false ReturnCode=0>\n"
      "[packet received] <Subscribe ID=1 Subscriptions=[\"test\"=>0]>\n"
      "[packet sent] <Suback ID=1 ReturnCodes=[0]>\n"
      "[packet received] <Publish ID=0 Message=<Message Topic=\"test\" QOS=0 Retain=false Payload=74657374> "
      "Dup=false>\n"
      "[message published] <Message Topic=\"test\" QOS=0 Retain=false Payload=74657374>\n"
      "[message dequeued] <Message Topic=\"test\" QOS=0 Retain=false Payload=74657374>\n"
      "[packet sent] <Publish ID=0 Message=<Message Topic=\"test\" QOS=0 Retain=false Payload=74657374> "
      "Dup=false>\n"
      "[message forwarded] <Message Topic=\"test\" QOS=0 Retain=false Payload=74657374>\n"
      "[packet received] <Disconnect>\n"
      "[client disconnected]\n"
      "[lost connection]\n");
  assert_string_equal(f->d.last_end, "client disconnected");
  assert_int_equal(f->d.terminated, 1);
}

static void a_qos_1_publish_is_acknowledged_then_published_then_answered(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  peer_publish(p, "t", "x", 1, false);
  peer_expect_ack(p, PACKET_PUBACK, 1);
  decorator_expect_log(&f->d,
                       "[packet received] <Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false "
                       "Payload=78> Dup=false>\n"
                       "[message acknowledged] <Message Topic=\"t\" QOS=1 Retain=false Payload=78>\n"
                       "[message published] <Message Topic=\"t\" QOS=1 Retain=false Payload=78>\n"
                       "[packet sent] <Puback ID=1>\n");
}

static void a_qos_2_publish_is_published_with_its_pubrel(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  peer_publish(p, "t", "x", 2, false);
  peer_expect_ack(p, PACKET_PUBREC, 1);
  decorator_expect_log(&f->d,
                       "[packet received] <Publish ID=1 Message=<Message Topic=\"t\" QOS=2 Retain=false "
                       "Payload=78> Dup=false>\n"
                       "[packet sent] <Pubrec ID=1>\n");
  peer_send_ack(p, PACKET_PUBREL, 1);
  peer_expect_ack(p, PACKET_PUBCOMP, 1);
  decorator_expect_log(&f->d, "[packet received] <Pubrel ID=1>\n"
                              "[message acknowledged] <Message Topic=\"t\" QOS=2 Retain=false Payload=78>\n"
                              "[message published] <Message Topic=\"t\" QOS=2 Retain=false Payload=78>\n"
                              "[packet sent] <Pubcomp ID=1>\n");
}

static void a_delivery_is_dequeued_sent_and_forwarded(void **state) {
  struct fixture *f = *state;
  struct peer *s = peer_connect(f->h, "s", true), *p = peer_connect(f->h, "p", true);
  peer_subscribe(s, "t", 1);
  peer_publish(p, "t", "", 0, false);
  decorator_clear_log(&f->d);
  peer_publish(p, "t", "x", 2, false);
  decorator_clear_log(&f->d);
  peer_send_ack(p, PACKET_PUBREL, 1);
  decorator_expect_line(&f->d, "[message dequeued] <Message Topic=\"t\" QOS=1 Retain=false Payload=78>\n"
                               "[packet sent] <Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false "
                               "Payload=78> Dup=false>\n"
                               "[message forwarded] <Message Topic=\"t\" QOS=1 Retain=false Payload=78>\n");
}

static void a_message_that_was_retained_is_logged_as_published_without_retain(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  peer_publish(p, "t", "x", 0, true);
  decorator_expect_line(&f->d, "[message published] <Message Topic=\"t\" QOS=0 Retain=false Payload=78>\n");
}

static void a_retained_will_is_logged_as_published_without_retain(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.has_will = true;
  connect.will =
      (struct packet_message){.topic = SLICE("w"), .payload = SLICE("x"), .qos = 1, .retain = true};
  assert_int_equal(peer_connect_with(p, &connect, NULL), 0);
  decorator_clear_log(&f->d);
  peer_drop(p);
  decorator_expect_line(&f->d, "[message published] <Message Topic=\"w\" QOS=1 Retain=false Payload=78>\n");
}

static void a_refused_login(void **state) {
  struct fixture *f = *state;
  f->d.refuse_authenticate = true;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.has_username = connect.has_password = true;
  connect.username = SLICE("u");
  connect.password = SLICE("secret");
  assert_int_equal(peer_connect_with(p, &connect, NULL), 5);
  peer_expect_closed(p);
  decorator_expect_log(&f->d, "[new connection]\n"
                              "[packet received] <Connect ClientID=\"p\" KeepAlive=0 Username=\"u\" "
                              "Password=\"***\" CleanSession=true Will=nil Version=4>\n"
                              "[packet sent] <Connack SessionPresent=false ReturnCode=5>\n"
                              "[client error] not authorized\n"
                              "[lost connection]\n");
  assert_int_equal(f->d.terminated, 0);
}

// Opens a client, lets it do what ends it, and returns what terminate was told.
static const char *end_of(struct fixture *f, const char *hex) {
  size_t before = f->d.terminated;
  struct peer *p = peer_connect(f->h, "ends", true);
  decorator_clear_log(&f->d);
  peer_send_hex(p, hex);
  peer_expect_closed(p);
  assert_int_equal(f->d.terminated, before + 1);
  return f->d.last_end;
}

static void terminate_is_told_why(void **state) {
  struct fixture *f = *state;
  assert_string_equal(end_of(f, "e0 00"), "client disconnected");
  decorator_expect_log(&f->d, "[packet received] <Disconnect>\n[client disconnected]\n[lost connection]\n");
  assert_string_equal(end_of(f, "20 02 00 00"), "unexpected packet");
  decorator_expect_line(&f->d, "[client error] unexpected packet\n[lost connection]\n");
  assert_string_equal(end_of(f, "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 78"), "unexpected packet");
  decorator_expect_line(&f->d, "[client error] unexpected packet\n[lost connection]\n");
  assert_string_equal(end_of(f, "30 ff ff ff 7f"), "read limit exceeded");
  decorator_expect_line(&f->d, "[transport error] read limit exceeded\n[lost connection]\n");
  const char *malformed = end_of(f, "f0 00");
  decorator_expect_line(&f->d, "[transport error] ");
  assert_string_equal(malformed, packet_strerror(PACKET_BAD_TYPE));
}

static void terminate_of_a_lost_connection_is_told_the_transports_error(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  peer_drop(p);
  assert_string_equal(f->d.last_end, conn_strerror(ECONNRESET));
  decorator_expect_line(&f->d, "[transport error] ");
  struct peer *q = peer_connect(f->h, "q", true);
  memory_shutdown(q->memory);
  harness_run(f->h);
  peer_expect_closed(q);
  assert_string_not_equal(f->d.last_end, conn_strerror(ECONNRESET));
  assert_int_equal(f->d.terminated, 2);
}

static void closing_a_client_says_client_closed(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_connect(f->h, "p", true);
  decorator_clear_log(&f->d);
  client_close(harness_session(f->h, "p")->client, NULL);
  harness_run(f->h);
  peer_expect_closed(p);
  assert_string_equal(f->d.last_end, "client closed");
  decorator_expect_line(&f->d, "[lost connection]\n");
}

static void no_password_reaches_the_log(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  struct packet_connect connect = peer_connect_defaults("p", true);
  connect.has_username = connect.has_password = true;
  connect.username = SLICE("u");
  connect.password = SLICE("hidden-word");
  peer_connect_with(p, &connect, NULL);
  peer_disconnect(p);
  assert_null(strstr(buf_text(&f->d.log), "hidden-word"));
}

static void a_resent_publish_is_sent_but_not_dequeued_again(void **state) {
  struct fixture *f = *state;
  struct peer *s = peer_connect(f->h, "s", false), *p = peer_connect(f->h, "p", true);
  peer_subscribe(s, "t", 1);
  peer_publish(p, "t", "x", 1, false);
  peer_drop(s);
  decorator_clear_log(&f->d);
  s = peer_connect(f->h, "s", false);
  assert_null(strstr(buf_text(&f->d.log), "dequeued"));
  assert_null(strstr(buf_text(&f->d.log), "forwarded"));
  decorator_expect_line(&f->d, "[packet sent] <Connack SessionPresent=true ReturnCode=0>\n"
                               "[packet sent] <Publish ID=1 Message=<Message Topic=\"t\" QOS=1 Retain=false "
                               "Payload=78> Dup=true>\n");
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(the_reference_run),
      test(a_qos_1_publish_is_acknowledged_then_published_then_answered),
      test(a_qos_2_publish_is_published_with_its_pubrel),
      test(a_delivery_is_dequeued_sent_and_forwarded),
      test(a_message_that_was_retained_is_logged_as_published_without_retain),
      test(a_retained_will_is_logged_as_published_without_retain),
      test(a_refused_login),
      test(terminate_is_told_why),
      test(terminate_of_a_lost_connection_is_told_the_transports_error),
      test(closing_a_client_says_client_closed),
      test(no_password_reaches_the_log),
      test(a_resent_publish_is_sent_but_not_dequeued_again),
  };
  return cmocka_run_group_tests_name("broker log", tests, NULL, NULL);
}
