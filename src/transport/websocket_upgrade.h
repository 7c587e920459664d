// The HTTP side of WebSocket: whether a request is agreed to, and the bytes that answer it. Without I/O.
//
//   struct upgrade u;
//   upgrade_answer(&u, &config, fed, request);           // as http_request_feed has ended
//   send u.answer; u.why: NULL, the connection is a WebSocket now; else it is closed after the answer
//   buf_release(&u.answer);
#ifndef LUAMQ_TRANSPORT_WEBSOCKET_UPGRADE_H
#define LUAMQ_TRANSPORT_WEBSOCKET_UPGRADE_H

#include "base/buf.h"
#include "transport/http_request.h"
#include "transport/websocket.h"

struct upgrade {
  struct buf answer;
  const char *why; // it was refused; static storage
};

void upgrade_answer(struct upgrade *u, const struct websocket_config *config, enum http_fed fed,
                    const struct http_request *r);
// The last address of the last X-Forwarded-For, which the proxy next to us has added. False: there is none.
bool upgrade_forwarded(const struct http_request *r, struct address *out);

#endif
