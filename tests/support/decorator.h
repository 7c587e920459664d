// A backend around the memory backend of a harness, as a script's hooks are one: it records the log and the
// reasons of terminate, and holds back answers until the test gives them.
//
//   struct decorator d;
//   decorator_init(&d, h);                // before the first peer connects
//   d.hold_acks = true;                   // PUBACK and PUBCOMP wait for decorator_release_acks
//   decorator_expect_log(&d, "[new connection]\n");
#ifndef LUAMQ_TESTS_DECORATOR_H
#define LUAMQ_TESTS_DECORATOR_H

#include "harness.h"

#define DECORATOR_HELD 512

struct decorator {
  struct backend backend;
  struct backend *inner;
  bool hold_authenticate, hold_auth, hold_accept, hold_wills, hold_acks, hold_subscribes;
  bool refuse_authenticate, refuse_accept, drop_accept, refuse_packets;
  struct client *pending[DECORATOR_HELD]; // whose authenticate or accept has no answer yet, with references
  struct ack acks[DECORATOR_HELD];        // with references to client and message
  struct {
    struct client *client; // a reference
    struct subscribe_request *request;
    bool unsubscribe;
  } requests[DECORATOR_HELD];
  size_t pending_count, ack_count, request_count;
  size_t accepted, terminated;
  const char *last_end; // what the last terminate was told
  struct buf log;
};

static inline struct decorator *decorator_of(struct backend *b) {
  return container_of(b, struct decorator, backend);
}

static inline enum backend_status decorator_hold(struct decorator *d, struct client *c) {
  assert_true(d->pending_count < DECORATOR_HELD);
  d->pending[d->pending_count++] = client_ref(c);
  return BACKEND_PENDING;
}

static inline enum backend_status decorator_authenticate(struct backend *b, struct client *c,
                                                         const struct credentials *given,
                                                         struct reply *reply) {
  struct decorator *d = decorator_of(b);
  if (d->hold_authenticate) return decorator_hold(d, c);
  if (d->refuse_authenticate) {
    reply->reason = REASON_NOT_AUTHORIZED;
    return BACKEND_DONE;
  }
  return d->inner->ops->authenticate(d->inner, c, given, reply);
}

// The data "good" lets in and "bad" does not; anything else is sent back.
static inline enum backend_status decorator_auth(struct backend *b, struct client *c,
                                                 const struct auth_step *step, struct reply *reply) {
  struct decorator *d = decorator_of(b);
  if (d->hold_auth) return decorator_hold(d, c);
  if (slice_eq(step->data, SLICE("good"))) return BACKEND_DONE;
  bool bad = slice_eq(step->data, SLICE("bad"));
  reply->reason = bad ? REASON_NOT_AUTHORIZED : REASON_CONTINUE_AUTHENTICATION;
  reply_tell(reply, told_new());
  if (bad)
    packet_add_value(reply->told, PROPERTY_REASON_STRING, SLICE("wrong"));
  else if (step->has_data)
    packet_add_value(reply->told, PROPERTY_AUTHENTICATION_DATA, step->data);
  return BACKEND_DONE;
}

static inline enum backend_status decorator_setup(struct backend *b, struct client *c, struct slice id,
                                                  bool clean, struct reply *reply) {
  struct backend *inner = decorator_of(b)->inner;
  return inner->ops->setup(inner, c, id, clean, reply);
}

static inline void decorator_expire(struct backend *b, struct client *c, uint32_t expiry_s) {
  struct backend *inner = decorator_of(b)->inner;
  inner->ops->expire(inner, c, expiry_s);
}

static inline enum backend_status decorator_restore(struct backend *b, struct client *c) {
  struct backend *inner = decorator_of(b)->inner;
  return inner->ops->restore(inner, c);
}

static inline bool decorator_keep_request(struct decorator *d, struct client *c,
                                          struct subscribe_request *request, bool unsubscribe) {
  if (!d->hold_subscribes) return false;
  assert_true(d->request_count < DECORATOR_HELD);
  d->requests[d->request_count].client = client_ref(c);
  d->requests[d->request_count].request = request;
  d->requests[d->request_count++].unsubscribe = unsubscribe;
  return true;
}

static inline void decorator_subscribe(struct backend *b, struct client *c,
                                       struct subscribe_request *request) {
  struct decorator *d = decorator_of(b);
  if (!decorator_keep_request(d, c, request, false)) d->inner->ops->subscribe(d->inner, c, request);
}

static inline void decorator_unsubscribe(struct backend *b, struct client *c,
                                         struct subscribe_request *request) {
  struct decorator *d = decorator_of(b);
  if (!decorator_keep_request(d, c, request, true)) d->inner->ops->unsubscribe(d->inner, c, request);
}

static inline enum backend_status decorator_accept(struct backend *b, struct client *c, struct message **m,
                                                   struct reply *reply) {
  struct decorator *d = decorator_of(b);
  d->accepted++;
  if (client_closing(c) ? d->hold_wills : d->hold_accept) return decorator_hold(d, c);
  if (d->refuse_accept) {
    reply->reason = REASON_NOT_AUTHORIZED;
    return BACKEND_DONE;
  }
  reply->drop = d->drop_accept;
  return d->inner->ops->accept(d->inner, c, m, reply);
}

