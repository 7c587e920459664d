// Bytes of TLS connections over memory: handshakes, records both ways, what waits, and how they end.
#include <errno.h>

#include "tls_fixture.h"

static int set_up_and_load(void **state) {
  set_up(state);
  struct fixture *f = *state;
  f->tls = load(&f->config);
  return 0;
}

static void open_in_steps(struct tls_pair *p, const struct fixture *f, int version, size_t step) {
  open_version(p, f->tls, f->client, version);
  if (step) p->step = step;
}

static void shake_version(struct tls_pair *p, const struct fixture *f, int version, size_t step) {
  open_in_steps(p, f, version, step);
  tls_pair_shake(p);
}

static struct buf pattern(size_t len) {
  struct buf b = BUF_INIT;
  buf_reserve(&b, len);
  for (size_t i = 0; i < len; i++)
    buf_add_byte(&b, (uint8_t)(i * 31 + i / 251));
  return b;
}

static void assert_bytes(struct buf *got, const struct buf *want) {
  assert_int_equal(got->len, want->len);
  if (want->len) assert_memory_equal(got->ptr, want->ptr, want->len);
}

// The server's end writes in pieces of these sizes, over and over.
static void server_write(struct tls_pair *p, const struct buf *bytes, size_t first, size_t second) {
  struct iovec iov[1000];
  size_t at = 0;
  int count = 0;
  while (at < bytes->len) {
    assert_true(count < 1000);
    size_t left = bytes->len - at, part = count % 2 ? second : first;
    if (part > left) part = left;
    iov[count++] = (struct iovec){bytes->ptr + at, part};
    at += part;
  }
  conn_write(p->conn, iov, count, NULL);
  assert_int_equal(ERR_peek_error(), 0);
}

// --- handshakes and bytes ---

static void bytes_go_both_ways_in_steps_of_any_size(void **state) {
  static const size_t steps[] = {0, 1, 2, 5, 17, 1000};
  each_version(version) for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    struct tls_pair p;
    struct buf sent = pattern(20000), got = BUF_INIT;
    shake_version(&p, *state, *version, steps[i]);
    tls_pair_client_write(&p, sent.ptr, sent.len);
    tls_pair_run(&p);
    assert_bytes(&p.got, &sent);
    server_write(&p, &sent, 100, 3000);
    tls_pair_run(&p);
    assert_int_equal(tls_pair_client_read(&p, &got), SSL_ERROR_WANT_READ);
    assert_bytes(&got, &sent);
    assert_int_equal(p.end, 1);
    tls_pair_release(&p);
    buf_release(&sent);
    buf_release(&got);
  }
}

static void a_mebibyte_goes_through_reads_of_any_size(void **state) {
  static const size_t sizes[] = {100, 4096, 16384, 70000, 1 << 20};
  struct buf sent = pattern(1 << 20);
  each_version(version) for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct tls_pair p;
    shake_version(&p, *state, *version, 0);
    p.read_size = sizes[i];
    tls_pair_client_write(&p, sent.ptr, sent.len);
    tls_pair_run(&p);
    assert_bytes(&p.got, &sent);
    tls_pair_release(&p);
  }
  buf_release(&sent);
}

static void records_are_as_long_as_they_can_be(void **state) {
  static const size_t sizes[][2] = {{1 << 20, 1}, {16384, 16384}, {10, 50000}, {3, 5000}, {16385, 16383}};
  struct buf sent = pattern(1 << 20);
  each_version(version) for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct tls_pair p;
    struct buf got = BUF_INIT;
    shake_version(&p, *state, *version, 0);
    server_write(&p, &sent, sizes[i][0], sizes[i][1]);
    assert_false(conn_blocked(p.conn));
    size_t records = sent.len / 16384 + 1;
    assert_in_range(memory_received(p.peer).len, sent.len, sent.len + (records + 60) * 32);
    tls_pair_run(&p);
    tls_pair_client_read(&p, &got);
    assert_bytes(&got, &sent);
    tls_pair_release(&p);
    buf_release(&got);
  }
  buf_release(&sent);
}

