#include <stdio.h>

#include "modules/postgres.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS   1000

void pg_error_set(struct pg_error *e, const char *code, const char *text) {
  snprintf(e->code, sizeof e->code, "%s", code);
  snprintf(e->text, sizeof e->text, "%s", text);
}

void pg_error_set_line(struct pg_error *e, const char *code, const char *text) {
  pg_error_set(e, code, *text ? text : "connection lost");
  e->text[strcspn(e->text, "\n")] = 0;
}

static struct pg_request *request_of(struct list *node) {
  return container_of(node, struct pg_request, node);
}
static struct pg_connection *connection_of(struct list *node) {
  return container_of(node, struct pg_connection, node);
}

// --- requests ---

static void stop_waiting(struct pg_request *r) {
  if (list_empty(&r->node)) return;
  list_remove(&r->node);
  r->pool->waiting_count--;
}

void pg_request_free(struct pg_request *r) {
  stop_waiting(r);
  if (r->pool->loop) timer_disarm(&r->pool->loop->timers, &r->timeout);
  if (r->call) r->call->request = NULL;
  buf_release(&r->sql);
  buf_release(&r->parameters);
  rows_release(&r->rows);
  mem_free(r);
}

void pg_request_answer(struct pg_request *r, const struct pg_error *why) {
  struct pg_call *call = r->call;
  if (call) {
    r->call = NULL;
    call->request = NULL;
    if (why) {
      call->error = *why;
    } else {
      call->rows = r->rows;
      rows_init(&r->rows, &r->pool->options.limits);
    }
    wait_done(&call->wait);
  }
  pg_request_free(r);
}

void pg_request_forget(struct pg_request *r) {
  if (r->call) r->call->request = NULL;
  r->call = NULL;
  if (!r->connection) pg_request_free(r);
}

static void timed_out(struct timer *t) {
  struct pg_request *r = container_of(t, struct pg_request, timeout);
  struct pg_pool *p = r->pool;
  struct pg_error why = p->why;
  p->counts.timeouts++;
  if (r->connection) {
    pg_connection_drop(r->connection, "timeout", "no answer in time");
    return;
  }
  if (!*why.text) pg_error_set(&why, "timeout", "no free connection in time");
  pg_request_answer(r, &why);
}

struct pg_request *pg_request_new(struct pg_pool *p, struct pg_call *call) {
  struct pg_request *r = mem_calloc(1, sizeof *r);
  r->pool = p;
  r->call = call;
  list_init(&r->node);
  timer_init(&r->timeout, timed_out);
  rows_init(&r->rows, &p->options.limits);
  return r;
}

static bool refusal(const struct pg_request *r, struct pg_error *why) {
  const struct pg_pool *p = r->pool;
  const struct pg_lease *lease = r->wants_lease ? NULL : r->call->lease;
  *why = (struct pg_error){.text = ""};
  if (p->closed)
    pg_error_set(why, "closed", "the database is closed");
  else if (lease && !lease->connection)
    pg_error_set(why, "connection", "the transaction has lost its connection");
  else if (lease && lease->connection->step != PG_HELD)
    pg_error_set(why, "busy", "another query of the transaction is under way");
  else if (!lease && p->waiting_count >= p->options.max_pending)
    pg_error_set(why, "busy", "too many queries wait for a connection (max_pending)");
  return *why->text != 0;
}

static void run(struct pg_request *r, struct pg_connection *c) {
  r->connection = c;
  c->request = r;
  pg_query_begin(c);
}

void pg_request_begin(struct pg_request *r) {
  struct pg_pool *p = r->pool;
  struct pg_error why;
  if (refusal(r, &why)) {
    p->counts.refused++;
    pg_request_answer(r, &why);
    return;
  }
  timer_arm(&p->loop->timers, &r->timeout, p->loop->clock.now_ms + p->options.timeout_ms);
  if (!r->wants_lease && r->call->lease) {
    run(r, r->call->lease->connection);
    return;
  }
  list_append(&p->waiting, &r->node);
  p->waiting_count++;
  pg_pool_serve(p);
}

// --- connections for them ---

static void lend(struct pg_request *r, struct pg_connection *c) {
  c->lease = r->call->lease;
  c->lease->connection = c;
  c->step = PG_HELD;
  pg_request_answer(r, NULL);
}

void pg_lease_end(struct pg_lease *lease) {
  struct pg_connection *c = lease->connection;
  if (!c) return;
  lease->connection = NULL;
  c->lease = NULL;
  if (c->step == PG_HELD) pg_connection_give_back(c); // else when its query is over
}

