#include "broker/engine.h"

#include <stdio.h>

#include "base/mem.h"
#include "broker/admission.h"

#define TRIM_INTERVAL_MS  5000
#define WATCH_INTERVAL_MS 1000
#define TRIM_CONNECTIONS  100 // below so many nothing is worth a walk of the heap

struct engine {
  struct shard *shard;
  struct listener **listeners;
  struct arrivals arrivals;
  unsigned count;
  struct inherited *inherited; // or NULL
  uint64_t paused_at_closed;   // connections_closed when an accept failed: later ones have freed descriptors
  bool accept_paused, stopping, timed_out;
  struct admission admission;
  struct timer accept; // armed: accepting pauses because of limits.connect_rate
  struct timer deadline;
  uint64_t most_connections; // since memory was last given back
  struct timer trim;
  struct timer watch; // armed while a listener watches its files
};

static void tell_error(const struct engine *e, const char *error) {
  struct backend *b = e->shard->backend;
  if (b->ops->engine_error) b->ops->engine_error(b, error);
}

static void each_listener(struct engine *e, void (*fn)(struct listener *l)) {
  for (unsigned i = 0; i < e->count; i++)
    fn(e->listeners[i]);
}

// Nobody is refused for the rate of all: what comes waits in the backlogs.
static void pause_for_rate(struct engine *e) {
  uint64_t pause_ms = admission_pause_ms(&e->admission);
  if (!pause_ms) return;
  each_listener(e, listener_pause);
  timer_arm(&e->shard->loop->timers, &e->accept, e->shard->loop->clock.now_ms + pause_ms);
}

static void pause_over(struct timer *t) {
  each_listener(container_of(t, struct engine, accept), listener_retry);
}

// With those whose handshakes are under way.
static uint64_t connections(const struct engine *e) {
  return e->shard->stats.connections + e->arrivals.count;
}

static void accepted(void *arg, struct listener *l, struct conn *c, const struct address *remote) {
  struct engine *e = arg;
  e->accept_paused = false;
  pause_for_rate(e);
  if (e->shard->overload) {
    e->shard->stats.connections_shed++;
    conn_close(c, false);
    return;
  }
  if (!admission_allows(&e->admission, connections(e))) {
    conn_close(c, false);
    return;
  }
  arrival_start(&e->arrivals, listener_route(l), c, remote);
  if (connections(e) > e->most_connections) e->most_connections = connections(e);
}

// --- arrivals ---

static const char *admit(void *arg, const struct address *remote) {
  return peers_admit(((struct engine *)arg)->shard->peers, remote);
}

static void leave(void *arg, const struct address *remote) {
  peers_leave(((struct engine *)arg)->shard->peers, remote);
}

static void arrived(void *arg, struct conn *c, const struct address *remote) {
  struct engine *e = arg;
  struct shard *s = e->shard;
  if (tls_version(c)) s->stats.tls_handshakes++;
  if (websocket_is(c)) s->stats.websocket_upgrades++;
  shard_connect_from(s, c, remote);
}

static void arrival_failed(void *arg, const struct address *remote, const char *stage, const char *why) {
  struct engine *e = arg;
  struct shard *s = e->shard;
  if (stage) s->stats.handshakes_failed++; // else it is counted by why its address was refused
  if (stage && strcmp(stage, ARRIVAL_TLS) == 0) s->stats.tls_handshakes_failed++;
  if (stage && strcmp(stage, ARRIVAL_WEBSOCKET) == 0) s->stats.websocket_refused++;
  if (s->backend->ops->arrival_failed) s->backend->ops->arrival_failed(s->backend, remote, stage, why);
}

static const struct arrival_handler arrival_handler = {admit, leave, arrived, arrival_failed};

static void failed(void *arg, const char *error) {
  struct engine *e = arg;
  struct shard *s = e->shard;
  s->stats.connections_failed++;
  e->accept_paused = true;
  e->paused_at_closed = s->stats.connections_closed;
  tell_error(e, error);
}

static const struct listener_handler handler = {accepted, failed};

static void deadline_passed(struct timer *t) { container_of(t, struct engine, deadline)->timed_out = true; }

// Memory that a flood of connections held goes back to the kernel when most of them have gone.
static void trim_due(struct timer *t) {
  struct engine *e = container_of(t, struct engine, trim);
  struct shard *s = e->shard;
  if (e->most_connections >= TRIM_CONNECTIONS && connections(e) < e->most_connections / 2) {
    mem_trim();
    e->most_connections = connections(e);
  }
  timer_arm(&s->loop->timers, &e->trim, s->loop->clock.now_ms + TRIM_INTERVAL_MS);
}

// --- certificates ---

static void tell_tls_error(const struct engine *e, const struct listener *l, const char *what,
                           const char *detail) {
  char text[1024];
  snprintf(text, sizeof text, "%s: %s: %s", listener_url(l), what, detail);
  tell_error(e, text);
}

static void tell_expired(const struct engine *e, const struct listener *l) {
  const char *path = tls_expired(listener_route(l)->tls);
  if (path) tell_tls_error(e, l, "the certificate has expired", path);
}

static void reload_tls(struct engine *e, const struct listener *l) {
  struct backend *b = e->shard->backend;
  char error[512];
  if (!tls_reload(listener_route(l)->tls, error, sizeof error)) {
    e->shard->stats.tls_reload_failures++;
    tell_tls_error(e, l, "certificates not reloaded", error);
    return;
  }
  e->shard->stats.tls_reloads++;
  if (b->ops->certificates_reloaded) b->ops->certificates_reloaded(b, listener_url(l));
  tell_expired(e, l);
}

