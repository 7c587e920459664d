// The layers, from the caller's bytes down to the socket's. Each of them turns bytes into bytes; only
// `send_some` and OpenSSL's read BIO touch the socket.
//
//   stream_write -> [ws_client_write] -> [SSL_write] -> out -> send
//   stream_read  <- [ws_client_feed]  <- [SSL_read]  <-------- recv
#include "client/stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "transport/conn.h"

#define WRITE_MAX   (256u * 1024)  // bytes that are encoded at a time
#define FEED_MAX    65536          // bytes for the WebSocket at a time
#define ANSWERS_MAX (1024u * 1024) // pongs and the like that a peer may leave unread

static int failed(struct stream *s, const char *text) {
  snprintf(s->error, sizeof s->error, "%s", text);
  return -1;
}

void stream_init(struct stream *s, int fd, const struct stream_options *o) {
  *s = (struct stream){.fd = fd};
  if (o->tls) s->ssl = tls_client_connection(o->tls, fd, o->host, o->websocket ? "http/1.1" : "mqtt");
  s->tls_ready = !s->ssl;
  s->ready = !s->ssl && !o->websocket;
  if (!o->websocket) return;
  struct ws_client_options websocket = *o->websocket;
  websocket.host = o->host;
  websocket.port = o->port == (o->tls ? 443 : 80) ? 0 : o->port;
  s->ws = ws_client_new(&websocket);
}

void stream_release(struct stream *s) {
  SSL_free(s->ssl);
  ws_client_free(s->ws);
  buf_release(&s->out);
  buf_release(&s->early);
  s->ssl = NULL;
  s->ws = NULL;
  s->fd = -1;
}

// The socket has failed with an errno, or has come to its end (0).
static int lost(struct stream *s, int error) {
  const char *text = error ? conn_strerror(error) : "connection closed";
  const char *where = s->ready ? "" : s->tls_ready ? " in the WebSocket handshake" : " in the TLS handshake";
  snprintf(s->error, sizeof s->error, "%s%s", text, where);
  return -1;
}

// Down

// Bytes that the socket took, or -1.
static ssize_t send_some(struct stream *s, const void *bytes, size_t len) {
  ssize_t n = send(s->fd, bytes, len, MSG_NOSIGNAL);
  if (n >= 0) return n;
  if (errno == EAGAIN || errno == EINTR) return 0;
  s->broken = true;
  s->out.len = 0;
  return s->ended ? -1 : lost(s, errno); // why it has ended says more
}

bool stream_flush(struct stream *s) {
  if (s->broken) return false;
  if (!s->out.len) return true;
  ssize_t n = send_some(s, s->out.ptr, s->out.len);
  if (n > 0) buf_consume(&s->out, (size_t)n);
  return n >= 0;
}

// What TLS has to say goes behind what waits.
static void take_records(struct stream *s) {
  BIO *bio = SSL_get_wbio(s->ssl);
  size_t len = BIO_ctrl_pending(bio), n;
  if (!len) return;
  buf_reserve(&s->out, len);
  if (BIO_read_ex(bio, s->out.ptr + s->out.len, len, &n) == 1 && !s->broken) s->out.len += n;
}

// Memory takes all of it, as long as TLS has not ended.
static void encrypt(struct stream *s, const void *bytes, size_t len) {
  size_t n;
  ERR_clear_error();
  if (SSL_write_ex(s->ssl, bytes, len, &n) != 1) {
    s->broken = true;
    if (!s->ended) tls_client_failure(s->ssl, s->error, sizeof s->error);
  }
  take_records(s);
}

static void take_frames(struct stream *s) {
  struct buf *out = &s->ws->out;
  if (!out->len) return;
  if (s->ssl)
    encrypt(s, out->ptr, out->len);
  else if (!s->broken)
    buf_add_slice(&s->out, buf_slice(out));
  out->len = 0;
}

ssize_t stream_write(struct stream *s, const void *bytes, size_t len) {
  if (!s->ready) return 0;
  if (!stream_flush(s)) return -1;
  if (s->out.len) return 0;
  if (!s->ssl && !s->ws) return send_some(s, bytes, len);
  if (len > WRITE_MAX) len = WRITE_MAX;
  if (s->ws) {
    ws_client_write(s->ws, slice_of(bytes, len));
    take_frames(s);
  } else {
    encrypt(s, bytes, len);
  }
  return stream_flush(s) ? (ssize_t)len : -1;
}

