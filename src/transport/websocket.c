#include "transport/websocket.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "transport/websocket_frames.h"
#include "transport/websocket_upgrade.h"

#define READ_SIZE   65536 // most bytes that are taken off the carrier at once
#define FRAME_PARTS 64    // iovecs of a write that are handed to the carrier at once

struct websocket {
  unsigned refs;
  struct websocket_config config;
  char **texts; // that `config` points to
  unsigned text_count;
  struct frames *frames;
  uint8_t bytes[READ_SIZE]; // what a read took off a carrier
};

enum state {
  STATE_REQUEST, // it is read
  STATE_ANSWER,  // it is whole, and what the carrier holds has to go first
  STATE_REFUSED, // the answer is on its way
  STATE_OPEN,
  STATE_ENDED, // by a close frame or a fault: `due` answers it, when this is closed
  STATE_GONE   // the carrier has ended: there is nobody to say goodbye to
};

struct web_conn {
  struct conn conn;
  struct conn *carrier;
  struct websocket *shared;
  struct loop *loop;
  struct ready ready;           // for bytes in `early`, and for an end that comes right behind payload
  struct http_request *request; // until it was answered
  struct buf early;             // bytes that came right behind the request
  struct frame_reader reader;
  struct frame_control *due; // to be sent between two frames, or NULL
  size_t frame_left;         // bytes of payload that the frame under way still owes
  const char *why;           // a fault of the peer, or NULL
  struct address forwarded;
  bool has_forwarded;
  uint8_t fed; // enum http_fed
  uint8_t state;
};

static struct web_conn *web_of(const struct conn *c) {
  return container_of((struct conn *)(uintptr_t)c, struct web_conn, conn);
}

// --- the carrier ---

// While an answer has to go out nothing is read, and nothing would be done with it.
static void watch_carrier(struct web_conn *w, bool read, bool write) {
  bool answering = w->state == STATE_ANSWER || w->state == STATE_REFUSED;
  conn_watch(w->carrier, read && !answering, write || w->carrier->unsent);
}

static void update_held(struct web_conn *w) { w->conn.held = !w->conn.broken && conn_blocked(w->carrier); }

static void send_control(struct web_conn *w, struct frame_control *control) {
  uint8_t header[FRAME_HEADER_MAX];
  struct iovec iov[2] = {{header, frame_header(w->shared->frames, control->opcode, control->len, header)},
                         {control->payload, control->len}};
  conn_write(w->carrier, iov, 2, NULL);
}

// Control frames go between two frames, and wait for room as one: a later pong takes an earlier one's place.
static void send_due(struct web_conn *w) {
  if (!w->due || w->frame_left || conn_blocked(w->carrier)) return;
  send_control(w, w->due);
  mem_free(w->due);
  w->due = NULL;
}

static void set_due(struct web_conn *w, const struct frame_control *control) {
  if (!w->due) w->due = mem_alloc(sizeof *w->due);
  *w->due = *control;
}

static void on_readable(struct conn *carrier) {
  struct web_conn *w = carrier->owner;
  w->conn.handler->readable(&w->conn);
}

static void on_writable(struct conn *carrier) {
  struct web_conn *w = carrier->owner;
  watch_carrier(w, w->conn.reading, w->conn.writing);
  if (w->state == STATE_OPEN) send_due(w);
  update_held(w);
  if (!w->conn.held) conn_on_writable(&w->conn);
}

static const struct conn_handler carrier_handler = {on_readable, on_writable};

// --- the handshake ---

static int read_request(struct web_conn *w) {
  struct iovec iov = {w->shared->bytes, http_request_room(w->request)};
  ssize_t n = conn_read(w->carrier, &iov, 1);
  if (n == 0) w->why = "connection closed by peer";
  if (n <= 0) return n ? (int)n : -ECONNRESET;
  w->fed = http_request_feed(w->request, slice_of(w->shared->bytes, (size_t)n));
  if (w->fed == HTTP_MORE) return -EAGAIN;
  w->state = STATE_ANSWER;
  return 0;
}

static void open_up(struct web_conn *w) {
  w->state = STATE_OPEN;
  w->has_forwarded = upgrade_forwarded(w->request, &w->forwarded);
  buf_add_slice(&w->early, http_request_rest(w->request));
  if (w->early.len) loop_make_ready(w->loop, &w->ready);
}

static void answer_request(struct web_conn *w) {
  struct upgrade u;
  upgrade_answer(&u, &w->shared->config, w->fed, w->request);
  conn_write(w->carrier, &(struct iovec){u.answer.ptr, u.answer.len}, 1, NULL);
  buf_release(&u.answer);
  w->why = u.why;
  if (u.why)
    w->state = STATE_REFUSED;
  else
    open_up(w);
  http_request_free(w->request);
  w->request = NULL;
}