void engine_reload_tls(struct engine *e) {
  for (unsigned i = 0; i < e->count; i++)
    if (listener_route(e->listeners[i])->tls) reload_tls(e, e->listeners[i]);
}

static bool watches(const struct listener *l) { return listener_route(l)->tls && listener_watches(l); }

static void watch_due(struct timer *t) {
  struct engine *e = container_of(t, struct engine, watch);
  bool any = false;
  for (unsigned i = 0; i < e->count; i++) {
    const struct listener *l = e->listeners[i];
    if (!watches(l)) continue;
    any = true;
    if (tls_files_changed(listener_route(l)->tls)) reload_tls(e, l);
  }
  if (any) timer_arm(&e->shard->loop->timers, t, e->shard->loop->clock.now_ms + WATCH_INTERVAL_MS);
}

// Before the first turn, when hooks have started.
static void look_at_certificates(struct engine *e) {
  for (unsigned i = 0; i < e->count; i++)
    if (listener_route(e->listeners[i])->tls) tell_expired(e, e->listeners[i]);
  watch_due(&e->watch);
}

struct engine *engine_new(struct shard *shard) {
  struct engine *e = mem_calloc(1, sizeof *e);
  e->shard = shard;
  arrivals_init(&e->arrivals, shard->loop, &arrival_handler, e);
  admission_init(&e->admission, shard);
  timer_init(&e->accept, pause_over);
  timer_init(&e->deadline, deadline_passed);
  timer_init(&e->trim, trim_due);
  timer_init(&e->watch, watch_due);
  return e;
}

static void close_listeners(struct engine *e) {
  arrivals_close(&e->arrivals);
  while (e->count)
    listener_close(e->listeners[--e->count]);
}

void engine_free(struct engine *e) {
  close_listeners(e);
  timer_disarm(&e->shard->loop->timers, &e->accept);
  timer_disarm(&e->shard->loop->timers, &e->deadline);
  timer_disarm(&e->shard->loop->timers, &e->trim);
  timer_disarm(&e->shard->loop->timers, &e->watch);
  mem_free(e->listeners);
  mem_free(e);
}

void engine_inherit(struct engine *e, struct inherited *inherited) { e->inherited = inherited; }

struct listener *engine_prepare(struct engine *e, const struct listener_config *config,
                                struct inherited *lent, char *error, size_t error_size) {
  struct listener_config own = *config;
  own.inherited = lent ? lent : e->inherited;
  struct listener *l = listener_open(e->shard->loop, &own, &handler, e, error, error_size);
  if (l) listener_pause(l);
  return l;
}

bool engine_listen(struct engine *e, const struct listener_config *config, char *error, size_t error_size) {
  struct listener *l = engine_prepare(e, config, NULL, error, error_size);
  if (!l) return false;
  e->listeners = mem_realloc(e->listeners, (e->count + 1) * sizeof(struct listener *));
  e->listeners[e->count++] = l;
  listener_retry(l);
  return true;
}

static bool is_among(const struct listener *l, struct listener *const *list, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (list[i] == l) return true;
  return false;
}

// The sockets of `old` may live on in another one.
static void close_replaced(struct engine *e, struct listener *old, struct listener *const *list,
                           unsigned count) {
  char why[256], text[512];
  for (unsigned i = 0; i < count; i++) {
    if (listener_succeed(list[i], old, why, sizeof why)) continue;
    snprintf(text, sizeof text, "%s: %s", listener_url(list[i]), why);
    tell_error(e, text);
  }
  listener_close(old);
}

void engine_replace_listeners(struct engine *e, struct listener *const *list, unsigned count) {
  for (unsigned i = 0; i < e->count; i++)
    if (!is_among(e->listeners[i], list, count)) close_replaced(e, e->listeners[i], list, count);
  e->listeners = mem_realloc(e->listeners, (count + 1) * sizeof(struct listener *));
  if (count) memcpy(e->listeners, list, count * sizeof(struct listener *));
  e->count = count;
  for (unsigned i = 0; i < count; i++)
    listener_set_timeout(list[i], e->shard->settings.handshake_timeout_ms);
  if (!timer_armed(&e->accept)) each_listener(e, listener_retry);
  if (!timer_armed(&e->watch)) watch_due(&e->watch);
}

struct listener *engine_listener(const struct engine *e, unsigned i) {
  return i < e->count ? e->listeners[i] : NULL;
}

const char *engine_url(const struct engine *e, unsigned i) {
  return i < e->count ? listener_url(e->listeners[i]) : NULL;
}

void engine_stop(struct engine *e, uint32_t timeout_ms) {
  uint64_t due = e->shard->loop->clock.now_ms + timeout_ms;
  if (!timer_armed(&e->deadline) || due < e->deadline.due_ms)
    timer_arm(&e->shard->loop->timers, &e->deadline, due);
  if (e->stopping) return;
  e->stopping = true; // the listeners go between two turns: one of them may be calling
  shard_close_clients(e->shard);
}

static void retry_accepting(struct engine *e) {
  if (!e->accept_paused || e->shard->stats.connections_closed == e->paused_at_closed) return;
  e->accept_paused = false;
  each_listener(e, listener_retry);
}

bool engine_run(struct engine *e) {
  struct shard *s = e->shard;
  timer_arm(&s->loop->timers, &e->trim, s->loop->clock.now_ms + TRIM_INTERVAL_MS);
  look_at_certificates(e);
  while (!e->stopping || (!list_empty(&s->clients) && !e->timed_out)) {
    shard_turn(s, true);
    retry_accepting(e);
    if (e->stopping) close_listeners(e);
  }
  close_listeners(e);
  return list_empty(&s->clients);
}
