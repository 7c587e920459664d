// The frames that a WebSocket's client sends, taken off its stream of bytes (RFC 6455 5). Protocol code
// without I/O, over wslay: bytes in, payload out. Between two frames a connection owns nothing: the contexts
// that decode are in a pool, which the connections of a listener share.
//
//   struct frame_reader reader = {0};
//   struct frames_read result;
//   frames_read(f, &reader, bytes, iov, count, &result); // iov has room for as many bytes
//   result.payload bytes are in iov; result.answer, if it has an opcode, is to be sent
//   frame_reader_release(&reader);
#ifndef LUAMQ_TRANSPORT_WEBSOCKET_FRAMES_H
#define LUAMQ_TRANSPORT_WEBSOCKET_FRAMES_H

#include <sys/uio.h>

#include "base/slice.h"

#define FRAME_HEADER_MAX  10 // bytes; without a mask
#define FRAME_CONTROL_MAX 125

enum frame_opcode {
  FRAME_CONTINUATION = 0,
  FRAME_TEXT = 1,
  FRAME_BINARY = 2,
  FRAME_CLOSE = 8,
  FRAME_PING = 9,
  FRAME_PONG = 10
};

enum frame_code { // of a close frame
  CLOSE_NORMAL = 1000,
  CLOSE_PROTOCOL_ERROR = 1002,
  CLOSE_UNSUPPORTED_DATA = 1003,
  CLOSE_NONE = 1005 // no code: never sent
};

struct frames;
struct frame_context;

struct frame_reader {            // of one connection
  struct frame_context *context; // NULL: between two frames
  bool in_message;               // more fragments of a message are to come
};

struct frame_control {
  uint8_t opcode; // 0: none
  uint8_t len;
  uint8_t payload[FRAME_CONTROL_MAX];
};

struct frames_read {
  size_t payload;              // bytes put into the iovecs
  struct frame_control answer; // the pong of the last ping, or the close that answers a close or a fault
  bool ended;                  // nothing behind this is read
  const char *why;             // a fault of the peer, static storage; NULL: it has closed
};

struct frames *frames_new(void);
void frames_free(struct frames *f); // after all of its readers

// Takes all of `in`, or what comes before the end. Not called once that has come.
void frames_read(struct frames *f, struct frame_reader *r, struct slice in, const struct iovec *iov,
                 int count, struct frames_read *out);
void frame_reader_release(struct frame_reader *r);

// A server's header of a frame with so many bytes of payload; returns its length.
size_t frame_header(struct frames *f, enum frame_opcode opcode, size_t payload,
                    uint8_t out[FRAME_HEADER_MAX]);
void frame_close(struct frame_control *out, unsigned code); // a close frame; CLOSE_NONE: an empty one

#endif
