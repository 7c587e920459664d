// A broker with a WebSocket listener, over real sockets.
#include "web_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/client.h"
#include "broker/engine.h"
#include "broker/memory.h"

#define TURNS   100000
#define CONNECT "\x10\x0d\0\4MQTT\4\2\0\0\0\1a"
#define CONNACK "\x20\2\0\0"

struct place {
  struct loop *loop;
  struct shard *shard;
  struct engine *engine;
};

static void start(struct place *p) {
  struct settings settings;
  struct websocket_config web;
  struct listener_config config;
  char error[256];
  settings_init(&settings);
  websocket_config_init(&web);
  p->loop = loop_new();
  p->shard = shard_new(p->loop, &settings, 1);
  shard_set_backend(p->shard, memory_backend_new(p->shard));
  p->engine = engine_new(p->shard);
  listener_config_init(&config, "ws://127.0.0.1:0/mqtt");
  config.websocket = websocket_new(&web);
  assert_true(engine_listen(p->engine, &config, error, sizeof error));
  websocket_unref(config.websocket); // the listener has its own
}

static void stop(struct place *p) {
  engine_free(p->engine);
  shard_free(p->shard);
  loop_free(p->loop);
}

static int dial(const struct place *p) {
  const char *port = strrchr(engine_url(p->engine, 0), ':') + 1;
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), room = 200000; // for what nobody reads yet
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
  return fd;
}

static void say(int fd, struct slice bytes) {
  assert_int_equal(send(fd, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL), bytes.len);
}

static void say_frame(int fd, uint8_t first, struct slice payload) {
  struct buf frame = BUF_INIT;
  naive_add_frame(&frame, first, payload, 3);
  say(fd, buf_slice(&frame));
  buf_release(&frame);
}

// What the broker says up to the end, or `count` bytes of it. True: it ended.
static bool hear(struct place *p, int fd, struct buf *out, size_t count) {
  uint8_t bytes[1024];
  out->len = 0;
  for (int turns = 0; out->len < count; turns++) {
    assert_true(turns < TURNS);
    shard_turn(p->shard, false);
    size_t left = count - out->len;
    ssize_t n = recv(fd, bytes, left < sizeof bytes ? left : sizeof bytes, MSG_DONTWAIT);
    if (n == 0) return true;
    if (n > 0) buf_add(out, bytes, (size_t)n);
    if (n < 0) assert_int_equal(errno, EAGAIN); // never a reset
  }
  return false;
}

static void assert_hears(struct place *p, int fd, struct slice expected) {
  struct buf heard = BUF_INIT;
  assert_false(hear(p, fd, &heard, expected.len));
  assert_true(slice_eq(buf_slice(&heard), expected));
  buf_release(&heard);
}

static void assert_hears_last(struct place *p, int fd, struct slice expected) {
  struct buf heard = BUF_INIT;
  assert_true(hear(p, fd, &heard, SIZE_MAX));
  assert_true(slice_eq(buf_slice(&heard), expected));
  buf_release(&heard);
  close(fd);
}

static void mqtt_goes_over_websocket(void **state) {
  (void)state;
  struct place p;
  start(&p);
  assert_non_null(strstr(engine_url(p.engine, 0), "/mqtt"));
  int fd = dial(&p);
  say(fd, SLICE(WEB_REQUEST));
  say_frame(fd, FRAGMENT, SLICE("\x10\x0d\0\4MQ")); // with the request, and in two fragments
  assert_hears(&p, fd, SLICE(WEB_ANSWER));
  assert_int_equal(p.shard->stats.websocket_upgrades, 1);
  say_frame(fd, LAST, slice_from(SLICE(CONNECT), 6));
  assert_hears(&p, fd, SLICE("\x82\4" CONNACK));
  say_frame(fd, PING, SLICE("?"));
  assert_hears(&p, fd, SLICE("\x8a\1?"));
  say_frame(fd, BINARY, SLICE("\xc0\0\xc0\0\xe0\0")); // PINGREQ twice, DISCONNECT
  assert_hears_last(&p, fd, SLICE("\x82\4\xd0\0\xd0\0\x88\2\x03\xe8"));
  assert_int_equal(p.shard->stats.clients, 0);
  assert_int_equal(p.shard->stats.handshakes_failed, 0);
  stop(&p);
}

static void a_fault_is_told_even_when_more_has_come_than_is_read(void **state) {
  (void)state;
  static const uint8_t more[100000];
  struct place p;
  start(&p);
  int fd = dial(&p);
  say(fd, SLICE(WEB_REQUEST));
  assert_hears(&p, fd, SLICE(WEB_ANSWER));
  say_frame(fd, BINARY, SLICE(CONNECT));
  assert_hears(&p, fd, SLICE("\x82\4" CONNACK));
  say_frame(fd, TEXT, SLICE("hello"));
  say(fd, slice_of(more, sizeof more));
  assert_hears_last(&p, fd, SLICE("\x88\2\x03\xeb"));
  stop(&p);
}

static void a_request_that_is_no_upgrade_is_answered_and_counted(void **state) {
  (void)state;
  struct place p;
  struct buf heard = BUF_INIT;
  start(&p);
  int fd = dial(&p);
  say(fd, SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  assert_true(hear(&p, fd, &heard, SIZE_MAX));
  assert_true(slice_starts(buf_slice(&heard), SLICE("HTTP/1.1 426 Upgrade Required\r\n")));
  assert_int_equal(p.shard->stats.websocket_refused, 1);
  assert_int_equal(p.shard->stats.websocket_upgrades, 0);
  assert_int_equal(p.shard->stats.connections, 0);
  close(fd);
  buf_release(&heard);
  stop(&p);
}

static void a_broker_that_stops_ends_arrivals_and_clients(void **state) {
  (void)state;
  struct place p;
  start(&p);
  int arriving = dial(&p), arrived = dial(&p);
  say(arriving, SLICE("GET /mqtt HTTP/1.1\r\n"));
  say(arrived, SLICE(WEB_REQUEST));
  assert_hears(&p, arrived, SLICE(WEB_ANSWER));
  say_frame(arrived, BINARY, SLICE(CONNECT));
  assert_hears(&p, arrived, SLICE("\x82\4" CONNACK));
  engine_stop(p.engine, 1000);
  assert_true(engine_run(p.engine));
  assert_hears_last(&p, arrived, SLICE("\x88\2\x03\xe8"));
  assert_hears_last(&p, arriving, SLICE(""));
  stop(&p);
}

static void a_listener_that_closes_lets_those_arrive_who_have_begun_to(void **state) {
  (void)state;
  struct place p;
  start(&p);
  int fd = dial(&p);
  struct slice request = SLICE(WEB_REQUEST);
  say(fd, slice_of(request.ptr, 10));
  shard_turn(p.shard, true); // it is accepted
  engine_replace_listeners(p.engine, NULL, 0);
  assert_null(engine_url(p.engine, 0));
  say(fd, slice_from(request, 10));
  assert_hears(&p, fd, SLICE(WEB_ANSWER));
  say_frame(fd, BINARY, SLICE(CONNECT));
  assert_hears(&p, fd, SLICE("\x82\4" CONNACK));
  close(fd);
  stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mqtt_goes_over_websocket),
      cmocka_unit_test(a_fault_is_told_even_when_more_has_come_than_is_read),
      cmocka_unit_test(a_request_that_is_no_upgrade_is_answered_and_counted),
      cmocka_unit_test(a_broker_that_stops_ends_arrivals_and_clients),
      cmocka_unit_test(a_listener_that_closes_lets_those_arrive_who_have_begun_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
