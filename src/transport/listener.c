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
#include "transport/unix_socket.h"

#define ACCEPTS_PER_TURN 16
#define RETRY_MS         1000
#define LISTENER_URL_MAX 512

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
  struct timer retry;              // armed: accepting pauses
  struct unix_socket *unix_socket; // or NULL: tcp
  struct route route;
  bool watch;
  char url[LISTENER_URL_MAX];
};

void listener_pause(struct listener *l) {
  for (struct socket *s = l->sockets; s; s = s->next)
    event_del(&s->event);
}

static void pause_accepting(struct listener *l, int error) {
  if (timer_armed(&l->retry)) return;
  listener_pause(l);
  timer_arm(&l->loop->timers, &l->retry, l->loop->clock.now_ms + RETRY_MS);
  char text[128];
  snprintf(text, sizeof text, "accept: %s", conn_strerror(error));
  l->handler->failed(l->arg, text);
}

static void resume_accepting(struct timer *t) { listener_retry(container_of(t, struct listener, retry)); }

// False, and errno says why, when epoll does not take one of them: then none is watched.
static bool watch_sockets(struct listener *l) {
  for (struct socket *s = l->sockets; s; s = s->next) {
    if (event_add(&s->event, NULL) == 0) continue;
    int error = errno;
    listener_pause(l);
    errno = error;
    return false;
  }
  return true;
}

void listener_retry(struct listener *l) {
  if (!l->sockets || event_pending(&l->sockets->event, EV_READ, NULL)) return;
  timer_disarm(&l->loop->timers, &l->retry);
  if (!watch_sockets(l)) timer_arm(&l->loop->timers, &l->retry, l->loop->clock.now_ms + RETRY_MS);
}

static bool is_passing(int error) { // of that one connection, which is gone
  return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM || error == ENETDOWN ||
         error == EHOSTUNREACH || error == ENETUNREACH || error == ENOPROTOOPT || error == EHOSTDOWN;
}

// Who has connected. False when it is not known: then nobody is let in.
static bool find_remote(const struct listener *l, int fd, const struct sockaddr_storage *from,
                        struct address *out) {
  if (l->unix_socket) return unix_socket_peer(fd, out);
  address_from(out, (const struct sockaddr *)from);
  return true;
}

static void accept_some(struct listener *l, const struct socket *s) {
  for (int i = 0; i < ACCEPTS_PER_TURN && event_pending(&s->event, EV_READ, NULL); i++) {
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    int client = accept4(s->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
      struct address remote;
      if (find_remote(l, client, &from, &remote))
        l->handler->accepted(l->arg, l, tcp_new(l->loop, client), &remote);
      else
        close(client);
    } else if (errno == EAGAIN)
      return;
    else if (!is_passing(errno)) {
      pause_accepting(l, errno);
      return;
    }
  }
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  const struct socket *s = arg;
  struct listener *l = s->listener;
  loop_enter(l->loop);
  accept_some(l, s);
  loop_leave(l->loop);
}

void listener_config_init(struct listener_config *c, const char *url) {
  *c = (struct listener_config){
      .url = url,
      .backlog = 1024,
      .nodelay = true,
      .keepalive = LISTENER_KEEPALIVE_SYSTEM,
      .mode = 0660,
      .uid = LISTENER_SAME_UID,
      .gid = LISTENER_SAME_GID,
      .handshake_timeout_ms = 10000,
  };
}

static void set_option(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// What is accepted inherits keepalive and nodelay (tcp(7)), which saves calls for each connection.
static void set_options(int fd, const struct listener_config *c, bool is_ipv6) {
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, c->keepalive != 0);
  if (c->keepalive > 0) set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, c->keepalive);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, c->nodelay);
  if (c->reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (is_ipv6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !c->dual_stack);
}

static int open_socket(const struct addrinfo *info, const struct listener_config *c) {
  int fd = inherited_take(c->inherited, info->ai_addr, info->ai_addrlen);
  bool is_bound = fd >= 0;
  if (!is_bound)
    fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
  if (fd < 0) return -errno;
  set_options(fd, c, info->ai_family == AF_INET6);
  if (is_bound) return fd;
  if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, c->backlog) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

static void add_socket(struct listener *l, int fd) {
  struct socket *s = mem_calloc(1, sizeof *s);
  s->listener = l;
  s->fd = fd;
  event_assign(&s->event, l->loop->base, fd, EV_READ | EV_PERSIST, on_acceptable, s);
  s->next = l->sockets;
  l->sockets = s;
}

