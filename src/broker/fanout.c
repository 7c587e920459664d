#include "broker/fanout.h"

#include "base/mem.h"
#include "broker/client.h"

struct fanout {
  struct list node;
  struct message *message;
  struct ack ack; // shared by all slices
  uint64_t number;
  uint64_t serial; // of the matches that `at` is a place in; 0: none
  uint32_t at;
};

static struct fanout *fanout_of(struct list *node) { return container_of(node, struct fanout, node); }

static uint8_t granted(const struct message *m, uint8_t options) {
  uint8_t qos = options & 3;
  return qos < m->qos ? qos : m->qos;
}

// Every slice gives a part of the acknowledgement, and the fan-out itself the last one.
static void finish(struct fanout *f) {
  struct client *publisher = f->ack.client;
  list_remove(&f->node);
  client_acknowledge(f->ack);
  if (publisher) {
    client_unpause(publisher);
    client_unref(publisher);
  }
  message_unref(f->message);
  mem_free(f);
}

// The next sessions that have not had it. Nothing here changes the index or a session's life. False: these
// are the last.
static bool collect(struct fanouts *all, struct fanout *f, struct full *list, size_t *count) {
  const struct matches *matches = index_match(all->index, message_topic(f->message));
  if (f->serial != matches->serial) f->at = 0;
  f->serial = matches->serial;
  for (*count = 0; f->at < matches->count && *count < all->slice; f->at++) {
    const struct match *match = &matches->list[f->at];
    struct session *s = container_of(match->subscriber, struct session, subscriber);
    if (s->fanned >= f->number) continue;
    s->fanned = f->number;
    list[(*count)++] = (struct full){s, granted(f->message, match->options)};
  }
  return f->at < matches->count;
}

static void run(struct ready *r) {
  struct fanouts *all = container_of(r, struct fanouts, ready);
  struct fanout *f = fanout_of(all->list.next);
  struct full *list = mem_alloc(all->slice * sizeof *list);
  size_t count;
  bool more = collect(all, f, list, &count);
  all->deliver(all->arg, f->message, ack_share(f->ack), list, count);
  mem_free(list);
  if (!more) finish(f);
  if (!list_empty(&all->list)) loop_make_ready(all->loop, r);
}

void fanouts_init(struct fanouts *f, struct loop *l, struct index *ix,
                  void (*deliver)(void *arg, struct message *m, struct ack ack, struct full *list,
                                  size_t count),
                  void *arg) {
  *f = (struct fanouts){.loop = l, .index = ix, .slice = FANOUT_SLICE, .deliver = deliver, .arg = arg};
  list_init(&f->list);
  ready_init(&f->ready, run);
}

void fanouts_release(struct fanouts *f) {
  ready_cancel(&f->ready);
  while (!list_empty(&f->list))
    finish(fanout_of(f->list.next));
}

void fanouts_add(struct fanouts *all, struct message *m, struct ack ack) {
  struct fanout *f = mem_alloc(sizeof *f);
  *f = (struct fanout){.message = message_ref(m), .ack = ack_split(ack), .number = ++all->last};
  list_init(&f->node);
  list_append(&all->list, &f->node);
  if (ack.client) client_pause(client_ref(ack.client));
  loop_make_ready(all->loop, &all->ready);
}

// Whether the session's subscriptions match, and then the highest QoS among them.
static bool matches_topic(const struct session *s, const struct message *m, uint8_t *qos) {
  bool found = false;
  struct buf filter = BUF_INIT;
  *qos = 0;
  for (const struct subscription *sub = s->subscriber.first; sub; sub = sub->next_of_subscriber) {
    filter.len = 0;
    subscription_filter(sub, &filter);
    if (!topic_match(buf_slice(&filter), message_topic(m))) continue;
    if (granted(m, sub->options) > *qos) *qos = granted(m, sub->options);
    found = true;
  }
  buf_release(&filter);
  return found;
}

void fanouts_settle(struct fanouts *all, struct session *s) {
  list_each(node, &all->list) {
    struct fanout *f = fanout_of(node);
    struct full one = {.session = s};
    if (s->fanned >= f->number) continue;
    s->fanned = f->number;
    if (matches_topic(s, f->message, &one.qos))
      all->deliver(all->arg, f->message, ack_share(f->ack), &one, 1);
  }
}
