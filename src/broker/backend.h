// What decides and keeps: the operations, as a table of functions. The engine's clients call a backend; the
// memory backend is one, and a script's hooks are another that decorates it: an operation that it does not
// define is forwarded.
//
// Life of a client:
//   authenticate (or auth) -> setup -> restore -> (subscribe | unsubscribe | accept, publish | dequeue)* ->
//   terminate
//
// An operation that decides fills a struct reply. When it returns BACKEND_PENDING instead of BACKEND_DONE,
// the client is not read until client_resume (broker/client.h) gives it the reply; packets of that client
// wait in order.
#ifndef LUAMQ_BROKER_BACKEND_H
#define LUAMQ_BROKER_BACKEND_H

#include "broker/reason.h"
#include "broker/rules.h"
#include "broker/settings.h"
#include "broker/verdict.h"
#include "packet/packet.h"
#include "session/session.h"

struct address;
struct backend;
struct client;
struct shard;

// Error texts: those of the model, and of limits. All errors here are `const char *` with static storage;
// NULL is none.
#define ERROR_ANSWER_TOO_LARGE    "answer too large for the client"
#define ERROR_CANCELLED           "cancelled"
#define ERROR_CLIENT_CLOSED       "client closed"
#define ERROR_CLIENT_DISCONNECTED "client disconnected"
#define ERROR_CLOSING             "closing"
#define ERROR_INFLIGHT_BYTES      "too many bytes in flight"
#define ERROR_KILL_TIMEOUT        "kill timeout"
#define ERROR_LOGIN_HELD          "failed logins: it has to wait"
#define ERROR_LOGIN_TURNED_AWAY   "too many failed logins"
#define ERROR_MEMORY_HELD         "memory limit: it is not read"
#define ERROR_MEMORY_LIMIT        "memory limit"
#define ERROR_MISSING_SESSION     "missing session"
#define ERROR_NOT_AUTHORIZED      "not authorized"
#define ERROR_PASSWORD_CHECKS     "too many passwords to check"
#define ERROR_PACKET_TIMEOUT      "packet timeout"
#define ERROR_PUBLISH_RATE        "publish rate: it is not read"
#define ERROR_QUEUED_BYTES        "too many queued bytes"
#define ERROR_QUEUE_FULL          "queue full"
#define ERROR_SESSION             "session error"
#define ERROR_TOKEN_TIMEOUT       "token timeout"
#define ERROR_UNFINISHED_BYTES    "too many bytes in unfinished packets"
#define ERROR_UNEXPECTED_PACKET   "unexpected packet"
#define ERROR_KEEP_ALIVE          "keep alive timeout"
#define ERROR_PROTOCOL            "protocol error"
#define ERROR_RECEIVE_MAXIMUM     "receive maximum exceeded"

enum log_event {
  EVENT_NEW_CONNECTION,
  EVENT_PACKET_RECEIVED,
  EVENT_MESSAGE_PUBLISHED,
  EVENT_MESSAGE_ACKNOWLEDGED,
  EVENT_MESSAGE_DEQUEUED,
  EVENT_MESSAGE_FORWARDED,
  EVENT_PACKET_SENT,
  EVENT_CLIENT_DISCONNECTED,
  EVENT_TRANSPORT_ERROR,
  EVENT_SESSION_ERROR,
  EVENT_BACKEND_ERROR,
  EVENT_CLIENT_ERROR,
  EVENT_LOST_CONNECTION,
  EVENT_COUNT,
};
#define EVENT_ALL ((1u << EVENT_COUNT) - 1)
const char *event_name(enum log_event e); // "new connection", ...

struct log_record { // borrowed
  enum log_event event;
  struct client *client;                // NULL: none
  const struct session *session;        // that it is about, where there is no client; or NULL
  const struct packet *packet;          // or NULL
  uint8_t version;                      // of packet
  const struct packet_message *message; // or NULL
  const char *error;                    // or NULL
  // Of a refusal; NULL and 0 otherwise.
  const struct reply *refusal;
  uint8_t operation;   // enum operation
  uint8_t packet_type; // of OPERATION_PACKET
  uint8_t qos;         // that was asked for, of a subscription
  struct slice filter; // of a subscription
};

enum backend_status { BACKEND_DONE, BACKEND_PENDING };

struct reply {
  uint8_t reason;    // enum reason; REASON_SUCCESS: allowed
  bool drop;         // accept only: acknowledge, and route to nobody
  bool resumed;      // setup only: a stored session was found
  const char *error; // NULL: it was decided; else what failed
  struct buf *told;  // NULL, or what an MQTT 5 client is told beside the reason, see reply_tell
  // accept that was pending: NULL, or what takes the place of the message; client_resume takes it over
  struct message *message;
  const struct verdict *by; // of a refusal: who decided; owned. NULL: nobody says
};

