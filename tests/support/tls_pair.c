#include "tls_pair.h"

#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TURNS_MAX 100000

SSL_CTX *tls_pair_client_context(const char *ca) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  assert_non_null(context);
  if (ca) {
    assert_int_equal(SSL_CTX_load_verify_file(context, ca), 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  }
  return context;
}

static void ended(struct tls_pair *p, ssize_t error) {
  p->end = error;
  if (error < 0) p->failure = conn_failure(p->conn, error);
  conn_watch(p->conn, false, false);
}

static void shake(struct tls_pair *p) {
  int error = p->conn->ops->handshake(p->conn);
  assert_int_equal(ERR_peek_error(), 0);
  if (error == 0) p->shaken = true;
  if (error && error != -EAGAIN) ended(p, error);
}

static void on_readable(struct conn *c) {
  struct tls_pair *p = c->owner;
  if (!p->shaken) {
    shake(p);
    return;
  }
  buf_reserve(&p->got, p->read_size);
  struct iovec iov[2] = {{p->got.ptr + p->got.len, 1}, {p->got.ptr + p->got.len + 1, p->read_size - 1}};
  ssize_t n = conn_read(c, iov, p->read_size > 1 ? 2 : 1);
  assert_int_equal(ERR_peek_error(), 0);
  if (n > 0) p->got.len += (size_t)n;
  if (n <= 0 && n != -EAGAIN) ended(p, n);
}

static void on_writable(struct conn *c) {
  struct tls_pair *p = c->owner;
  p->writable++;
  if (!p->shaken) shake(p);
}

static const struct conn_handler handler = {on_readable, on_writable};

void tls_pair_open(struct tls_pair *p, struct tls *tls, SSL_CTX *client, size_t step) {
  *p = (struct tls_pair){.loop = loop_new_virtual(0), .step = step ? step : SIZE_MAX, .end = 1};
  p->read_size = 4096;
  p->conn = tls_accept(tls, p->loop, memory_open(p->loop, &p->peer));
  conn_start(p->conn, &handler, p);
  if (!client) return;
  p->client = SSL_new(client);
  SSL_set_bio(p->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(p->client);
}

static bool to_server(struct tls_pair *p) {
  char bytes[4096];
  if (!p->client) return false;
  int n = BIO_read(SSL_get_wbio(p->client), bytes, p->step < sizeof bytes ? (int)p->step : (int)sizeof bytes);
  if (n > 0) memory_send(p->peer, slice_of(bytes, (size_t)n));
  return n > 0;
}

static void client_shake(struct tls_pair *p) {
  if (SSL_do_handshake(p->client) > 0 || p->client_failure) return;
  p->client_failure = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
}

static bool to_client(struct tls_pair *p) {
  struct slice bytes = memory_received(p->peer);
  if (!p->client || !bytes.len) return false;
  if (bytes.len > p->step) bytes.len = p->step;
  assert_int_equal(BIO_write(SSL_get_rbio(p->client), bytes.ptr, (int)bytes.len), bytes.len);
  memory_consume(p->peer, bytes.len);
  if (!SSL_is_init_finished(p->client)) client_shake(p);
  return true;
}

void tls_pair_run(struct tls_pair *p) {
  int turns = 0;
  for (bool any = true; any;) {
    assert_true(++turns < TURNS_MAX);
    any = to_server(p);
    any |= to_client(p);
    any |= loop_turn(p->loop, false);
  }
  ERR_clear_error(); // the client's
}

void tls_pair_shake(struct tls_pair *p) {
  SSL_do_handshake(p->client);
  tls_pair_run(p);
  if (!p->shaken || p->failure) fail_msg("handshake: %s", p->failure ? p->failure : "not done");
  assert_true(SSL_is_init_finished(p->client));
}

void tls_pair_expect_failure(struct tls_pair *p, const char *server, const char *client) {
  char byte;
  client_shake(p);
  tls_pair_run(p);
  if (server) {
    assert_int_equal(p->end, -EPROTO);
    assert_string_equal(p->failure, server);
  }
  if (!client) return;
  if (!p->client_failure && SSL_read(p->client, &byte, 1) <= 0)
    p->client_failure = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  assert_non_null(p->client_failure);
  assert_string_equal(p->client_failure, client);
}

void tls_pair_client_write(struct tls_pair *p, const void *bytes, size_t len) {
  size_t n;
  assert_int_equal(SSL_write_ex(p->client, bytes, len, &n), 1);
  assert_int_equal(n, len);
}

int tls_pair_client_read(struct tls_pair *p, struct buf *out) {
  size_t n;
  for (;;) {
    buf_reserve(out, 16384);
    if (!SSL_read_ex(p->client, out->ptr + out->len, 16384, &n)) break;
    out->len += n;
  }
  int error = SSL_get_error(p->client, 0);
  ERR_clear_error();
  return error;
}

void tls_pair_close(struct tls_pair *p, bool orderly) {
  conn_close(p->conn, orderly);
  p->conn = NULL;
  assert_int_equal(ERR_peek_error(), 0);
}

void tls_pair_release(struct tls_pair *p) {
  if (p->conn) conn_close(p->conn, false);
  memory_peer_free(p->peer);
  SSL_free(p->client);
  buf_release(&p->got);
  loop_free(p->loop);
}
