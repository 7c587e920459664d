// Connections: CONNECT to SUBACK, deliveries and acknowledgements. One read a readiness into a buffer that
// all share; of an unfinished packet only its head is kept, and the rest of a long payload is skipped as it
// comes. The acks of one read leave in one send.

#include "cmd/bench.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "packet/packet.h"
#include "packet/reason.h"

#define EVENTS     256
#define KEEP_ALIVE 300 // seconds; longer than a run, so that no ping is due

uint64_t bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void bench_conns_init(struct bench *b, uint32_t count) {
  b->conns = mem_calloc(count, sizeof(*b->conns));
  b->conn_count = count;
  for (uint32_t i = 0; i < count; i++) {
    b->conns[i].stream.fd = -1;
    b->conns[i].number = i;
  }
}

void bench_conns_release(struct bench *b) {
  for (uint32_t i = 0; i < b->conn_count; i++)
    bench_close(b, &b->conns[i]);
  mem_free(b->conns);
  b->conns = NULL;
  b->conn_count = 0;
}

static const char *role(const struct bench_conn *c) {
  return c->pub ? "publisher" : c->sub ? "subscriber" : "client";
}

static bool broke(struct bench *b, const struct bench_conn *c, const char *what) {
  static const char *const states[] = {
      "closed",  "connecting", "shaking hands", "waiting for CONNACK", "waiting for SUBACK",
      "at work", "leaving"};
  return bench_fail(b, "%s %u, %s: %s", role(c), c->number, states[c->state], what);
}

// ---- writing