// --- what waits ---

static void little_is_encrypted_for_a_peer_that_takes_nothing(void **state) {
  struct buf sent = pattern(1 << 20);
  each_version(version) {
    struct tls_pair p;
    struct buf got = BUF_INIT;
    shake_version(&p, *state, *version, 0);
    memory_set_window(p.peer, 10);
    struct iovec iov = {sent.ptr, sent.len};
    size_t waits = conn_write(p.conn, &iov, 1, NULL);
    assert_in_range(waits, sent.len - 65536 - 16384, sent.len - 32768);
    assert_true(conn_blocked(p.conn) && p.conn->held);
    memory_set_window(p.peer, 5000);
    tls_pair_run(&p);
    assert_false(conn_blocked(p.conn));
    assert_int_equal(p.writable, 1);
    assert_true(p.conn->progressed);
    tls_pair_client_read(&p, &got);
    assert_bytes(&got, &sent);
    tls_pair_release(&p);
    buf_release(&got);
  }
  buf_release(&sent);
}

static void a_small_window_lets_everything_through(void **state) {
  static const size_t windows[] = {1, 7, 100, 20000};
  each_version(version) for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
    struct tls_pair p;
    struct buf sent = pattern(30000), got = BUF_INIT;
    open_in_steps(&p, *state, *version, 0);
    memory_set_window(p.peer, windows[i]);
    tls_pair_shake(&p);
    tls_pair_client_write(&p, "ping", 4);
    server_write(&p, &sent, 1000, 20000);
    tls_pair_run(&p);
    assert_string_equal(buf_text(&p.got), "ping");
    tls_pair_client_read(&p, &got);
    assert_bytes(&got, &sent);
    assert_false(conn_blocked(p.conn));
    tls_pair_release(&p);
    buf_release(&sent);
    buf_release(&got);
  }
}

static void decrypted_bytes_wait_while_reading_is_off_and_come_when_it_is_on(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf sent = pattern(16384);
    shake_version(&p, *state, *version, 0);
    tls_pair_client_write(&p, sent.ptr, sent.len);
    p.read_size = 10;
    char bytes[32768];
    int n = BIO_read(SSL_get_wbio(p.client), bytes, sizeof bytes);
    memory_send(p.peer, slice_of(bytes, (size_t)n)); // the SSL takes all of it at once
    loop_turn(p.loop, false);
    assert_int_equal(p.got.len, 10);
    conn_watch_read(p.conn, false);
    tls_pair_run(&p);
    assert_int_equal(p.got.len, 10);
    conn_watch_read(p.conn, true);
    tls_pair_run(&p);
    assert_bytes(&p.got, &sent);
    tls_pair_release(&p);
    buf_release(&sent);
  }
}

static void bytes_that_come_with_the_end_of_the_handshake_are_read(void **state) {
  each_version(version) {
    struct tls_pair p;
    open_in_steps(&p, *state, *version, 0);
    SSL_do_handshake(p.client);
    while (!SSL_is_init_finished(p.client)) {
      char bytes[4096];
      int n = BIO_read(SSL_get_wbio(p.client), bytes, sizeof bytes);
      if (n > 0) memory_send(p.peer, slice_of(bytes, (size_t)n));
      loop_turn(p.loop, false);
      struct slice answer = memory_received(p.peer);
      BIO_write(SSL_get_rbio(p.client), answer.ptr, (int)answer.len);
      memory_consume(p.peer, answer.len);
      SSL_do_handshake(p.client);
    }
    tls_pair_client_write(&p, "early", 5); // in TLS 1.3 behind the client's Finished
    tls_pair_run(&p);
    assert_true(p.shaken);
    assert_string_equal(buf_text(&p.got), "early");
    tls_pair_release(&p);
  }
}

// --- ends ---

