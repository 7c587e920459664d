#include "broker/inflight.h"

#include "base/mem.h"

static const struct keeper_ops *keeper(const struct client *c) { return client_ops(c)->keeper; }

static bool failed(struct client *c) {
  if (client_closing(c)) return false;
  c->shard->stats.session_errors++;
  if (c->state == CLIENT_CONNECTED)
    client_fail_with(c, EVENT_SESSION_ERROR, REASON_IMPLEMENTATION_SPECIFIC_ERROR, ERROR_SESSION);
  else
    shard_log(c->shard,
              (struct log_record){.event = EVENT_SESSION_ERROR, .client = c, .error = ERROR_SESSION});
  return false;
}

void inflight_check_keeper(struct client *c) {
  c->kept = c->kept && keeper(c) && keeper(c)->keeps(c->shard->backend, c);
}

bool inflight_keeper_next_id(struct client *c, uint16_t *id) {
  return keeper(c)->next_id(c->shard->backend, c, id) || failed(c);
}

bool inflight_keeper_save(struct client *c, enum direction d, const struct stored *packet) {
  if (keeper(c)->save(c->shard->backend, c, d, packet)) return true;
  if (packet->message) message_unref(packet->message);
  return failed(c);
}

bool inflight_keeper_remove(struct client *c, enum direction d, uint16_t id) {
  return keeper(c)->remove(c->shard->backend, c, d, id) || failed(c);
}

// What the backend does not know of a packet: which group it came by, and whether it was sent on this
// connection.
static void add_own(const struct stored *own, struct stored *packet) {
  if (!own || own->type != packet->type) return;
  packet->group = own->group;
  packet->counted = own->counted;
}

static bool is_same(const struct stored *own, const struct stored *packet) {
  return own && own->type == packet->type && own->message == packet->message && own->qos == packet->qos &&
         own->retain == packet->retain;
}

bool inflight_keeper_look(struct client *c, enum direction d, uint16_t id) {
  struct stored packet = {0};
  if (!keeper(c)->lookup(c->shard->backend, c, d, id, &packet)) return failed(c);
  struct store *store = inflight_store(c, d);
  const struct stored *own = store_lookup(store, id);
  if (!packet.id) {
    session_delete(c->session, &c->shard->pool, store, id);
  } else if (is_same(own, &packet)) {
    if (packet.message) message_unref(packet.message);
  } else {
    add_own(own, &packet);
    session_save(c->session, &c->shard->pool, store, packet);
  }
  return true;
}

static bool load(struct client *c, enum direction d, bool *any) {
  struct stored *list = NULL;
  uint32_t count = 0;
  if (!keeper(c)->all(c->shard->backend, c, d, &list, &count)) return failed(c);
  struct store *store = inflight_store(c, d);
  for (uint32_t i = 0; i < count; i++)
    add_own(store_lookup(store, list[i].id), &list[i]);
  session_delete_all(c->session, &c->shard->pool, store);
  for (uint32_t i = 0; i < count; i++)
    session_save(c->session, &c->shard->pool, store, list[i]);
  *any = *any || count;
  mem_free(list);
  return true;
}

bool inflight_load(struct client *c, bool *any) { return load(c, INCOMING, any) && load(c, OUTGOING, any); }

// In the order in which they would be sent again.
static bool give(struct client *c, enum direction d) {
  const struct store *store = inflight_store(c, d);
  uint32_t count = store->count;
  struct stored *list = mem_alloc((count + 1) * sizeof *list);
  store_all(store, list);
  for (uint32_t i = 0; i < count; i++)
    if (list[i].message) message_ref(list[i].message); // the backend may change the store
  uint32_t given = 0;
  while (given < count && keeper(c)->save(c->shard->backend, c, d, &list[given]))
    given++;
  for (uint32_t i = 0; i < count; i++)
    if (list[i].message) message_unref(list[i].message);
  mem_free(list);
  return given == count || failed(c);
}

bool client_keep(struct client *c, bool keep) {
  c->kept = keep;
  return !keep || c->state != CLIENT_CONNECTED || (give(c, INCOMING) && give(c, OUTGOING));
}
