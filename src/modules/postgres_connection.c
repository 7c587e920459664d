#include <event2/event.h>

#include "modules/postgres.h"

// --- its end ---

static void forget_events(struct pg_connection *c) {
  if (c->readable) event_free(c->readable);
  if (c->writable) event_free(c->writable);
  c->readable = c->writable = NULL;
}

static void leave_pool(struct pg_connection *c) {
  struct pg_pool *p = c->pool;
  list_remove(&c->node);
  p->count--;
  if (c->step == PG_CONNECTING) p->opening--;
  timer_disarm(&p->loop->timers, &c->deadline);
}

void pg_connection_drop(struct pg_connection *c, const char *code, const char *text) {
  struct pg_pool *p = c->pool;
  struct pg_request *r = c->request;
  struct pg_error why;
  pg_error_set_line(&why, code, text);
  bool was_open = c->step != PG_CONNECTING;
  leave_pool(c);
  forget_events(c);
  if (c->lease) c->lease->connection = NULL;
  PQfinish(c->pg);
  c->pg = NULL;
  c->request = NULL;
  c->step = PG_GONE;
  list_append(&p->gone, &c->node);
  loop_make_ready(p->loop, &p->sweep);
  if (r) {
    r->connection = NULL;
    pg_request_answer(r, &why);
  }
  if (!was_open) pg_pool_failed(p, &why);
  pg_pool_serve(p);
}

void pg_connection_free(struct pg_connection *c) {
  list_remove(&c->node);
  pg_statement_release(&c->fresh);
  pg_statements_release(&c->statements);
  mem_free(c);
}

static void lost(struct pg_connection *c) { pg_connection_drop(c, "connection", PQerrorMessage(c->pg)); }

static void deadline(struct timer *t) {
  struct pg_connection *c = container_of(t, struct pg_connection, deadline);
  pg_connection_drop(c, "timeout",
                     c->step == PG_CONNECTING ? "no connection in time" : "no rollback in time");
}

// --- readiness ---

static void wants_write(struct pg_connection *c, bool wants) {
  if (wants)
    event_add(c->writable, NULL);
  else
    event_del(c->writable);
}

void pg_connection_flush(struct pg_connection *c) {
  int left = PQflush(c->pg);
  if (left < 0)
    lost(c);
  else
    wants_write(c, left > 0);
}

// Rows that are too many are not read to their end, and a COPY is not carried out: both end the connection.
static void drop_unwanted(struct pg_connection *c) {
  if (c->copies)
    pg_connection_drop(c, "0A000", "COPY has no place in a query");
  else if (c->request && c->request->rows.problem)
    pg_connection_drop(c, "limit", c->request->rows.problem);
}

static bool has_result(const struct pg_connection *c) {
  return c->step != PG_GONE && c->step != PG_IDLE && c->step != PG_HELD && !PQisBusy(c->pg);
}

// One result of the step under way, or its end.
static void take_result(struct pg_connection *c) {
  PGresult *result = PQgetResult(c->pg);
  if (!result) {
    pg_query_step_over(c);
    return;
  }
  pg_query_result(c, result);
  PQclear(result);
  drop_unwanted(c);
}

static void read_now(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct pg_connection *c = arg;
  struct loop *loop = c->pool->loop;
  loop_enter(loop);
  if (!PQconsumeInput(c->pg)) lost(c);
  while (has_result(c))
    take_result(c);
  loop_leave(loop);
}

static void write_now(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct pg_connection *c = arg;
  struct loop *loop = c->pool->loop;
  loop_enter(loop);
  pg_connection_flush(c);
  loop_leave(loop);
}

// --- its beginning ---

static void opened(struct pg_connection *c) {
  struct pg_pool *p = c->pool;
  forget_events(c);
  PQsetnonblocking(c->pg, 1);
  c->readable = event_new(p->loop->base, PQsocket(c->pg), EV_READ | EV_PERSIST, read_now, c);
  c->writable = event_new(p->loop->base, PQsocket(c->pg), EV_WRITE | EV_PERSIST, write_now, c);
  event_add(c->readable, NULL);
  p->opening--;
  pg_pool_opened(p);
  pg_connection_give_back(c);
}

