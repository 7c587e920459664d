// WebSocket frames, read the slow and obvious way: what the product's decoder is compared with. And the
// other direction: frames as a client makes them.
#ifndef LUAMQ_TESTS_NAIVE_FRAMES_H
#define LUAMQ_TESTS_NAIVE_FRAMES_H

#include "base/buf.h"

struct naive_frame {
  bool fin, masked, shortest; // shortest: the length could not be written with fewer bytes
  uint8_t rsv, opcode;
  uint64_t len;
  uint8_t mask[4];
  struct slice payload; // as sent; shorter than len while it is incomplete
};

// Bytes of the frame's header, or 0 while that is incomplete.
static inline size_t naive_frame_read(struct slice in, struct naive_frame *f) {
  if (in.len < 2) return 0;
  *f = (struct naive_frame){.fin = in.ptr[0] >> 7, .rsv = in.ptr[0] >> 4 & 7, .opcode = in.ptr[0] & 15};
  f->masked = in.ptr[1] >> 7;
  f->len = in.ptr[1] & 127;
  size_t extra = f->len == 126 ? 2 : f->len == 127 ? 8 : 0, header = 2 + extra + (f->masked ? 4 : 0);
  if (in.len < header) return 0;
  if (extra) f->len = 0;
  for (size_t i = 0; i < extra; i++)
    f->len = f->len << 8 | in.ptr[2 + i];
  f->shortest = extra == 0 || (extra == 2 ? f->len >= 126 : f->len >= 65536);
  if (f->masked) memcpy(f->mask, in.ptr + 2 + extra, 4);
  f->payload = slice_from(in, header);
  if (f->payload.len > f->len) f->payload.len = (size_t)f->len;
  return header;
}

struct naive_stream {   // what a server has to make of all that a client has sent
  struct buf payload;   // of data frames
  struct buf last_ping; // the payload of the last one
  unsigned pings;
  bool ended;    // by a close frame or a fault
  unsigned code; // of the close frame that answers it; 0: one without a code
  bool is_fault;
};

static inline void naive_fault(struct naive_stream *s, unsigned code) {
  s->ended = s->is_fault = true;
  s->code = code;
}

// What a header alone gives away, and what is told only with the first byte behind it.
static inline bool naive_header_is_bad(struct slice in) {
  if (in.len < 2) return false;
  bool control = in.ptr[0] & 8;
  uint8_t len = in.ptr[1] & 127;
  if (control && (len > 125 || !(in.ptr[0] & 128))) return true;
  if (len == 126) return in.len >= 4 && in.ptr[2] == 0 && in.ptr[3] < 126;
  if (len < 127 || in.len < 10) return false;
  uint64_t value = 0;
  for (int i = 0; i < 8; i++)
    value = value << 8 | in.ptr[2 + i];
  return value < 65536 || value >> 63;
}

static inline unsigned naive_fault_of(const struct naive_frame *f, bool in_message) {
  if (f->rsv || !f->masked) return 1002;
  if (f->opcode == 0) return in_message ? 0 : 1002;
  if (f->opcode == 1) return in_message ? 1002 : 1003;
  if (f->opcode == 2) return in_message ? 1002 : 0;
  return f->opcode >= 8 && f->opcode <= 10 ? 0 : 1002;
}

static inline void naive_close(struct naive_stream *s, const uint8_t *bytes, size_t len) {
  unsigned code = len >= 2 ? (unsigned)(bytes[0] << 8 | bytes[1]) : 0;
  bool valid =
      (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code < 5000);
  if (len == 1 || (len && !valid)) {
    naive_fault(s, 1002);
    return;
  }
  s->ended = true;
  s->code = code;
}

static inline void naive_stream_read(struct naive_stream *s, struct slice in) {
  *s = (struct naive_stream){.payload = BUF_INIT, .last_ping = BUF_INIT};
  bool in_message = false;
  while (!s->ended) {
    struct naive_frame f;
    if (naive_header_is_bad(in)) {
      naive_fault(s, 1002);
      return;
    }
    size_t header = naive_frame_read(in, &f);
    if (!header || (f.len && !f.payload.len)) return;
    unsigned fault = naive_fault_of(&f, in_message);
    if (fault) {
      naive_fault(s, fault);
      return;
    }
    bool data = f.opcode < 8, whole = f.payload.len == f.len;
    if (!data && !whole) return;
    struct buf *to = &s->payload, control = BUF_INIT;
    if (!data) to = &control;
    for (size_t i = 0; i < f.payload.len; i++)
      buf_add_byte(to, f.payload.ptr[i] ^ f.mask[i % 4]);
    if (data && whole) in_message = !f.fin;
    if (f.opcode == 8) naive_close(s, control.ptr, control.len);
    if (f.opcode == 9) {
      s->pings++;
      s->last_ping.len = 0;
      buf_add_slice(&s->last_ping, buf_slice(&control));
    }
    buf_release(&control);
    if (!whole) return;
    in = slice_from(in, header + f.payload.len);
  }
}

static inline void naive_stream_release(struct naive_stream *s) {
  buf_release(&s->payload);
  buf_release(&s->last_ping);
}

// A client's frame: `first` is its first byte, 0x82 a whole binary one. The mask is made from `seed`.
static inline void naive_add_frame(struct buf *out, uint8_t first, struct slice payload, uint32_t seed) {
  uint8_t mask[4] = {(uint8_t)(seed * 7), (uint8_t)(seed * 31 + 1), (uint8_t)(seed >> 3), (uint8_t)~seed};
  buf_add_byte(out, first);
  unsigned extra = payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8;
  buf_add_byte(out, (uint8_t)(0x80 | (extra ? extra == 2 ? 126 : 127 : payload.len)));
  for (unsigned i = extra; i-- > 0;)
    buf_add_byte(out, (uint8_t)((uint64_t)payload.len >> 8 * i));
  buf_add(out, mask, 4);
  for (size_t i = 0; i < payload.len; i++)
    buf_add_byte(out, payload.ptr[i] ^ mask[i % 4]);
}

#endif
