#include "transport/conn.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

static void watch(struct conn *c, bool read, bool write) {
  if (read == c->reading && write == c->writing) return;
  c->ops->watch(c, read, write);
  c->reading = read;
  c->writing = write;
}

void conn_start(struct conn *c, const struct conn_handler *handler, void *owner) {
  c->handler = handler;
  c->owner = owner;
  watch(c, true, false);
}

void conn_watch_read(struct conn *c, bool on) { watch(c, on, c->writing); }

ssize_t conn_read(struct conn *c, struct iovec *iov, int count) { return c->ops->read(c, iov, count); }

static void drop_unsent(struct conn *c) {
  mem_free(c->unsent);
  c->unsent = NULL;
}

// After a failed write the peer's last packets may still be unread: they are processed, and the read that
// finds the end or the error closes.
static void write_failed(struct conn *c) {
  c->broken = true;
  drop_unsent(c);
  watch(c, c->reading, false);
}

static void keep_rest(struct conn *c, const struct iovec *iov, int count, size_t sent) {
  size_t total = 0;
  for (int i = 0; i < count; i++)
    total += iov[i].iov_len;
  c->unsent = mem_alloc(sizeof *c->unsent + total - sent);
  c->unsent->sent = c->unsent->len = 0;
  for (int i = 0; i < count; i++) {
    size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len, part = iov[i].iov_len - skip;
    if (part) memcpy(c->unsent->bytes + c->unsent->len, (const char *)iov[i].iov_base + skip, part);
    c->unsent->len += part;
    sent -= skip;
  }
  watch(c, c->reading, true);
}

size_t conn_write(struct conn *c, struct iovec *iov, int count) {
  assert(!c->unsent);
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
  if ((size_t)sent < total) keep_rest(c, iov, count, (size_t)sent);
  return total - (size_t)sent;
}

void conn_on_writable(struct conn *c) {
  if (c->unsent) {
    struct unsent *u = c->unsent;
    struct iovec iov = {u->bytes + u->sent, u->len - u->sent};
    ssize_t sent = c->ops->write(c, &iov, 1);
    if (sent == -EAGAIN) return;
    if (sent < 0) {
      write_failed(c);
    } else {
      u->sent += (size_t)sent;
      c->progressed = true;
      if (u->sent < u->len) return;
      drop_unsent(c);
      watch(c, c->reading, false);
    }
  }
  c->handler->writable(c);
}

void conn_local_address(const struct conn *c, struct address *out) { c->ops->local(c, out); }

void conn_close(struct conn *c, bool orderly) {
  drop_unsent(c);
  c->ops->close(c, orderly);
}

const char *conn_strerror(int error) {
  const char *text = strerrordesc_np(error);
  return text ? text : "unknown error";
}
