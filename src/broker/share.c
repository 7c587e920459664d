#include "broker/share.h"

#include "base/mem.h"
#include "broker/client.h"
#include "broker/shard.h"
#include "broker/waiting.h"

#define PREFIX "$share/"

struct holder { // a session that has shared subscriptions
  const struct session *session;
  struct list members;
  uint32_t count;
};

static struct slice group_key(const void *value) {
  const struct share_group *g = value;
  return slice_of(g->key, g->key_len);
}

static struct slice group_number(const void *value) {
  const struct share_group *g = value;
  return slice_of(&g->number, sizeof g->number);
}

static struct slice member_key(const void *value) {
  return slice_of(&((const struct share_member *)value)->pair, sizeof(struct share_pair));
}

static struct slice holder_key(const void *value) {
  const struct holder *h = value;
  return slice_of(&h->session, sizeof(struct session *));
}

void shares_init(struct shares *s, struct shard *shard, struct index *ix) {
  *s = (struct shares){.shard = shard, .index = ix};
  map_init(&s->groups, group_key, rand_next(&shard->rand));
  map_init(&s->by_number, group_number, rand_next(&shard->rand));
  map_init(&s->members, member_key, rand_next(&shard->rand));
  map_init(&s->holders, holder_key, rand_next(&shard->rand));
}

void shares_release(struct shares *s) {
  map_release(&s->groups);
  map_release(&s->by_number);
  map_release(&s->members);
  map_release(&s->holders);
}

// --- "$share/name/filter" ---

bool share_parse(struct slice text, struct slice *name, struct slice *filter) {
  if (!slice_starts(text, SLICE(PREFIX))) return false;
  bool more = true;
  *filter = slice_from(text, sizeof PREFIX - 1);
  topic_next_level(filter, &more, name);
  return true;
}

bool share_valid(struct slice name, struct slice filter) {
  return name.len && !topic_has_wildcard(name) && topic_filter_valid(filter);
}

// --- look-ups ---

// The name ends with the first slash: the text that was sent is the key.
struct share_group *shares_group(const struct shares *s, struct slice name, struct slice filter) {
  struct buf key = BUF_INIT;
  if (!s->groups.count) return NULL;
  buf_add_slice(&key, name);
  buf_add_byte(&key, '/');
  buf_add_slice(&key, filter);
  struct share_group *g = map_get(&s->groups, buf_slice(&key));
  buf_release(&key);
  return g;
}

struct share_group *shares_by_number(const struct shares *s, uint32_t number) {
  return map_get(&s->by_number, slice_of(&number, sizeof number));
}

static struct holder *holder_of(const struct shares *s, const struct session *session) {
  return s->holders.count ? map_get(&s->holders, slice_of(&session, sizeof session)) : NULL;
}

static struct share_member *member_of(struct list *node) {
  return container_of(node, struct share_member, node);
}

static struct share_member *find(const struct shares *s, const struct session *session,
                                 const struct share_group *g) {
  struct share_pair pair = {(struct session *)(uintptr_t)session, (struct share_group *)(uintptr_t)g};
  return g ? map_get(&s->members, slice_of(&pair, sizeof pair)) : NULL;
}

const struct share_member *shares_find(const struct shares *s, const struct session *session,
                                       struct slice name, struct slice filter) {
  return find(s, session, shares_group(s, name, filter));
}

uint32_t shares_count(const struct shares *s, const struct session *session) {
  const struct holder *h = holder_of(s, session);
  return h ? h->count : 0;
}

const struct share_member *shares_next(const struct shares *s, const struct session *session,
                                       const struct share_member *before) {
  struct holder *h = holder_of(s, session);
  if (!h) return NULL;
  struct list *next = before ? before->node.next : h->members.next;
  return next == &h->members ? NULL : member_of(next);
}

// --- members of a group ---

static void put(struct share_group *g, uint32_t at, struct share_member *m) {
  g->members[at] = m;
  m->at = at;
}

static void swap(struct share_group *g, uint32_t a, uint32_t b) {
  struct share_member *first = g->members[a];
  put(g, a, g->members[b]);
  put(g, b, first);
}

static void go_online(struct share_member *m) {
  struct share_group *g = m->pair.group;
  if (m->at >= g->online) swap(g, m->at, g->online++);
}

static void go_offline(struct share_member *m) {
  struct share_group *g = m->pair.group;
  if (m->at < g->online) swap(g, m->at, --g->online);
  if (g->sticky == m) g->sticky = NULL;
}

void shares_session_moved(struct shares *s, struct session *session) {
  struct holder *h = holder_of(s, session);
  if (!h) return;
  list_each(node, &h->members) {
    if (session->client)
      go_online(member_of(node));
    else
      go_offline(member_of(node));
  }
}

static void add_member(struct share_group *g, struct share_member *m) {
  if (g->count == g->cap) {
    g->cap = g->cap ? g->cap * 2 : 4;
    g->members = mem_realloc(g->members, g->cap * sizeof(struct share_member *));
  }
  put(g, g->count++, m);
}

static void remove_member(struct share_member *m) {
  struct share_group *g = m->pair.group;
  go_offline(m);
  swap(g, m->at, --g->count);
}

// --- groups ---

static struct share_group *group_new(struct shares *s, struct slice name, struct slice filter) {
  size_t len = name.len + 1 + filter.len;
  struct share_group *g = mem_calloc(1, sizeof *g + len);
  do {
    g->number = ++s->last_number;
  } while (!g->number || shares_by_number(s, g->number));
  g->name_len = (uint16_t)name.len;
  g->key_len = (uint16_t)len;
  memcpy(g->key, name.ptr, name.len);
  g->key[name.len] = '/';
  memcpy(g->key + name.len + 1, filter.ptr, filter.len);
  subscriber_init(&g->subscriber);
  g->subscriber.is_group = true;
  map_put(&s->groups, g);
  map_put(&s->by_number, g);
  index_add(s->index, filter, &g->subscriber, SUBSCRIPTION_NO_LOCAL, 0); // see target_of_special
  return g;
}