static inline void decorator_publish(struct backend *b, struct message *m, struct ack ack) {
  struct decorator *d = decorator_of(b);
  if (d->hold_acks && ack.client && ack.type) {
    assert_true(d->ack_count < DECORATOR_HELD);
    d->acks[d->ack_count] = ack;
    d->acks[d->ack_count].client = client_ref(ack.client);
    d->acks[d->ack_count++].message = message_ref(m);
    ack.client = NULL;
  }
  d->inner->ops->publish(d->inner, m, ack);
}

static inline bool decorator_dequeue(struct backend *b, struct client *c, struct delivery *out) {
  struct backend *inner = decorator_of(b)->inner;
  return inner->ops->dequeue(inner, c, out);
}

static inline enum backend_status decorator_packet(struct backend *b, struct client *c,
                                                   const struct packet *p, struct slice raw,
                                                   struct reply *reply) {
  (void)c, (void)p, (void)raw;
  if (decorator_of(b)->refuse_packets) reply->reason = REASON_NOT_AUTHORIZED;
  return BACKEND_DONE;
}

static inline void decorator_terminate(struct backend *b, struct client *c, const char *error) {
  struct decorator *d = decorator_of(b);
  d->terminated++;
  d->last_end = error;
  d->inner->ops->terminate(d->inner, c, error);
}

static inline void decorator_log(struct backend *b, const struct log_record *record) {
  struct buf *log = &decorator_of(b)->log;
  buf_printf(log, "[%s]", event_name(record->event));
  if (record->error || record->message || record->packet) buf_add_byte(log, ' ');
  if (record->error)
    buf_add_str(log, record->error);
  else if (record->message)
    packet_format_message(record->message, log);
  else if (record->packet)
    packet_format(record->packet, record->version, log);
  buf_add_byte(log, '\n');
}

static inline void decorator_free(struct backend *b) {
  struct decorator *d = decorator_of(b);
  buf_release(&d->log);
  d->inner->ops->free(d->inner);
}

static inline void decorator_init(struct decorator *d, struct harness *h) {
  static const struct backend_ops ops = {
      .authenticate = decorator_authenticate,
      .setup = decorator_setup,
      .restore = decorator_restore,
      .expire = decorator_expire,
      .subscribe = decorator_subscribe,
      .unsubscribe = decorator_unsubscribe,
      .accept = decorator_accept,
      .publish = decorator_publish,
      .dequeue = decorator_dequeue,
      .terminate = decorator_terminate,
      .log = decorator_log,
      .packet = decorator_packet,
      .auth = decorator_auth,
      .free = decorator_free,
  };
  memset(d, 0, sizeof *d);
  d->backend = (struct backend){&ops, h->shard};
  d->inner = h->memory;
  shard_set_backend(h->shard, &d->backend);
  h->shard->log_mask = EVENT_ALL;
}

// Answers the oldest operation that is held.
static inline void decorator_resume(struct decorator *d, struct harness *h, struct reply reply) {
  assert_true(d->pending_count > 0);
  struct client *c = d->pending[0];
  memmove(&d->pending[0], &d->pending[1], --d->pending_count * sizeof d->pending[0]);
  client_resume(c, &reply);
  client_unref(c);
  harness_run(h);
}

// Gives the oldest `count` acknowledgements that are held.
static inline void decorator_release_acks(struct decorator *d, struct harness *h, size_t count) {
  assert_true(count <= d->ack_count);
  for (size_t i = 0; i < count; i++) {
    struct ack ack = d->acks[i];
    client_acknowledge(ack);
    client_unref(ack.client);
    message_unref(ack.message);
  }
  d->ack_count -= count;
  memmove(&d->acks[0], &d->acks[count], d->ack_count * sizeof d->acks[0]);
  harness_run(h);
}

// Lets the oldest SUBSCRIBE or UNSUBSCRIBE that is held go on.
static inline void decorator_release_request(struct decorator *d, struct harness *h) {
  assert_true(d->request_count > 0);
  struct client *c = d->requests[0].client;
  struct subscribe_request *request = d->requests[0].request;
  bool unsubscribe = d->requests[0].unsubscribe;
  memmove(&d->requests[0], &d->requests[1], --d->request_count * sizeof d->requests[0]);
  if (!client_session(c) && unsubscribe)
    client_unsubscribed(c, request);
  else if (!client_session(c))
    client_subscribed(c, request);
  else if (unsubscribe)
    d->inner->ops->unsubscribe(d->inner, c, request);
  else
    d->inner->ops->subscribe(d->inner, c, request);
  client_unref(c);
  harness_run(h);
}

// Gives up all that is held, at the end of the broker.
static inline void decorator_abandon(struct decorator *d) {
  d->hold_wills = false;
  while (d->pending_count)
    client_unref(d->pending[--d->pending_count]);
  while (d->ack_count) {
    client_unref(d->acks[--d->ack_count].client);
    message_unref(d->acks[d->ack_count].message);
  }
  while (d->request_count) {
    client_unref(d->requests[--d->request_count].client);
    subscribe_request_free(d->requests[d->request_count].request);
  }
}

static inline void decorator_clear_log(struct decorator *d) { d->log.len = 0; }

// The log since the last look is exactly this.
static inline void decorator_expect_log(struct decorator *d, const char *expected) {
  assert_string_equal(buf_text(&d->log), expected);
  decorator_clear_log(d);
}

// The log since the last look has this line.
static inline void decorator_expect_line(struct decorator *d, const char *line) {
  if (!strstr(buf_text(&d->log), line)) fail_msg("no \"%s\" in:\n%s", line, buf_text(&d->log));
  decorator_clear_log(d);
}

#endif
