// WebSocket (RFC 6455), the server's side, over the connection that carries it: the HTTP upgrade with the
// sub-protocol "mqtt" or "mqttv3.1", then binary frames whose payloads are one stream of bytes: a packet may
// span frames, and a frame hold several packets.
//
//   struct websocket_config config;
//   websocket_config_init(&config);
//   config.path = "/mqtt";
//   struct websocket *w = websocket_new(&config);
//   struct conn *c = websocket_accept(w, loop, carrier); // then conn_start, and c->ops->handshake
//   websocket_unref(w);                                  // connections keep it as long as they need it
//
// A request that is no upgrade gets the fallback's answer, and the handshake fails when that has gone out; so
// does an upgrade that is not agreed to, with an answer that says why. conn_failure tells it too, without any
// of the peer's words. What a turn has for a connection becomes one frame and one write of the carrier. An
// idle connection holds no frame buffers. Text frames, and what RFC 6455 forbids, end the connection with
// -EPROTO.
#ifndef LUAMQ_TRANSPORT_WEBSOCKET_H
#define LUAMQ_TRANSPORT_WEBSOCKET_H

#include "transport/conn.h"
#include "transport/loop.h"

#define WEBSOCKET_REQUEST_MAX 8192 // bytes of an HTTP request's head

struct websocket;

struct websocket_fallback { // the answer to a request that is no upgrade, of whatever path
  unsigned status;          // 200..599
  const char *type, *body;  // content type, and what is sent
};

struct websocket_config {     // borrowed by websocket_new, which copies
  const char *path;           // of the upgrade; others get 404
  const char *const *origins; // which an Origin header may name, "https://app.example.org"; "*": any
  unsigned origin_count;      // 0: any, but see same_origin
  bool same_origin;           // without `origins`: an Origin must be the Host that was asked
  struct websocket_fallback fallback;
};

void websocket_config_init(struct websocket_config *c); // with the defaults
struct websocket *websocket_new(const struct websocket_config *config);
struct websocket *websocket_ref(struct websocket *w);
void websocket_unref(struct websocket *w);

// The server's side over `carrier`, which it takes over.
struct conn *websocket_accept(struct websocket *w, struct loop *l, struct conn *carrier);
bool websocket_is(const struct conn *c); // one that websocket_accept returned
// Once that has shaken hands: the address in the last X-Forwarded-For (port 0). False: there is none.
bool websocket_forwarded(const struct conn *c, struct address *out);

#endif