static void group_free(struct shares *s, struct share_group *g) {
  index_remove_all(s->index, &g->subscriber);
  map_remove(&s->by_number, group_number(g));
  map_remove(&s->groups, group_key(g));
  mem_free(g->members);
  mem_free(g);
}

static struct holder *holder_new(struct shares *s, const struct session *session) {
  struct holder *h = mem_alloc(sizeof *h);
  *h = (struct holder){.session = session};
  list_init(&h->members);
  map_put(&s->holders, h);
  return h;
}

static struct share_member *join(struct shares *s, struct holder *h, struct share_group *g,
                                 struct session *session) {
  struct share_member *m = mem_alloc(sizeof *m);
  *m = (struct share_member){.pair = {session, g}};
  list_init(&m->node);
  list_append(&h->members, &m->node);
  map_put(&s->members, m);
  h->count++;
  add_member(g, m);
  if (session->client) go_online(m);
  return m;
}

struct share_group *shares_join(struct shares *s, struct session *session, struct slice name,
                                struct slice filter, uint8_t options, uint32_t id) {
  struct share_group *g = shares_group(s, name, filter);
  struct holder *h = holder_of(s, session);
  if (!g) g = group_new(s, name, filter);
  if (!h) h = holder_new(s, session);
  struct share_member *m = find(s, session, g);
  if (!m) m = join(s, h, g, session);
  m->options = options;
  m->id = id;
  return g;
}

static void leave(struct shares *s, struct holder *h, struct share_member *m) {
  struct share_group *g = m->pair.group;
  remove_member(m);
  map_remove(&s->members, member_key(m));
  if (!g->count) group_free(s, g);
  list_remove(&m->node);
  mem_free(m);
  if (--h->count) return;
  map_remove(&s->holders, holder_key(h));
  mem_free(h);
}

bool shares_leave(struct shares *s, struct session *session, struct slice name, struct slice filter) {
  struct share_member *m = find(s, session, shares_group(s, name, filter));
  if (m) leave(s, holder_of(s, session), m);
  return m != NULL;
}

void shares_leave_all(struct shares *s, struct session *session) {
  for (struct holder *h; (h = holder_of(s, session));)
    leave(s, h, member_of(h->members.next));
}

// --- whose turn it is ---

static bool is_leaving(const struct share_member *m) {
  const struct client *c = m->pair.session->client;
  return c && client_closing(c);
}

static bool takes(const struct shares *s, const struct share_member *m) {
  return !is_leaving(m) && waiting_takes(&s->shard->settings, m->pair.session);
}

static uint32_t most_looked_at(uint32_t count) { return count < SHARE_LOOK_MAX ? count : SHARE_LOOK_MAX; }

// The first that has room, from a place on and around; or the one there.
static const struct share_member *first_that_takes(const struct shares *s, const struct share_group *g,
                                                   uint32_t from) {
  from %= g->online;
  for (uint32_t i = 0, most = most_looked_at(g->online); i < most; i++) {
    const struct share_member *m = g->members[(from + i) % g->online];
    if (takes(s, m)) return m;
  }
  return g->members[from];
}

static uint32_t load(const struct share_member *m) {
  return m->pair.session->outgoing.count + m->pair.session->queue.count;
}

static const struct share_member *least_loaded(const struct shares *s, const struct share_group *g) {
  const struct share_member *least = NULL;
  for (uint32_t i = 0, most = most_looked_at(g->online); i < most; i++) {
    const struct share_member *m = g->members[(g->next + i) % g->online];
    if ((!least || load(m) < load(least)) && takes(s, m)) least = m;
  }
  return least ? least : g->members[g->next % g->online];
}

static const struct share_member *choose_online(struct shares *s, struct share_group *g) {
  const struct share_member *m = NULL;
  switch ((enum shared_strategy)s->shard->settings.shared_strategy) {
  case SHARED_ROUND_ROBIN: m = first_that_takes(s, g, g->next); break;
  case SHARED_RANDOM: m = first_that_takes(s, g, (uint32_t)rand_next(&s->shard->rand)); break;
  case SHARED_STICKY: m = g->sticky = first_that_takes(s, g, g->sticky ? g->sticky->at : g->next); break;
  case SHARED_LEAST_INFLIGHT: m = least_loaded(s, g); break;
  }
  g->next = m->at + 1;
  return m;
}

// The first with room in its turn, of those that take the QoS; or the first of these.
static const struct share_member *choose_stored(const struct shares *s, struct share_group *g) {
  const struct share_member *chosen = NULL;
  for (uint32_t i = 0, most = most_looked_at(g->count); i < most; i++) {
    const struct share_member *m = g->members[(g->next_stored + i) % g->count];
    if (!(m->options & SUBSCRIPTION_QOS)) continue;
    if (!chosen) chosen = m;
    if (!takes(s, m)) continue;
    chosen = m;
    break;
  }
  if (chosen) g->next_stored = chosen->at + 1;
  return chosen;
}

const struct share_member *shares_choose(struct shares *s, struct share_group *g, uint8_t qos) {
  const struct share_member *online = g->online ? choose_online(s, g) : NULL;
  if (online && !is_leaving(online)) return online;
  const struct share_member *stored = qos ? choose_stored(s, g) : NULL;
  return stored ? stored : online;
}