// Properties that go with the reason: a reason string, user properties, authentication data. A packet leaves
// out what its type may not have or has no room for. Whoever had the reply filled releases it.
// Also for a client of an older version, which is told nothing: the reason string is for the log as well.
void reply_tell(struct reply *reply, struct buf *told); // takes `told` over; NULL is fine
struct buf *told_new(void);
void told_free(struct buf *told); // NULL is fine
static inline void reply_release(struct reply *reply) {
  if (reply->told) reply_tell(reply, NULL);
  verdict_free(reply->by);
  reply->by = NULL;
}
static inline void reply_refuse(struct reply *reply, uint8_t reason, const struct verdict *by) {
  reply->reason = reason;
  reply->by = by;
}

const char *reply_text(const struct reply *reply); // of a refusal: what failed, or the reason, for the log
// The reason string of a refusal, empty when there is none.
struct slice reply_reason_string(const struct reply *reply);

struct credentials { // of a CONNECT; borrowed
  bool has_username, has_password;
  struct slice username, password;
};

// A step of enhanced authentication [MQTT5 4.12]: what CONNECT or AUTH brought. Borrowed.
struct auth_step {
  struct slice method; // the same in all steps of a client
  bool has_data;
  struct slice data;
};

struct subscribe_item {
  struct slice filter; // without "$share/name/"
  struct slice share;  // the name; empty: it is not shared
  struct slice asked;  // the filter as it was sent, whatever a decorator puts in its place
  uint8_t qos;         // requested
  uint8_t options;     // of MQTT 5, enum subscription_options without the QoS
  uint8_t
      code; // in: 0..2, the QoS to grant, or SUBACK_FAILURE when a decorator refused; out: the return code
  uint8_t reason;           // enum reason of a refusal
  const char *error;        // of a refusal that was not decided but failed; NULL otherwise
  struct buf *told;         // of a refusal: as of struct reply, the item's; or NULL
  const struct verdict *by; // likewise
  bool owned;               // the filter is an allocation of its own, see subscribe_item_set_filter
};

// A SUBSCRIBE or UNSUBSCRIBE, with copies of its filters: valid until it is acknowledged.
struct subscribe_request {
  uint16_t id;
  uint32_t identifier; // of the subscriptions, MQTT 5; 0: none
  uint32_t count;
  struct subscribe_item list[];
};

// Puts another filter, which is copied, in the place of the one that was sent.
void subscribe_item_set_filter(struct subscribe_item *item, struct slice filter);
void subscribe_request_free(struct subscribe_request *request);

// An acknowledgement that several have to give: the last of them gives the whole.
struct ack_parts;

// Whom to tell that a message is taken care of. By value; client_ref'd by who keeps it.
struct ack {
  struct client *client; // NULL: nobody waits
  uint16_t id;
  uint8_t type;            // PACKET_PUBACK, PACKET_PUBCOMP, or 0 for QoS 0
  uint8_t reason;          // enum reason, for MQTT 5
  struct message *message; // what is acknowledged; borrowed
  struct ack_parts *parts; // or NULL: it is whole
};

// A part of the acknowledgement, to be given by client_acknowledge or shared on. Client and message are kept.
struct ack ack_split(struct ack whole);
struct ack ack_share(struct ack part); // one more part of the same

// Packets in flight of clients whose backend keeps them itself, see broker/inflight.h. Each returns false
// where it has failed, which it has logged with its reason. None of them waits. A message in `out` comes with
// a reference of its own.
enum direction { INCOMING, OUTGOING };

struct keeper_ops {
  bool (*keeps)(struct backend *b, struct client *c); // or the one before did, which this one has replaced
  bool (*next_id)(struct backend *b, struct client *c, uint16_t *out);
  bool (*save)(struct backend *b, struct client *c, enum direction d, const struct stored *packet);
  // `out->id` is 0 where there is none.
  bool (*lookup)(struct backend *b, struct client *c, enum direction d, uint16_t id, struct stored *out);
  bool (*remove)(struct backend *b, struct client *c, enum direction d, uint16_t id); // a missing one is fine
  // In the order in which they are to be sent again; the list is the caller's to free.
  bool (*all)(struct backend *b, struct client *c, enum direction d, struct stored **list, uint32_t *count);
};