static void a_close_notify_is_the_end_after_the_bytes_before_it(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf got = BUF_INIT;
    shake_version(&p, *state, *version, 0);
    tls_pair_client_write(&p, "last", 4);
    SSL_shutdown(p.client);
    tls_pair_run(&p);
    assert_string_equal(buf_text(&p.got), "last");
    assert_int_equal(p.end, 0);
    assert_null(p.failure);
    struct buf answer = pattern(1000); // the other way goes on
    server_write(&p, &answer, 1000, 1);
    tls_pair_run(&p);
    tls_pair_client_read(&p, &got);
    assert_bytes(&got, &answer);
    tls_pair_close(&p, true);
    tls_pair_release(&p);
    buf_release(&answer);
    buf_release(&got);
  }
}

static void the_end_of_the_carrier_is_an_end_too(void **state) {
  each_version(version) {
    struct tls_pair p;
    shake_version(&p, *state, *version, 0);
    tls_pair_client_write(&p, "last", 4);
    tls_pair_run(&p);
    memory_send(p.peer, SLICE("\x17\x03\x03")); // even within a record
    memory_shutdown(p.peer);
    tls_pair_run(&p);
    assert_string_equal(buf_text(&p.got), "last");
    assert_int_equal(p.end, 0);
    tls_pair_release(&p);
  }
}

static void a_reset_of_the_carrier_is_its_error(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf sent = pattern(1000);
    shake_version(&p, *state, *version, 0);
    memory_reset(p.peer);
    server_write(&p, &sent, 1000, 1);
    assert_true(p.conn->broken);
    assert_false(conn_blocked(p.conn));
    tls_pair_run(&p);
    assert_int_equal(p.end, -ECONNRESET);
    assert_string_equal(p.failure, conn_strerror(ECONNRESET));
    tls_pair_release(&p);
    buf_release(&sent);
  }
}

static void a_reset_drops_what_is_held(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf sent = pattern(200000);
    shake_version(&p, *state, *version, 0);
    memory_set_window(p.peer, 0);
    server_write(&p, &sent, 200000, 1);
    assert_true(p.conn->held && p.conn->unsent);
    memory_reset(p.peer);
    conn_watch_read(p.conn, false); // only the write finds out
    loop_turn(p.loop, false);
    assert_true(p.conn->broken);
    assert_false(conn_blocked(p.conn));
    tls_pair_release(&p);
    buf_release(&sent);
  }
}

static void an_orderly_close_says_so_and_another_does_not(void **state) {
  each_version(version) {
    for (int orderly = 0; orderly < 2; orderly++) {
      struct tls_pair p;
      struct buf got = BUF_INIT;
      shake_version(&p, *state, *version, 0);
      tls_pair_close(&p, orderly);
      assert_true(memory_closed(p.peer));
      tls_pair_run(&p);
      int error = tls_pair_client_read(&p, &got);
      assert_int_equal(error, orderly ? SSL_ERROR_ZERO_RETURN : SSL_ERROR_WANT_READ);
      tls_pair_release(&p);
      buf_release(&got);
    }
  }
}

static void a_close_with_held_records_does_not_cut_into_them(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf sent = pattern(20000);
    shake_version(&p, *state, *version, 0);
    memory_set_window(p.peer, 100);
    server_write(&p, &sent, 20000, 1);
    assert_int_equal(memory_received(p.peer).len, 100);
    memory_set_window(p.peer, SIZE_MAX);
    tls_pair_close(&p, true);
    assert_int_equal(memory_received(p.peer).len, 100);
    tls_pair_release(&p);
    buf_release(&sent);
  }
}

// --- peers that do not play by the rules ---

