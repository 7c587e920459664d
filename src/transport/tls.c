#include <assert.h>
#include <errno.h>
#include <openssl/err.h>

#include "base/mem.h"
#include "transport/tls_impl.h"

// The SSL reads from the carrier and writes into the buffer that all connections of a struct tls share; what
// is in there after a call goes to the carrier with one write. What the carrier does not take is copied into
// `held`, and while there is such a rest nothing more is encrypted.

#define GOES_ON     1
#define READS_MAX   20 // of the carrier in a call, some 16 KiB each: short records cost as much as long ones
#define ENCRYPT_MAX 65536 // bytes of records after which the carrier has to take them
// Beyond what writes leave there: answers to a peer that has us change keys again and again, but does not
// read.
#define HELD_MAX (ENCRYPT_MAX + 65536)

static struct tls_conn *tls_conn_of(const struct conn *c) {
  return container_of((struct conn *)(uintptr_t)c, struct tls_conn, conn);
}

struct tls_conn *tls_conn_of_ssl(const SSL *ssl) {
  return BIO_get_data(SSL_get_rbio(ssl));
}

// --- the SSL's side of the carrier ---

static int bio_read(BIO *b, char *out, int len) {
  struct tls_conn *c = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  if (c->hello) return (int)tls_hello_take(c, (uint8_t *)out, (size_t)len);
  struct iovec iov = {out, (size_t)len};
  ssize_t n = c->reads_left ? conn_read(c->carrier, &iov, 1) : -EAGAIN;
  // After a short one asking again would cost a system call for nothing; the loop tells when there is more.
  c->reads_left = n < len ? 0 : c->reads_left - 1;
  if (n > 0) return (int)n;
  if (n == -EAGAIN) BIO_set_retry_read(b);
  if (n == 0) c->carrier_ended = true;
  if (n < 0 && n != -EAGAIN) c->carrier_error = (int)n;
  return n == 0 ? 0 : -1;
}

static int bio_write(BIO *b, const char *bytes, int len) {
  struct tls_conn *c = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  buf_add(&c->tls->records, bytes, (size_t)len);
  return len;
}

static long bio_ctrl(BIO *b, int command, long number, void *ptr) {
  (void)number, (void)ptr;
  if (command == BIO_CTRL_EOF) return ((struct tls_conn *)BIO_get_data(b))->carrier_ended;
  return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_method(void) {
  BIO_METHOD *method = mem_require(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "carrier"));
  BIO_meth_set_read(method, bio_read);
  BIO_meth_set_write(method, bio_write);
  BIO_meth_set_ctrl(method, bio_ctrl);
  return method;
}

// --- records to the carrier ---

static void keep_records(struct tls_conn *c, struct slice rest) {
  buf_add_slice(&c->held, rest);
  c->conn.held = true;
  conn_watch(c->carrier, c->carrier->reading, true);
  if (c->held.len > HELD_MAX) {
    c->failure = "the peer does not take the answers to its key updates";
    c->end = -EPROTO;
  }
}

static void carrier_failed(struct tls_conn *c, int error) {
  c->write_error = error;
  c->conn.broken = true;
  c->conn.held = false;
  buf_release(&c->held);
}

// Bytes that the carrier has taken, also 0.
static size_t carrier_write(struct tls_conn *c, struct slice bytes) {
  struct iovec iov = {(void *)(uintptr_t)bytes.ptr, bytes.len};
  ssize_t n = c->carrier->ops->write(c->carrier, &iov, 1);
  if (n >= 0) return (size_t)n;
  if (n != -EAGAIN) carrier_failed(c, (int)n);
  return 0;
}

// Sends the records that were made since there were `from` bytes of them.
static void send_records(struct tls_conn *c, size_t from) {
  struct buf *records = &c->tls->records;
  struct slice rest = slice_from(buf_slice(records), from);
  if (rest.len && !c->conn.held && !c->write_error) rest = slice_from(rest, carrier_write(c, rest));
  if (rest.len && !c->write_error) keep_records(c, rest);
  records->len = from;
}

static void on_carrier_writable(struct conn *carrier) {
  struct tls_conn *c = carrier->owner;
  if (c->conn.held) {
    size_t n = carrier_write(c, buf_slice(&c->held));
    if (n) {
      buf_consume(&c->held, n);
      c->conn.progressed = true;
    }
    if (c->held.len) return;
    buf_release(&c->held);
    c->conn.held = false;
  }
  conn_watch(carrier, carrier->reading, c->conn.writing);
  conn_on_writable(&c->conn);
}

// --- failures ---

static int fail(struct tls_conn *c, const char *why) {
  c->failure = why;
  return -EPROTO;
}

