#include "client/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/conn.h"

uint64_t mqtt_socket_now(void) {
  struct clock c;
  clock_init(&c);
  return c.now_ms;
}

void mqtt_socket_init(struct mqtt_socket *s, const struct mqtt_client_options *options) {
  *s = (struct mqtt_socket){.fd = -1, .watch_fd = -1};
  mqtt_client_init(&s->client, options);
}

void mqtt_socket_close(struct mqtt_socket *s) {
  stream_release(&s->stream);
  if (s->fd < 0) return;
  close(s->fd);
  s->fd = -1;
  if (!*s->error) snprintf(s->error, sizeof s->error, "connection closed");
}

void mqtt_socket_release(struct mqtt_socket *s) {
  mqtt_socket_close(s);
  mqtt_client_release(&s->client);
}

static enum mqtt_socket_result end(struct mqtt_socket *s, const char *error) {
  if (!*s->error) snprintf(s->error, sizeof s->error, "%s", error);
  mqtt_socket_close(s);
  return MQTT_SOCKET_CLOSED;
}

// Milliseconds for poll until a deadline that may be never.
static int poll_time(uint64_t deadline_ms) {
  if (deadline_ms == MQTT_SOCKET_FOREVER) return -1;
  uint64_t now = mqtt_socket_now();
  if (deadline_ms <= now) return 0;
  return deadline_ms - now > 1000000 ? 1000000 : (int)(deadline_ms - now);
}

// Opening

// 0, or an errno.
static int finish_connect(int fd, uint64_t deadline_ms) {
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  int n;
  do
    n = poll(&p, 1, poll_time(deadline_ms));
  while ((n < 0 && errno == EINTR) || (n == 0 && mqtt_socket_now() < deadline_ms));
  if (n < 0) return errno;
  if (n == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t len = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
  return error;
}

// A connected socket, or -errno.
static int connect_to(const struct addrinfo *a, uint64_t deadline_ms) {
  int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
  if (fd < 0) return -errno;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  int error = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) error = finish_connect(fd, deadline_ms);
  if (!error) return fd;
  close(fd);
  return -error;
}

// A connected socket, or -errno. A connect that does not block fails when the backlog is full; this one
// waits.
static int connect_to_unix(const struct sockaddr_un *a, uint64_t deadline_ms) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int wait_ms = poll_time(deadline_ms);
  if (wait_ms == 0) wait_ms = 1; // 0 would be no limit
  struct timeval limit = {.tv_sec = wait_ms / 1000, .tv_usec = (suseconds_t)wait_ms % 1000 * 1000};
  if (wait_ms > 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int error;
  do
    error = connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 ? 0 : errno;
  while (error == EINTR);
  if (!error && fcntl(fd, F_SETFL, O_NONBLOCK) == 0) return fd;
  if (!error) error = errno;
  close(fd);
  return error == EAGAIN ? -ETIMEDOUT : -error;
}

static void begin_open(struct mqtt_socket *s) {
  mqtt_socket_close(s);
  *s->error = 0;
  s->broken = false;
}

static bool shake_hands(struct mqtt_socket *s, uint64_t deadline_ms) {
  for (;;) {
    int done = stream_handshake(&s->stream);
    if (done) return done > 0;
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    if (stream_wants_write(&s->stream)) p.events |= POLLOUT;
    if (poll(&p, 1, poll_time(deadline_ms)) != 0 || mqtt_socket_now() < deadline_ms) continue;
    snprintf(s->stream.error, sizeof s->stream.error, "no answer to the handshake");
    return false;
  }
}

static bool open_stream(struct mqtt_socket *s, const struct stream_options *o, uint64_t deadline_ms) {
  stream_init(&s->stream, s->fd, o);
  if (shake_hands(s, deadline_ms)) return true;
  snprintf(s->error, sizeof s->error, "%.120s port %u: %s", o->host, (unsigned)o->port, s->stream.error);
  mqtt_socket_close(s);
  return false;
}

static bool opened(struct mqtt_socket *s) {
  *s->error = 0;
  s->sent_ms = mqtt_socket_now();
  s->pinged_ms = 0;
  return true;
}

