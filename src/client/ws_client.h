// The client's side of a WebSocket that carries MQTT (RFC 6455, MQTT 3.1.1 section 6) as protocol code
// without I/O: the upgrade over HTTP/1.1, then binary frames. Who drives it owns the connection
// (client/stream.h does).
//
//   struct ws_client *w = ws_client_new(&(struct ws_client_options){.host = "127.0.0.1", .port = 8080});
//   send(fd, w->out.ptr, w->out.len, 0), w->out.len = 0;             // the request
//   n = ws_client_feed(w, slice_of(received, len), bytes);           // bytes of MQTT, or -1: w->error
//   if (w->ready) ws_client_write(w, SLICE("..."));                  // a frame, in w->out
//   ws_client_free(w);
#ifndef LUAMQ_CLIENT_WS_CLIENT_H
#define LUAMQ_CLIENT_WS_CLIENT_H

#include <sys/types.h>

#include "base/buf.h"

#define WS_CLIENT_PATH       "/mqtt"
#define WS_CLIENT_ANSWER_MAX 16384 // bytes of the answer to the upgrade

struct ws_client_options { // texts are borrowed by ws_client_new only
  const char *host;        // for the header "Host"
  uint16_t port;           // 0, or the scheme's own: not told there
  const char *path;        // NULL: WS_CLIENT_PATH; else ws_client_path_valid
  const char *origin;      // NULL: none; else ws_client_header_valid
  struct slice headers;    // further ones, each "Name: value\r\n"; ws_client_header_valid
};

struct ws_client {
  struct buf out;  // to be sent: the driver takes it
  bool ready;      // upgraded
  char error[128]; // why ws_client_feed failed; static texts and numbers, none of the peer's
  struct ws_client_impl *impl;
};

bool ws_client_path_valid(const char *path);                      // "/" and printable ASCII
bool ws_client_header_valid(const char *name, const char *value); // no line ends, a token for the name

struct ws_client *ws_client_new(const struct ws_client_options *o); // with the request in `out`
void ws_client_free(struct ws_client *w);                           // NULL: nothing

// Takes all of `in`, which came from the server, and writes the payload that is in it to `to`, which has room
// for in.len bytes. Returns their number; 0 while there are none; or -1 at an end: the server has closed,
// refused, or does not follow the protocol. Pings and the end are answered, in `out`.
ssize_t ws_client_feed(struct ws_client *w, struct slice in, uint8_t *to);
// One binary frame; only when it is ready.
void ws_client_write(struct ws_client *w, struct slice payload);
// The closing handshake begins: nothing can be written after it.
void ws_client_close(struct ws_client *w);

#endif
