#include "session/session.h"

#include <assert.h>

#include "base/mem.h"

#define REPLAYS_EXAMINED 64

struct session *session_new(struct slice id, bool clean) {
  assert(id.len > 0 && id.len <= UINT16_MAX);
  struct session *s = mem_calloc(1, sizeof *s + id.len);
  subscriber_init(&s->subscriber);
  list_init(&s->waiting);
  s->clean = clean;
  s->id_len = (uint16_t)id.len;
  memcpy(s->id, id.ptr, id.len);
  return s;
}

void session_free(struct session *s, struct queue_pool *pool) {
  assert(!s->client && s->subscriber.count == 0 && list_empty(&s->waiting));
  session_clear_replays(s);
  queue_clear(&s->queue, pool);
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

void session_add_replay(struct session *s, struct retained *r, struct slice filter, uint8_t qos) {
  struct replay *replay = mem_calloc(1, sizeof *replay), *last = s->last_replay;
  retained_open(&replay->cursor, r, filter);
  replay->qos = qos;
  replay->next = last ? last->next : replay;
  if (last) last->next = replay;
  s->last_replay = replay;
}

static void drop_replay_after(struct session *s, struct replay *before) {
  struct replay *replay = before->next;
  before->next = replay->next;
  if (replay == s->last_replay) s->last_replay = replay == before ? NULL : before;
  retained_close(&replay->cursor);
  mem_free(replay);
}

void session_remove_replay(struct session *s, struct slice filter) {
  struct replay *before = s->last_replay;
  if (!before) return;
  do {
    if (slice_eq(before->next->cursor.filter, filter)) {
      drop_replay_after(s, before);
      return;
    }
    before = before->next;
  } while (before != s->last_replay);
}

void session_clear_replays(struct session *s) {
  while (s->last_replay)
    drop_replay_after(s, s->last_replay);
}

bool session_next_replay(struct session *s, uint32_t *budget, struct delivery *d) {
  while (s->last_replay && *budget) {
    struct replay *first = s->last_replay->next;
    struct message *m = retained_next(&first->cursor, budget);
    if (m) {
      uint8_t qos = m->qos < first->qos ? m->qos : first->qos;
      *d = (struct delivery){message_ref(m), qos, true};
      return true;
    }
    if (*budget) drop_replay_after(s, s->last_replay);
  }
  return false;
}

bool session_replays_before(const struct session *s, const struct message *m) {
  const struct replay *first = s->last_replay ? s->last_replay->next : NULL, *replay = first;
  if (!first) return false;
  const struct message *retained = retained_get(first->cursor.index, message_topic(m));
  if (!retained || retained == m) return false;
  for (int i = 0; i < REPLAYS_EXAMINED; i++, replay = replay->next) {
    if (retained_is_ahead(&replay->cursor, message_topic(m))) return true;
    if (replay == s->last_replay) return false;
  }
  return true; // too many to tell: no harm is done by replaying first
}