static void watch(struct bench *b, struct bench_conn *c, int op, bool to_write) {
  struct epoll_event e = {.events = EPOLLIN | (to_write ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(b->epoll, op, c->stream.fd, &e);
  c->waits_to_write = to_write;
}

// EPOLLOUT as long as something waits.
static void watch_output(struct bench *b, struct bench_conn *c) {
  if (bench_blocked(c) != c->waits_to_write) watch(b, c, EPOLL_CTL_MOD, !c->waits_to_write);
}

bool bench_send(struct bench *b, struct bench_conn *c, const void *bytes, size_t len) {
  ssize_t n = c->out.len ? 0 : stream_write(&c->stream, bytes, len);
  if (n < 0) return broke(b, c, c->stream.error);
  if ((size_t)n < len) buf_add(&c->out, (const uint8_t *)bytes + n, len - (size_t)n);
  watch_output(b, c);
  return true;
}

static bool flush(struct bench *b, struct bench_conn *c) {
  if (!stream_flush(&c->stream)) return broke(b, c, c->stream.error);
  ssize_t n = c->out.len ? stream_write(&c->stream, c->out.ptr, c->out.len) : 0;
  if (n < 0) return broke(b, c, c->stream.error);
  if (n > 0) buf_consume(&c->out, (size_t)n);
  watch_output(b, c);
  return true;
}

static bool send_packet(struct bench *b, struct bench_conn *c, const struct packet *p) {
  struct buf out = BUF_INIT;
  packet_encode(p, b->opt.version, &out);
  bool ok = bench_send(b, c, out.ptr, out.len);
  buf_release(&out);
  return ok;
}

static bool send_connect(struct bench *b, struct bench_conn *c) {
  char id[24];
  snprintf(id, sizeof(id), "bench-%u", c->number);
  struct packet p = {.type = PACKET_CONNECT,
                     .connect = {.version = b->opt.version,
                                 .clean_session = true,
                                 .keep_alive = KEEP_ALIVE,
                                 .client_id = slice_str(id)}};
  c->state = BENCH_CONNACK;
  return send_packet(b, c, &p);
}

bool bench_subscribe(struct bench *b, struct bench_conn *c) {
  struct buf list = BUF_INIT;
  size_t len = strlen(c->filter);
  buf_add_byte(&list, (uint8_t)(len >> 8));
  buf_add_byte(&list, (uint8_t)len);
  buf_add(&list, c->filter, len);
  buf_add_byte(&list, b->opt.qos);
  struct packet p = {.type = PACKET_SUBSCRIBE, .id = 1, .subscribe = {.count = 1, .list = buf_slice(&list)}};
  c->state = BENCH_SUBACK;
  bool ok = send_packet(b, c, &p);
  buf_release(&list);
  return ok;
}

bool bench_leave(struct bench *b, struct bench_conn *c) {
  c->state = BENCH_LEAVING;
  return send_packet(b, c, &(struct packet){.type = PACKET_DISCONNECT});
}

// ---- reading

static bool ready(struct bench *b, struct bench_conn *c) {
  c->state = BENCH_READY;
  b->ready_count++;
  return b->on_ready ? b->on_ready(b, c) : true;
}

static void queue_ack(struct bench *b, uint8_t type, uint16_t id) {
  uint8_t ack[4];
  buf_add(&b->acks, ack, packet_put_ack(ack, type, id));
}

static void complete(struct bench *b, struct bench_conn *c) {
  if (c->pending_qos) queue_ack(b, c->pending_qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, c->pending_id);
  bench_delivered(b, c->sub, c->pending, c->pending_qos);
}

static void acked(struct bench *b, struct bench_pub *p) {
  p->acked++;
  b->acked++;
}

// Messages of QoS 1 and 2 that are not acknowledged are at most those of the window, of each subscriber.
static bool on_connack(struct bench *b, struct bench_conn *c, struct slice packet) {
  struct packet p;
  ssize_t n = packet_decode(&p, packet, b->opt.version, BENCH_HEAD_MAX);
  if (n < 0) return broke(b, c, packet_strerror((int)n));
  if (p.connack.code)
    return bench_fail(b, "%s %u: the broker refused it with code %u", role(c), c->number, p.connack.code);
  uint32_t most = packet_property_number(&p.connack.properties, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX);
  if (c->pub && b->opt.qos && b->opt.window > most)
    return bench_fail(b, "the broker takes %u messages at once: --window is larger", most);
  return c->filter[0] ? bench_subscribe(b, c) : ready(b, c);
}

static bool control(struct bench *b, struct bench_conn *c, const uint8_t *packet, uint32_t head,
                    uint32_t rest) {
  const uint8_t *body = packet + head;
  uint8_t type = packet[0] >> 4;
  uint16_t id = (uint16_t)(rest >= 2 ? body[0] << 8 | body[1] : 0);
  if (type == PACKET_CONNACK && c->state == BENCH_CONNACK && rest >= 2)
    return on_connack(b, c, slice_of(packet, head + rest));
  if (type == PACKET_SUBACK && c->state == BENCH_SUBACK && rest >= 3) {
    uint8_t code = body[rest - 1];
    if (code != b->opt.qos) return bench_fail(b, "'%s' was granted with code %u", c->filter, code);
    return ready(b, c);
  }
  if (rest > 2 && body[2] >= REASON_UNSPECIFIED_ERROR)
    return bench_fail(b, "%s %u: the broker refused a message with code %u", role(c), c->number, body[2]);
  if (type == PACKET_PUBREL && c->sub)
    queue_ack(b, PACKET_PUBCOMP, id);
  else if (type == PACKET_PUBREC && c->pub)
    queue_ack(b, PACKET_PUBREL, id);
  else if ((type == PACKET_PUBACK || type == PACKET_PUBCOMP) && c->pub)
    acked(b, c->pub);
  else
    return broke(b, c, packet_type_name(type));
  return true;
}

// Takes one packet, or what is there of a PUBLISH whose stamp is complete. The bytes used, 0 when more have
// to come before anything can be done, -1 after a failure.
static ssize_t take_publish(struct bench *b, struct bench_conn *c, struct slice in, uint32_t head,
                            uint32_t rest) {
  if (in.len < head + 2) return 0;
  uint8_t qos = in.ptr[0] >> 1 & 3;
  uint32_t topic_len = (uint32_t)(in.ptr[head] << 8 | in.ptr[head + 1]);
  uint32_t id_at = head + 2 + topic_len, stamp_at = id_at + (qos ? 2 : 0);
  bool has_properties = b->opt.version == MQTT_5;
  stamp_at += has_properties; // the length of none
  if (topic_len > BENCH_TOPIC_MAX || stamp_at + sizeof(struct bench_stamp) > head + rest || !c->sub) {
    broke(b, c, "got a message that this generator did not send");
    return -1;
  }
  if (in.len < stamp_at + sizeof(struct bench_stamp)) return 0;
  if (has_properties && in.ptr[stamp_at - 1]) {
    broke(b, c, "got a message with properties");
    return -1;
  }
  memcpy(&c->pending, in.ptr + stamp_at, sizeof(c->pending));
  c->pending_qos = qos;
  if (qos) c->pending_id = (uint16_t)(in.ptr[id_at] << 8 | in.ptr[id_at + 1]);
  if (in.len < head + rest) {
    c->skip = head + rest - (uint32_t)in.len;
    return (ssize_t)in.len;
  }
  complete(b, c);
  return (ssize_t)head + (ssize_t)rest;
}

static ssize_t take(struct bench *b, struct bench_conn *c, struct slice in) {
  if (c->skip) {
    uint32_t n = in.len < c->skip ? (uint32_t)in.len : c->skip;
    c->skip -= n;
    if (!c->skip) complete(b, c);
    return (ssize_t)n;
  }
  uint32_t head = 1, rest = 0;
  for (uint32_t shift = 0;; shift += 7) {
    if (in.len <= head) return 0;
    if (shift > 21) {
      broke(b, c, "malformed remaining length");
      return -1;
    }
    uint8_t byte = in.ptr[head++];
    rest |= (uint32_t)(byte & 127) << shift;
    if (!(byte & 128)) break;
  }
  if (in.ptr[0] >> 4 == PACKET_PUBLISH) return take_publish(b, c, in, head, rest);
  if (head + rest > BENCH_HEAD_MAX) {
    broke(b, c, "got a control packet of a size that nobody asked for");
    return -1;
  }
  if (in.len < head + rest) return 0;
  return control(b, c, in.ptr, head, rest) ? (ssize_t)(head + rest) : -1;
}

static bool feed(struct bench *b, struct bench_conn *c, struct slice in) {
  while (in.len) {
    ssize_t n = take(b, c, in);
    if (n < 0) return false;
    if (n == 0) break;
    in = slice_from(in, (size_t)n);
  }
  c->kept = (uint8_t)in.len; // less than BENCH_HEAD_MAX, or it would have been taken
  if (in.len) memcpy(c->head, in.ptr, in.len);
  if (!b->acks.len) return true;
  bool ok = bench_send(b, c, b->acks.ptr, b->acks.len);
  b->acks.len = 0;
  return ok;
}

static bool closed(struct bench *b, struct bench_conn *c, const char *why) {
  if (!b->on_closed) return broke(b, c, why);
  bench_close(b, c);
  return b->on_closed(b, c);
}

static bool readable(struct bench *b, struct bench_conn *c) {
  do {
    uint8_t *start = b->input + BENCH_HEAD_MAX - c->kept;
    ssize_t n = stream_read(&c->stream, b->input + BENCH_HEAD_MAX, BENCH_INPUT);
    if (n < 0) return closed(b, c, c->stream.error);
    if (n == 0) break;
    b->now_ns = b->progress_ns = bench_now();
    if (c->kept) memcpy(start, c->head, c->kept);
    if (!feed(b, c, slice_of(start, c->kept + (size_t)n))) return false;
  } while (stream_has_more(&c->stream));
  watch_output(b, c); // a layer may have answered
  return true;
}

// ---- opening and closing

static bool shake_hands(struct bench *b, struct bench_conn *c) {
  int done = stream_handshake(&c->stream);
  if (done < 0) return broke(b, c, c->stream.error);
  watch_output(b, c);
  return done ? send_connect(b, c) : true;
}

static bool connected(struct bench *b, struct bench_conn *c) {
  int error = 0;
  socklen_t len = sizeof(error);
  getsockopt(c->stream.fd, SOL_SOCKET, SO_ERROR, &error, &len);
  if (error) return broke(b, c, strerror(error));
  c->state = BENCH_HANDSHAKE;
  return shake_hands(b, c);
}

bool bench_open(struct bench *b, struct bench_conn *c) {
  int on = 1;
  c->kept = 0;
  c->skip = 0;
  c->out.len = 0;
  c->since_ns = bench_now();
  c->state = BENCH_CONNECTING;
  int fd = socket(b->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return broke(b, c, strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  stream_init(&c->stream, fd,
              &(struct stream_options){
                  .tls = b->tls, .websocket = b->opt.websocket ? &b->websocket : NULL, .host = b->opt.host});
  if (connect(fd, (struct sockaddr *)&b->addr, b->addr_len) < 0 && errno != EINPROGRESS)
    return broke(b, c, strerror(errno));
  watch(b, c, EPOLL_CTL_ADD, true);
  return true;
}

void bench_close(struct bench *b, struct bench_conn *c) {
  (void)b; // closing takes it out of the epoll set
  int fd = c->stream.fd;
  stream_release(&c->stream);
  if (fd >= 0) close(fd);
  buf_release(&c->out);
  c->waits_to_write = false;
  c->state = BENCH_CLOSED;
}

static bool event(struct bench *b, struct bench_conn *c, uint32_t events) {
  if (c->state == BENCH_CONNECTING) return connected(b, c);
  if (c->state == BENCH_HANDSHAKE) return shake_hands(b, c);
  if ((events & EPOLLOUT) && !flush(b, c)) return false;
  return events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? readable(b, c) : true;
}

bool bench_turn(struct bench *b, int wait_ms) {
  struct epoll_event events[EVENTS];
  int n = epoll_wait(b->epoll, events, EVENTS, wait_ms);
  if (n < 0 && errno != EINTR) return bench_fail(b, "epoll_wait: %s", strerror(errno));
  for (int i = 0; i < n; i++)
    if (!event(b, events[i].data.ptr, events[i].events)) return false;
  return true;
}

bool bench_in_time(struct bench *b) {
  uint64_t now_ns = bench_now();
  if (now_ns - b->begin_ns > b->opt.deadline * NS_PER_S)
    return bench_fail(b, "not finished after %u s", b->opt.deadline);
  if (now_ns - b->progress_ns > b->opt.timeout * NS_PER_S)
    return bench_fail(b, "nothing came from the broker for %u s (%u of %u connections ready)", b->opt.timeout,
                      b->ready_count, b->conn_count);
  return true;
}

bool bench_open_all(struct bench *b, uint32_t from, uint32_t count) {
  uint32_t goal = b->ready_count + count, opened = 0;
  b->progress_ns = bench_now();
  while (b->ready_count < goal) {
    while (opened < count && goal - count + opened - b->ready_count < b->opt.concurrency)
      if (!bench_open(b, &b->conns[from + opened++])) return false;
    if (!bench_turn(b, 100) || !bench_in_time(b)) return false;
  }
  return true;
}
