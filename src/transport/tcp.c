#include "transport/tcp.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <unistd.h>

#include "base/mem.h"

struct tcp_conn {
  struct conn conn;
  struct event read_event;
  struct event *write_event; // allocated when the peer does not take all
  struct loop *loop;
};

static struct tcp_conn *tcp_of(const struct conn *c) {
  return container_of((struct conn *)(uintptr_t)c, struct tcp_conn, conn);
}

// The event knows it.
static int fd_of(const struct tcp_conn *t) { return event_get_fd(&t->read_event); }

static void on_readable(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct conn *c = arg;
  struct loop *l = tcp_of(c)->loop; // the handler may close it
  loop_enter(l);
  c->handler->readable(c);
  loop_leave(l);
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct loop *l = tcp_of(arg)->loop;
  loop_enter(l);
  conn_on_writable(arg);
  loop_leave(l);
}

static ssize_t tcp_read(struct conn *c, struct iovec *iov, int count) {
  ssize_t n;
  do
    n = count == 1 ? recv(fd_of(tcp_of(c)), iov->iov_base, iov->iov_len, 0)
                   : readv(fd_of(tcp_of(c)), iov, count);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static ssize_t tcp_write(struct conn *c, const struct iovec *iov, int count) {
  ssize_t n;
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
  do
    n = count == 1 ? send(fd_of(tcp_of(c)), iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                   : sendmsg(fd_of(tcp_of(c)), &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return n;
  int error = errno;
  // Nothing will follow what was not taken, and a peer that is there after all (no buffers) has to know.
  if (error != EAGAIN) shutdown(fd_of(tcp_of(c)), SHUT_WR);
  return -error;
}

// Of a connection that is shut down: readable until its end has been read.
static void on_unwatched(evutil_socket_t fd, short what, void *arg) {
  event_active(&tcp_of(arg)->read_event, EV_READ, 0);
  on_readable(fd, what, arg);
}

// Nobody would be told any more what happens to the connection: it ends, and its end is told.
static void cannot_watch(struct tcp_conn *t, bool read) {
  shutdown(fd_of(t), SHUT_RDWR);
  if (!read) return;
  event_assign(&t->read_event, t->loop->base, fd_of(t), EV_READ | EV_PERSIST, on_unwatched, &t->conn);
  event_active(&t->read_event, EV_READ, 0);
}

static void tcp_watch(struct conn *c, bool read, bool write) {
  struct tcp_conn *t = tcp_of(c);
  if (read && !c->reading && event_add(&t->read_event, NULL)) cannot_watch(t, true);
  if (!read && c->reading) event_del(&t->read_event);
  if (write && !t->write_event) {
    t->write_event =
        event_new(event_get_base(&t->read_event), fd_of(t), EV_WRITE | EV_PERSIST, on_writable, &t->conn);
    if (event_add(t->write_event, NULL)) cannot_watch(t, false);
  } else if (!write && t->write_event) {
    event_free(t->write_event);
    t->write_event = NULL;
  }
}

static void tcp_local(const struct conn *c, struct address *out) {
  struct sockaddr_storage sa = {0};
  socklen_t len = sizeof sa;
  getsockname(fd_of(tcp_of(c)), (struct sockaddr *)&sa, &len);
  address_from(out, (struct sockaddr *)&sa);
}

// Unread input would turn the close into a reset, which can overtake our last bytes at the peer.
static void shut_down(int fd) {
  char rest[4096];
  shutdown(fd, SHUT_WR);
  for (int i = 0; i < 64; i++)
    if (recv(fd, rest, sizeof rest, MSG_DONTWAIT) <= 0) break;
}

static void tcp_close(struct conn *c, bool orderly) {
  struct tcp_conn *t = tcp_of(c);
  tcp_watch(c, false, false);
  if (orderly) shut_down(fd_of(t));
  close(fd_of(t));
  mem_free(t);
}

// POLLHUP tells that both directions are over: by a reset, but of a unix socket also when the peer has closed
// it in order.
static bool tcp_gone(const struct conn *c) {
  struct pollfd poll_fd = {.fd = fd_of(tcp_of(c))};
  struct address local;
  if (poll(&poll_fd, 1, 0) != 1) return false;
  tcp_local((struct conn *)(uintptr_t)c, &local);
  return poll_fd.revents & (local.family == AF_UNIX ? POLLERR : POLLERR | POLLHUP);
}

static const struct conn_ops tcp_ops = {.read = tcp_read,
                                        .write = tcp_write,
                                        .watch = tcp_watch,
                                        .local = tcp_local,
                                        .close = tcp_close,
                                        .gone = tcp_gone};

struct conn *tcp_new(struct loop *l, int fd) {
  struct tcp_conn *t = mem_calloc(1, sizeof *t);
  t->conn.ops = &tcp_ops;
  t->loop = l;
  event_assign(&t->read_event, l->base, fd, EV_READ | EV_PERSIST, on_readable, &t->conn);
  return &t->conn;
}
