// The way of a message: retained, routed, into queues, and from there to clients.
#include "broker/memory_impl.h"
#include "broker/overflow.h"
#include "broker/waiting.h"

#define REPLAY_BUDGET 4096 // topics looked at for one dequeue

// Whether the message fits beside those that are retained, in the place of the one of its topic. That one is
// looked up only where it may decide.
static bool may_retain(const struct memory *memory, const struct message *m) {
  const struct settings *limits = &memory->backend.shard->settings;
  uint64_t count = memory->retained.count, bytes = memory->backend.shard->stats.retained_bytes;
  if (count < limits->max_retained_messages && bytes + message_size(m) <= limits->max_retained_bytes)
    return true;
  const struct message *old = retained_get(&memory->retained, message_topic(m));
  return old && count <= limits->max_retained_messages &&
         bytes - message_size(old) + message_size(m) <= limits->max_retained_bytes;
}

static void refuse_to_retain(struct shard *shard, const struct message *m, struct client *c) {
  shard->stats.retained_refused++;
  struct packet_message view = message_view(m);
  shard_log(shard, (struct log_record){.event = EVENT_SESSION_ERROR,
                                       .client = c,
                                       .message = &view,
                                       .error = shard->pressure.near ? ERROR_MEMORY_LIMIT
                                                                     : "too many retained messages"});
}

static void count_retained(struct memory *memory, const struct message *added, struct message *removed) {
  struct stats *stats = &memory->backend.shard->stats;
  if (added) stats->retained_bytes += message_size(added);
  if (removed) stats->retained_bytes -= message_size(removed);
  if (removed) message_unref(removed);
  stats->retained_messages = memory->retained.count;
}

static void retain(struct memory *memory, struct message *m, struct client *c) {
  struct shard *shard = memory->backend.shard;
  bool keep =
      m->payload_len && !shard->pressure.near && may_retain(memory, m); // [MQTT-3.3.1-5, MQTT-3.3.1-10, -11]
  struct message *old;
  if (m->payload_len && !keep) refuse_to_retain(shard, m, c);
  if (keep)
    old = retained_set(&memory->retained, message_topic(m), message_ref(m));
  else
    old = retained_delete(&memory->retained, message_topic(m)); // also where there is no room for a newer one
  count_retained(memory, keep ? m : NULL, old);
}

// One whose time is over is removed when it is met [MQTT5-3.3.2-5].
static void forget_expired(struct memory *memory, struct slice topic) {
  struct shard *shard = memory->backend.shard;
  const struct message *m = retained_get(&memory->retained, topic);
  if (!m || !message_expired(m, shard_now_ms(shard))) return;
  shard->stats.messages_expired++;
  count_retained(memory, NULL, retained_delete(&memory->retained, topic));
}

static inline bool has_room(const struct memory *m, const struct session *s) {
  return waiting_takes(&m->backend.shard->settings, s);
}

// Takes over the target's reference.
static inline void push(struct memory *memory, const struct target *t) {
  struct shard *shard = memory->backend.shard;
  session_push(t->session, &shard->pool, target_delivery(t));
  shard->stats.messages_queued++;
  if (t->session->client) client_wake(t->session->client);
}

// A full queue is flushed before anything is dropped or anybody waits.
static bool make_room(struct memory *m, struct session *s) {
  if (has_room(m, s)) return true;
  if (!s->client) return false;
  client_flush(s->client);
  return has_room(m, s);
}

enum delivered { DELIVERED, DROPPED, WAITS };

static bool may_wait(const struct session *s, struct ack ack) {
  return s->client && !s->slow && ack.client && s->client != ack.client && !client_closing(ack.client);
}

static enum delivered drop(struct shard *shard, struct target *t) {
  overflow_drop(shard, t->session, t->message);
  target_release(t);
  return DROPPED;
}

// Takes over the target's reference, unless it waits.
static enum delivered deliver_to_one(struct memory *memory, struct target *t, struct ack ack) {
  struct shard *shard = memory->backend.shard;
  struct session *s = t->session;
  if (overflow_total(shard)) return overflow_deliver(shard, s, target_delivery(t)) ? DELIVERED : DROPPED;
  if (!make_room(memory, s)) {
    switch (overflow_policy(shard, s, t->message)) {
    case FULL_QUEUE_WAIT: return may_wait(s, ack) ? WAITS : drop(shard, t);
    case FULL_QUEUE_DROP_NEW: return drop(shard, t);
    case FULL_QUEUE_DISCONNECT:
      overflow_disconnect(shard, s, t->message);
      target_release(t);
      return DROPPED;
    case FULL_QUEUE_DROP_OLD:
      while (!has_room(memory, s) && overflow_drop_oldest(shard, s))
        waiting_admit(shard, s);
    }
  }
  push(memory, t);
  return DELIVERED;
}

void memory_deliver_orphan(struct memory *memory, struct orphan *o) {
  struct share_group *group = shares_by_number(&memory->shares, o->group);
  struct targets targets;
  struct target t;
  targets_init(&targets, o->message, NULL, &memory->shares);
  if (group && target_of_group(&targets, group, &t) &&
      deliver_to_one(memory, &t, (struct ack){0}) == DELIVERED)
    memory->backend.shard->stats.messages_redispatched++;
  targets_release(&targets);
  message_unref(o->message);
}

