// The client over TCP and unix sockets, against a server that the test plays by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/socket.h"

#define SOON 10000 // milliseconds, for what comes at once unless something is wrong

struct fixture {
  struct mqtt_socket client;
  int listener, server; // -1: not open
  uint16_t port;
};

static uint64_t soon(void) { return mqtt_socket_now() + SOON; }

static void start(struct fixture *f) {
  *f = (struct fixture){.server = -1};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof address;
  f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(f->listener, (struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(f->listener, 1), 0);
  getsockname(f->listener, (struct sockaddr *)&address, &len);
  f->port = ntohs(address.sin_port);
  mqtt_socket_init(&f->client, &(struct mqtt_client_options){.id = SLICE("c"), .clean_session = true});
}

static void stop(struct fixture *f) {
  mqtt_socket_release(&f->client);
  if (f->server >= 0) close(f->server);
  if (f->listener >= 0) close(f->listener);
}

static void open_connection(struct fixture *f) {
  assert_true(mqtt_socket_open(&f->client, "127.0.0.1", f->port, soon()));
  f->server = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
  assert_true(f->server >= 0);
}

static void server_sends(struct fixture *f, struct slice bytes) {
  assert_int_equal(write(f->server, bytes.ptr, bytes.len), bytes.len);
}

static void server_gets(struct fixture *f, struct slice bytes) {
  uint8_t got[256];
  assert_true(bytes.len <= sizeof got);
  assert_int_equal(recv(f->server, got, bytes.len, MSG_WAITALL), bytes.len);
  assert_memory_equal(got, bytes.ptr, bytes.len);
}

static void start_connected(struct fixture *f) {
  start(f);
  open_connection(f);
  mqtt_client_connect(&f->client.client);
  server_sends(f, SLICE("\x20\x02\0\0"));
  struct mqtt_client_event e;
  assert_int_equal(mqtt_socket_next(&f->client, soon(), &e), MQTT_SOCKET_EVENT);
  assert_int_equal(e.type, MQTT_CLIENT_CONNACK);
  server_gets(f, SLICE("\x10\x0d\0\4MQTT\4\2\0\0\0\1c"));
}

static enum mqtt_socket_result next(struct fixture *f, uint64_t deadline) {
  struct mqtt_client_event e;
  return mqtt_socket_next(&f->client, deadline, &e);
}

static void connects_and_disconnects(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  shutdown(f.server, SHUT_WR); // it has nothing more to say
  mqtt_socket_disconnect(&f.client, soon());
  server_gets(&f, SLICE("\xe0\0"));
  uint8_t more;
  assert_int_equal(read(f.server, &more, 1), 0);
  assert_int_equal(f.client.fd, -1);
  stop(&f);
}

// In MQTT 5, with a keep alive that the server has shortened to 7 seconds.
static void start_connected_5(struct fixture *f) {
  start(f);
  mqtt_socket_release(&f->client);
  mqtt_socket_init(&f->client,
                   &(struct mqtt_client_options){
                       .version = MQTT_5, .id = SLICE("c"), .clean_session = true, .keep_alive = 60});
  open_connection(f);
  mqtt_client_connect(&f->client.client);
  server_sends(f, SLICE("\x20\x06\0\0\3\x13\0\7"));
  assert_int_equal(next(f, soon()), MQTT_SOCKET_EVENT);
  server_gets(f, SLICE("\x10\x0e\0\4MQTT\5\2\0\x3c\0\0\1c"));
}

static void server_keep_alive_is_obeyed(void **state) { // [MQTT5-3.2.2-21]
  (void)state;
  struct fixture f;
  start_connected_5(&f);
  assert_int_equal(f.client.keep_alive_ms, 7000);
  stop(&f);
}

static void a_disconnect_of_the_server_closes(void **state) { // [MQTT5-3.14.4-1]
  (void)state;
  struct fixture f;
  start_connected_5(&f);
  server_sends(&f, SLICE("\xe0\x0a\x8e\x08\x1f\0\5go\033!?"));
  struct mqtt_client_event e;
  assert_int_equal(mqtt_socket_next(&f.client, soon(), &e), MQTT_SOCKET_EVENT);
  assert_int_equal(e.type, MQTT_CLIENT_DISCONNECTED);
  assert_int_equal(e.code, REASON_SESSION_TAKEN_OVER);
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED); // though the server still has it open
  assert_string_equal(f.client.error, "disconnected by the server: session taken over, \"go\\x1b!?\"");
  uint8_t more;
  assert_int_equal(read(f.server, &more, 1), 0); // no DISCONNECT of ours
  stop(&f);
}

