#include "transport/conn.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

#define PARTS_A_CALL 64

void conn_watch(struct conn *c, bool read, bool write) {
  if (read == c->reading && write == c->writing) return;
  c->ops->watch(c, read, write);
  c->reading = read;
  c->writing = write;
}

void conn_start(struct conn *c, const struct conn_handler *handler, void *owner) {
  c->handler = handler;
  c->owner = owner;
  conn_watch(c, true, false);
}

void conn_watch_read(struct conn *c, bool on) { conn_watch(c, on, c->writing); }

ssize_t conn_read(struct conn *c, struct iovec *iov, int count) { return c->ops->read(c, iov, count); }

static void drop_unsent(struct conn *c) {
  struct unsent *u = c->unsent;
  if (!u) return;
  for (; u->at < u->count; u->at++)
    if (u->parts[u->at].owner) u->unref(u->parts[u->at].owner);
  mem_free(u);
  c->unsent = NULL;
}

// After a failed write the peer's last packets may still be unread: they are processed, and the read that
// finds the end or the error closes.
static void write_failed(struct conn *c) {
  c->broken = true;
  c->held = false;
  drop_unsent(c);
  conn_watch(c, c->reading, false);
}

static size_t copied_bytes(const struct iovec *iov, int count, const struct conn_lent *lent) {
  size_t total = 0;
  for (int i = 0; i < count; i++)
    if (!lent || !lent->owners[i]) total += iov[i].iov_len;
  return total;
}

// One allocation: the parts, then the bytes that are copied.
static void keep_rest(struct conn *c, const struct iovec *iov, int count, const struct conn_lent *lent,
                      size_t sent) {
  size_t parts = (size_t)count * sizeof(struct unsent_part);
  struct unsent *u = mem_alloc(sizeof *u + parts + copied_bytes(iov, count, lent));
  uint8_t *copy = (uint8_t *)(u + 1) + parts;
  *u = (struct unsent){.unref = lent ? lent->unref : NULL, .parts = (struct unsent_part *)(u + 1)};
  for (int i = 0; i < count; i++) {
    size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len, len = iov[i].iov_len - skip;
    sent -= skip;
    if (!len) continue;
    uint8_t *from = (uint8_t *)iov[i].iov_base + skip;
    void *owner = lent ? lent->owners[i] : NULL;
    if (owner) {
      lent->ref(owner);
    } else {
      from = memcpy(copy, from, len);
      copy += len;
    }
    u->parts[u->count++] = (struct unsent_part){{from, len}, owner};
  }
  c->unsent = u;
  conn_watch(c, c->reading, true);
}

size_t conn_write(struct conn *c, struct iovec *iov, int count, const struct conn_lent *lent) {
  assert(!conn_blocked(c));
  if (c->broken) return 0;
  size_t total = 0;
  for (int i = 0; i < count; i++)
    total += iov[i].iov_len;
  ssize_t sent = c->ops->write(c, iov, count);
  if (sent == -EAGAIN) sent = 0;
  if (sent < 0) {
    write_failed(c);
    return 0;
  }
  if ((size_t)sent < total) keep_rest(c, iov, count, lent, (size_t)sent);
  return total - (size_t)sent;
}

// Takes what was sent off the parts.
static void advance(struct unsent *u, size_t sent) {
  while (sent) {
    struct unsent_part *part = &u->parts[u->at];
    size_t len = sent < part->iov.iov_len ? sent : part->iov.iov_len;
    part->iov.iov_base = (uint8_t *)part->iov.iov_base + len;
    part->iov.iov_len -= len;
    sent -= len;
    if (part->iov.iov_len) return;
    if (part->owner) u->unref(part->owner);
    u->at++;
  }
}

static ssize_t send_unsent(struct conn *c) {
  struct unsent *u = c->unsent;
  struct iovec iov[PARTS_A_CALL];
  int count = 0;
  while (count < PARTS_A_CALL && u->at + count < u->count) {
    iov[count] = u->parts[u->at + count].iov;
    count++;
  }
  return c->ops->write(c, iov, count);
}

void conn_on_writable(struct conn *c) {
  if (c->unsent) {
    ssize_t sent = send_unsent(c);
    if (sent == -EAGAIN) return;
    if (sent < 0) {
      write_failed(c);
    } else {
      advance(c->unsent, (size_t)sent);
      c->progressed = true;
      if (c->unsent->at < c->unsent->count) return;
      drop_unsent(c);
      conn_watch(c, c->reading, false);
    }
  }
  if (c->held) return; // its layer calls again when they are gone
  c->handler->writable(c);
}

void conn_local_address(const struct conn *c, struct address *out) { c->ops->local(c, out); }

void conn_close(struct conn *c, bool orderly) {
  drop_unsent(c);
  c->ops->close(c, orderly);
}

const char *conn_failure(const struct conn *c, ssize_t error) {
  const char *text = c->ops->failure ? c->ops->failure(c) : NULL;
  return text ? text : conn_strerror((int)-error);
}

const char *conn_strerror(int error) {
  const char *text = strerrordesc_np(error);
  return text ? text : "unknown error";
}

bool conn_is_gone(const struct conn *c) {
  while (c->ops->carrier)
    c = c->ops->carrier(c);
  return c->ops->gone && c->ops->gone(c);
}