static int web_handshake(struct conn *c) {
  struct web_conn *w = web_of(c);
  int error = w->state == STATE_REQUEST ? read_request(w) : 0;
  if (error) return error;
  if (w->state == STATE_ANSWER && !conn_blocked(w->carrier)) answer_request(w);
  update_held(w);
  watch_carrier(w, c->reading, c->writing);
  if (w->state == STATE_OPEN) return 0;
  return conn_blocked(w->carrier) ? -EAGAIN : -EPROTO;
}

static const char *web_failure(const struct conn *c) {
  const struct web_conn *w = web_of(c);
  const struct conn *carrier = w->carrier;
  if (w->why) return w->why;
  return carrier->ops->failure ? carrier->ops->failure(carrier) : NULL;
}

// --- reading ---

static size_t iov_size(const struct iovec *iov, int count) {
  size_t total = 0;
  for (int i = 0; i < count; i++)
    total += iov[i].iov_len;
  return total;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// At most `room` bytes, so that their payload fits: those that came with the request, then the carrier's.
static ssize_t take_bytes(struct web_conn *w, size_t room, const uint8_t **out) {
  *out = w->early.len ? w->early.ptr : w->shared->bytes;
  if (w->early.len) return (ssize_t)smaller(room, w->early.len);
  return conn_read(w->carrier, &(struct iovec){w->shared->bytes, smaller(room, READ_SIZE)}, 1);
}

static void drop_early(struct web_conn *w, size_t len) {
  if (!w->early.len) return;
  buf_consume(&w->early, len);
  if (!w->early.len) buf_release(&w->early);
}

// What nobody but us knows of has to be told: the carrier is readable for other bytes only.
static void tell_more(struct web_conn *w, bool reading) {
  if (reading && (w->early.len || w->state == STATE_ENDED))
    loop_make_ready(w->loop, &w->ready);
  else
    ready_cancel(&w->ready);
}

static void heed(struct web_conn *w, const struct frames_read *got) {
  if (got->answer.opcode) set_due(w, &got->answer);
  if (got->ended) {
    w->state = STATE_ENDED;
    w->why = got->why;
  } else {
    send_due(w);
  }
  update_held(w);
  tell_more(w, w->conn.reading);
}

static ssize_t web_read(struct conn *c, struct iovec *iov, int count) {
  struct web_conn *w = web_of(c);
  struct frames_read got = {0};
  if (w->state != STATE_ENDED) {
    const uint8_t *bytes;
    ssize_t n = take_bytes(w, iov_size(iov, count), &bytes);
    if (n == 0 || (n < 0 && n != -EAGAIN)) w->state = STATE_GONE;
    if (n <= 0) return n;
    frames_read(w->shared->frames, &w->reader, slice_of(bytes, (size_t)n), iov, count, &got);
    drop_early(w, (size_t)n);
    heed(w, &got);
  }
  if (got.payload) return (ssize_t)got.payload;
  if (w->state != STATE_ENDED) return -EAGAIN;
  return w->why ? -EPROTO : 0;
}

static void run_ready(struct ready *r) {
  struct web_conn *w = container_of(r, struct web_conn, ready);
  w->conn.handler->readable(&w->conn);
}

static void web_watch(struct conn *c, bool read, bool write) {
  struct web_conn *w = web_of(c);
  watch_carrier(w, read, write);
  tell_more(w, read);
}

// --- writing ---

// What a turn has is one frame. If not even its header went out, the carrier keeps the rest of that.
static ssize_t start_frame(struct web_conn *w, const struct iovec *iov, int count) {
  uint8_t header[FRAME_HEADER_MAX];
  struct iovec parts[1 + FRAME_PARTS];
  size_t payload = iov_size(iov, count);
  size_t header_len = frame_header(w->shared->frames, FRAME_BINARY, payload, header);
  int part_count = count < FRAME_PARTS ? count : FRAME_PARTS;
  parts[0] = (struct iovec){header, header_len};
  memcpy(parts + 1, iov, (size_t)part_count * sizeof *iov);
  ssize_t sent = w->carrier->ops->write(w->carrier, parts, 1 + part_count);
  if (sent <= 0) return sent ? sent : -EAGAIN;
  w->frame_left = payload;
  if ((size_t)sent >= header_len) return sent - (ssize_t)header_len;
  conn_write(w->carrier, &(struct iovec){header + sent, header_len - (size_t)sent}, 1, NULL);
  return 0;
}

static ssize_t web_write(struct conn *c, const struct iovec *iov, int count) {
  struct web_conn *w = web_of(c);
  if (w->carrier->broken) return -EPIPE;
  if (conn_blocked(w->carrier)) return -EAGAIN;
  if (!iov_size(iov, count)) return 0;
  ssize_t sent = w->frame_left ? w->carrier->ops->write(w->carrier, iov, count) : start_frame(w, iov, count);
  if (sent > 0) w->frame_left -= (size_t)sent;
  if (w->state == STATE_OPEN) send_due(w);
  update_held(w);
  return sent;
}

// --- the rest ---

static void web_local(const struct conn *c, struct address *out) {
  conn_local_address(web_of(c)->carrier, out);
}

static struct conn *web_carrier(const struct conn *c) { return web_of(c)->carrier; }

// Whether a close frame went out: then nothing that is unread may turn the end into a reset.
static bool say_goodbye(struct web_conn *w) {
  struct frame_control goodbye;
  frame_close(&goodbye, CLOSE_NORMAL);
  if (w->state == STATE_OPEN) set_due(w, &goodbye);
  if (w->state != STATE_OPEN && w->state != STATE_ENDED) return false;
  send_due(w);
  return !w->due;
}

static void web_close(struct conn *c, bool orderly) {
  struct web_conn *w = web_of(c);
  bool said = say_goodbye(w);
  ready_cancel(&w->ready);
  conn_close(w->carrier, orderly || said);
  frame_reader_release(&w->reader);
  http_request_free(w->request);
  buf_release(&w->early);
  mem_free(w->due);
  websocket_unref(w->shared);
  mem_free(w);
}

static const struct conn_ops web_ops = {.read = web_read,
                                        .write = web_write,
                                        .watch = web_watch,
                                        .local = web_local,
                                        .close = web_close,
                                        .handshake = web_handshake,
                                        .failure = web_failure,
                                        .carrier = web_carrier};

struct conn *websocket_accept(struct websocket *shared, struct loop *l, struct conn *carrier) {
  struct web_conn *w = mem_calloc(1, sizeof *w);
  w->conn.ops = &web_ops;
  w->carrier = carrier;
  w->shared = websocket_ref(shared);
  w->loop = l;
  w->request = http_request_new(WEBSOCKET_REQUEST_MAX);
  ready_init(&w->ready, run_ready);
  conn_start(carrier, &carrier_handler, w);
  return &w->conn;
}

bool websocket_is(const struct conn *c) { return c->ops == &web_ops; }

bool websocket_forwarded(const struct conn *c, struct address *out) {
  assert(websocket_is(c));
  const struct web_conn *w = web_of(c);
  if (w->has_forwarded) *out = w->forwarded;
  return w->has_forwarded;
}

// --- what connections share ---

void websocket_config_init(struct websocket_config *c) {
  *c = (struct websocket_config){
      .path = "/mqtt",
      .fallback = {426, "text/plain; charset=utf-8",
                   "an MQTT broker, for WebSockets with the sub-protocol mqtt\n"},
  };
}

static const char *keep_text(struct websocket *s, const char *text) {
  s->texts[s->text_count] = mem_dup(text, strlen(text) + 1);
  return s->texts[s->text_count++];
}

static void keep_config(struct websocket *s, const struct websocket_config *c) {
  const char **origins = mem_alloc(c->origin_count * sizeof *origins);
  s->texts = mem_alloc((3 + c->origin_count) * sizeof *s->texts);
  s->config = *c;
  s->config.path = keep_text(s, c->path);
  s->config.fallback.type = keep_text(s, c->fallback.type);
  s->config.fallback.body = keep_text(s, c->fallback.body);
  for (unsigned i = 0; i < c->origin_count; i++)
    origins[i] = keep_text(s, c->origins[i]);
  s->config.origins = origins;
}

struct websocket *websocket_new(const struct websocket_config *config) {
  struct websocket *s = mem_alloc(sizeof *s);
  s->refs = 1;
  s->text_count = 0;
  s->frames = frames_new();
  keep_config(s, config);
  return s;
}

struct websocket *websocket_ref(struct websocket *s) {
  s->refs++;
  return s;
}

void websocket_unref(struct websocket *s) {
  if (!s || --s->refs) return;
  while (s->text_count)
    mem_free(s->texts[--s->text_count]);
  mem_free(s->texts);
  mem_free((void *)(uintptr_t)s->config.origins);
  frames_free(s->frames);
  mem_free(s);
}
