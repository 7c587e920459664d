#include "transport/memory.h"

#include <errno.h>

#include "base/mem.h"

// One object for both ends; freed when both have let go of it.
struct memory_peer {
  struct conn conn;
  struct loop *loop;
  struct ready ready; // while the broker's end has something to be told
  struct buf to_broker, from_broker;
  size_t window;
  bool ended, reset; // by the peer
  bool conn_open, peer_open;
};

static struct memory_peer *peer_of(const struct conn *c) {
  return container_of((struct conn *)(uintptr_t)c, struct memory_peer, conn);
}

static size_t room(const struct memory_peer *p) {
  return p->window > p->from_broker.len ? p->window - p->from_broker.len : 0;
}

static bool is_readable(const struct memory_peer *p) {
  return p->conn.reading && (p->to_broker.len || p->ended || p->reset);
}

static void update_ready(struct memory_peer *p) {
  bool writable = p->conn.writing && (room(p) || p->reset);
  ready_cancel(&p->ready);
  if (p->conn_open && (is_readable(p) || writable)) loop_make_ready(p->loop, &p->ready);
}

// Level-triggered, as the sockets are: it stays ready until what it tells has been taken. One event a turn,
// reading first; the handler may close the conn.
static void run(struct ready *r) {
  struct memory_peer *p = container_of(r, struct memory_peer, ready);
  loop_make_ready(p->loop, r);
  if (is_readable(p))
    p->conn.handler->readable(&p->conn);
  else
    conn_on_writable(&p->conn);
}

static ssize_t memory_read(struct conn *c, struct iovec *iov, int count) {
  struct memory_peer *p = peer_of(c);
  size_t got = 0;
  for (int i = 0; i < count && got < p->to_broker.len; i++) {
    size_t left = p->to_broker.len - got, part = left < iov[i].iov_len ? left : iov[i].iov_len;
    memcpy(iov[i].iov_base, p->to_broker.ptr + got, part);
    got += part;
  }
  buf_consume(&p->to_broker, got);
  update_ready(p);
  if (got) return (ssize_t)got;
  if (p->reset) return -ECONNRESET;
  return p->ended ? 0 : -EAGAIN;
}

static ssize_t memory_write(struct conn *c, const struct iovec *iov, int count) {
  struct memory_peer *p = peer_of(c);
  if (p->reset) return -EPIPE;
  size_t before = p->from_broker.len;
  for (int i = 0; i < count && room(p); i++)
    buf_add(&p->from_broker, iov[i].iov_base, iov[i].iov_len < room(p) ? iov[i].iov_len : room(p));
  size_t sent = p->from_broker.len - before;
  update_ready(p);
  return sent || !count ? (ssize_t)sent : -EAGAIN;
}

static void memory_watch(struct conn *c, bool read, bool write) {
  struct memory_peer *p = peer_of(c);
  p->conn.reading = read;
  p->conn.writing = write;
  update_ready(p);
}

static void memory_local(const struct conn *c, struct address *out) {
  (void)c;
  *out = (struct address){.family = AF_UNSPEC};
}

static void release(struct memory_peer *p) {
  ready_cancel(&p->ready);
  if (p->conn_open || p->peer_open) return;
  buf_release(&p->to_broker);
  buf_release(&p->from_broker);
  mem_free(p);
}

static void memory_close(struct conn *c, bool orderly) {
  (void)orderly;
  struct memory_peer *p = peer_of(c);
  p->conn_open = false;
  release(p);
}

static bool memory_gone(const struct conn *c) { return peer_of(c)->reset; }

static const struct conn_ops memory_ops = {.read = memory_read,
                                           .gone = memory_gone,
                                           .write = memory_write,
                                           .watch = memory_watch,
                                           .local = memory_local,
                                           .close = memory_close};

struct conn *memory_open(struct loop *l, struct memory_peer **peer) {
  struct memory_peer *p = mem_calloc(1, sizeof *p);
  p->conn.ops = &memory_ops;
  p->loop = l;
  p->window = SIZE_MAX;
  p->conn_open = p->peer_open = true;
  ready_init(&p->ready, run);
  *peer = p;
  return &p->conn;
}

void memory_send(struct memory_peer *p, struct slice bytes) {
  if (!p->conn_open || p->ended || p->reset) return;
  buf_add_slice(&p->to_broker, bytes);
  update_ready(p);
}

struct slice memory_received(const struct memory_peer *p) {
  return buf_slice(&p->from_broker);
}

void memory_consume(struct memory_peer *p, size_t bytes) {
  buf_consume(&p->from_broker, bytes);
  update_ready(p);
}

void memory_set_window(struct memory_peer *p, size_t bytes) {
  p->window = bytes;
  update_ready(p);
}

void memory_shutdown(struct memory_peer *p) {
  p->ended = true;
  update_ready(p);
}

void memory_reset(struct memory_peer *p) {
  p->reset = true;
  update_ready(p);
}

bool memory_closed(const struct memory_peer *p) { return !p->conn_open; }

void memory_peer_free(struct memory_peer *p) {
  memory_reset(p);
  p->peer_open = false;
  if (!p->conn_open) release(p);
}
