#include "broker/peers.h"

#include <assert.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/tokens.h"

#define CONNECT_BURST_S 2
#define IDLE_MS         (CONNECT_BURST_S * 1000) // then the bucket of connects is full again
#define FORGET_MS       (10 * 60 * 1000)

struct failures { // of logins; only where there were some, or somebody waits
  struct timer timer;
  struct list held; // of struct login_hold, in order
  struct peers *peers;
  struct peer_address *address;
  uint64_t last_ms;
  uint32_t count;
};

struct peer_address {
  struct tokens connects;
  struct list node; // without a connection: in peers->idle, or in peers->failed with failures
  struct failures *failures;
  uint64_t idle_ms; // since when
  uint32_t open;    // connections
  uint32_t logins;  // under way
  uint8_t key[9];   // what kind of address, and its first bytes
  uint8_t key_len;
};

struct peers {
  struct map by_key;
  struct peer_address *latest; // the one that was looked up last, or NULL: most often it is the next one too
  const struct settings *settings;
  struct stats *stats;
  struct loop *loop;
  struct list idle, failed; // the longest first
  uint32_t idle_count;      // in both
  struct timer sweep;       // armed while `idle` has members
};

struct key {
  uint8_t bytes[9];
  uint8_t len; // 0: not counted
};

static struct key key_of(const struct address *a) {
  struct key key = {0};
  if (a->family != AF_INET && a->family != AF_INET6) return key;
  size_t len = a->family == AF_INET ? 4 : 8;
  key.bytes[0] = a->family == AF_INET ? 4 : 6;
  memcpy(key.bytes + 1, a->ip, len);
  key.len = (uint8_t)(1 + len);
  return key;
}

static struct slice map_key_of(const void *value) {
  const struct peer_address *a = value;
  return slice_of(a->key, a->key_len);
}

static uint64_t now(const struct peers *p) { return p->loop->clock.now_ms; }

// --- addresses ---

static struct peer_address *find_key(struct peers *p, const struct key *key) {
  const struct peer_address *latest = p->latest;
  if (latest && latest->key_len == key->len && !memcmp(latest->key, key->bytes, key->len)) return p->latest;
  struct peer_address *a = map_get(&p->by_key, slice_of(key->bytes, key->len));
  if (a) p->latest = a;
  return a;
}

static struct peer_address *find(struct peers *p, const struct address *from) {
  struct key key = key_of(from);
  return key.len ? find_key(p, &key) : NULL;
}

static void drop_failures(struct peers *p, struct peer_address *a) {
  if (!a->failures) return;
  assert(list_empty(&a->failures->held));
  timer_disarm(&p->loop->timers, &a->failures->timer);
  mem_free(a->failures);
  a->failures = NULL;
}

static void leave_idle(struct peers *p, struct peer_address *a) {
  if (list_empty(&a->node)) return;
  list_remove(&a->node);
  p->idle_count--;
}

static void forget(struct peers *p, struct peer_address *a) {
  leave_idle(p, a);
  drop_failures(p, a);
  map_remove(&p->by_key, map_key_of(a));
  if (p->latest == a) p->latest = NULL;
  p->stats->addresses--;
  mem_free(a);
}

static struct peer_address *first(struct list *list) {
  struct list *node = list_first(list);
  return node ? container_of(node, struct peer_address, node) : NULL;
}

static void sweep(struct timer *t) {
  struct peers *p = container_of(t, struct peers, sweep);
  struct peer_address *a;
  while ((a = first(&p->idle)) && a->idle_ms + IDLE_MS <= now(p))
    forget(p, a);
  if (a) timer_arm(&p->loop->timers, t, a->idle_ms + IDLE_MS);
}

// Puts an address without a connection where it will be forgotten.
static void settle(struct peers *p, struct peer_address *a) {
  if (a->open || a->logins) return;
  leave_idle(p, a);
  a->idle_ms = now(p);
  list_append(a->failures ? &p->failed : &p->idle, &a->node);
  if (++p->idle_count > PEERS_IDLE_MAX) forget(p, list_empty(&p->idle) ? first(&p->failed) : first(&p->idle));
  if (!timer_armed(&p->sweep) && !list_empty(&p->idle))
    timer_arm(&p->loop->timers, &p->sweep, first(&p->idle)->idle_ms + IDLE_MS);
}

static struct peer_address *add(struct peers *p, struct key key) {
  struct peer_address *a = mem_calloc(1, sizeof *a);
  memcpy(a->key, key.bytes, sizeof a->key);
  a->key_len = key.len;
  list_init(&a->node);
  tokens_init(&a->connects, now(p));
  map_put(&p->by_key, a);
  p->stats->addresses++;
  return a;
}

struct peers *peers_new(const struct settings *settings, struct stats *stats, struct loop *loop,
                        uint64_t seed) {
  struct peers *p = mem_calloc(1, sizeof *p);
  p->settings = settings;
  p->stats = stats;
  p->loop = loop;
  map_init(&p->by_key, map_key_of, seed);
  list_init(&p->idle);
  list_init(&p->failed);
  timer_init(&p->sweep, sweep);
  return p;
}

void peers_free(struct peers *p) {
  uint32_t at = 0;
  for (struct peer_address *a; (a = map_each(&p->by_key, &at));) {
    drop_failures(p, a);
    mem_free(a);
  }
  map_release(&p->by_key);
  timer_disarm(&p->loop->timers, &p->sweep);
  mem_free(p);
}