static void what_is_no_hello_is_refused_with_its_reason(void **state) {
#define BYTES(text) text, sizeof text - 1
  static const struct {
    const char *bytes;
    size_t len;
    const char *reason;
  } cases[] = {
      {BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "the peer does not speak TLS"},
      {BYTES("\x10"), "the peer does not speak TLS"},
      {BYTES("\x16\x02"), "the peer does not speak TLS"},
      {BYTES("\x16\x03\x01\x02\x00\x02"), "the peer does not speak TLS"},
      {BYTES("\x16\x03\x01\x02\x00\x01\x00\x40\x01"), "the hello is too long"},
      {BYTES("\x16\x03\x01\x40\x01\x01\x00\x01\x00"), "the hello is too long"},
      {BYTES("\x16\x03\x01\x00\x03\x01\x00\x01\x00"), "the hello comes in too small pieces"},
      {BYTES("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), "length too short"},
  };
#undef BYTES
  struct fixture *f = *state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tls_pair p;
    tls_pair_open(&p, f->tls, NULL, 0);
    memory_send(p.peer, slice_of(cases[i].bytes, cases[i].len));
    tls_pair_run(&p);
    assert_int_equal(p.end, -EPROTO);
    assert_string_equal(p.failure, cases[i].reason);
    tls_pair_release(&p);
  }
}

// As some clients send it to hide the name that they ask for.
static void a_hello_may_be_cut_into_records(void **state) {
  each_version(version) {
    struct tls_pair p;
    uint8_t hello[4096];
    open_in_steps(&p, *state, *version, 0);
    SSL_do_handshake(p.client);
    size_t len = (size_t)BIO_read(SSL_get_wbio(p.client), hello, sizeof hello), cut = 60;
    uint8_t first[] = {22, 3, 1, 0, (uint8_t)cut};
    uint8_t second[] = {22, 3, 1, (uint8_t)((len - 5 - cut) >> 8), (uint8_t)(len - 5 - cut)};
    memory_send(p.peer, slice_of(first, 5));
    memory_send(p.peer, slice_of(hello + 5, cut));
    loop_turn(p.loop, false);
    memory_send(p.peer, slice_of(second, 5));
    memory_send(p.peer, slice_of(hello + 5 + cut, len - 5 - cut));
    tls_pair_shake(&p);
    tls_pair_release(&p);
  }
}

static void a_peer_that_leaves_during_the_handshake_fails_it(void **state) {
  each_version(version) for (size_t len = 0; len < 100; len += 33) {
    struct tls_pair p;
    char hello[4096];
    open_in_steps(&p, *state, *version, 0);
    SSL_do_handshake(p.client);
    assert_true(BIO_read(SSL_get_wbio(p.client), hello, sizeof hello) > 100);
    memory_send(p.peer, slice_of(hello, len));
    tls_pair_run(&p);
    assert_int_equal(p.end, 1);
    memory_shutdown(p.peer);
    tls_pair_run(&p);
    assert_int_equal(p.end, -EPROTO);
    assert_string_equal(p.failure, "connection closed by peer");
    tls_pair_release(&p);
  }
}

static void a_record_that_was_changed_ends_the_connection(void **state) {
  each_version(version) {
    struct tls_pair p;
    struct buf got = BUF_INIT;
    shake_version(&p, *state, *version, 0);
    tls_pair_client_write(&p, "good", 4);
    tls_pair_run(&p);
    tls_pair_client_write(&p, "bad", 3);
    uint8_t bytes[200];
    int n = BIO_read(SSL_get_wbio(p.client), bytes, sizeof bytes);
    bytes[n - 1] ^= 1;
    memory_send(p.peer, slice_of(bytes, (size_t)n));
    tls_pair_run(&p);
    assert_string_equal(buf_text(&p.got), "good");
    assert_int_equal(p.end, -EPROTO);
    assert_string_equal(p.failure, "decryption failed or bad record mac");
    assert_int_equal(tls_pair_client_read(&p, &got), SSL_ERROR_SSL); // the alert
    tls_pair_release(&p);
    buf_release(&got);
  }
}

static void an_alert_of_the_peer_is_named(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "stranger", &(struct issue){.authority = true});
  SSL_CTX *other = tls_pair_client_context(certificates_path(f->files, "stranger.pem"));
  each_version(version) {
    struct tls_pair p;
    tls_pair_open(&p, f->tls, other, 0);
    SSL_set_max_proto_version(p.client, *version);
    tls_pair_expect_failure(&p, "tlsv1 alert unknown ca", NULL);
    tls_pair_release(&p);
  }
  SSL_CTX_free(other);
}