static void found(void *arg, const struct resolve_result *result) {
  struct pg_pool *p = arg;
  struct pg_error why;
  p->look_up = NULL;
  p->found = *result;
  if (result->problem) {
    snprintf(why.text, sizeof why.text, "%s: %s", p->options.host, result->problem);
    snprintf(why.code, sizeof why.code, "connection");
    pg_pool_failed(p, &why);
  }
  pg_pool_serve(p);
}

// libpq would look it up in the loop.
static bool has_address(struct pg_pool *p) {
  static const struct pg_error busy = {"no worker thread can look up the name of the server", "connection"};
  if (!p->options.host || p->found.count) return true;
  if (p->look_up || !p->waiting_count || p->closed || timer_armed(&p->retry)) return false;
  p->look_up = resolve_start(p->loop, p->options.host, found, p);
  if (!p->look_up) pg_pool_failed(p, &busy);
  return false;
}

static void open_more(struct pg_pool *p) {
  while (has_address(p) && p->opening < p->waiting_count && p->count < p->options.connections &&
         !timer_armed(&p->retry) && !p->closed)
    pg_connection_open(p);
}

void pg_pool_serve(struct pg_pool *p) {
  while (!list_empty(&p->waiting) && !list_empty(&p->idle)) {
    struct pg_request *r = request_of(list_first(&p->waiting));
    struct pg_connection *c = connection_of(list_take(&p->idle));
    stop_waiting(r);
    list_append(&p->busy, &c->node);
    if (r->wants_lease)
      lend(r, c);
    else
      run(r, c);
  }
  open_more(p);
}

void pg_pool_opened(struct pg_pool *p) {
  p->counts.connections++;
  p->backoff_ms = 0;
  p->why = (struct pg_error){.text = ""};
}

void pg_pool_failed(struct pg_pool *p, const struct pg_error *why) {
  uint32_t next_ms = p->backoff_ms ? p->backoff_ms * 2 : BACKOFF_FIRST_MS;
  p->backoff_ms = next_ms < BACKOFF_MAX_MS ? next_ms : BACKOFF_MAX_MS;
  p->why = *why;
  p->found.count = 0;
  p->counts.failures++;
  timer_arm(&p->loop->timers, &p->retry, p->loop->clock.now_ms + p->backoff_ms);
}

static void retry(struct timer *t) { pg_pool_serve(container_of(t, struct pg_pool, retry)); }

static void sweep(struct ready *ready) {
  struct pg_pool *p = container_of(ready, struct pg_pool, sweep);
  while (!list_empty(&p->gone))
    pg_connection_free(connection_of(list_first(&p->gone)));
}

// --- its end ---

static void drop_all(struct list *connections) {
  while (!list_empty(connections))
    pg_connection_drop(connection_of(list_first(connections)), "closed", "the database is closed");
}

static void end(struct pg_pool *p) {
  static const struct pg_error closed = {"the database is closed", "closed"};
  while (!list_empty(&p->waiting))
    pg_request_answer(request_of(list_first(&p->waiting)), &closed);
  drop_all(&p->busy);
  drop_all(&p->idle);
  if (p->loop) timer_disarm(&p->loop->timers, &p->retry);
  resolve_cancel(p->look_up);
  p->look_up = NULL;
}

static void close_now(struct ready *r) { end(container_of(r, struct pg_pool, close)); }

void pg_pool_close(struct pg_pool *p) {
  if (p->closed) return;
  p->closed = true;
  if (p->loop) loop_make_ready(p->loop, &p->close);
}

void pg_pool_init(struct pg_pool *p) {
  list_init(&p->idle);
  list_init(&p->busy);
  list_init(&p->gone);
  list_init(&p->waiting);
  timer_init(&p->retry, retry);
  ready_init(&p->close, close_now);
  ready_init(&p->sweep, sweep);
}

static void free_options(struct pg_options *o) {
  for (size_t i = 0; o->names && o->names[i]; i++) {
    explicit_bzero(o->values[i], strlen(o->values[i]));
    mem_free(o->names[i]);
    mem_free(o->values[i]);
  }
  mem_free(o->names);
  mem_free(o->values);
  mem_free(o->host);
}

void pg_pool_release(struct pg_pool *p) {
  p->closed = true;
  list_each(node, &p->waiting) pg_request_forget(request_of(node));
  list_each(node, &p->busy) if (connection_of(node)->request) pg_request_forget(connection_of(node)->request);
  end(p);
  sweep(&p->sweep);
  ready_cancel(&p->sweep);
  ready_cancel(&p->close);
  free_options(&p->options);
}
