// The inside of a client, for client*.c and shard.c only.
//
//   client.c      its life: connection, settings, timers, closing
//   client_connect.c  from CONNECT to CONNACK
//   client_auth.c the exchange of enhanced authentication
//   client_5.c    what only MQTT 5 has: quotas, aliases, properties of CONNACK
//   client_in.c   bytes read -> packets -> handlers, a table of packet type x state
//   client_connect.c, client_publish.c, client_subscribe.c  the handlers of these packets, and their answers
//   client_out.c  control packets and deliveries -> one gathered write a turn
//   client_limits.c  what holds a client back: failed logins, its publish rate, unfinished packets, memory
#ifndef LUAMQ_BROKER_CLIENT_IMPL_H
#define LUAMQ_BROKER_CLIENT_IMPL_H

#include "broker/access.h"
#include "broker/client.h"
#include "broker/client_5.h"
#include "broker/client_auth.h"
#include "broker/pace.h"
#include "broker/shard.h"

#define CLIENT_BYTES (64u << 10) // that a client may put into queues in any case

enum client_state {
  CLIENT_NEW,        // waits for CONNECT
  CLIENT_CONNECTING, // authenticate, auth or setup is under way
  CLIENT_CONNECTED,
  CLIENT_CLOSING,   // has an error; ends at the end of the turn
  CLIENT_LINGERING, // off its session; the last bytes are on their way out
  CLIENT_CLOSED,    // kept by references only
};

#define PENDING_WILL   0  // accept, of the will of a client that has left its session
#define PENDING_PACKET 16 // packet

enum client_work {
  WORK_PROCESS = 1,
  WORK_FLUSH = 2,
  WORK_END = 4,
  WORK_BACKLOG =
      8, // it is in shard->backlog, or will be at the end of the turn, and is to go on sending only
};

struct identity { // what CONNECT told, where the session does not keep it
  uint16_t id_len, username_len;
  bool has_username;
  uint8_t bytes[]; // id, username
};

struct pending { // an operation of the backend that has not answered yet
  // Packet type: CONNECT (authenticate), AUTH (auth), CONNACK (setup), PUBLISH (accept); or one of the above.
  uint8_t op;
  uint8_t qos; // as it came
  uint16_t id;
  struct message *message;
  struct buf *packet; // PENDING_PACKET: its bytes
};

struct resend { // stored packets to be sent again after a reconnect, in order
  uint32_t count, at;
  uint16_t ids[];
};

struct client_limits { // only of a client that has come to one of these limits
  struct client *client;
  struct pace pace;
  struct login_hold hold;
  struct unfinished_packet unfinished;
};

enum client_login {
  CLIENT_LOGIN_NONE,
  CLIENT_LOGIN_HELD,        // limits->hold is in a list
  CLIENT_LOGIN_UNDER_WAY,   // shard->peers is to be told how it ended
  CLIENT_LOGIN_TURNED_AWAY, // it is to be refused
};

struct client {
  struct shard *shard;
  struct conn *conn; // NULL once closed
  struct session *session;
  struct list node;          // in shard->clients
  struct list work_node;     // in shard->work
  struct timer timer;        // at or before the earliest deadline
  struct buf *control;       // encoded packets to be sent before deliveries, or NULL
  struct buf *unread;        // bytes of an unfinished packet, or packets that wait; or NULL
  struct identity *identity; // or NULL: the id is the session's, there is no user name
  struct message *will;
  struct pending *pending;
  struct resend *resend;
  void *script;
  struct client_settings *own_settings; // or NULL: the shard's
  struct client_limits *limits;         // or NULL
  struct access *access;                // or NULL: no rules have been asked about it
  struct client_5 *v5;                  // or NULL: an older version
  const char *error;
  // Moments, see client_stamp.
  uint32_t last_packet;     // or when the connection came
  uint32_t publish_blocked; // since when out of publish or subscribe tokens; 0: is not
  uint32_t dequeue_blocked; // since when a message waits for dequeue tokens or the peer; 0: is not
  uint32_t refs;
  uint16_t keep_alive;            // seconds, in force
  uint16_t publishes, subscribes; // under way
  uint16_t pauses;
  uint8_t state, version;
  uint8_t work : 4;  // enum client_work
  uint8_t login : 2; // enum client_login
  uint8_t waits_for_memory : 1;
  uint8_t yielded : 1; // its packets have made work enough for a turn
  uint8_t clean : 1, sent_password : 1, assigned_id : 1, entered : 1, set_up : 1, lost : 1,
      stopped_reading : 1, restoring : 1, said_goodbye : 1, user_counted : 1, adopting : 1,
      session_is_old : 1,
      kept : 1,         // by the backend: its packets in flight
      restore_runs : 1; // while `restoring`
  struct address remote;
  uint8_t reason;        // of `error`, for MQTT 5; 0: what the text stands for
  uint16_t reign;        // of the shard, when its backend was told of the client
  uint32_t packet_since; // when the first bytes of the unfinished packet came
};

extern const struct conn_handler client_conn_handler;

// client.c
struct client *client_new(struct shard *s, struct conn *conn, const struct address *remote);
void client_add_work(struct client *c, unsigned work);
void client_end(struct client *c);                  // WORK_END
void client_abort(struct client *c);                // at once, without a word
void client_arm(struct client *c, uint64_t due_ms); // the timer fires at or before due_ms
void client_fail(struct client *c, enum log_event event, const char *error); // logs and closes
void client_fail_with(struct client *c, enum log_event event, uint8_t reason, const char *error);
// The same; `reply` is a refusal that the client is told of, `packet_type` of what: 0 unless it is
// OPERATION_PACKET.
void client_fail_telling(struct client *c, enum operation o, uint8_t packet_type, const struct reply *reply);
void client_set_identity(struct client *c, struct slice id, const struct packet_connect *connect);
void client_update_timer(struct client *c);
void client_drop_unread(struct client *c);
void client_drop_will(struct client *c);
void client_cap_keep_alive(struct client *c);
void client_settings_changed(struct client *c); // the shard's