// A publisher has waited in vain, or the session has gone. Another member of its group may have room by now.
static void give_up(void *arg, const struct target *t) {
  struct memory *memory = arg;
  if (t->group && t->qos)
    memory_deliver_orphan(memory, &(struct orphan){message_without_ids(t->message), t->group});
  else
    overflow_drop(memory->backend.shard, t->session, t->message);
}

// Takes over the targets' references.
static void deliver_to_full(struct memory *memory, struct message *m, struct ack ack, struct target *list,
                            size_t count) {
  struct shard *shard = memory->backend.shard;
  size_t waits = 0;
  for (size_t i = 0; i < count; i++) {
    if (deliver_to_one(memory, &list[i], ack) == WAITS) list[waits++] = list[i];
  }
  if (waits)
    waiting_add(shard, m, ack, list, waits, give_up, memory);
  else
    client_acknowledge(ack);
}

// A slice of a fan-out: as publish, for targets that are known already, and whose references are taken over.
// The list is reused for the full ones.
void memory_deliver_slice(void *arg, struct message *m, struct ack ack, struct target *list, size_t count) {
  struct memory *memory = arg;
  bool over = overflow_total(memory->backend.shard); // then all are dealt with as full
  size_t full_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (over || !has_room(memory, list[i].session)) {
      list[full_count++] = list[i];
      continue;
    }
    push(memory, &list[i]);
  }
  deliver_to_full(memory, m, ack, list, full_count);
}

struct full { // targets without room
  struct target few[16], *list;
  size_t count, cap;
};

static void add_full(struct full *full, const struct target *t) {
  if (full->count == full->cap) {
    full->cap *= 4;
    full->list = full->list == full->few
                     ? memcpy(mem_alloc(full->cap * sizeof *full->list), full->few, sizeof full->few)
                     : mem_realloc(full->list, full->cap * sizeof *full->list);
  }
  full->list[full->count++] = *t;
}

// Nothing in this walk writes to a connection, frees a session or calls Lua: the matches stay valid.
void memory_publish(struct backend *b, struct message *m, struct ack ack) {
  struct memory *memory = memory_of(b);
  if (m->retain) retain(memory, m, ack.client);
  const struct matches *matches = index_match(memory->index, message_topic(m));
  b->shard->stats.messages_published++;
  if (!matches->count && ack.type == PACKET_PUBACK) ack.reason = REASON_NO_MATCHING_SUBSCRIBERS;
  if (fanouts_take(&memory->fanouts, m, matches, ack.client)) {
    fanouts_add(&memory->fanouts, m, ack);
    return;
  }
  struct full full;
  full.list = full.few, full.count = 0, full.cap = sizeof full.few / sizeof *full.few;
  struct targets targets;
  targets_init(&targets, m, ack.client ? client_session(ack.client) : NULL, &memory->shares);
  bool over = overflow_total(b->shard);
  for (uint32_t i = 0; i < matches->count; i++) {
    struct target t;
    if (!target_of(&targets, matches, &matches->list[i], &t)) continue;
    if (over || !has_room(memory, t.session)) {
      add_full(&full, &t);
      continue;
    }
    push(memory, &t);
  }
  targets_release(&targets);
  if (full.count)
    deliver_to_full(memory, m, ack, full.list, full.count);
  else
    client_acknowledge(ack);
  if (full.list != full.few) mem_free(full.list);
}

bool memory_deliver(struct backend *b, struct session *s, struct message *m, uint8_t qos, bool retained) {
  struct memory *memory = memory_of(b);
  if (!s->client && !qos) return false;
  struct target t = {.session = s, .message = message_ref(m), .qos = qos, .retain = retained};
  return deliver_to_one(memory, &t, (struct ack){0}) == DELIVERED;
}

// Live messages and retained ones that are replayed take turns, so that neither holds up the other; but an
// older message of the same topic comes first.
static bool is_turn_of_replays(const struct session *s) {
  if (!s->replays) return false;
  return s->replay_turn || !s->queue.count || session_replays_before(s, queue_peek(&s->queue)->message);
}

static bool is_half_empty(const struct settings *settings, const struct session *s) {
  return s->queue.count <= settings->session_queue_size / 2 &&
         s->queued_bytes <= settings->session_queue_bytes / 2;
}

// False: there is none, or (then `replays` is not NULL) no more for now.
static bool next_replay(struct memory *memory, struct session *s, struct delivery *d) {
  uint32_t budget = REPLAY_BUDGET;
  while (session_next_replay(s, &budget, d)) {
    if (!message_expired(d->message, shard_now_ms(memory->backend.shard))) return true;
    forget_expired(memory, message_topic(d->message));
    message_unref(d->message);
  }
  return false;
}

bool memory_dequeue(struct backend *b, struct client *c, struct delivery *d) {
  struct session *s = client_session(c);
  struct shard *shard = b->shard;
  if (is_turn_of_replays(s)) {
    s->replay_turn = false;
    if (next_replay(memory_of(b), s, d)) return true;
    if (s->replays) { // the budget is used up: come again
      client_wake(c);
      return false;
    }
  }
  s->replay_turn = true;
  if (!session_pop(s, &shard->pool, d)) return false;
  if (s->slow && is_half_empty(&shard->settings, s)) s->slow = false;
  if (!list_empty(&s->waiting)) waiting_admit(shard, s);
  return true;
}
