// A WebSocket listener's connection, from the first byte on. The input is a byte of flags, then a row of
// steps: a byte that says what is done, and the bytes that this step needs.
//
// What has to hold: the payload that comes out is what a naive reader takes off the same bytes; all that is
// sent is one answer and whole frames, which hold what was written; nothing is left at the end.
#include <errno.h>

#include "fuzz.h"
#include "naive_frames.h"
#include "transport/arrival.h"
#include "transport/memory.h"

#define MAX_STEPS 2000
#define MAX_WRITE 70000

enum { FLAG_UPGRADED = 1, FLAG_FORWARDED = 2, FLAG_SMALL_READS = 4, FLAG_ORIGINS = 8 };

static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct scene {
  struct loop *loop;
  struct arrivals arrivals;
  struct memory_peer *peer;
  struct conn *conn; // that has arrived
  bool arrived, failed, ended, cut;
  ssize_t end;
  size_t room;
  struct buf sent, received; // by the peer
  struct buf got, written;   // by the server
};

// --- the server ---

static void close_conn(struct scene *s, bool orderly) {
  if (s->conn) conn_close(s->conn, orderly);
  s->conn = NULL;
}

static void readable(struct conn *c) {
  struct scene *s = c->owner;
  static uint8_t bytes[65536];
  struct iovec iov[2] = {{bytes, 1}, {bytes + 1, s->room}};
  ssize_t n = conn_read(c, iov, 2);
  if (n == -EAGAIN) return;
  if (n > 0) {
    buf_add(&s->got, bytes, (size_t)n);
    return;
  }
  s->ended = true;
  s->end = n;
  CHECK(conn_failure(c, n ? n : -ECONNRESET));
  close_conn(s, false);
}

static void writable(struct conn *c) { CHECK(c == ((struct scene *)c->owner)->conn); }

static const struct conn_handler conn_handler = {readable, writable};

static const char *admit(void *arg, const struct address *remote) {
  (void)arg, (void)remote;
  return NULL;
}

static void leave(void *arg, const struct address *remote) { (void)arg, (void)remote; }

static void arrived(void *arg, struct conn *c, const struct address *remote) {
  struct scene *s = arg;
  char text[ADDRESS_TEXT_MAX];
  CHECK(!s->arrived && !s->failed);
  address_format(remote, text);
  s->arrived = true;
  s->conn = c;
  conn_start(c, &conn_handler, s);
}

static void failed(void *arg, const struct address *remote, const char *stage, const char *why) {
  struct scene *s = arg;
  (void)remote;
  CHECK(!s->arrived && !s->failed && stage && why);
  s->failed = true;
}

static const struct arrival_handler arrival_handler = {admit, leave, arrived, failed};

// --- steps ---

static void run(struct scene *s) {
  int turns = 0;
  while (loop_turn(s->loop, false))
    CHECK(++turns < 200000); // it comes to rest
}

static void send_bytes(struct scene *s, struct slice bytes) {
  if (s->cut || memory_closed(s->peer)) return;
  memory_send(s->peer, bytes);
  buf_add_slice(&s->sent, bytes);
}

static void send_some(struct scene *s, struct slice *in, size_t len) { send_bytes(s, fuzz_take(in, len)); }

static void send_frame(struct scene *s, struct slice *in) { // well-formed, so that streams get long
  struct buf frame = BUF_INIT;
  uint8_t first = fuzz_byte(in), len = fuzz_byte(in);
  naive_add_frame(&frame, first, fuzz_take(in, len), first * 7u + len);
  send_bytes(s, buf_slice(&frame));
  buf_release(&frame);
}

static void take_output(struct scene *s) {
  struct slice got = memory_received(s->peer);
  buf_add_slice(&s->received, got);
  memory_consume(s->peer, got.len);
}

static void write_some(struct scene *s, size_t len) {
  static uint8_t bytes[MAX_WRITE];
  if (!s->conn || conn_blocked(s->conn) || s->conn->broken) return;
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t)(s->written.len + i * 3);
  buf_add(&s->written, bytes, len);
  struct iovec iov[3] = {{bytes, len / 3}, {bytes + len / 3, 0}, {bytes + len / 3, len - len / 3}};
  conn_write(s->conn, iov, 3, NULL);
}

static void step(struct scene *s, struct slice *in) {
  uint8_t byte = fuzz_byte(in);
  switch (byte & 15) {
  case 0:
  case 1:
  case 2: send_some(s, in, (size_t)(byte >> 4) + 1); break;
  case 3: send_some(s, in, (size_t)fuzz_byte(in) * 16); break;
  case 4:
  case 5:
  case 6: send_frame(s, in); break;
  case 7: write_some(s, fuzz_byte(in)); break;
  case 8: write_some(s, fuzz_byte(in) * (size_t)(MAX_WRITE / 255)); break;
  case 9: memory_set_window(s->peer, fuzz_byte(in)); break;
  case 10: memory_set_window(s->peer, SIZE_MAX); break;
  case 11:
  case 12: take_output(s); break;
  case 13:
    if (s->conn) conn_watch_read(s->conn, !s->conn->reading);
    break;
  case 14:
    if (byte & 16) memory_shutdown(s->peer);
    if (byte & 32) memory_reset(s->peer);
    s->cut = s->cut || byte & 48;
    break;
  case 15: run(s); break;
  }
  if (byte & 128) run(s);
}