const char *peers_admit(struct peers *p, const struct address *from) {
  const struct settings *limits = p->settings;
  struct key key = key_of(from);
  if (!key.len) return NULL;
  struct peer_address *a = find_key(p, &key);
  if (!a) a = add(p, key);
  const char *why = NULL;
  if (limits->connections_per_address && a->open >= limits->connections_per_address) {
    p->stats->connections_refused_address++;
    why = "too many connections from the address";
  } else if (limits->connect_rate_per_address &&
             tokens_wait_ms(&a->connects, limits->connect_rate_per_address, CONNECT_BURST_S, now(p))) {
    p->stats->connections_refused_rate++;
    why = "the address connects too often";
  } else {
    leave_idle(p, a);
    tokens_take(&a->connects, 1);
    a->open++;
  }
  return why;
}

void peers_leave(struct peers *p, const struct address *from) {
  struct peer_address *a = find(p, from);
  if (!a || !a->open) return; // it came without being admitted
  a->open--;
  settle(p, a);
}

// --- logins ---

static uint32_t delay_ms(const struct peers *p, const struct failures *f) {
  uint64_t delay = p->settings->login_delay_ms, most = p->settings->login_delay_maximum_ms;
  for (uint32_t n = p->settings->failed_logins; n < f->count && delay < most; n++)
    delay *= 2;
  return (uint32_t)(delay < most ? delay : most);
}

static bool may_log_in(const struct peers *p, const struct peer_address *a) {
  const struct failures *f = a->failures;
  uint32_t unpunished = p->settings->failed_logins;
  if (!f || !f->count) return a->logins < PEERS_LOGINS_AT_ONCE;
  if (f->count < unpunished) return f->count + a->logins < unpunished;
  return !a->logins && f->last_ms + delay_ms(p, f) <= now(p);
}

static uint64_t forget_after_ms(const struct peers *p) {
  uint32_t most = p->settings->login_delay_maximum_ms;
  return most > FORGET_MS ? most : FORGET_MS;
}

static struct login_hold *first_held(const struct failures *f) {
  return list_empty(&f->held) ? NULL : container_of(f->held.next, struct login_hold, node);
}

static void take_held(struct peers *p, struct login_hold *hold) {
  list_remove(&hold->node);
  p->stats->logins_waiting--;
}

// Lets on who may go on, turns away who has waited too long, and sets the timer for what comes next.
static void advance(struct peers *p, struct peer_address *a) {
  struct failures *f = a->failures;
  uint32_t most = p->settings->login_delay_maximum_ms;
  struct login_hold *hold;
  while ((hold = first_held(f))) {
    bool in_time = may_log_in(p, a);
    if (!in_time && hold->since_ms + most > now(p)) break;
    take_held(p, hold);
    if (in_time)
      a->logins++;
    else
      p->stats->logins_turned_away++;
    hold->resume(hold, in_time);
  }
  uint64_t due = f->last_ms + forget_after_ms(p);
  if (hold) {
    due = hold->since_ms + most;
    uint64_t next = f->last_ms + delay_ms(p, f);
    if (f->count >= p->settings->failed_logins && !a->logins && next < due) due = next;
  }
  timer_arm(&p->loop->timers, &f->timer, due);
}

static void failures_due(struct timer *t) {
  struct failures *f = container_of(t, struct failures, timer);
  struct peers *p = f->peers;
  struct peer_address *a = f->address;
  if (!first_held(f) && f->last_ms + forget_after_ms(p) <= now(p)) {
    drop_failures(p, a);
    settle(p, a);
  } else {
    advance(p, a);
  }
}

static struct failures *failures_of(struct peers *p, struct peer_address *a) {
  if (a->failures) return a->failures;
  struct failures *f = a->failures = mem_calloc(1, sizeof *f);
  timer_init(&f->timer, failures_due);
  list_init(&f->held);
  f->peers = p;
  f->address = a;
  f->last_ms = now(p);
  return f;
}

bool peers_login_may(struct peers *p, const struct address *from) {
  struct peer_address *a = p->settings->failed_logins ? find(p, from) : NULL;
  if (!a) return true;
  if ((a->failures && first_held(a->failures)) || !may_log_in(p, a)) return false;
  a->logins++;
  return true;
}

void peers_login_done(struct peers *p, const struct address *from, enum login_outcome outcome) {
  if (outcome == LOGIN_FAILED) p->stats->logins_failed++;
  struct peer_address *a = find(p, from);
  if (!a || !a->logins) return; // it was not counted: the limit has come meanwhile
  a->logins--;
  if (outcome == LOGIN_FAILED && p->settings->failed_logins) {
    struct failures *f = failures_of(p, a);
    f->count++;
    f->last_ms = now(p);
  } else if (outcome == LOGIN_SUCCEEDED && a->failures) {
    a->failures->count = 0;
  }
  if (a->failures) advance(p, a);
  if (a->failures && !a->failures->count && !first_held(a->failures)) drop_failures(p, a);
  settle(p, a);
}

void peers_login_hold(struct peers *p, const struct address *from, struct login_hold *hold) {
  struct peer_address *a = find(p, from);
  assert(a);
  struct failures *f = failures_of(p, a);
  list_init(&hold->node);
  hold->since_ms = now(p);
  list_append(&f->held, &hold->node);
  p->stats->logins_held++;
  p->stats->logins_waiting++;
  advance(p, a);
}

void peers_login_cancel(struct peers *p, const struct address *from, struct login_hold *hold) {
  struct peer_address *a = find(p, from);
  assert(a && a->failures);
  take_held(p, hold);
  advance(p, a);
}
