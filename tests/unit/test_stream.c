// Streams over a socket pair, whose other end the test plays: as it is, with OpenSSL as a server with a
// pre-shared key, and as a WebSocket.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "client/stream.h"
#include "ws_answer.h"

#define LARGE (4u << 20) // bytes, more than the sockets take at once

static const uint8_t psk[4] = {0xde, 0xad, 0xbe, 0xef};

struct fixture {
  struct stream stream;
  struct tls_client *tls;
  int peer; // -1: closed
  SSL_CTX *ctx;
  SSL *server;    // over memory
  size_t at_once; // bytes that the relay moves
};

static unsigned check_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned max) {
  (void)ssl, (void)max;
  if (strcmp(identity, "meter") != 0) return 0;
  memcpy(key, psk, sizeof psk);
  return sizeof psk;
}

static void start(struct fixture *f, const struct stream_options *o) {
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  f->peer = ends[1];
  stream_init(&f->stream, ends[0], o);
}

static void start_plain(struct fixture *f) {
  *f = (struct fixture){0};
  start(f, &(struct stream_options){0});
}

static void start_tls(struct fixture *f, int version, const char *key) {
  struct tls_client_error e;
  *f = (struct fixture){.at_once = 1};
  f->tls = tls_client_new(&(struct tls_client_options){.psk_identity = "meter", .psk = key}, &e);
  assert_non_null(f->tls);
  f->ctx = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_max_proto_version(f->ctx, version);
  SSL_CTX_set_psk_server_callback(f->ctx, check_psk);
  assert_int_equal(SSL_CTX_set_cipher_list(f->ctx, "PSK"), 1);
  f->server = SSL_new(f->ctx);
  SSL_set_bio(f->server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(f->server);
  start(f, &(struct stream_options){.tls = f->tls, .host = "localhost"});
}

static void stop(struct fixture *f) {
  int fd = f->stream.fd;
  stream_release(&f->stream);
  close(fd);
  if (f->peer >= 0) close(f->peer);
  SSL_free(f->server);
  SSL_CTX_free(f->ctx);
  tls_client_free(f->tls);
}

// Moves bytes between the socket and the server's memory, `at_once` in each direction.
static void relay(struct fixture *f) {
  uint8_t bytes[65536];
  ssize_t n = recv(f->peer, bytes, f->at_once, 0);
  if (n > 0) assert_int_equal(BIO_write(SSL_get_rbio(f->server), bytes, (int)n), n);
  n = BIO_read(SSL_get_wbio(f->server), bytes, (int)f->at_once);
  if (n > 0) assert_int_equal(send(f->peer, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

static int shake_hands(struct fixture *f) {
  int client;
  bool server = false;
  do {
    client = stream_handshake(&f->stream);
    if (!server) server = SSL_do_handshake(f->server) == 1;
    relay(f);
  } while (client == 0 || (client == 1 && !server));
  return client;
}

static void fill(uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t)(i * 31 >> 3);
}

static void a_plain_stream_is_ready_at_once(void **state) {
  (void)state;
  struct fixture f;
  uint8_t to[8];
  start_plain(&f);
  assert_int_equal(stream_handshake(&f.stream), 1);
  assert_int_equal(stream_read(&f.stream, to, sizeof to), 0);
  assert_int_equal(write(f.peer, "abc", 3), 3);
  assert_int_equal(stream_read(&f.stream, to, 2), 2);
  assert_int_equal(stream_read(&f.stream, to, 2), 1);
  assert_int_equal(stream_write(&f.stream, "xy", 2), 2);
  assert_int_equal(read(f.peer, to, sizeof to), 2);
  close(f.peer);
  f.peer = -1;
  assert_int_equal(stream_read(&f.stream, to, sizeof to), -1);
  assert_string_equal(f.stream.error, "connection closed");
  assert_int_equal(stream_write(&f.stream, "x", 1), -1);
  assert_string_equal(f.stream.error, "connection closed"); // why, still
  stop(&f);
}

static void a_plain_stream_takes_what_the_socket_takes(void **state) {
  (void)state;
  struct fixture f;
  start_plain(&f);
  uint8_t *bytes = mem_calloc(1, LARGE);
  ssize_t n = stream_write(&f.stream, bytes, LARGE);
  assert_true(n > 0 && n < LARGE);
  assert_false(stream_wants_write(&f.stream)); // it keeps nothing
  assert_int_equal(stream_write(&f.stream, bytes, LARGE), 0);
  mem_free(bytes);
  stop(&f);
}

static void tls_shakes_hands_byte_by_byte(void **state) {
  (void)state;
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (size_t i = 0; i < 2; i++) {
    struct fixture f;
    start_tls(&f, versions[i], "deadBEEF");
    assert_int_equal(stream_write(&f.stream, "early", 5), 0);
    assert_int_equal(shake_hands(&f), 1);
    assert_int_equal(SSL_version(f.server), versions[i]);
    assert_string_equal(SSL_get_servername(f.server, TLSEXT_NAMETYPE_host_name), "localhost");
    stop(&f);
  }
}

static void tls_refuses_another_key(void **state) {
  (void)state;
  struct fixture f;
  start_tls(&f, TLS1_3_VERSION, "deadbeee");
  assert_int_equal(shake_hands(&f), -1);
  assert_non_null(strstr(f.stream.error, "TLS: "));
  stop(&f);
}

// Both ways at the same time, in pieces that are no records.
static void tls_carries_large_amounts(void **state) {
  (void)state;
  struct fixture f;
  start_tls(&f, TLS1_3_VERSION, "deadbeef");
  f.at_once = 65536;
  assert_int_equal(shake_hands(&f), 1);
  f.at_once = 10007;
  uint8_t *bytes = mem_alloc(LARGE), *got = mem_alloc(LARGE), *back = mem_alloc(LARGE);
  fill(bytes, LARGE);
  size_t sent = 0, received = 0, returned = 0;
  assert_int_equal(SSL_write(f.server, bytes, LARGE), LARGE);
  while (received < LARGE || returned < LARGE) {
    ssize_t n = stream_write(&f.stream, bytes + sent, LARGE - sent);
    assert_true(n >= 0);
    sent += (size_t)n;
    do {
      n = returned < LARGE ? stream_read(&f.stream, back + returned, LARGE - returned) : 0;
      assert_true(n >= 0);
      returned += (size_t)n;
    } while (n > 0 && stream_has_more(&f.stream));
    relay(&f);
    int m = received < LARGE ? SSL_read(f.server, got + received, (int)(LARGE - received)) : 0;
    if (m > 0) received += (size_t)m;
  }
  assert_memory_equal(got, bytes, LARGE);
  assert_memory_equal(back, bytes, LARGE);
  assert_false(stream_wants_write(&f.stream));
  mem_free(bytes);
  mem_free(got);
  mem_free(back);
  stop(&f);
}

// A small room for what is read: the socket is empty then, and has_more tells that there is more.
static void tls_tells_of_bytes_that_it_has_read_already(void **state) {
  (void)state;
  struct fixture f;
  uint8_t to[4];
  start_tls(&f, TLS1_3_VERSION, "deadbeef");
  f.at_once = 65536;
  assert_int_equal(shake_hands(&f), 1);
  assert_int_equal(SSL_write(f.server, "abcdefgh", 8), 8);
  assert_int_equal(SSL_write(f.server, "ijkl", 4), 4);
  relay(&f);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(stream_read(&f.stream, to, sizeof to), 4);
    assert_int_equal(to[0], "aei"[i]);
    assert_int_equal(stream_has_more(&f.stream), i < 2);
  }
  stop(&f);
}

// Many brokers close without close_notify; both are an end, and what came before it counts.
static void tls_ends_with_and_without_a_word(void **state) {
  (void)state;
  for (int word = 0; word < 2; word++) {
    struct fixture f;
    uint8_t to[8];
    start_tls(&f, TLS1_3_VERSION, "deadbeef");
    f.at_once = 65536;
    assert_int_equal(shake_hands(&f), 1);
    assert_int_equal(SSL_write(f.server, "last", 4), 4);
    if (word) SSL_shutdown(f.server);
    relay(&f);
    shutdown(f.peer, SHUT_WR);
    assert_int_equal(stream_read(&f.stream, to, sizeof to), 4);
    assert_int_equal(stream_read(&f.stream, to, sizeof to), -1);
    assert_string_equal(f.stream.error, "connection closed");
    stop(&f);
  }
}

static void tls_tells_its_end(void **state) {
  (void)state;
  struct fixture f;
  uint8_t to[8];
  start_tls(&f, TLS1_2_VERSION, "deadbeef");
  f.at_once = 65536;
  assert_int_equal(shake_hands(&f), 1);
  assert_int_equal(stream_write(&f.stream, "bye", 3), 3);
  stream_end(&f.stream);
  relay(&f);
  assert_int_equal(SSL_read(f.server, to, sizeof to), 3);
  assert_int_equal(SSL_read(f.server, to, sizeof to), 0);
  assert_int_equal(SSL_get_shutdown(f.server), SSL_RECEIVED_SHUTDOWN);
  assert_int_equal(recv(f.peer, to, sizeof to, 0), 0);
  stop(&f);
}

static void what_does_not_speak_tls_is_told(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *error;
  } cases[] = {{"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers does not speak TLS"},
               {"", "connection closed in the TLS handshake"}};
  for (size_t i = 0; i < 2; i++) {
    struct fixture f;
    start_tls(&f, TLS1_3_VERSION, "deadbeef");
    assert_int_equal(stream_handshake(&f.stream), 0);
    size_t len = strlen(cases[i].bytes);
    assert_int_equal(write(f.peer, cases[i].bytes, len), len);
    shutdown(f.peer, SHUT_WR);
    assert_int_equal(stream_handshake(&f.stream), -1);
    assert_string_equal(f.stream.error, cases[i].error);
    stop(&f);
  }
}

static void a_websocket_over_a_socket_that_ends(void **state) {
  (void)state;
  struct fixture f = {0};
  uint8_t to[2048];
  struct ws_client_options websocket = {0};
  start(&f, &(struct stream_options){.websocket = &websocket, .host = "localhost", .port = 80});
  assert_int_equal(stream_handshake(&f.stream), 0);
  ssize_t n = recv(f.peer, to, sizeof to, 0);
  assert_true(n > 4);
  assert_true(slice_starts(slice_of(to, (size_t)n), SLICE("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n")));
  assert_int_equal(stream_write(&f.stream, "early", 5), 0);
  assert_int_equal(write(f.peer, "HTTP/1.1 403 Forbidden\r\n\r\n", 26), 26);
  close(f.peer);
  f.peer = -1;
  assert_int_equal(stream_handshake(&f.stream), -1);
  assert_string_equal(f.stream.error, "the server answered 403 Forbidden instead of upgrading to WebSocket");
  stop(&f);
}

// The end that the server has told counts, also when nobody reads the answer to it any more.
static void a_websocket_keeps_why_it_has_ended(void **state) {
  (void)state;
  struct fixture f = {0};
  uint8_t to[2048];
  char text[WS_ANSWER_MAX];
  struct ws_client_options websocket = {0};
  start(&f, &(struct stream_options){.websocket = &websocket, .host = "localhost"});
  assert_int_equal(stream_handshake(&f.stream), 0);
  ssize_t n = recv(f.peer, to, sizeof to - 1, 0);
  assert_true(n > 0);
  to[n] = 0;
  struct slice answer = ws_answer((const char *)to, text);
  assert_int_equal(write(f.peer, answer.ptr, answer.len), answer.len);
  assert_int_equal(write(f.peer, "\x82\x02hi", 4), 4);
  assert_int_equal(stream_handshake(&f.stream), 1);
  assert_true(stream_has_more(&f.stream)); // it came with the answer
  assert_int_equal(stream_read(&f.stream, to, 1), 1);
  assert_int_equal(stream_read(&f.stream, to + 1, sizeof to - 1), 1);
  assert_memory_equal(to, "hi", 2);
  assert_false(stream_has_more(&f.stream));
  assert_int_equal(write(f.peer, "\x82\x01x\x88\x02\x03\xf0", 7), 7);
  close(f.peer);
  f.peer = -1;
  assert_int_equal(stream_read(&f.stream, to, sizeof to), 1);
  assert_true(stream_has_more(&f.stream));
  for (int i = 0; i < 2; i++) {
    assert_int_equal(stream_read(&f.stream, to, sizeof to), -1);
    assert_string_equal(f.stream.error, "connection closed with WebSocket status 1008");
  }
  stop(&f);
}

static void what_cannot_be_used_is_told(void **state) {
  (void)state;
  static const struct {
    struct tls_client_options o;
    enum tls_client_field field;
    const char *error;
  } cases[] = {
      {{.ca_file = "/nonexistent"},
       TLS_CLIENT_CA_FILE,
       "cannot read /nonexistent: No such file or directory"},
      {{.ca_path = "/nonexistent"},
       TLS_CLIENT_CA_PATH,
       "cannot read /nonexistent: No such file or directory"},
      {{.certificate = "/dev/null"}, TLS_CLIENT_KEY, "missing: a certificate needs its key"},
      {{.key = "/dev/null"}, TLS_CLIENT_CERTIFICATE, "missing: a key needs its certificate"},
      {{.psk = "00"}, TLS_CLIENT_PSK_IDENTITY, "missing: a pre-shared key needs its identity"},
      {{.psk_identity = "a"}, TLS_CLIENT_PSK, "missing: an identity needs its key"},
      {{.psk_identity = "a", .psk = "0g"}, TLS_CLIENT_PSK, "expected hexadecimal digits for 1 to 64 bytes"},
      {{.psk_identity = "a", .psk = ""}, TLS_CLIENT_PSK, "expected hexadecimal digits for 1 to 64 bytes"},
      {{.psk_identity = "", .psk = "00"}, TLS_CLIENT_PSK_IDENTITY, "expected 1 to 256 bytes"},
      {{.ca_path = "/", .psk_identity = "a", .psk = "00"},
       TLS_CLIENT_PSK,
       "excludes certificates of authorities"},
      {{.alpn = ""}, TLS_CLIENT_ALPN, "expected the name of a protocol"},
      {{.min_version = "1.1"}, TLS_CLIENT_MIN_VERSION, "expected 1.2 or 1.3"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tls_client_error e;
    assert_null(tls_client_new(&cases[i].o, &e));
    assert_string_equal(e.text, cases[i].error);
    assert_int_equal(e.field, cases[i].field);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_plain_stream_is_ready_at_once),
      cmocka_unit_test(a_plain_stream_takes_what_the_socket_takes),
      cmocka_unit_test(tls_shakes_hands_byte_by_byte),
      cmocka_unit_test(tls_refuses_another_key),
      cmocka_unit_test(tls_carries_large_amounts),
      cmocka_unit_test(tls_tells_of_bytes_that_it_has_read_already),
      cmocka_unit_test(tls_ends_with_and_without_a_word),
      cmocka_unit_test(tls_tells_its_end),
      cmocka_unit_test(what_does_not_speak_tls_is_told),
      cmocka_unit_test(a_websocket_over_a_socket_that_ends),
      cmocka_unit_test(a_websocket_keeps_why_it_has_ended),
      cmocka_unit_test(what_cannot_be_used_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
