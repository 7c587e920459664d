#include "broker/waiting.h"

#include "base/mem.h"
#include "broker/client.h"
#include "broker/shard.h"

struct entry {
  struct list node; // in session->waiting
  struct target target;
  struct wait *wait;
};

struct wait {
  struct timer timer;
  struct shard *shard;
  struct message *message;
  struct ack ack;
  void (*drop)(void *arg, const struct target *t);
  void *arg;
  size_t left; // entries that are still in a list
  size_t count;
  struct entry entries[];
};

const struct message *waiting_message(const struct list *node) {
  return container_of((struct list *)(uintptr_t)node, struct entry, node)->target.message;
}

static void wait_done(struct wait *w) {
  if (--w->left) return;
  timer_disarm(&w->shard->loop->timers, &w->timer);
  client_acknowledge(w->ack);
  client_unpause(w->ack.client);
  client_unref(w->ack.client);
  message_unref(w->message);
  mem_free(w);
}

// The entry is out of its list. Frees the wait with the last one.
static void entry_done(struct entry *entry) {
  session_pool_leave(&entry->wait->shard->pool, entry->target.message);
  target_release(&entry->target);
  wait_done(entry->wait);
}

static void drop_entry(struct entry *entry) {
  struct wait *w = entry->wait;
  list_remove(&entry->node);
  w->drop(w->arg, &entry->target);
  entry_done(entry);
}

static void timed_out(struct timer *t) {
  struct wait *w = container_of(t, struct wait, timer);
  w->left++; // it stays until the end of the walk, whatever a log hook does meanwhile
  for (size_t i = 0; i < w->count; i++) {
    struct entry *entry = &w->entries[i];
    if (list_empty(&entry->node)) continue;
    entry->target.session->slow = true;
    drop_entry(entry);
  }
  wait_done(w);
}

void waiting_add(struct shard *s, struct message *m, struct ack ack, struct target *list, size_t count,
                 void (*drop)(void *arg, const struct target *t), void *arg) {
  struct wait *w = mem_alloc(sizeof *w + count * sizeof w->entries[0]);
  *w = (struct wait){.shard = s,
                     .message = message_ref(m),
                     .ack = ack,
                     .drop = drop,
                     .arg = arg,
                     .left = count,
                     .count = count};
  w->ack.message = m;
  timer_init(&w->timer, timed_out);
  for (size_t i = 0; i < count; i++) {
    w->entries[i] = (struct entry){.target = list[i], .wait = w};
    list_append(&list[i].session->waiting, &w->entries[i].node);
    session_pool_enter(&s->pool, list[i].message);
  }
  client_ref(ack.client);
  client_pause(ack.client);
  s->stats.publishes_waited++;
  timer_arm(&s->loop->timers, &w->timer, s->loop->clock.now_ms + s->settings.full_queue_wait_ms);
}

void waiting_admit(struct shard *s, struct session *to) {
  while (waiting_has_room(&s->settings, to) && !list_empty(&to->waiting)) {
    struct entry *entry = container_of(list_take(&to->waiting), struct entry, node);
    const struct target *t = &entry->target;
    if (to->client || t->qos) { // QoS 0 is not kept for one that has gone
      message_ref(t->message);
      session_push(to, &s->pool, target_delivery(t));
      s->stats.messages_queued++;
    }
    entry_done(entry);
  }
}

void waiting_drop_all(struct shard *s, struct session *to) {
  (void)s;
  while (!list_empty(&to->waiting))
    drop_entry(container_of(to->waiting.next, struct entry, node));
}