static void go_on(struct pg_connection *c);

static void polled(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct pg_connection *c = arg;
  struct loop *loop = c->pool->loop;
  loop_enter(loop);
  go_on(c);
  loop_leave(loop);
}

// libpq may have another socket after each step.
static void await(struct pg_connection *c, short what) {
  forget_events(c);
  c->readable = event_new(c->pool->loop->base, PQsocket(c->pg), what, polled, c);
  event_add(c->readable, NULL);
}

static void go_on(struct pg_connection *c) {
  switch (PQconnectPoll(c->pg)) {
  case PGRES_POLLING_READING: await(c, EV_READ); break;
  case PGRES_POLLING_WRITING: await(c, EV_WRITE); break;
  case PGRES_POLLING_OK: opened(c); break;
  default: lost(c);
  }
}

static void ignore(void *arg, const PGresult *notice) { (void)arg, (void)notice; }

static void add_to_list(struct buf *to, const char *text) {
  if (to->len) buf_add_byte(to, ',');
  buf_add_str(to, text);
}

// With the addresses that its name has, and the name for each, which the certificate is checked for.
static PGconn *start(const struct pg_pool *p) {
  const struct pg_options *o = &p->options;
  const char *names[PG_KEYWORDS_MAX + 3], *values[PG_KEYWORDS_MAX + 3];
  struct buf addresses = BUF_INIT, hosts = BUF_INIT;
  size_t count = 0;
  for (; o->names[count]; count++)
    names[count] = o->names[count], values[count] = o->values[count];
  for (unsigned i = 0; o->host && i < p->found.count; i++) {
    add_to_list(&addresses, p->found.addresses[i]);
    add_to_list(&hosts, o->host);
  }
  if (o->host) {
    names[count] = "host", values[count++] = buf_text(&hosts);
    names[count] = "hostaddr", values[count++] = buf_text(&addresses);
  }
  names[count] = values[count] = NULL;
  PGconn *pg = mem_require(PQconnectStartParams(names, values, 0));
  buf_release(&addresses);
  buf_release(&hosts);
  return pg;
}

void pg_connection_open(struct pg_pool *p) {
  struct pg_connection *c = mem_calloc(1, sizeof *c);
  c->pool = p;
  c->statements.limit = p->options.statements;
  timer_init(&c->deadline, deadline);
  list_init(&c->node);
  list_append(&p->busy, &c->node);
  p->count++;
  p->opening++;
  c->step = PG_CONNECTING;
  c->pg = start(p);
  if (PQstatus(c->pg) == CONNECTION_BAD) {
    lost(c);
    return;
  }
  PQsetNoticeReceiver(c->pg, ignore, NULL);
  timer_arm(&p->loop->timers, &c->deadline, p->loop->clock.now_ms + p->options.connect_timeout_ms);
  await(c, EV_WRITE);
}

// --- between requests ---

static void roll_back(struct pg_connection *c) {
  struct loop *loop = c->pool->loop;
  c->step = PG_ROLLING_BACK;
  c->error = (struct pg_error){.text = ""};
  timer_arm(&loop->timers, &c->deadline, loop->clock.now_ms + c->pool->options.timeout_ms);
  if (PQsendQuery(c->pg, "ROLLBACK"))
    pg_connection_flush(c);
  else
    lost(c);
}

void pg_connection_give_back(struct pg_connection *c) {
  struct pg_pool *p = c->pool;
  timer_disarm(&p->loop->timers, &c->deadline);
  if (c->lease) {
    c->step = PG_HELD;
    return;
  }
  if (PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
    roll_back(c);
    return;
  }
  c->step = PG_IDLE;
  list_remove(&c->node);
  list_insert_before(p->idle.next, &c->node); // the one that was used last is the next
  pg_pool_serve(p);
}