// --- what has to hold ---

// Bytes of the request's head, with what an HTTP server may skip in front of it.
static size_t head_size(struct slice in) {
  size_t at = 0;
  while (at < in.len && (in.ptr[at] == '\r' || in.ptr[at] == '\n'))
    at++;
  for (; at < in.len; at++) {
    if (in.ptr[at] != '\n') continue;
    if (at + 1 < in.len && in.ptr[at + 1] == '\n') return at + 2;
    if (at + 2 < in.len && in.ptr[at + 1] == '\r' && in.ptr[at + 2] == '\n') return at + 3;
  }
  CHECK(false);
  return 0;
}

static void check_input(const struct scene *s) {
  struct naive_stream expected;
  struct slice sent = buf_slice(&s->sent);
  naive_stream_read(&expected, slice_from(sent, head_size(sent)));
  CHECK(s->got.len <= expected.payload.len);
  if (s->got.len) CHECK(memcmp(s->got.ptr, expected.payload.ptr, s->got.len) == 0);
  if (!s->cut && !expected.ended) CHECK(s->conn);
  if (!s->cut || s->end == -EPROTO) {
    CHECK(s->got.len == expected.payload.len);
    CHECK(s->ended == expected.ended);
    if (s->ended) CHECK(s->end == (expected.is_fault ? -EPROTO : 0));
  }
  naive_stream_release(&expected);
}

static void check_output(const struct scene *s) {
  struct slice in = buf_slice(&s->received);
  struct buf payload = BUF_INIT;
  struct naive_frame f;
  bool closed = false;
  for (size_t header; (header = naive_frame_read(in, &f));) {
    CHECK(!closed && f.fin && !f.masked && !f.rsv && f.shortest);
    CHECK(f.opcode == 2 || f.opcode == 8 || f.opcode == 10);
    if (f.opcode == 2) buf_add_slice(&payload, f.payload);
    closed = f.opcode == 8;
    if (f.payload.len < f.len) break;
    in = slice_from(in, header + (size_t)f.len);
  }
  CHECK(payload.len <= s->written.len);
  if (payload.len) CHECK(memcmp(payload.ptr, s->written.ptr, payload.len) == 0);
  if (!s->cut && !s->ended) CHECK(payload.len == s->written.len);
  buf_release(&payload);
}

static void check_answer(struct scene *s) {
  struct slice got = buf_slice(&s->received);
  const char *start = s->arrived ? "HTTP/1.1 101 " : "HTTP/1.1 ";
  size_t len = strlen(start) < got.len ? strlen(start) : got.len;
  if (len) CHECK(memcmp(got.ptr, start, len) == 0);
  if (!s->arrived) return;
  const uint8_t *end = got.len ? memmem(got.ptr, got.len, "\r\n\r\n", 4) : NULL;
  buf_consume(&s->received, end ? (size_t)(end + 4 - got.ptr) : got.len);
}

// Everything that is under way comes to its end.
static void settle(struct scene *s) {
  memory_set_window(s->peer, SIZE_MAX);
  if (s->conn) conn_watch_read(s->conn, true);
  run(s);
  take_output(s);
}

static struct websocket *web(uint8_t flags) {
  static const char *const origins[] = {"https://a", "null"};
  struct websocket_config config;
  websocket_config_init(&config);
  config.same_origin = true;
  if (flags & FLAG_ORIGINS) {
    config.origins = origins;
    config.origin_count = 2;
  }
  return websocket_new(&config);
}

static void start(struct scene *s, struct route *route, uint8_t flags) {
  struct address remote = {.family = AF_UNIX};
  *s = (struct scene){.loop = loop_new_virtual(1000), .room = flags & FLAG_SMALL_READS ? 2 : 60000};
  *route = (struct route){.timeout_ms = 10000, .websocket = web(flags)};
  if (flags & FLAG_FORWARDED) {
    route->trusted_proxies = networks_new();
    CHECK(!networks_add(route->trusted_proxies, SLICE("unix")));
  }
  arrivals_init(&s->arrivals, s->loop, &arrival_handler, s);
  arrival_start(&s->arrivals, route, memory_open(s->loop, &s->peer), &remote);
  if (flags & FLAG_UPGRADED) send_bytes(s, slice_of(request, sizeof request - 1));
}

static void finish(struct scene *s, struct route *route) {
  close_conn(s, true);
  arrivals_close(&s->arrivals);
  CHECK(memory_closed(s->peer));
  CHECK(s->loop->timers.count == 0);
  memory_peer_free(s->peer);
  websocket_unref(route->websocket);
  networks_free(route->trusted_proxies);
  buf_release(&s->sent);
  buf_release(&s->received);
  buf_release(&s->got);
  buf_release(&s->written);
  loop_free(s->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice in = slice_of(data, size);
  struct scene s;
  struct route route;
  start(&s, &route, fuzz_byte(&in));
  for (int steps = 0; in.len && steps < MAX_STEPS; steps++)
    step(&s, &in);
  settle(&s);
  check_answer(&s);
  if (s.arrived) check_input(&s);
  if (s.arrived) check_output(&s);
  finish(&s, &route);
  return 0;
}
