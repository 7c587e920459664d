#include "transport/websocket_frames.h"

#include <assert.h>
#include <wslay/wslay.h>

#include "base/mem.h"

#define POOL_MAX 32 // contexts that wait for the next frame; some KiB each

struct frame_context {
  struct frame_context *next; // in the pool
  struct wslay_frame_context *wslay;
  struct slice in;     // not yet taken by wslay
  size_t inside;       // bytes that wslay has taken, and not told yet
  uint64_t left;       // payload bytes of the frame that are to come
  bool in_frame;       // its header was told
  uint8_t control_len; // of a control frame that comes in pieces
  uint8_t control[FRAME_CONTROL_MAX];
};

struct frames {
  struct frame_context *pool;
  unsigned pool_count;
  struct wslay_frame_context *sender;
  uint8_t header[FRAME_HEADER_MAX]; // that `sender` has written
  size_t header_len;
};

struct fault {
  unsigned code;
  const char *why;
};

static const struct fault malformed = {CLOSE_PROTOCOL_ERROR, "malformed frame"};
static const struct fault not_masked = {CLOSE_PROTOCOL_ERROR, "frame without a mask"};
static const struct fault reserved_bits = {CLOSE_PROTOCOL_ERROR, "frame with reserved bits"};
static const struct fault unknown_opcode = {CLOSE_PROTOCOL_ERROR, "frame with an unknown opcode"};
static const struct fault no_start = {CLOSE_PROTOCOL_ERROR, "continuation of no message"};
static const struct fault no_end = {CLOSE_PROTOCOL_ERROR, "new message within a fragmented one"};
static const struct fault is_text = {CLOSE_UNSUPPORTED_DATA, "text frame"};
static const struct fault bad_close = {CLOSE_PROTOCOL_ERROR, "malformed close frame"};

// --- contexts ---

static struct wslay_frame_context *wslay_new(const struct wslay_frame_callbacks *callbacks, void *arg) {
  struct wslay_frame_context *wslay = NULL;
  wslay_frame_context_init(&wslay, callbacks, arg);
  return mem_require(wslay);
}

static ssize_t give_input(uint8_t *out, size_t room, int flags, void *arg) {
  (void)flags;
  struct frame_context *c = arg;
  size_t len = c->in.len < room ? c->in.len : room;
  if (len) memcpy(out, c->in.ptr, len);
  c->in = slice_from(c->in, len);
  c->inside += len;
  return (ssize_t)len;
}

static void take_context(struct frames *f, struct frame_reader *r) {
  static const struct wslay_frame_callbacks callbacks = {.recv_callback = give_input};
  if ((r->context = f->pool)) {
    f->pool = r->context->next;
    f->pool_count--;
    return;
  }
  r->context = mem_calloc(1, sizeof *r->context);
  r->context->wslay = wslay_new(&callbacks, r->context);
}

static void context_free(struct frame_context *c) {
  wslay_frame_context_free(c->wslay);
  mem_free(c);
}

// Between two frames it is as good as new.
static void give_context_back(struct frames *f, struct frame_reader *r) {
  struct frame_context *c = r->context;
  r->context = NULL;
  if (f->pool_count == POOL_MAX) {
    context_free(c);
    return;
  }
  c->next = f->pool;
  f->pool = c;
  f->pool_count++;
}

void frame_reader_release(struct frame_reader *r) {
  if (r->context) context_free(r->context);
  r->context = NULL;
}

// --- reading ---

struct sink { // the iovecs, as they fill
  const struct iovec *iov;
  int count;
  size_t at; // in the first of them
};

static void put(struct sink *s, struct slice bytes) {
  while (bytes.len) {
    assert(s->count);
    size_t room = s->iov->iov_len - s->at, len = bytes.len < room ? bytes.len : room;
    memcpy((uint8_t *)s->iov->iov_base + s->at, bytes.ptr, len);
    bytes = slice_from(bytes, len);
    s->at += len;
    if (s->at < s->iov->iov_len) continue;
    s->iov++;
    s->count--;
    s->at = 0;
  }
}

static size_t header_size(const struct wslay_frame_iocb *io) {
  size_t length = io->payload_length < 126 ? 0 : io->payload_length < 65536 ? 2 : 8;
  return 2 + length + (io->mask ? 4 : 0);
}

static bool is_control(uint8_t opcode) { return opcode & 8; }

// What is wrong with a frame as such; wslay has seen to lengths, and to control frames being whole.
static const struct fault *find_fault(const struct frame_reader *r, const struct wslay_frame_iocb *io) {
  if (io->rsv) return &reserved_bits;
  if (!io->mask) return &not_masked;
  switch (io->opcode) {
  case FRAME_CONTINUATION: return r->in_message ? NULL : &no_start;
  case FRAME_TEXT: return r->in_message ? &no_end : &is_text;
  case FRAME_BINARY: return r->in_message ? &no_end : NULL;
  case FRAME_CLOSE:
  case FRAME_PING:
  case FRAME_PONG: return NULL;
  default: return &unknown_opcode;
  }
}

