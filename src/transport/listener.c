#include "transport/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/tcp.h"

#define ACCEPTS_PER_TURN 64
#define RETRY_MS         1000

struct socket {
  struct socket *next;
  struct listener *listener;
  struct event event;
  int fd;
};

struct listener {
  struct loop *loop;
  const struct listener_handler *handler;
  void *arg;
  struct socket *sockets;
  struct timer retry; // armed: accepting pauses
  char url[ADDRESS_TEXT_MAX + 8];
};

static void pause_accepting(struct listener *l, int error) {
  if (timer_armed(&l->retry)) return;
  for (struct socket *s = l->sockets; s; s = s->next)
    event_del(&s->event);
  timer_arm(&l->loop->timers, &l->retry, l->loop->clock.now_ms + RETRY_MS);
  char text[128];
  snprintf(text, sizeof text, "accept: %s", conn_strerror(error));
  l->handler->failed(l->arg, text);
}

static void resume_accepting(struct timer *t) { listener_retry(container_of(t, struct listener, retry)); }

void listener_retry(struct listener *l) {
  if (!l->sockets || event_pending(&l->sockets->event, EV_READ, NULL)) return;
  timer_disarm(&l->loop->timers, &l->retry);
  for (struct socket *s = l->sockets; s; s = s->next)
    event_add(&s->event, NULL);
}

static bool is_passing(int error) { // of that one connection, which is gone
  return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM || error == ENETDOWN ||
         error == EHOSTUNREACH || error == ENETUNREACH || error == ENOPROTOOPT || error == EHOSTDOWN;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg) {
  (void)what;
  struct socket *s = arg;
  struct listener *l = s->listener;
  for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    int client = accept4(fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
      struct address remote;
      address_from(&remote, (struct sockaddr *)&from);
      l->handler->accepted(l->arg, tcp_new(l->loop, client), &remote);
    } else if (errno == EAGAIN)
      return;
    else if (!is_passing(errno)) {
      pause_accepting(l, errno);
      return;
    }
  }
}

static int open_socket(const struct addrinfo *info, int backlog) {
  int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
  if (fd < 0) return -errno;
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // These two are inherited by what is accepted (tcp(7)), which saves calls for each connection.
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (info->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

static void add_socket(struct listener *l, int fd) {
  struct socket *s = mem_calloc(1, sizeof *s);
  s->listener = l;
  s->fd = fd;
  event_assign(&s->event, l->loop->base, fd, EV_READ | EV_PERSIST, on_acceptable, s);
  event_add(&s->event, NULL);
  s->next = l->sockets;
  l->sockets = s;
}

static bool is_any_port(const char *url) {
  size_t len = strlen(url);
  return len > 2 && strcmp(url + len - 2, ":0") == 0;
}

static void set_url(struct listener *l, int fd) {
  struct sockaddr_storage sa = {0};
  socklen_t len = sizeof sa;
  struct address a;
  char text[ADDRESS_TEXT_MAX];
  getsockname(fd, (struct sockaddr *)&sa, &len);
  address_from(&a, (struct sockaddr *)&sa);
  snprintf(l->url, sizeof l->url, "tcp://%s", address_format(&a, text));
}

struct listener *listener_open(struct loop *loop, const char *url, int backlog,
                               const struct listener_handler *handler, void *arg, char *error,
                               size_t error_size) {
  int missing = 0;
  struct addrinfo *list = NULL;
  const char *failed = address_resolve(url, &list);
  struct listener *l = mem_calloc(1, sizeof *l);
  *l = (struct listener){.loop = loop, .handler = handler, .arg = arg};
  timer_init(&l->retry, resume_accepting);
  for (struct addrinfo *info = list; info && !failed; info = info->ai_next) {
    int fd = open_socket(info, backlog);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) { // such as ::1 of localhost without IPv6
      missing = -fd;
      continue;
    }
    if (fd < 0) {
      failed = conn_strerror(-fd);
      break;
    }
    if (!l->sockets) set_url(l, fd);
    add_socket(l, fd);
    if (is_any_port(url)) break; // each further address would get a port of its own
  }
  if (list) freeaddrinfo(list);
  if (!failed && !l->sockets) failed = missing ? conn_strerror(missing) : "no usable address";
  if (!failed) return l;
  snprintf(error, error_size, "cannot listen on %s: %s", url, failed);
  listener_close(l);
  return NULL;
}

const char *listener_url(const struct listener *l) { return l->url; }

void listener_close(struct listener *l) {
  timer_disarm(&l->loop->timers, &l->retry);
  for (struct socket *s; (s = l->sockets);) {
    l->sockets = s->next;
    event_del(&s->event);
    close(s->fd);
    mem_free(s);
  }
  mem_free(l);
}
