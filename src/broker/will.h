// Wills: the last message of a client that did not say goodbye [MQTT-3.1.2-8]. It passes the hooks and rules
// of a publish when it is sent, in the name of its client, which has been closed by then.
//
//   client ends --- no delay, or no session that stays ---------------------------> sent at once
//              \--- delay: waits with its session --- delay over, or session ends -> sent
//                                                 \-- session is resumed ----------> dropped
//
// So it is sent at the earlier of the two [MQTT5 3.1.3.2.2], and never twice. One that waits belongs to what
// the backend keeps of a session without a client, and is bounded with it; the client stays as an object for
// as long. When the broker stops, those that wait are sent: their sessions end with it.
//
//   struct will *will = NULL;                  // beside the session
//   will_keep(client, &will);                  // in terminate: takes the client's will if it is to wait
//   ...
//   will_drop(will) or will_session_ended(will)      // NULL is fine; after them, or when it has been sent,
//                                                    // `will` is NULL
#ifndef LUAMQ_BROKER_WILL_H
#define LUAMQ_BROKER_WILL_H

struct client;
struct reply;
struct shard;
struct will;

// --- for client*.c ---
// Before and after `terminate`: sends a will that has nothing to wait for.
void will_client_leaves(struct client *c);
void will_client_left(struct client *c);
// The decision about a will that was pending; takes over the reference to the message.
struct message;
void will_decided(struct client *c, struct message *m, const struct reply *reply);

// --- for backends ---
// Keeps the will of a client that leaves a session which stays, at *slot, where it is to wait.
void will_keep(struct client *c, struct will **slot);
void will_drop(struct will *w);          // its session was resumed [MQTT5-3.1.3-9]
void will_session_ended(struct will *w); // it is sent in the next turn: nothing runs in the middle of an end

void wills_send_all(struct shard *s); // that wait
void wills_drop_all(struct shard *s);

#endif
