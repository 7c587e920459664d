// A connected client: the protocol, packet type x state, between a connection and the backend. These are the
// functions for backends, scripts and tests; what the protocol itself needs is in client_impl.h.
//
// A client lives as long as its connection. Who keeps a pointer over a turn takes a reference; then the
// object stays, and says client_closed. client_close may be called anywhere: the client ends at the end of
// the turn.
#ifndef LUAMQ_BROKER_CLIENT_H
#define LUAMQ_BROKER_CLIENT_H

#include "broker/backend.h"
#include "transport/conn.h"

struct client *client_ref(struct client *c);
void client_unref(struct client *c);

struct shard *client_shard(const struct client *c);
struct slice
client_id(const struct client *c); // as sent, or assigned when that was empty; empty before CONNECT
struct slice client_username(const struct client *c); // ptr NULL: none was sent
uint8_t client_version(const struct client *c);       // enum mqtt_version; 0 before CONNECT
uint16_t client_keep_alive(const struct client *c);   // seconds, in force
bool client_clean_session(const struct client *c);
bool client_sent_password(const struct client *c);
uint32_t client_session_expiry(const struct client *c); // seconds that it asks its session to be kept
// What an MQTT 5 client has told of itself; NULL for one of an older version.
const struct client_5 *client_5(const struct client *c);
struct slice client_authentication_method(const struct client *c);   // ptr NULL: none
struct session *client_session(const struct client *c);              // NULL before setup and after terminate
const struct address *client_remote_address(const struct client *c); // stays after the end
const struct conn *client_conn(const struct client *c);              // NULL once closed
void client_local_address(const struct client *c, struct address *out);
const struct message *client_will(const struct client *c); // NULL: none
const struct client_settings *client_settings(const struct client *c);
// Gives the client settings of its own; a keep alive in force is capped again.
void client_change_settings(struct client *c, const struct client_settings *settings);

bool client_closing(const struct client *c);
bool client_closed(const struct client *c);
const char *client_error(const struct client *c); // why it ends or ended; NULL while it goes on
// Ends the client, with a will if it has one. NULL: ERROR_CLIENT_CLOSED. No effect when it is closing
// already.
void client_close(struct client *c, const char *error);
// The same; `reason` is what an MQTT 5 client is told, 0: what the error stands for.
void client_close_with(struct client *c, uint8_t reason, const char *error);
// The same; `told` is what goes with the reason, see reply_tell, or NULL.
void client_close_telling(struct client *c, uint8_t reason, const struct buf *told, const char *error);

// A place for the script's object of this client; `released` is called once, when the client is freed.
void client_set_script(struct client *c, void *object, void (*released)(void *object));
void *client_script(const struct client *c);

// --- for backends ---
void client_attach(struct client *c, struct session *s);
void client_detach(struct client *c);
// Whether the backend keeps the client's packets in flight itself, by its `keeper`; broker/inflight.h. Before
// CONNACK, or in `adopt`: then it is given those that there are. False: it did not take them, and the client
// is closing.
bool client_keep(struct client *c, bool keep);
// Something was put into the session's queue: flush at the end of the turn.
void client_wake(struct client *c);
// Sends what can be sent now, in the middle of a turn, to make room in the session's queue.
void client_flush(struct client *c);
void client_restored(struct client *c); // `restore`, which was pending, is through
// The answer of another operation that returned BACKEND_PENDING.
void client_resume(struct client *c, const struct reply *reply);
// It is not read, so that nobody would notice that its peer has reset the connection: looks, and closes it
// then.
void client_check_peer(struct client *c);
// The client's packets are not processed until as many client_unpause.
void client_pause(struct client *c);
void client_unpause(struct client *c);
void client_acknowledge(struct ack ack); // the message is taken care of; no effect when the client is gone
void client_subscribed(struct client *c, struct subscribe_request *request);
void client_unsubscribed(struct client *c, struct subscribe_request *request);
// Tells a backend that has replaced another one of a client that is connected, if that has not been done.
// False: it waits for the backend's client_adopted, or ends.
bool client_adopt(struct client *c);
void client_adopted(struct client *c);       // the backend's answer to `adopt`
bool client_is_busy(const struct client *c); // an operation of the backend is pending: it cannot end yet
// Whatever it has sent was processed.
bool client_is_idle(const struct client *c);
// Ends a closing client now rather than at the end of the turn; false when it is busy or on the call stack.
bool client_end_now(struct client *c);

#endif
