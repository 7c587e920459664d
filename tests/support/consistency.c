#include "consistency.h"

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/share.h"
#include "broker/waiting.h"

struct queued { // what the queues of all sessions hold together
  uint64_t bytes;
  const struct message **seen; // each once
  size_t count, cap;
};

static void add_once(struct queued *q, const struct message *m) {
  for (size_t i = 0; i < q->count; i++)
    if (q->seen[i] == m) return;
  if (q->count == q->cap) {
    q->cap = q->cap ? 2 * q->cap : 64;
    q->seen = mem_realloc(q->seen, q->cap * sizeof *q->seen);
  }
  q->seen[q->count++] = m;
  q->bytes += message_size(m);
}

static void check_queue(struct queued *all, const struct session *s, const struct settings *settings) {
  uint64_t bytes = 0;
  uint32_t count = 0;
  const struct queue *q = &s->queue;
  for (const struct queue_chunk *chunk = q->head; chunk; chunk = chunk->next) {
    all->bytes += sizeof *chunk;
    uint16_t from = chunk == q->head ? q->first : 0, to = chunk == q->tail ? q->end : QUEUE_CHUNK;
    for (uint16_t i = from; i < to; i++, count++) {
      bytes += message_size(chunk->list[i].message);
      add_once(all, chunk->list[i].message);
      assert_true(s->client || chunk->list[i].qos); // QoS 0 is not kept for one that has gone
    }
  }
  assert_int_equal(count, q->count);
  assert_int_equal(bytes, s->queued_bytes);
  assert_true(count <= settings->session_queue_size);
}

static void check_in_flight(const struct store *store, uint32_t counted_bytes) {
  uint64_t bytes = 0;
  uint32_t count = 0, counted = 0;
  for (uint32_t i = 0; store->table && i < store->table->cap; i++) {
    const struct stored *slot = &store->table->slots[i];
    if (!slot->id) continue;
    count++;
    counted += slot->counted;
    if (slot->message) bytes += message_size(slot->message);
  }
  assert_int_equal(count, store->count);
  assert_int_equal(counted, store->counted);
  assert_int_equal(bytes, counted_bytes);
}

// No topic has two aliases that are sent.
static void check_sent_aliases(const struct aliases *a) {
  for (uint16_t i = 0; a->list && i < a->maximum; i++) {
    const struct topic_alias *one = &a->list[i];
    for (uint16_t j = 0; one->topic && j < i; j++) {
      const struct topic_alias *other = &a->list[j];
      assert_false(other->topic && one->len == other->len && !memcmp(one->topic, other->topic, one->len));
    }
  }
}

static void check_client_5(const struct session *s) {
  const struct client_5 *v5 = s->client ? s->client->v5 : NULL;
  if (!v5) return;
  assert_true(s->outgoing.counted <= v5->receive_maximum);
  assert_true(v5->outgoing.maximum <= s->client->shard->settings.topic_aliases);
  check_sent_aliases(&v5->outgoing);
}

static void check_waiting(struct queued *all, const struct session *s, const struct settings *settings) {
  if (list_empty(&s->waiting)) return;
  for (const struct list *node = s->waiting.next; node != &s->waiting; node = node->next)
    add_once(all, waiting_message(node));
  assert_non_null(s->client);
  assert_false(waiting_has_room(settings, s));
}

// The session's members of groups are where they say, and online as the session is. Returns their number.
static uint32_t check_shares(const struct shares *shares, const struct session *s) {
  uint32_t count = 0;
  for (const struct share_member *m = NULL; (m = shares_next(shares, s, m)); count++) {
    assert_ptr_equal(m->pair.session, s);
    assert_true(m->at < m->pair.group->count);
    assert_ptr_equal(m->pair.group->members[m->at], m);
    assert_int_equal(m->at < m->pair.group->online, s->client != NULL);
  }
  assert_int_equal(count, shares_count(shares, s));
  return count;
}

