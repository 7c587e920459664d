#include "session/session.h"

#include <assert.h>

#include "base/mem.h"

#define REPLAYS_EXAMINED 64

struct session *session_new(struct slice id, uint32_t expiry_s) {
  assert(id.len > 0 && id.len <= UINT16_MAX);
  size_t size = offsetof(struct session, id) + id.len; // no padding: there are many sessions
  struct session *s = mem_calloc(1, size < sizeof *s ? sizeof *s : size);
  subscriber_init(&s->subscriber);
  list_init(&s->waiting);
  s->expiry_s = expiry_s;
  s->id_len = (uint16_t)id.len;
  memcpy(s->id, id.ptr, id.len);
  return s;
}

void session_free(struct session *s, struct queue_pool *pool) {
  assert(!s->client && s->subscriber.count == 0 && list_empty(&s->waiting));
  session_clear_replays(s);
  for (struct delivery d; session_pop(s, pool, &d);)
    message_unref(d.message);
  pool->unreleased -= s->incoming_bytes;
  store_clear(&s->outgoing);
  store_clear(&s->incoming);
  mem_free(s);
}

void session_attach(struct session *s, struct client *c, struct session **slot) {
  assert(!s->client && !*slot);
  s->client = c;
  *slot = s;
}

void session_detach(struct session *s, struct session **slot) {
  assert(s->client && *slot == s);
  s->client = NULL;
  *slot = NULL;
}

static void count(struct session *s, struct queue_pool *pool, const struct store *store, int64_t bytes) {
  bool received = store == &s->incoming;
  uint32_t *of_session = received ? &s->incoming_bytes : &s->outgoing_bytes;
  *of_session += (uint32_t)bytes;
  if (received) pool->unreleased += (uint64_t)bytes;
}

// The bytes of the packet's message no longer count, if there is one.
static void uncount(struct session *s, struct queue_pool *pool, const struct store *store, uint16_t id) {
  const struct stored *old = store_lookup(store, id);
  if (old && old->message) count(s, pool, store, -(int64_t)message_size(old->message));
}

void session_save(struct session *s, struct queue_pool *pool, struct store *store, struct stored entry) {
  uncount(s, pool, store, entry.id);
  if (entry.message) count(s, pool, store, (int64_t)message_size(entry.message));
  store_save(store, entry);
}

bool session_delete(struct session *s, struct queue_pool *pool, struct store *store, uint16_t id) {
  uncount(s, pool, store, id);
  return store_delete(store, id);
}

void session_delete_all(struct session *s, struct queue_pool *pool, struct store *store) {
  count(s, pool, store, -(int64_t)(store == &s->incoming ? s->incoming_bytes : s->outgoing_bytes));
  store_clear(store);
}

static struct slice replay_key(const void *value) { return ((const struct replay *)value)->cursor.filter; }

static struct replay *first_replay(const struct session *s) {
  return container_of(s->replays->list.next, struct replay, node);
}

static void drop_replay(struct session *s, struct replay *replay) {
  map_remove(&s->replays->by_filter, replay->cursor.filter);
  list_remove(&replay->node);
  retained_close(&replay->cursor);
  mem_free(replay);
  if (!list_empty(&s->replays->list)) return;
  map_release(&s->replays->by_filter);
  mem_free(s->replays);
  s->replays = NULL;
}

void session_add_replay(struct session *s, struct retained *r, struct slice filter, uint8_t qos,
                        uint32_t id) {
  session_remove_replay(s, filter);
  if (!s->replays) {
    s->replays = mem_alloc(sizeof *s->replays);
    list_init(&s->replays->list);
    map_init(&s->replays->by_filter, replay_key, r->tree.seed);
  }
  struct replay *replay = mem_alloc(sizeof *replay);
  retained_open(&replay->cursor, r, filter);
  replay->qos = qos;
  replay->id = id;
  list_init(&replay->node);
  list_append(&s->replays->list, &replay->node);
  map_put(&s->replays->by_filter, replay);
}

static struct replay *find_replay(const struct session *s, struct slice filter) {
  return s->replays ? map_get(&s->replays->by_filter, filter) : NULL;
}

void session_remove_replay(struct session *s, struct slice filter) {
  struct replay *replay = find_replay(s, filter);
  if (replay) drop_replay(s, replay);
}

void session_change_replay(struct session *s, struct slice filter, uint8_t qos, uint32_t id) {
  struct replay *replay = find_replay(s, filter);
  if (!replay) return;
  replay->qos = qos;
  replay->id = id;
}

void session_clear_replays(struct session *s) {
  while (s->replays)
    drop_replay(s, first_replay(s));
}

bool session_next_replay(struct session *s, uint32_t *budget, struct delivery *d) {
  while (s->replays && *budget) {
    struct replay *first = first_replay(s);
    struct message *m = retained_next(&first->cursor, budget);
    if (m) {
      uint8_t qos = m->qos < first->qos ? m->qos : first->qos;
      *d = (struct delivery){first->id ? message_with_ids(m, &first->id, 1) : message_ref(m), qos, true, 0};
      return true;
    }
    if (*budget) drop_replay(s, first);
  }
  return false;
}

bool session_replays_before(const struct session *s, const struct message *m) {
  if (!s->replays) return false;
  const struct retained *index = first_replay(s)->cursor.index;
  const struct message *retained = retained_get(index, message_topic(m));
  if (!retained || retained == m) return false;
  int examined = 0;
  list_each(node, &s->replays->list) {
    const struct replay *replay = container_of(node, struct replay, node);
    if (retained_is_ahead(&replay->cursor, message_topic(m))) return true;
    if (++examined == REPLAYS_EXAMINED) return true; // too many to tell: no harm is done by replaying first
  }
  return false;
}
