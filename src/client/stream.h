// Bytes in order, both ways, over a connected socket that does not block: as they are, over TLS, over a
// WebSocket, or over a WebSocket over TLS. It never waits; who drives it does, with poll or epoll:
//
//   struct stream s;
//   stream_init(&s, fd, &(struct stream_options){.tls = tls, .host = "broker.example.com"});
//   while ((r = stream_handshake(&s)) == 0) ...   // wait until fd is readable, or
//                                                 // writable if stream_wants_write(&s)
//   n = stream_write(&s, bytes, len);             // the bytes that it took
//   do n = stream_read(&s, to, sizeof to); while (n > 0 && stream_has_more(&s));
//   stream_release(&s);                           // fd stays open, and is the caller's
//
// What it took and the socket did not waits in it, encoded: whenever fd is writable stream_flush sends that.
#ifndef LUAMQ_CLIENT_STREAM_H
#define LUAMQ_CLIENT_STREAM_H

#include "client/tls_client.h"
#include "client/ws_client.h"

struct stream_options {
  const struct tls_client *tls;              // NULL: none; must outlive the stream
  const struct ws_client_options *websocket; // NULL: none; host and port are filled in from here
  const char *host;                          // what the caller connected to; not NULL with one of these
  uint16_t port;
};

struct stream {
  int fd; // -1: none
  struct ssl_st *ssl;
  struct ws_client *ws;
  bool tls_ready, ready;
  bool broken;      // a write has failed
  bool ended;       // reading has come to its end; the next read tells it (again)
  struct buf out;   // what the socket did not take yet
  struct buf early; // payload that came with the end of a handshake
  char error[192];  // why it has ended, or what the last call failed with
};

// `fd` is borrowed, `o` for this call only.
void stream_init(struct stream *s, int fd, const struct stream_options *o);
void stream_release(struct stream *s); // without a word to the peer

// 1 when bytes can be written and read, 0 while it waits, -1 when it has failed. A plain stream is ready from
// the start.
int stream_handshake(struct stream *s);

// Bytes read, as many as are there and fit; 0 when there are none now; -1 at the end ("connection closed")
// or after an error. `size` is not 0.
ssize_t stream_read(struct stream *s, void *to, size_t size);
// Whether the last read left bytes behind that no readiness of the socket will tell of.
bool stream_has_more(const struct stream *s);

// Bytes taken of `len`, which may be fewer; 0 when what it took before is still to be sent; -1 after an
// error: the stream can be read to its end then. Bytes that were not taken have to come again.
ssize_t stream_write(struct stream *s, const void *bytes, size_t len);
bool stream_flush(struct stream *s); // false after an error
static inline bool stream_wants_write(const struct stream *s) { return s->out.len != 0; }

// Nothing more will be written: tells the peer, in all layers.
void stream_end(struct stream *s);

#endif
