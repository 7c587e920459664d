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

static void init_targets(struct targets *t, const struct fanouts *all, const struct fanout *f) {
  targets_init(t, f->message, f->ack.client ? client_session(f->ack.client) : NULL, all->shares);
}

static struct session *session_of(struct subscriber *s) {
  return container_of(s, struct session, subscriber);
}

// Whether it is to get the message, from now on that it has had it.
static bool mark(const struct fanout *f, struct subscriber *s) {
  uint64_t *fanned = s->is_group ? &share_of(s)->fanned : &session_of(s)->fanned;
  if (*fanned >= f->number) return false;
  *fanned = f->number;
  return true;
}

// The next ones that have not had it. Nothing here changes the index or a session's life. False: these
// are the last.
static bool collect(struct fanouts *all, struct fanout *f, struct target *list, size_t *count) {
  struct targets targets;
  init_targets(&targets, all, f);
  const struct matches *matches = index_match(all->index, message_topic(f->message));
  if (f->serial != matches->serial) f->at = 0;
  f->serial = matches->serial;
  size_t copied = 0; // bytes
  const struct message *last = f->message;
  for (*count = 0; f->at < matches->count && *count < all->slice && copied < FANOUT_BYTES; f->at++) {
    const struct match *match = &matches->list[f->at];
    if (!mark(f, match->subscriber) || !target_of(&targets, matches, match, &list[*count])) continue;
    const struct message *m = list[(*count)++].message;
    if (m != f->message && m != last) copied += message_size(m);
    last = m;
  }
  targets_release(&targets);
  return f->at < matches->count;
}

static void run(struct ready *r) {
  struct fanouts *all = container_of(r, struct fanouts, ready);
  struct fanout *f = fanout_of(all->list.next);
  struct target *list = mem_alloc(all->slice * sizeof *list);
  size_t count;
  bool more = collect(all, f, list, &count);
  all->deliver(all->arg, f->message, ack_share(f->ack), list, count);
  mem_free(list);
  if (!more) finish(f);
  if (!list_empty(&all->list)) loop_make_ready(all->loop, r);
}

void fanouts_init(struct fanouts *f, struct loop *l, struct index *ix, struct shares *shares,
                  void (*deliver)(void *arg, struct message *m, struct ack ack, struct target *list,
                                  size_t count),
                  void *arg) {
  *f = (struct fanouts){
      .loop = l, .index = ix, .shares = shares, .slice = FANOUT_SLICE, .deliver = deliver, .arg = arg};
  list_init(&f->list);
  ready_init(&f->ready, run);
}

void fanouts_release(struct fanouts *f) {
  ready_cancel(&f->ready);
  while (!list_empty(&f->list))
    finish(fanout_of(f->list.next));
}

// A group's members have identifiers of their own.
bool fanouts_copies_are_many(const struct message *m, const struct matches *matches) {
  size_t copies = 0;
  for (uint32_t i = 0; i < matches->count; i++)
    copies += matches->list[i].ids || matches->list[i].subscriber->is_group;
  return message_size(m) * copies > FANOUT_BYTES;
}

void fanouts_add(struct fanouts *all, struct message *m, struct ack ack) {
  struct fanout *f = mem_alloc(sizeof *f);
  *f = (struct fanout){.message = message_ref(m), .ack = ack_split(ack), .number = ++all->last};
  list_init(&f->node);
  list_append(&all->list, &f->node);
  if (ack.client) client_pause(client_ref(ack.client));
  loop_make_ready(all->loop, &all->ready);
}

// The subscriptions that match, merged as the index merges them. False: there is none.
static bool matches_topic(const struct subscriber *s, const struct message *m, uint8_t *options,
                          struct buf *ids) {
  bool found = false;
  struct buf filter = BUF_INIT;
  for (const struct subscription *sub = s->first; sub; sub = sub->next_of_subscriber) {
    filter.len = 0;
    subscription_filter(sub, &filter);
    if (!topic_match(buf_slice(&filter), message_topic(m))) continue;
    *options = found ? subscription_merge(*options, sub->options) : sub->options;
    if (sub->id) buf_add(ids, &sub->id, sizeof sub->id);
    found = true;
  }
  buf_release(&filter);
  return found;
}

static void settle(struct fanouts *all, struct fanout *f, struct subscriber *s) {
  uint8_t options;
  struct buf ids = BUF_INIT;
  struct targets targets;
  struct target one;
  init_targets(&targets, all, f);
  if (matches_topic(s, f->message, &options, &ids) &&
      (s->is_group ? target_of_group(&targets, share_of(s), &one)
                   : target_of_subscription(&targets, session_of(s), options, buf_slice(&ids), &one)))
    all->deliver(all->arg, f->message, ack_share(f->ack), &one, 1);
  targets_release(&targets);
  buf_release(&ids);
}

void fanouts_settle(struct fanouts *all, struct subscriber *s) {
  list_each(node, &all->list) {
    struct fanout *f = fanout_of(node);
    if (mark(f, s)) settle(all, f, s);
  }
}