bool mqtt_socket_open_unix(struct mqtt_socket *s, const char *path, uint64_t deadline_ms) {
  begin_open(s);
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int fd = -ENAMETOOLONG;
  if (strlen(path) < sizeof a.sun_path) {
    memcpy(a.sun_path, path, strlen(path) + 1);
    fd = connect_to_unix(&a, deadline_ms);
  }
  if (fd < 0)
    snprintf(s->error, sizeof s->error, "%.120s: %s", path, conn_strerror(-fd));
  else
    s->fd = fd;
  if (s->fd < 0) return false;
  stream_init(&s->stream, s->fd, &(struct stream_options){0});
  return opened(s);
}

bool mqtt_socket_open(struct mqtt_socket *s, const char *host, uint16_t port, uint64_t deadline_ms) {
  begin_open(s);
  char service[8];
  snprintf(service, sizeof service, "%u", (unsigned)port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  int error = getaddrinfo(host, service, &hints, &list);
  if (error) {
    snprintf(s->error, sizeof s->error, "%s: %s", host, gai_strerror(error));
    return false;
  }
  for (struct addrinfo *a = list; a && s->fd < 0; a = a->ai_next) {
    int fd = connect_to(a, deadline_ms);
    if (fd < 0)
      snprintf(s->error, sizeof s->error, "%s port %u: %s", host, (unsigned)port, conn_strerror(-fd));
    else
      s->fd = fd;
  }
  freeaddrinfo(list);
  if (s->fd < 0) return false;
  struct stream_options o = {.tls = s->tls, .websocket = s->websocket, .host = host, .port = port};
  return open_stream(s, &o, deadline_ms) && opened(s);
}

// One wait: send, poll, read

// Whether bytes are on their way that the socket did not take.
static bool waits_to_write(const struct mqtt_socket *s) {
  return s->client.out.len || stream_wants_write(&s->stream);
}

static void send_some(struct mqtt_socket *s) {
  struct buf *out = &s->client.out;
  if (s->broken) out->len = 0;
  ssize_t n = 0;
  if (out->len)
    n = stream_write(&s->stream, out->ptr, out->len);
  else if (!s->broken && !stream_flush(&s->stream))
    n = -1;
  if (n > 0) {
    buf_consume(out, (size_t)n);
    s->sent_ms = mqtt_socket_now();
  } else if (n < 0) {
    s->broken = true; // what the server said before is still to be read
    out->len = 0;
  }
}

static enum mqtt_socket_result read_some(struct mqtt_socket *s) {
  uint8_t bytes[16384];
  ssize_t n = stream_read(&s->stream, bytes, sizeof bytes);
  if (n < 0) return end(s, s->stream.error);
  if (n > 0) mqtt_client_feed(&s->client, slice_of(bytes, (size_t)n));
  return MQTT_SOCKET_EVENT;
}

// When the next ping is due or its answer is missed, or never.
static uint64_t keep_alive_due(const struct mqtt_socket *s) {
  if (!s->keep_alive_ms || s->client.state != MQTT_CLIENT_CONNECTED) return MQTT_SOCKET_FOREVER;
  return (s->pinged_ms ? s->pinged_ms : s->sent_ms) + s->keep_alive_ms;
}

static enum mqtt_socket_result keep_alive(struct mqtt_socket *s) {
  if (keep_alive_due(s) > mqtt_socket_now()) return MQTT_SOCKET_EVENT;
  if (s->pinged_ms) return end(s, "no answer to a ping");
  mqtt_client_ping(&s->client);
  s->pinged_ms = mqtt_socket_now();
  return MQTT_SOCKET_EVENT;
}

// Returns MQTT_SOCKET_EVENT when something was sent or read, or a ping is due: then the caller looks again.
static enum mqtt_socket_result wait_once(struct mqtt_socket *s, uint64_t deadline_ms) {
  if (s->fd < 0) return MQTT_SOCKET_CLOSED;
  if (keep_alive(s) == MQTT_SOCKET_CLOSED) return MQTT_SOCKET_CLOSED;
  send_some(s);
  if (stream_has_more(&s->stream)) return read_some(s);
  uint64_t due = keep_alive_due(s);
  struct pollfd p[2] = {{.fd = s->fd, .events = (short)(POLLIN | (waits_to_write(s) ? POLLOUT : 0))},
                        {.fd = s->watch_fd, .events = POLLIN}};
  int n = poll(p, 2, poll_time(due < deadline_ms ? due : deadline_ms));
  if (n < 0 && errno != EINTR) return end(s, conn_strerror(errno));
  if (n == 0) return mqtt_socket_now() >= deadline_ms ? MQTT_SOCKET_TIMEOUT : MQTT_SOCKET_EVENT;
  if (n > 0 && p[0].revents & ~POLLOUT) return read_some(s);
  return n > 0 && p[1].revents ? MQTT_SOCKET_WATCHED : MQTT_SOCKET_EVENT;
}

// The DISCONNECT that says what was wrong goes out if it can at once.
static enum mqtt_socket_result end_wrong(struct mqtt_socket *s, const char *error) {
  send_some(s);
  return end(s, error);
}

// The text of a reason string is the server's: what could move a terminal is left out.
static void end_disconnected(struct mqtt_socket *s, const struct mqtt_client_event *e) {
  char text[REASON_TEXT_SIZE];
  struct packet_property said;
  struct buf quoted = BUF_INIT;
  bool explained = packet_find_property(&e->properties, PROPERTY_REASON_STRING, &said);
  if (explained) packet_format_string(said.value, &quoted);
  snprintf(s->error, sizeof s->error, "disconnected by the server: %s%s%.200s", reason_text(e->code, text),
           explained ? ", " : "", buf_text(&quoted));
  buf_release(&quoted);
  mqtt_socket_close(s);
}

enum mqtt_socket_result mqtt_socket_next(struct mqtt_socket *s, uint64_t deadline_ms,
                                         struct mqtt_client_event *e) {
  for (;;) {
    if (mqtt_client_next(&s->client, e)) {
      if (e->type == MQTT_CLIENT_ERROR) return end_wrong(s, e->error);
      if (e->type == MQTT_CLIENT_CONNACK) s->keep_alive_ms = s->client.keep_alive * UINT64_C(1000);
      if (e->type == MQTT_CLIENT_PINGRESP) s->pinged_ms = 0;
      if (e->type == MQTT_CLIENT_DISCONNECTED) end_disconnected(s, e);
      return MQTT_SOCKET_EVENT;
    }
    enum mqtt_socket_result r = wait_once(s, deadline_ms);
    if (r != MQTT_SOCKET_EVENT) return r;
  }
}

enum mqtt_socket_result mqtt_socket_next_packet(struct mqtt_socket *s, uint64_t deadline_ms,
                                                struct packet *p) {
  for (;;) {
    int n = mqtt_client_next_packet(&s->client, p);
    if (n > 0) return MQTT_SOCKET_EVENT;
    if (n < 0) return end(s, packet_strerror(n));
    enum mqtt_socket_result r = wait_once(s, deadline_ms);
    if (r != MQTT_SOCKET_EVENT) return r;
  }
}

enum mqtt_socket_result mqtt_socket_flush(struct mqtt_socket *s, uint64_t deadline_ms) {
  if (s->fd >= 0) send_some(s);
  while (s->fd >= 0 && waits_to_write(s) && !s->broken) {
    enum mqtt_socket_result r = wait_once(s, deadline_ms);
    if (r != MQTT_SOCKET_EVENT) return r;
  }
  return s->fd >= 0 && !s->broken ? MQTT_SOCKET_EVENT : MQTT_SOCKET_CLOSED;
}

void mqtt_socket_disconnect(struct mqtt_socket *s, uint64_t deadline_ms) {
  if (s->client.state == MQTT_CLIENT_CONNECTED) mqtt_client_disconnect(&s->client, REASON_SUCCESS, NULL);
  s->watch_fd = -1;
  if (mqtt_socket_flush(s, deadline_ms) == MQTT_SOCKET_EVENT) {
    stream_end(&s->stream);
    while (wait_once(s, deadline_ms) == MQTT_SOCKET_EVENT) {
    }
  }
  mqtt_socket_close(s);
}
