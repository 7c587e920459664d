#include "broker/orphan.h"

#include "base/mem.h"

static void add(struct orphans *o, struct message *m, uint32_t group) {
  if (o->count == o->cap) {
    o->cap = o->cap ? o->cap * 2 : 16;
    o->list = mem_realloc(o->list, o->cap * sizeof *o->list);
  }
  o->list[o->count++] = (struct orphan){message_without_ids(m), group};
}

static void take_in_flight(struct orphans *o, const struct store *outgoing) {
  if (!outgoing->count) return;
  struct stored *list = mem_alloc(outgoing->count * sizeof *list);
  store_all(outgoing, list);
  for (uint32_t i = 0; i < outgoing->count; i++)
    if (list[i].group && list[i].message && list[i].qos == 1) add(o, list[i].message, list[i].group);
  mem_free(list);
}

static void take_queued(struct orphans *o, struct session *s, struct queue_pool *pool) {
  for (struct delivery d; session_pop(s, pool, &d);) {
    if (d.group && d.qos) add(o, d.message, d.group);
    message_unref(d.message);
  }
}

void orphans_take(struct orphans *o, const struct shares *shares, struct session *s,
                  struct queue_pool *pool) {
  *o = (struct orphans){0};
  if (!shares->groups.count) return;
  take_in_flight(o, &s->outgoing);
  take_queued(o, s, pool);
}

bool orphans_next(struct orphans *o, struct orphan *out) {
  if (o->at < o->count) {
    *out = o->list[o->at++];
    return true;
  }
  mem_free(o->list);
  *o = (struct orphans){0};
  return false;
}