// Groups have members, and no others than these.
static void check_groups(const struct shares *shares, uint64_t members) {
  uint64_t count = 0;
  uint32_t at = 0;
  for (const struct share_group *g; (g = map_each(&shares->groups, &at));) {
    assert_true(g->count > 0 && g->online <= g->count);
    assert_true(g->subscriber.is_group);
    assert_int_equal(g->subscriber.count, 1);
    assert_ptr_equal(shares_by_number(shares, g->number), g);
    assert_true(!g->sticky || g->members[g->sticky->at] == g->sticky);
    count += g->count;
  }
  assert_int_equal(count, members);
  assert_int_equal(shares->groups.count, shares->by_number.count);
}

static void check_session(const struct harness *h, struct queued *all, const struct session *s) {
  check_queue(all, s, &h->shard->settings);
  check_in_flight(&s->incoming, s->incoming_bytes);
  check_in_flight(&s->outgoing, s->outgoing_bytes);
  check_client_5(s);
  check_waiting(all, s, &h->shard->settings);
  assert_true(s->client || s->expiry_s);
  assert_true(!s->client || client_session(s->client) == s);
  assert_true(!s->client || slice_eq(client_id(s->client), session_id(s)));
  assert_int_equal(s->offline != NULL, !s->client);
  assert_false(s->subscriber.is_group);
  assert_true(s->subscriber.count + check_shares(memory_shares(h->memory), s) <=
              h->shard->settings.subscriptions);
}

static void check_sessions(const struct harness *h) {
  const struct shares *shares = memory_shares(h->memory);
  uint64_t sessions = 0, subscriptions = 0, shared = 0, online = 0, unreleased = 0;
  struct queued queued = {0};
  uint32_t at = 0;
  for (const struct session *s; (s = memory_each_session(h->memory, &at)); sessions++) {
    check_session(h, &queued, s);
    subscriptions += s->subscriber.count;
    shared += shares_count(shares, s);
    online += s->client != NULL;
    unreleased += s->incoming_bytes;
  }
  assert_int_equal(sessions, h->shard->stats.sessions);
  check_groups(shares, shared);
  assert_int_equal(subscriptions + shared, h->shard->stats.subscriptions);
  assert_true(h->shard->stats.wills_waiting <= sessions - online);
  assert_int_equal(online, h->shard->stats.clients);
  assert_int_equal(unreleased, h->shard->pool.unreleased);
  assert_int_equal(queued.bytes, shard_stats(h->shard)->queued_bytes);
  mem_free(queued.seen);
}

static void check_retained(const struct harness *h) {
  const struct retained *retained = memory_retained(h->memory);
  uint64_t count = 0, bytes = 0;
  for (const struct tree_node *node = retained->tree.root; node; node = tree_next(node)) {
    if (!node->value) continue;
    count++;
    bytes += message_size(node->value);
  }
  assert_int_equal(count, retained->count);
  assert_int_equal(count, h->shard->stats.retained_messages);
  assert_int_equal(bytes, h->shard->stats.retained_bytes);
  assert_true(count <= h->shard->settings.max_retained_messages);
  assert_true(bytes <= h->shard->settings.max_retained_bytes);
}

static void check_connections(const struct harness *h) {
  const struct stats *stats = &h->shard->stats;
  uint64_t count = 0;
  list_each(node, &h->shard->clients) count++;
  assert_int_equal(count, stats->connections);
  assert_int_equal(stats->connections_accepted - stats->connections_closed, stats->connections);
}

static void check_unfinished(const struct harness *h) {
  struct unfinished *u = &h->shard->unfinished;
  uint64_t bytes = 0;
  for (unsigned power = 0; power < UNFINISHED_POWERS; power++)
    list_each(node, &u->by_power[power]) {
      const struct unfinished_packet *p = container_of(node, struct unfinished_packet, node);
      assert_int_equal(p->bytes >> power, 1);
      bytes += p->bytes;
    }
  assert_int_equal(bytes, u->bytes);
  if (list_empty(&h->shard->clients)) assert_int_equal(bytes, 0);
}

void consistency_check(const struct harness *h) {
  check_sessions(h);
  check_retained(h);
  check_connections(h);
  check_unfinished(h);
}
