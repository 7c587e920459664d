// The server's side of a WebSocket over a memory connection, handled as an arrival and then a client handle
// it: shakes hands, then keeps what comes.
//
//   struct web_server s;
//   web_server_open(&s, NULL);
//   memory_send(s.peer, SLICE(WEB_REQUEST)); web_server_run(&s);
//   s.open, s.got, s.end, s.why
//   struct sent sent = sent_none();
//   take_sent(&s, &sent);                                // what it has sent since, frame by frame
//   sent_release(&sent); web_server_close(&s);
#ifndef LUAMQ_TESTS_WEB_SERVER_H
#define LUAMQ_TESTS_WEB_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "naive_frames.h"
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

// Over a connection that is the caller's until then; so stay its peer and its loop.
static inline void web_server_open_over(struct web_server *s, const struct websocket_config *config,
                                        struct loop *loop, struct conn *carrier) {
  static const struct conn_handler handler = {web_server_readable, web_server_writable};
  struct websocket_config defaults;
  websocket_config_init(&defaults);
  *s = (struct web_server){.loop = loop, .end = 1, .got = BUF_INIT, .room = 100000};
  struct websocket *w = websocket_new(config ? config : &defaults);
  s->conn = websocket_accept(w, loop, carrier);
  websocket_unref(w);
  conn_start(s->conn, &handler, s);
}

static inline void web_server_open(struct web_server *s, const struct websocket_config *config) {
  struct loop *loop = loop_new_virtual(0);
  struct memory_peer *peer;
  web_server_open_over(s, config, loop, memory_open(loop, &peer));
  s->peer = peer;
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

enum {
  BINARY = 0x82,
  FRAGMENT = 0x02,
  MORE = 0x00,
  LAST = 0x80,
  TEXT = 0x81,
  CLOSE = 0x88,
  PING = 0x89,
  PONG = 0x8a
};

// --- what the server has sent ---

struct sent {
  struct buf payload; // of binary frames
  unsigned frames;    // binary ones
  unsigned pongs;
  struct buf last_pong; // its payload
  int close;            // the code, 0: without one, -1: no close frame
  struct buf part;      // of a frame that is not whole
};

static inline struct sent sent_none(void) { return (struct sent){.close = -1}; }

static inline void sent_release(struct sent *s) {
  buf_release(&s->payload);
  buf_release(&s->last_pong);
  buf_release(&s->part);
}

static inline void take_frame(struct sent *s, const struct naive_frame *f) {
  assert_true(f->fin && f->shortest && !f->masked && !f->rsv);
  assert_int_equal(s->close, -1); // nothing comes behind it
  switch (f->opcode) {
  case 2:
    s->frames++;
    buf_add_slice(&s->payload, f->payload);
    return;
  case 8:
    assert_true(f->len == 0 || f->len == 2);
    s->close = f->len ? f->payload.ptr[0] << 8 | f->payload.ptr[1] : 0;
    return;
  case 10:
    s->pongs++;
    s->last_pong.len = 0;
    buf_add_slice(&s->last_pong, f->payload);
    return;
  default: fail_msg("opcode %u", f->opcode);
  }
}

static inline void take_sent(struct web_server *server, struct sent *s) {
  struct slice got = memory_received(server->peer);
  buf_add_slice(&s->part, got);
  memory_consume(server->peer, got.len);
  struct naive_frame f;
  size_t header;
  while ((header = naive_frame_read(buf_slice(&s->part), &f)) && f.payload.len == f.len) {
    take_frame(s, &f);
    buf_consume(&s->part, header + (size_t)f.len);
  }
}

// --- what a client sends ---

static inline void send_frame(struct web_server *s, uint8_t first, struct slice payload) {
  struct buf frame = BUF_INIT;
  naive_add_frame(&frame, first, payload, (uint32_t)payload.len * 77 + first);
  memory_send(s->peer, buf_slice(&frame));
  buf_release(&frame);
  web_server_run(s);
}

static inline struct slice some_bytes(size_t len) {
  static uint8_t bytes[1 << 21];
  assert_true(len <= sizeof bytes);
  if (!bytes[1])
    for (size_t i = 0; i < sizeof bytes; i++)
      bytes[i] = (uint8_t)(i * 7 + i / 251 + 3);
  return slice_of(bytes, len);
}

static inline void assert_got(struct web_server *s, const char *text) {
  assert_string_equal(buf_text(&s->got), text);
}

#endif