static void old_versions_and_unknown_ciphers_are_refused(void **state) {
  struct tls_pair p;
  open_in_steps(&p, *state, TLS1_1_VERSION, 0);
  SSL_set_cipher_list(p.client, "ALL:@SECLEVEL=0");
  tls_pair_expect_failure(&p, "unsupported protocol", "tlsv1 alert protocol version");
  tls_pair_release(&p);
  open_in_steps(&p, *state, TLS1_2_VERSION, 0);
  SSL_set_cipher_list(p.client, "ECDHE-RSA-AES128-GCM-SHA256"); // but the server's key is of a curve
  tls_pair_expect_failure(&p, "no shared cipher", "sslv3 alert handshake failure");
  tls_pair_release(&p);
}

static void nobody_negotiates_again(void **state) {
  struct tls_pair p;
  shake_version(&p, *state, TLS1_2_VERSION, 0);
  SSL_renegotiate(p.client);
  tls_pair_expect_failure(&p, NULL, "no renegotiation"); // a warning, which this client does not accept
  assert_string_equal(p.failure, "sslv3 alert handshake failure");
  tls_pair_release(&p);
}

static void keys_may_change_but_not_for_a_peer_that_does_not_read(void **state) {
  struct tls_pair p;
  shake_version(&p, *state, TLS1_3_VERSION, 0);
  for (int i = 0; i < 50; i++) {
    SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED);
    tls_pair_client_write(&p, "x", 1);
    tls_pair_run(&p);
  }
  assert_int_equal(p.got.len, 50);
  memory_set_window(p.peer, 0);
  int updates = 0;
  for (; updates < 20000 && p.end == 1; updates++) {
    SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED);
    tls_pair_client_write(&p, "x", 1);
    tls_pair_run(&p);
  }
  assert_int_equal(p.end, -EPROTO);
  assert_string_equal(p.failure, "the peer does not take the answers to its key updates");
  assert_in_range(updates, 1000, 10000);
  tls_pair_release(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_both_ways_in_steps_of_any_size),
      cmocka_unit_test(a_mebibyte_goes_through_reads_of_any_size),
      cmocka_unit_test(records_are_as_long_as_they_can_be),
      cmocka_unit_test(little_is_encrypted_for_a_peer_that_takes_nothing),
      cmocka_unit_test(a_small_window_lets_everything_through),
      cmocka_unit_test(decrypted_bytes_wait_while_reading_is_off_and_come_when_it_is_on),
      cmocka_unit_test(bytes_that_come_with_the_end_of_the_handshake_are_read),
      cmocka_unit_test(a_close_notify_is_the_end_after_the_bytes_before_it),
      cmocka_unit_test(the_end_of_the_carrier_is_an_end_too),
      cmocka_unit_test(a_reset_of_the_carrier_is_its_error),
      cmocka_unit_test(a_reset_drops_what_is_held),
      cmocka_unit_test(an_orderly_close_says_so_and_another_does_not),
      cmocka_unit_test(a_close_with_held_records_does_not_cut_into_them),
      cmocka_unit_test(what_is_no_hello_is_refused_with_its_reason),
      cmocka_unit_test(a_hello_may_be_cut_into_records),
      cmocka_unit_test(a_peer_that_leaves_during_the_handshake_fails_it),
      cmocka_unit_test(a_record_that_was_changed_ends_the_connection),
      cmocka_unit_test(an_alert_of_the_peer_is_named),
      cmocka_unit_test(old_versions_and_unknown_ciphers_are_refused),
      cmocka_unit_test(nobody_negotiates_again),
      cmocka_unit_test(keys_may_change_but_not_for_a_peer_that_does_not_read),
  };
  return cmocka_run_group_tests(tests, set_up_and_load, tear_down);
}