// What a call that cannot go on has ended with. A peer that ends its TCP stream without having said so in TLS
// is at its end too: MQTT's clients do so, and a packet tells its length.
static int ending(struct tls_conn *c, int ssl_error) {
  unsigned long error = ERR_peek_last_error();
  bool cut = !error || ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  const char *reason = tls_take_reason("unknown failure of TLS");
  if (c->carrier_error) return c->carrier_error;
  if (ssl_error == SSL_ERROR_ZERO_RETURN || (c->carrier_ended && cut))
    return c->shaken ? 0 : fail(c, "connection closed by peer");
  long verified = SSL_get_verify_result(c->ssl);
  if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
    reason = X509_verify_cert_error_string(verified);
  return fail(c, reason);
}

// --- operations ---

static void make_ssl(struct tls_conn *c) {
  c->ssl = mem_require(SSL_new(c->tls->contexts[0]));
  BIO *bio = mem_require(BIO_new(c->tls->method));
  BIO_set_data(bio, c);
  BIO_set_init(bio, 1);
  SSL_set_bio(c->ssl, bio, bio);
}

// Whether there is an SSL now; else it takes more, or has ended.
static bool has_hello(struct tls_conn *c) {
  const char *why = NULL;
  ssize_t n = tls_hello_gather(c, &why);
  if (n == 0) make_ssl(c);
  if (n < 0 && n != -EAGAIN) c->end = why ? fail(c, why) : (int)n;
  return n == 0;
}

static int tls_handshake(struct conn *conn) {
  struct tls_conn *c = tls_conn_of(conn);
  if (c->end != GOES_ON) return c->end;
  if (!c->ssl && !has_hello(c)) return c->end != GOES_ON ? c->end : -EAGAIN;
  size_t from = c->tls->records.len;
  ERR_clear_error();
  c->reads_left = READS_MAX;
  int done = SSL_accept(c->ssl), error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, done);
  if (done == 1) {
    c->shaken = true;
    c->more = SSL_has_pending(c->ssl);
    ERR_clear_error();
  } else if (error != SSL_ERROR_WANT_READ) {
    c->end = ending(c, error);
  }
  send_records(c, from);
  if (c->more && conn->reading) loop_make_ready(c->loop, &c->ready);
  if (c->end != GOES_ON) return c->end;
  return done == 1 ? 0 : -EAGAIN;
}

// Fills the iovecs; returns the bytes. Sets `more` when they are full, and `end`.
static size_t decrypt(struct tls_conn *c, const struct iovec *iov, int count) {
  size_t got = 0, n;
  c->more = false;
  for (int i = 0; i < count; i++) {
    for (size_t at = 0; at < iov[i].iov_len; at += n, got += n) {
      if (SSL_read_ex(c->ssl, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at, &n)) continue;
      int error = SSL_get_error(c->ssl, 0);
      if (error != SSL_ERROR_WANT_READ) c->end = ending(c, error);
      return got;
    }
  }
  c->more = SSL_has_pending(c->ssl);
  return got;
}

static ssize_t tls_read(struct conn *conn, struct iovec *iov, int count) {
  struct tls_conn *c = tls_conn_of(conn);
  if (c->end != GOES_ON) return c->end;
  size_t from = c->tls->records.len;
  ERR_clear_error();
  c->reads_left = READS_MAX;
  size_t got = decrypt(c, iov, count);
  ERR_clear_error();
  send_records(c, from);
  if (got && conn->reading && (c->more || c->end != GOES_ON)) loop_make_ready(c->loop, &c->ready);
  if (got) return (ssize_t)got;
  return c->end != GOES_ON ? c->end : -EAGAIN;
}

struct cursor { // into the plaintext of a write
  const struct iovec *iov, *last;
  size_t at; // of *iov
};

// The next bytes that become one record: where they are when there are enough of them, else gathered.
static struct slice next_piece(struct cursor *from, uint8_t *gathered) {
  size_t len = 0;
  for (; from->iov <= from->last && len < SSL3_RT_MAX_PLAIN_LENGTH; from->iov++, from->at = 0) {
    const uint8_t *bytes = (const uint8_t *)from->iov->iov_base + from->at;
    size_t left = from->iov->iov_len - from->at, room = SSL3_RT_MAX_PLAIN_LENGTH - len;
    size_t part = left < room ? left : room;
    bool direct = len == 0 && (part == SSL3_RT_MAX_PLAIN_LENGTH || from->iov == from->last);
    if (!direct && part) memcpy(gathered + len, bytes, part);
    len += part;
    if (part < left) {
      from->at += part;
      return slice_of(direct ? bytes : gathered, len);
    }
    if (direct) {
      from->iov++;
      from->at = 0;
      return slice_of(bytes, len);
    }
  }
  return slice_of(gathered, len);
}