// client_connect.c
void client_on_connect(struct client *c, const struct packet *p);
void client_refuse_connect(struct client *c, uint8_t reason, const char *error);
// The broker stops: one that is not let in yet is refused, another one is told by a DISCONNECT.
void client_close_for_stop(struct client *c);
void client_malformed_connect(struct client *c, struct slice in, uint8_t reason); // answers one of MQTT 5
void client_authenticated(struct client *c, const struct reply *reply); // authenticate has answered, and
void client_set_up_done(struct client *c, const struct reply *reply);   // setup has

// client_subscribe.c
void client_on_subscribe(struct client *c, const struct packet *p);
void client_on_unsubscribe(struct client *c, const struct packet *p);

// client_publish.c: packets in flight by broker/inflight.h
void client_on_publish(struct client *c, const struct packet *p);
void client_on_puback(struct client *c, const struct packet *p);
void client_on_pubrec(struct client *c, const struct packet *p);
void client_on_pubrel(struct client *c, const struct packet *p);
void client_on_pubcomp(struct client *c, const struct packet *p);
// accept has answered. Takes over the reference to the message.
void client_accepted(struct client *c, struct message *m, uint16_t id, uint8_t qos,
                     const struct reply *reply);

// Whether the message may be published: what holds for all, then the backend's decision.
enum backend_status client_accept(struct client *c, struct message **m, struct reply *reply);
void client_publish_refused(struct client *c, const struct message *m,
                            const struct reply *reply); // counts, logs
void client_log_published(struct client *c, const struct message *m);

// client_in.c
// What the peer may not do: it is told in CONNACK or DISCONNECT, and closed.
void client_violated(struct client *c, enum log_event event, uint8_t reason, const char *error);
void client_hold(struct client *c, uint8_t op, uint16_t id, struct message *m); // the backend is pending
void client_process_unread(struct client *c);                                   // WORK_PROCESS
void client_continue(struct client *c); // something that held up reading may be over

// client_limits.c
// Whether a CONNECT may be processed now; else the client is paused until it may, or is to be turned away.
bool client_may_log_in(struct client *c);
void client_log_in_done(struct client *c, const struct reply *reply); // authenticate has answered
bool client_may_publish(struct client *c, const struct packet *p);    // false: it waits for memory
void client_memory_changed(struct client *c);
void client_charge_publish(struct client *c, size_t bytes); // may pause it
void client_pace_changed(struct client *c);                 // its settings have
void client_packet_began(struct client *c);                 // `unread` begins with an unfinished packet
bool client_packet_is_late(struct client *c);               // and arms the timer where it is not
void client_count_unread(struct client *c);                 // `unread` has changed
// Closes those with the largest unfinished packets, until so many bytes are free. Not while packets are
// handled.
uint64_t client_close_unfinished(struct shard *s, uint64_t bytes); // returns the bytes that are free
void client_leave_limits(struct client *c);                        // the connection has ended

// client_out.c
struct buf *client_control(struct client *c); // to append an encoded packet to; it will be flushed
void client_send_ack(struct client *c, uint8_t type, uint16_t id, uint8_t reason);
void client_send_disconnect(struct client *c, const struct buf *told); // MQTT 5: why it ends
// False: it is larger than what the client takes, and is not sent [MQTT5-3.1.2-24].
bool client_send(struct client *c, const struct packet *p);
// The same with what the client is told beside the reason, as far as it may be and has room. NULL is fine.
bool client_send_telling(struct client *c, struct packet *p, const struct buf *told);
void client_start_resend(struct client *c);
bool client_output_full(const struct client *c); // the peer does not read, and too many answers wait

// The backend has changed, and has to be told of the client first.
static inline bool client_is_orphan(const struct client *c) {
  return (c->reign != c->shard->reign || c->session_is_old) && c->state == CLIENT_CONNECTED;
}
// For tests: of the packet with this type and id, 0 where it has none or it is not known.
static inline void client_tell_decision(struct client *c, uint8_t type, uint16_t id,
                                        const struct reply *reply) {
  struct shard *s = c->shard;
  if (s->decided) s->decided(s->decided_arg, c, type, id, reply);
}
// Whether there are rules for it at all: what is asked for each message.
static inline bool client_has_rules(const struct client *c) { return c->shard->rules || c->access; }
static inline const struct backend_ops *client_ops(const struct client *c) { return c->shard->backend->ops; }
// Packets wait for something that is not the client's doing: this never counts against it.
static inline bool client_is_waiting(const struct client *c) {
  return c->pending || c->pauses || c->restoring || c->yielded;
}
// client_settings, for what is done with each packet.
static inline const struct client_settings *client_quick_settings(const struct client *c) {
  return c->own_settings ? c->own_settings : &c->shard->settings.client;
}
static inline uint64_t client_now(const struct client *c) { return c->shard->loop->clock.now_ms; }
// A moment in 4 bytes: the low bits of the time, never 0. It is good for waits of some weeks.
static inline uint32_t client_stamp(const struct client *c) {
  uint32_t now = (uint32_t)client_now(c);
  return now ? now : 1;
}
static inline uint32_t client_passed_ms(const struct client *c, uint32_t stamp) {
  int32_t passed = (int32_t)((uint32_t)client_now(c) - stamp);
  return passed == -1 ? 0 : (uint32_t)passed; // the stamp may be a millisecond ahead
}

#endif