static const struct fault *start_frame(struct frame_reader *r, const struct wslay_frame_iocb *io) {
  struct frame_context *c = r->context;
  c->inside -= header_size(io);
  c->left = io->payload_length;
  c->in_frame = true;
  c->control_len = 0;
  return find_fault(r, io);
}

static void take_payload(struct frame_context *c, const struct wslay_frame_iocb *io, struct sink *sink,
                         struct frames_read *out) {
  c->inside -= io->data_length;
  c->left -= io->data_length;
  if (is_control(io->opcode)) {
    if (io->data_length) memcpy(c->control + c->control_len, io->data, io->data_length);
    c->control_len += (uint8_t)io->data_length;
  } else {
    put(sink, slice_of(io->data, io->data_length));
    out->payload += io->data_length;
  }
}

// Those that a peer may send [RFC 6455 7.4], and those that were registered since.
static bool is_close_code(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static const struct fault *answer_close(const struct frame_context *c, struct frames_read *out) {
  if (c->control_len == 1) return &bad_close;
  unsigned code = c->control_len ? (unsigned)c->control[0] << 8 | c->control[1] : CLOSE_NONE;
  if (c->control_len && !is_close_code(code)) return &bad_close;
  frame_close(&out->answer, code);
  out->ended = true;
  return NULL;
}

// Of many pings at once the last is answered, as RFC 6455 5.5.3 allows.
static void answer_ping(const struct frame_context *c, struct frames_read *out) {
  out->answer.opcode = FRAME_PONG;
  out->answer.len = c->control_len;
  memcpy(out->answer.payload, c->control, c->control_len);
}

static const struct fault *end_frame(struct frame_reader *r, const struct wslay_frame_iocb *io,
                                     struct frames_read *out) {
  struct frame_context *c = r->context;
  c->in_frame = false;
  if (!is_control(io->opcode)) r->in_message = !io->fin;
  if (io->opcode == FRAME_PING) answer_ping(c, out);
  return io->opcode == FRAME_CLOSE ? answer_close(c, out) : NULL;
}

static const struct fault *take_piece(struct frame_reader *r, const struct wslay_frame_iocb *io,
                                      struct sink *sink, struct frames_read *out) {
  struct frame_context *c = r->context;
  if (!c->in_frame) {
    const struct fault *fault = start_frame(r, io);
    if (fault) return fault;
  }
  take_payload(c, io, sink, out);
  return c->left ? NULL : end_frame(r, io, out);
}

static void fail(struct frames_read *out, const struct fault *fault) {
  frame_close(&out->answer, fault->code);
  out->ended = true;
  out->why = fault->why;
}

void frames_read(struct frames *f, struct frame_reader *r, struct slice in, const struct iovec *iov,
                 int count, struct frames_read *out) {
  *out = (struct frames_read){0};
  struct sink sink = {iov, count, 0};
  if (!r->context) take_context(f, r);
  struct frame_context *c = r->context;
  c->in = in;
  while (!out->ended) {
    struct wslay_frame_iocb io;
    ssize_t n = wslay_frame_recv(c->wslay, &io);
    if (n == WSLAY_ERR_WANT_READ && !c->in.len) break;
    if (n == WSLAY_ERR_WANT_READ) continue;
    const struct fault *fault = n < 0 ? &malformed : take_piece(r, &io, &sink, out);
    if (fault) fail(out, fault);
  }
  if (out->ended)
    frame_reader_release(r);
  else if (!c->in_frame && !c->inside)
    give_context_back(f, r);
}

// --- writing ---

// The header comes in one piece, then the payload, which is not needed here.
static ssize_t keep_header(const uint8_t *bytes, size_t len, int flags, void *arg) {
  (void)flags;
  struct frames *f = arg;
  if (!f->header_len) {
    assert(len <= FRAME_HEADER_MAX);
    memcpy(f->header, bytes, len);
    f->header_len = len;
  }
  return (ssize_t)len;
}

size_t frame_header(struct frames *f, enum frame_opcode opcode, size_t payload,
                    uint8_t out[FRAME_HEADER_MAX]) {
  // The payload is handed to keep_header without a look at it.
  struct wslay_frame_iocb io = {
      .fin = 1, .opcode = (uint8_t)opcode, .payload_length = payload, .data = out, .data_length = payload};
  f->header_len = 0;
  ssize_t n = wslay_frame_send(f->sender, &io);
  assert(n >= 0 && (size_t)n == payload);
  (void)n;
  memcpy(out, f->header, f->header_len);
  return f->header_len;
}

void frame_close(struct frame_control *out, unsigned code) {
  *out = (struct frame_control){.opcode = FRAME_CLOSE};
  if (code == CLOSE_NONE) return;
  out->len = 2;
  out->payload[0] = (uint8_t)(code >> 8);
  out->payload[1] = (uint8_t)code;
}

struct frames *frames_new(void) {
  static const struct wslay_frame_callbacks callbacks = {.send_callback = keep_header};
  struct frames *f = mem_calloc(1, sizeof *f);
  f->sender = wslay_new(&callbacks, f);
  return f;
}

void frames_free(struct frames *f) {
  for (struct frame_context *c; (c = f->pool);) {
    f->pool = c->next;
    context_free(c);
  }
  wslay_frame_context_free(f->sender);
  mem_free(f);
}
