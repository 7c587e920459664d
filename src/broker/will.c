#include "broker/will.h"

#include "base/mem.h"
#include "broker/client_impl.h"

struct will {
  struct list node;      // in shard->wills
  struct timer timer;    // the delay
  struct ready ready;    // its session has ended
  struct client *client; // a reference
  struct message *message;
  struct will **slot; // where its owner keeps it; NULL: nobody does
};

// --- sending ---

static void publish(struct client *c, struct message *m, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS) {
    client_publish_refused(c, m, reply);
  } else if (!reply->drop) {
    client_ops(c)->publish(c->shard->backend, m, (struct ack){.message = m});
    client_log_published(c, m);
  }
}

void will_decided(struct client *c, struct message *m, const struct reply *reply) {
  publish(c, m, reply);
  message_unref(m);
}

// Takes over the reference to the message. Its time begins now, if it has one.
static void decide(struct client *c, struct message *m) {
  struct reply reply = {0};
  m->arrived_ms = client_now(c);
  if (client_accept(c, &m, &reply) == BACKEND_PENDING)
    client_hold(c, PENDING_WILL, 0, m);
  else
    will_decided(c, m, &reply);
  reply_release(&reply);
}

// --- of a client that ends ---

static struct message *take(struct client *c) {
  struct message *m = c->will;
  c->will = NULL;
  return m;
}

static bool is_to_wait(const struct client *c) {
  return c->v5 && c->v5->will_delay_s && c->session->expiry_s && !c->shard->closing;
}

void will_client_leaves(struct client *c) {
  if (c->will && !is_to_wait(c)) decide(c, take(c));
}

void will_client_left(struct client *c) {
  if (c->will) decide(c, take(c));
}

// --- waiting ---

static void forget(struct will *w) {
  if (w->slot) *w->slot = NULL;
  w->slot = NULL;
}

static void release(struct will *w) {
  struct shard *s = w->client->shard;
  forget(w);
  timer_disarm(&s->loop->timers, &w->timer);
  ready_cancel(&w->ready);
  list_remove(&w->node);
  s->stats.wills_waiting--;
  client_unref(w->client);
  mem_free(w);
}

static void send_waiting(struct will *w) {
  struct client *c = client_ref(w->client);
  struct message *m = w->message;
  release(w);
  decide(c, m);
  client_unref(c);
}

static void delay_passed(struct timer *t) { send_waiting(container_of(t, struct will, timer)); }

static void session_ended(struct ready *r) { send_waiting(container_of(r, struct will, ready)); }

void will_keep(struct client *c, struct will **slot) {
  struct shard *s = c->shard;
  if (!c->will || s->closing) return;
  struct will *w = mem_alloc(sizeof *w);
  *w = (struct will){.client = client_ref(c), .message = take(c), .slot = slot};
  *slot = w;
  buf_release(&c->v5->user_properties); // of its CONNECT: they are not kept as long as a delay may be
  list_init(&w->node);
  list_append(&s->wills, &w->node);
  ready_init(&w->ready, session_ended);
  timer_init(&w->timer, delay_passed);
  timer_arm(&s->loop->timers, &w->timer, client_now(c) + c->v5->will_delay_s * UINT64_C(1000));
  s->stats.wills_waiting++;
}

void will_drop(struct will *w) {
  if (!w) return;
  message_unref(w->message);
  release(w);
}

void will_session_ended(struct will *w) {
  if (!w) return;
  forget(w);
  loop_make_ready(w->client->shard->loop, &w->ready);
}

void wills_drop_all(struct shard *s) {
  for (struct list *node; (node = list_first(&s->wills));)
    will_drop(container_of(node, struct will, node));
}

void wills_send_all(struct shard *s) {
  for (struct list *node; (node = list_first(&s->wills));)
    send_waiting(container_of(node, struct will, node));
}