struct backend_ops {
  // May the client in? It may change the client's settings (client_settings).
  enum backend_status (*authenticate)(struct backend *b, struct client *c, const struct credentials *given,
                                      struct reply *reply);
  // Gives the client its session by client_attach: the stored one, or a new one. `id` as sent, maybe empty
  // (client_id has the assigned one). An existing client of that id is closed first, and waited for at most
  // kill_timeout.
  enum backend_status (*setup)(struct backend *b, struct client *c, struct slice id, bool clean,
                               struct reply *reply);
  // Stored packets have been sent again. When it is BACKEND_PENDING nothing of the queue is sent, and the
  // client is not read, until client_restored is called.
  enum backend_status (*restore)(struct backend *b, struct client *c);
  // The client of MQTT 5 changes how long its session is kept after it.
  void (*expire)(struct backend *b, struct client *c, uint32_t expiry_s);
  // SUBACK goes out when client_subscribed(c, request) is called, during or after the call.
  void (*subscribe)(struct backend *b, struct client *c, struct subscribe_request *request);
  void (*unsubscribe)(struct backend *b, struct client *c,
                      struct subscribe_request *request); // client_unsubscribed
  // QoS 0 and 1: before publish; QoS 2: on PUBLISH before PUBREC; and for a will. Decides about the message;
  // may put another one in its place (and unref the old one). For a will `c` is closing or closed, and its
  // session may be gone; who answers BACKEND_PENDING keeps a reference to `c`.
  enum backend_status (*accept)(struct backend *b, struct client *c, struct message **m, struct reply *reply);
  // Retain, route, acknowledge by client_acknowledge(ack), during or after the call. Borrows the message.
  // ack.client is NULL for wills and luamq.publish: then it never waits.
  void (*publish)(struct backend *b, struct message *m, struct ack ack);
  // The next delivery for the client, which gets the reference; false: none now.
  bool (*dequeue)(struct backend *b, struct client *c, struct delivery *d);
  // The client is about to end: what it waits for is given up, by client_resume with any reply, and what else
  // is under way for it ends. An `accept` goes on. NULL where it is not defined.
  void (*cancel)(struct backend *b, struct client *c);
  // Once for each client that was set up: takes it off its session (client_detach). `error` is why it ended.
  void (*terminate)(struct backend *b, struct client *c, const char *error);
  // Only called for events in shard->log_mask.
  void (*log)(struct backend *b, const struct log_record *record);
  // Beside the nine; NULL where it is not defined. Before any packet but CONNECT and DISCONNECT is processed.
  // `raw`: its bytes; like `p` they are valid during the call only.
  enum backend_status (*packet)(struct backend *b, struct client *c, const struct packet *p, struct slice raw,
                                struct reply *reply);
  // Likewise optional: without it no authentication method is known. Decides in the place of authenticate
  // about a client that names a method, and again when it asks for it: REASON_SUCCESS, a refusal, or
  // REASON_CONTINUE_AUTHENTICATION. Data for the client goes into the reply's `told`.
  enum backend_status (*auth)(struct backend *b, struct client *c, const struct auth_step *step,
                              struct reply *reply);
  // Likewise optional. What has been decided about a filter of a SUBSCRIBE, before the client is told.
  void (*subscribed)(struct backend *b, struct client *c, const struct subscribe_item *item,
                     uint32_t identifier);
  // Likewise optional: for who watches what is decided. Rules that hold for the client have decided, and
  // `lowered` tells that they grant less than was asked for; `d` is valid during the call.
  void (*ruled)(struct backend *b, struct client *c, enum operation o, const struct rules_decision *d,
                bool lowered);
  // A password has been checked that `authenticate` had to wait for.
  void (*password_checked)(struct backend *b, struct client *c, const struct reply *reply);
  // Likewise optional. The queue of the client's session has no room for the message, even after its flush.
  enum full_queue (*full_queue)(struct backend *b, struct client *c, const struct message *m);
  // Likewise optional. The backend has replaced another one, and this client is connected from before; or
  // only its session is (`from_before` is false): it has been stored meanwhile. Nothing of the client is
  // processed, and nothing delivered to it, until client_adopted is called, during or after the call.
  void (*adopt)(struct backend *b, struct client *c, bool from_before);
  // Of clients for which client_keep was called. NULL where it is not defined.
  const struct keeper_ops *keeper;
  void (*engine_error)(struct backend *b, const char *error);
  // A connection ended before MQTT: `stage` is the handshake that failed, or NULL where a limit refused it.
  void (*arrival_failed)(struct backend *b, const struct address *remote, const char *stage, const char *why);
  // A listener has loaded the files of its TLS again; that it could not is an engine error.
  void (*certificates_reloaded)(struct backend *b, const char *url);
  // A password file has been read again.
  void (*passwords_reloaded)(struct backend *b, const char *path, uint32_t users);
  void (*free)(struct backend *b);
};

struct backend {
  const struct backend_ops *ops;
  struct shard *shard;
};

#endif
