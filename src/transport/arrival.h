// Arrivals: connections between accept and the first byte of MQTT. What a listener asks for comes first, one
// layer after the other, and all within the listener's time:
//
//   socket -> PROXY header -> TLS -> WebSocket -> handler->arrived
//
// Who has connected is the socket's peer, unless a trusted proxy tells otherwise: in a PROXY header, or in
// X-Forwarded-For. That address is admitted once it is known, before any costly handshake where possible.
//
//   arrivals_init(&a, loop, &handler, arg);
//   arrival_start(&a, &route, conn, &remote);
//   arrivals_close(&a);                                  // those under way end
#ifndef LUAMQ_TRANSPORT_ARRIVAL_H
#define LUAMQ_TRANSPORT_ARRIVAL_H

#include "transport/conn.h"
#include "transport/loop.h"
#include "transport/networks.h"
#include "transport/tls.h"
#include "transport/websocket.h"

#define ARRIVAL_TLS       "TLS" // stages
#define ARRIVAL_WEBSOCKET "WebSocket"

struct arrival_handler {
  // The address is known, and counted when NULL is returned; else why it is refused.
  const char *(*admit)(void *arg, const struct address *remote);
  void (*leave)(void *arg, const struct address *remote); // one that was admitted has not arrived
  // The conn is the receiver's; it is not started. `remote` is borrowed, and was admitted.
  void (*arrived)(void *arg, struct conn *c, const struct address *remote);
  // It ended before that; `stage` is "PROXY header", "TLS", "WebSocket" or, where admit refused it, NULL.
  void (*failed)(void *arg, const struct address *remote, const char *stage, const char *why);
};

struct route {                      // what a listener asks for; owned by it
  uint32_t timeout_ms;              // for all handshakes together
  bool proxy_protocol;              // a PROXY header is needed, from a trusted source
  struct networks *trusted_proxies; // or NULL: none
  struct tls *tls;                  // or NULL
  struct websocket *websocket;      // or NULL
};

struct arrivals {
  struct loop *loop;
  const struct arrival_handler *handler;
  void *arg;
  struct list list;
  uint32_t count;
};

void arrivals_init(struct arrivals *a, struct loop *l, const struct arrival_handler *handler, void *arg);
void arrivals_close(struct arrivals *a); // without a word to handler->failed
// Takes over an accepted connection that is not started. The handler may be called before it returns. The
// route is borrowed: its listener may go before the arrival.
void arrival_start(struct arrivals *a, const struct route *route, struct conn *c,
                   const struct address *remote);

#endif