static bool encrypt_piece(struct tls_conn *c, struct slice piece) {
  for (size_t n; piece.len; piece = slice_from(piece, n)) // the peer may have asked for shorter records
    if (!SSL_write_ex(c->ssl, piece.ptr, piece.len, &n)) return false;
  return true;
}

// Records of as much as the carrier may have to be asked for at once; returns the bytes, -EPROTO when it
// failed.
static ssize_t encrypt(struct tls_conn *c, struct cursor *from) {
  struct buf *records = &c->tls->records;
  size_t start = records->len, taken = 0;
  while (records->len - start < ENCRYPT_MAX) {
    struct slice piece = next_piece(from, c->tls->plaintext);
    if (!piece.len) break;
    if (!encrypt_piece(c, piece)) { // nothing can be read any more either, and the peer waits
      c->end = fail(c, tls_take_reason("cannot encrypt"));
      if (c->conn.reading) loop_make_ready(c->loop, &c->ready);
      return c->end;
    }
    taken += piece.len;
  }
  return (ssize_t)taken;
}

static ssize_t tls_write(struct conn *conn, const struct iovec *iov, int count) {
  struct tls_conn *c = tls_conn_of(conn);
  assert(!conn->held && c->shaken);
  struct cursor cursor = {iov, iov + count - 1, 0};
  ssize_t taken = 0, n = 0;
  ERR_clear_error();
  do {
    if (c->write_error) return c->write_error;
    size_t from = c->tls->records.len;
    n = encrypt(c, &cursor);
    send_records(c, from);
    taken += n > 0 ? n : 0;
  } while (n > 0 && !conn->held);
  return n < 0 ? n : taken;
}

static void tls_watch(struct conn *conn, bool read, bool write) {
  struct tls_conn *c = tls_conn_of(conn);
  conn_watch(c->carrier, read, write || conn->held);
  ready_cancel(&c->ready);
  if (read && (c->more || c->end != GOES_ON)) loop_make_ready(c->loop, &c->ready);
}

static void tls_local(const struct conn *conn, struct address *out) {
  conn_local_address(tls_conn_of(conn)->carrier, out);
}

static const char *tls_failure(const struct conn *conn) { return tls_conn_of(conn)->failure; }

static struct conn *tls_carrier(const struct conn *conn) { return tls_conn_of(conn)->carrier; }

// The end is told, not agreed on: the peer's close_notify is not waited for.
static void say_goodbye(struct tls_conn *c) {
  size_t from = c->tls->records.len;
  SSL_shutdown(c->ssl);
  ERR_clear_error();
  send_records(c, from);
}

static void tls_close(struct conn *conn, bool orderly) {
  struct tls_conn *c = tls_conn_of(conn);
  ready_cancel(&c->ready);
  if (orderly && c->shaken && !conn->held && !conn->broken && !c->failure) say_goodbye(c);
  SSL_free(c->ssl);
  ERR_clear_error();
  buf_release(&c->held);
  tls_hello_drop(c);
  conn_close(c->carrier, orderly);
  tls_unref(c->tls);
  mem_free(c);
}

static const struct conn_ops tls_ops = {.read = tls_read,
                                        .write = tls_write,
                                        .watch = tls_watch,
                                        .local = tls_local,
                                        .close = tls_close,
                                        .handshake = tls_handshake,
                                        .failure = tls_failure,
                                        .carrier = tls_carrier};

static void on_carrier_readable(struct conn *carrier) {
  struct tls_conn *c = carrier->owner;
  c->conn.handler->readable(&c->conn);
}

static void on_ready(struct ready *r) {
  struct tls_conn *c = container_of(r, struct tls_conn, ready);
  c->conn.handler->readable(&c->conn);
}

static const struct conn_handler carrier_handler = {on_carrier_readable, on_carrier_writable};

struct conn *tls_accept(struct tls *t, struct loop *l, struct conn *carrier) {
  struct tls_conn *c = mem_calloc(1, sizeof *c);
  *c = (struct tls_conn){.conn = {.ops = &tls_ops}, .carrier = carrier, .tls = tls_ref(t), .loop = l};
  c->end = GOES_ON;
  ready_init(&c->ready, on_ready);
  carrier->handler = &carrier_handler;
  carrier->owner = c;
  return &c->conn;
}

const struct tls_conn *tls_conn_below(const struct conn *c) {
  while (c && c->ops != &tls_ops)
    c = c->ops->carrier ? c->ops->carrier(c) : NULL;
  return c ? tls_conn_of(c) : NULL;
}