static void what_is_wrong_is_told_before_it_closes(void **state) { // [MQTT5 4.13]
  (void)state;
  struct fixture f;
  start_connected_5(&f);
  server_sends(&f, SLICE("\xff"));
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED);
  assert_string_equal(f.client.error, "malformed fixed header flags");
  server_gets(&f, SLICE("\xe0\1\x81"));
  stop(&f);
}

static void a_deadline_passes(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  assert_int_equal(next(&f, 0), MQTT_SOCKET_TIMEOUT);
  assert_int_equal(next(&f, mqtt_socket_now() + 5), MQTT_SOCKET_TIMEOUT);
  server_sends(&f, SLICE("\xd0\0\xd0\0"));
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_EVENT);
  assert_int_equal(next(&f, 0), MQTT_SOCKET_EVENT); // what is there is taken
  assert_int_equal(next(&f, 0), MQTT_SOCKET_TIMEOUT);
  stop(&f);
}

static void a_watched_descriptor_ends_a_wait(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  f.client.watch_fd = ends[0];
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_WATCHED);
  f.client.watch_fd = -1;
  close(ends[0]);
  close(ends[1]);
  stop(&f);
}

static void the_end_tells_why(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  close(f.server);
  f.server = -1;
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED);
  assert_string_equal(f.client.error, "connection closed");
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED);
  stop(&f);
  start_connected(&f);
  server_sends(&f, SLICE("\xf0\0"));
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED);
  assert_int_equal(f.client.fd, -1);
  assert_string_equal(f.client.error, packet_strerror(PACKET_BAD_TYPE));
  stop(&f);
}

static void a_refused_connection_tells_why(void **state) {
  (void)state;
  struct fixture f;
  start(&f);
  close(f.listener);
  f.listener = -1;
  assert_false(mqtt_socket_open(&f.client, "127.0.0.1", f.port, soon()));
  assert_non_null(strstr(f.client.error, "Connection refused"));
  assert_int_equal(f.client.fd, -1);
  stop(&f);
}

static struct sockaddr_un listen_at(int *listener, char directory[32]) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(directory, "/tmp/luamq-test-XXXXXX");
  assert_non_null(mkdtemp(directory));
  snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", directory);
  *listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(*listener, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(*listener, 0), 0);
  return a;
}

static void a_unix_socket_connects_in_time_or_not(void **state) {
  (void)state;
  struct fixture f;
  char directory[32], expected[192];
  int listener;
  start(&f);
  struct sockaddr_un a = listen_at(&listener, directory);
  assert_true(mqtt_socket_open_unix(&f.client, a.sun_path, soon()));
  f.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  mqtt_client_connect(&f.client.client);
  server_sends(&f, SLICE("\x20\x02\0\0"));
  struct mqtt_client_event e;
  assert_int_equal(mqtt_socket_next(&f.client, soon(), &e), MQTT_SOCKET_EVENT);
  assert_int_equal(e.type, MQTT_CLIENT_CONNACK);
  assert_true(mqtt_socket_open_unix(&f.client, a.sun_path, MQTT_SOCKET_FOREVER)); // fills the backlog
  int waiting = f.client.fd;
  f.client.fd = -1;
  assert_false(mqtt_socket_open_unix(&f.client, a.sun_path, 0));
  snprintf(expected, sizeof expected, "%s: Connection timed out", a.sun_path);
  assert_string_equal(f.client.error, expected);
  close(waiting);
  close(listener);
  assert_false(mqtt_socket_open_unix(&f.client, a.sun_path, soon()));
  assert_non_null(strstr(f.client.error, "Connection refused"));
  unlink(a.sun_path);
  rmdir(directory);
  stop(&f);
}