// The system chooses the port.
static bool is_any_port(const struct addrinfo *info) {
  struct address a;
  address_from(&a, info->ai_addr);
  return a.port == 0;
}

static void set_url(struct listener *l, const char *url, int fd) {
  struct sockaddr_storage sa = {0};
  socklen_t len = sizeof sa;
  struct address a;
  char text[ADDRESS_TEXT_MAX];
  getsockname(fd, (struct sockaddr *)&sa, &len);
  address_from(&a, (struct sockaddr *)&sa);
  struct slice scheme = address_scheme(url), path = address_path(url);
  snprintf(l->url, sizeof l->url, "%.*s://%s%.*s", (int)scheme.len, (const char *)scheme.ptr,
           address_format(&a, text), (int)path.len, (const char *)path.ptr);
}

// NULL, or why nothing is open.
static const char *open_tcp(struct listener *l, const struct listener_config *c) {
  int missing = 0;
  struct addrinfo *list = NULL;
  const char *failed = address_resolve(c->url, &list);
  for (struct addrinfo *info = list; info && !failed; info = info->ai_next) {
    int fd = open_socket(info, c);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) { // such as ::1 of localhost without IPv6
      missing = -fd;
      continue;
    }
    if (fd < 0) {
      failed = conn_strerror(-fd);
      break;
    }
    if (!l->sockets) set_url(l, c->url, fd);
    add_socket(l, fd);
    if (is_any_port(info)) break; // each further address would get a port of its own
  }
  if (list) freeaddrinfo(list);
  if (failed || l->sockets) return failed;
  return missing ? conn_strerror(missing) : "no usable address";
}

static const char *open_unix(struct listener *l, const struct listener_config *c, char *why,
                             size_t why_size) {
  struct unix_socket *u = mem_alloc(sizeof *u);
  if (!unix_socket_open(u, c, why, why_size)) {
    mem_free(u);
    return why;
  }
  l->unix_socket = u;
  snprintf(l->url, sizeof l->url, "unix://%s", u->path);
  add_socket(l, u->fd);
  return NULL;
}

static void set_route(struct listener *l, const struct listener_config *c) {
  l->route = (struct route){.timeout_ms = c->handshake_timeout_ms,
                            .proxy_protocol = c->proxy_protocol,
                            .trusted_proxies = networks_copy(c->trusted_proxies),
                            .tls = c->tls ? tls_ref(c->tls) : NULL,
                            .websocket = c->websocket ? websocket_ref(c->websocket) : NULL};
  l->watch = c->watch;
}

struct listener *listener_open(struct loop *loop, const struct listener_config *config,
                               const struct listener_handler *handler, void *arg, char *error,
                               size_t error_size) {
  struct listener *l = mem_calloc(1, sizeof *l);
  *l = (struct listener){.loop = loop, .handler = handler, .arg = arg};
  timer_init(&l->retry, resume_accepting);
  set_route(l, config);
  char why[128];
  const char *failed =
      unix_socket_path(config->url) ? open_unix(l, config, why, sizeof why) : open_tcp(l, config);
  if (!failed && watch_sockets(l)) return l;
  if (!failed) failed = conn_strerror(errno);
  snprintf(error, error_size, "cannot listen on %s: %s", config->url, failed);
  listener_close(l);
  return NULL;
}

const char *listener_url(const struct listener *l) { return l->url; }
const struct route *listener_route(const struct listener *l) { return &l->route; }
bool listener_watches(const struct listener *l) { return l->watch; }

void listener_set_timeout(struct listener *l, uint32_t handshake_timeout_ms) {
  l->route.timeout_ms = handshake_timeout_ms;
}

void listener_lend(const struct listener *l, struct inherited *out) {
  for (const struct socket *s = l->sockets; s; s = s->next)
    inherited_add(out, s->fd);
}

bool listener_succeed(struct listener *l, struct listener *old, char *error, size_t error_size) {
  struct unix_socket *u = l->unix_socket, *before = old->unix_socket;
  if (!u || !before || u->inode || strcmp(u->path, before->path) != 0) return true;
  return unix_socket_take_file(u, before, error, error_size);
}

void listener_close(struct listener *l) {
  timer_disarm(&l->loop->timers, &l->retry);
  if (l->unix_socket) unix_socket_unlink(l->unix_socket);
  mem_free(l->unix_socket);
  networks_free(l->route.trusted_proxies);
  tls_unref(l->route.tls);
  websocket_unref(l->route.websocket);
  for (struct socket *s; (s = l->sockets);) {
    l->sockets = s->next;
    event_del(&s->event);
    close(s->fd);
    mem_free(s);
  }
  mem_free(l);
}