void stream_end(struct stream *s) {
  if (s->ws) {
    ws_client_close(s->ws);
    take_frames(s);
  }
  if (s->ssl && s->tls_ready) {
    SSL_shutdown(s->ssl);
    take_records(s);
    ERR_clear_error();
  }
  // If not all of it has gone, what waits has to go first, and tells the peer.
  if (stream_flush(s) && !s->out.len) shutdown(s->fd, SHUT_WR);
}

// Up

static ssize_t receive(struct stream *s, void *to, size_t size) {
  ssize_t n = recv(s->fd, to, size, 0);
  if (n > 0) return n;
  if (n == 0) return lost(s, 0);
  return errno == EAGAIN || errno == EINTR ? 0 : lost(s, errno);
}

// What OpenSSL's `result` says: 0 to wait, or -1.
static int tls_result(struct stream *s, int result) {
  int saved = errno;
  int error = SSL_get_error(s->ssl, result);
  take_records(s); // alerts as well
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
  if (error == SSL_ERROR_ZERO_RETURN) return lost(s, 0);
  if (error == SSL_ERROR_SYSCALL && !ERR_peek_error()) return lost(s, saved);
  tls_client_failure(s->ssl, s->error, sizeof s->error);
  return -1;
}

static ssize_t decrypt(struct stream *s, void *to, size_t size) {
  size_t total = 0, n;
  do {
    errno = 0;
    ERR_clear_error();
    int result = SSL_read_ex(s->ssl, (char *)to + total, size - total, &n);
    if (result != 1) {
      s->ended = tls_result(s, result) < 0;
      return total || !s->ended ? (ssize_t)total : -1;
    }
    total += n;
  } while (total < size && SSL_has_pending(s->ssl));
  take_records(s);
  return (ssize_t)total;
}

static ssize_t below_websocket(struct stream *s, void *to, size_t size) {
  return s->ssl ? decrypt(s, to, size) : receive(s, to, size);
}

static ssize_t unframe(struct stream *s, void *to, size_t size) {
  uint8_t bytes[FEED_MAX];
  ssize_t n = below_websocket(s, bytes, size < sizeof bytes ? size : sizeof bytes);
  if (n <= 0) return n;
  n = ws_client_feed(s->ws, slice_of(bytes, (size_t)n), to);
  take_frames(s);
  if (*s->ws->error) s->ended = true, failed(s, s->ws->error);
  if (s->out.len > ANSWERS_MAX) return failed(s, "the server does not read what it asks for");
  return n;
}

static ssize_t take_early(struct stream *s, void *to, size_t size) {
  size_t n = s->early.len < size ? s->early.len : size;
  memcpy(to, s->early.ptr, n);
  buf_consume(&s->early, n);
  return (ssize_t)n;
}

ssize_t stream_read(struct stream *s, void *to, size_t size) {
  if (!s->ready) return 0;
  if (s->early.len) return take_early(s, to, size);
  if (s->ended) return -1;
  ssize_t n = s->ws ? unframe(s, to, size) : below_websocket(s, to, size);
  if (n < 0) s->ended = true;
  if (s->out.len) (void)stream_flush(s); // answers of the layers; the next write tells if it failed
  return n;
}

bool stream_has_more(const struct stream *s) {
  return s->early.len || s->ended || (s->ssl && SSL_has_pending(s->ssl));
}

// The handshakes, from the lowest layer up: 1, 0 or -1 as stream_handshake

static int tls_handshake(struct stream *s) {
  errno = 0;
  ERR_clear_error();
  int result = SSL_do_handshake(s->ssl);
  take_records(s);
  if (result != 1) return tls_result(s, result);
  s->tls_ready = true;
  return 1;
}

static int ws_handshake(struct stream *s) {
  uint8_t bytes[4096];
  take_frames(s);
  ssize_t n;
  do {
    n = unframe(s, bytes, sizeof bytes);
    if (n > 0) buf_add(&s->early, bytes, (size_t)n);
  } while (n >= 0 && !s->ended && s->ssl && SSL_has_pending(s->ssl));
  if (n < 0 || s->ended) return -1;
  s->ready = s->ws->ready;
  return s->ready;
}

int stream_handshake(struct stream *s) {
  int r = s->tls_ready ? 1 : tls_handshake(s);
  if (r == 1 && s->ws && !s->ready) r = ws_handshake(s);
  if (r == 1) s->ready = true;
  if (r < 0) s->ended = true;
  if (s->out.len) (void)stream_flush(s); // a refusal is still to be read
  return r;
}