static void pings_keep_the_connection(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  f.client.keep_alive_ms = 20;
  for (int i = 0; i < 3; i++) {
    struct pollfd p = {.fd = f.server, .events = POLLIN};
    while (poll(&p, 1, 0) == 0)
      assert_int_equal(next(&f, mqtt_socket_now() + 1), MQTT_SOCKET_TIMEOUT);
    server_gets(&f, SLICE("\xc0\0"));
    server_sends(&f, SLICE("\xd0\0"));
    assert_int_equal(next(&f, soon()), MQTT_SOCKET_EVENT);
  }
  assert_int_equal(next(&f, soon()), MQTT_SOCKET_CLOSED); // nobody answers the next one
  assert_string_equal(f.client.error, "no answer to a ping");
  stop(&f);
}

// More than the sockets take at once.
static void a_large_message_is_sent_in_parts(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  size_t size = 16 << 20;
  uint8_t *payload = mem_calloc(1, size), *got = mem_alloc(65536);
  struct packet_message m = {.topic = SLICE("t"), .payload = slice_of(payload, size)};
  mqtt_client_publish(&f.client.client, &m);
  assert_int_equal(mqtt_socket_flush(&f.client, 0), MQTT_SOCKET_TIMEOUT);
  size_t total = 0, whole = 1 + 4 + 3 + size;
  while (total < whole) {
    mqtt_socket_flush(&f.client, 0);
    ssize_t n = read(f.server, got, 65536);
    assert_true(n > 0);
    total += (size_t)n;
  }
  assert_int_equal(total, whole);
  assert_int_equal(mqtt_socket_flush(&f.client, soon()), MQTT_SOCKET_EVENT);
  mem_free(payload);
  mem_free(got);
  stop(&f);
}

// A server that refuses and resets: its last words count.
static void what_was_said_before_a_reset_is_read(void **state) {
  (void)state;
  struct fixture f;
  start(&f);
  open_connection(&f);
  server_sends(&f, SLICE("\x20\x02\0\5"));
  shutdown(f.server, SHUT_RDWR);
  mqtt_client_connect(&f.client.client);
  struct mqtt_client_event e;
  assert_int_equal(mqtt_socket_next(&f.client, soon(), &e), MQTT_SOCKET_EVENT);
  assert_int_equal(e.code, CONNACK_NOT_AUTHORIZED);
  stop(&f);
}

// What accepts a connection and then says nothing.
static void a_handshake_has_a_deadline(void **state) {
  (void)state;
  struct fixture f;
  char expected[96];
  struct ws_client_options websocket = {0};
  start(&f);
  f.client.websocket = &websocket;
  assert_false(mqtt_socket_open(&f.client, "127.0.0.1", f.port, mqtt_socket_now() + 5));
  snprintf(expected, sizeof expected, "127.0.0.1 port %u: no answer to the handshake", (unsigned)f.port);
  assert_string_equal(f.client.error, expected);
  assert_int_equal(f.client.fd, -1);
  stop(&f);
}

static void packets_are_handed_out_as_they_are(void **state) {
  (void)state;
  struct fixture f;
  start_connected(&f);
  server_sends(&f, SLICE("\x32\x06\0\1t\0\7x"));
  struct packet p;
  assert_int_equal(mqtt_socket_next_packet(&f.client, soon(), &p), MQTT_SOCKET_EVENT);
  assert_int_equal(p.id, 7);
  assert_int_equal(mqtt_socket_next_packet(&f.client, 0, &p), MQTT_SOCKET_TIMEOUT);
  assert_int_equal(f.client.client.out.len, 0); // no PUBACK
  stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connects_and_disconnects),
      cmocka_unit_test(server_keep_alive_is_obeyed),
      cmocka_unit_test(a_disconnect_of_the_server_closes),
      cmocka_unit_test(what_is_wrong_is_told_before_it_closes),
      cmocka_unit_test(a_deadline_passes),
      cmocka_unit_test(a_watched_descriptor_ends_a_wait),
      cmocka_unit_test(the_end_tells_why),
      cmocka_unit_test(a_refused_connection_tells_why),
      cmocka_unit_test(a_unix_socket_connects_in_time_or_not),
      cmocka_unit_test(pings_keep_the_connection),
      cmocka_unit_test(a_large_message_is_sent_in_parts),
      cmocka_unit_test(what_was_said_before_a_reset_is_read),
      cmocka_unit_test(a_handshake_has_a_deadline),
      cmocka_unit_test(packets_are_handed_out_as_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
