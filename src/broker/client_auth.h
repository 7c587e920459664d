// Enhanced authentication [MQTT5 4.12]: a client that names a method in CONNECT is asked on and on with AUTH
// until the backend lets it in or refuses it, and may have itself authenticated again at any time:
//
//   CONNECT method, data          ->  backend's `auth`: continue, data
//        AUTH 0x18 method, data   <-
//   AUTH 0x18 method, data        ->  backend's `auth`: success, data
//        CONNACK method, data     <-
//   ...
//   AUTH 0x19 method, data        ->  as before, while other packets go on; the last AUTH has 0x00
//
// For client*.c only.
#ifndef LUAMQ_BROKER_CLIENT_AUTH_H
#define LUAMQ_BROKER_CLIENT_AUTH_H

#include "broker/backend.h"

struct client_auth;

struct client_auth *client_auth_new(const struct packet_connect *connect); // NULL: it names no method
void client_auth_free(struct client_auth *auth);                           // NULL is fine
struct slice client_auth_method(const struct client_auth *auth);
// Whether the exchange waits for an AUTH of the client.
bool client_auth_awaits(const struct client_auth *auth);
// What CONNACK tells beside its reason, or NULL.
const struct buf *client_auth_told(const struct client_auth *auth);

void client_auth_start(struct client *c, const struct packet_connect *connect);
void client_auth_answered(struct client *c, const struct reply *reply); // the backend's `auth` has answered
void client_on_auth(struct client *c, const struct packet *p);

#endif
