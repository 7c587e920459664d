// The server's side of a WebSocket over a memory connection, handled as an arrival and then a client handle
// it: shakes hands, then keeps what comes.
//
//   struct web_server s;
//   web_server_open(&s, NULL);
//   memory_send(s.peer, SLICE(WEB_REQUEST)); web_server_run(&s);
//   s.open, s.got, s.end, s.why
//   web_server_close(&s);
#ifndef LUAMQ_TESTS_WEB_SERVER_H
#define LUAMQ_TESTS_WEB_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "transport/memory.h"
#include "transport/websocket.h"

#define WEB_KEY "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 1.3, with what it is answered by
#define WEB_FIELDS                                                                                           \
  "Host: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " WEB_KEY         \
  "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
#define WEB_REQUEST "GET /mqtt HTTP/1.1\r\n" WEB_FIELDS "\r\n"
#define WEB_ANSWER                                                                                           \
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "  \
  "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

struct web_server {
  struct loop *loop;
  struct memory_peer *peer;
  struct conn *conn; // NULL: closed
  bool open;
  int failed;      // of the handshake: a negative errno, 0: not
  ssize_t end;     // what the read returned that was the last; 1: none yet
  const char *why; // of either
  struct buf got;
  size_t room; // bytes for each read
  int readable, writable;
};

static inline void web_server_end(struct web_server *s, ssize_t error) {
  s->why = error ? conn_failure(s->conn, error) : NULL;
  conn_close(s->conn, !s->open);
  s->conn = NULL;
}

static inline void web_server_read(struct web_server *s) {
  static uint8_t first[70000], second[70000]; // the two parts have guards of their own in between
  size_t part = s->room / 3;
  struct iovec iov[2] = {{first, part}, {second, s->room - part}};
  ssize_t n = conn_read(s->conn, part ? iov : iov + 1, part ? 2 : 1);
  if (n == -EAGAIN) return;
  if (n <= 0) {
    s->end = n;
    web_server_end(s, n);
    return;
  }
  size_t head = (size_t)n < part ? (size_t)n : part;
  assert_true((size_t)n <= s->room);
  buf_add(&s->got, first, head);
  buf_add(&s->got, second, (size_t)n - head);
}

static inline void web_server_readable(struct conn *c) {
  struct web_server *s = c->owner;
  s->readable++;
  if (s->open) {
    web_server_read(s);
    return;
  }
  int error = c->ops->handshake(c);
  s->open = error == 0;
  if (!error || error == -EAGAIN) return;
  s->failed = error;
  web_server_end(s, error);
}

static inline void web_server_writable(struct conn *c) {
  struct web_server *s = c->owner;
  s->writable++;
  if (!s->open) web_server_readable(c);
}

static inline void web_server_run(struct web_server *s) {
  int turns = 0;
  while (loop_turn(s->loop, false))
    assert_true(++turns < 200000);
}

static inline void web_server_open(struct web_server *s, const struct websocket_config *config) {
  static const struct conn_handler handler = {web_server_readable, web_server_writable};
  struct websocket_config defaults;
  websocket_config_init(&defaults);
  *s = (struct web_server){.loop = loop_new_virtual(0), .end = 1, .got = BUF_INIT, .room = 100000};
  struct websocket *w = websocket_new(config ? config : &defaults);
  s->conn = websocket_accept(w, s->loop, memory_open(s->loop, &s->peer));
  websocket_unref(w);
  conn_start(s->conn, &handler, s);
}

static inline void web_server_close(struct web_server *s) {
  if (s->conn) conn_close(s->conn, false);
  memory_peer_free(s->peer);
  buf_release(&s->got);
  loop_free(s->loop);
}

// Sends a request that is agreed to, and takes its answer.
static inline void web_server_upgrade(struct web_server *s) {
  memory_send(s->peer, SLICE(WEB_REQUEST));
  web_server_run(s);
  assert_true(s->open);
  assert_true(slice_eq(memory_received(s->peer), SLICE(WEB_ANSWER)));
  memory_consume(s->peer, sizeof WEB_ANSWER - 1);
}

#endif
