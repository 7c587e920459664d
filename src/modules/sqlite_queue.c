#include <stdio.h>

#include "modules/sqlite.h"

static void set_error(struct sqlite_error *e, const char *code, const char *text) {
  snprintf(e->text, sizeof e->text, "%s", text);
  e->code = code;
}

// --- the database ---

struct sqlite_database *sqlite_database_new(void) {
  struct sqlite_database *d = mem_calloc(1, sizeof *d);
  d->file.options = &d->options;
  d->refs = 1;
  list_init(&d->queue);
  return d;
}

static void unref(struct sqlite_database *d) {
  if (--d->refs) return;
  sqlite_file_close(&d->file);
  mem_free(d->options.path);
  mem_free(d->options.synchronous);
  mem_free(d);
}

// --- requests ---

void sqlite_results_free(struct rows *results, uint32_t count) {
  for (uint32_t i = 0; results && i < count; i++)
    rows_release(&results[i]);
  mem_free(results);
}

static void leave_queue(struct sqlite_request *r) {
  if (list_empty(&r->node)) return;
  list_remove(&r->node);
  r->database->pending--;
}

void sqlite_request_free(struct sqlite_request *r) {
  leave_queue(r);
  timer_disarm(&r->loop->timers, &r->timeout);
  if (r->call) r->call->request = NULL;
  sqlite_results_free(r->results, r->count);
  buf_release(&r->statements);
  mem_free(r);
}

static void tell(struct sqlite_request *r, const struct sqlite_error *why) {
  struct sqlite_call *call = r->call;
  if (!call) return;
  r->call = NULL;
  call->request = NULL;
  if (*why->text) {
    call->error = *why;
    r->database->counts.errors++;
  } else {
    call->results = r->results;
    r->results = NULL;
  }
  wait_done(&call->wait);
}

static void answer(struct sqlite_request *r, const struct sqlite_error *why) {
  tell(r, why);
  sqlite_request_free(r);
}

// It is over for its call. One that runs comes to its end in the thread.
static void give_up(struct sqlite_request *r) {
  if (r->database->running == r)
    atomic_store(&r->stop, true);
  else
    sqlite_request_free(r);
}

void sqlite_request_forget(struct sqlite_request *r) {
  if (r->call) r->call->request = NULL;
  r->call = NULL;
  give_up(r);
}

static void timed_out(struct timer *t) {
  struct sqlite_request *r = container_of(t, struct sqlite_request, timeout);
  struct sqlite_error why;
  set_error(&why, "timeout", "no answer in time");
  r->database->counts.timeouts++;
  tell(r, &why);
  give_up(r);
}

struct sqlite_request *sqlite_request_new(struct sqlite_database *d, struct loop *loop, enum sqlite_kind kind,
                                          uint32_t count) {
  struct sqlite_request *r = mem_calloc(1, sizeof *r);
  r->database = d;
  r->loop = loop;
  r->kind = kind;
  r->count = count;
  r->results = mem_calloc(count + 1, sizeof *r->results);
  for (uint32_t i = 0; i < count; i++)
    rows_init(&r->results[i], &d->options.limits);
  list_init(&r->node);
  timer_init(&r->timeout, timed_out);
  if (loop->base) d->loop = loop;
  return r;
}

// --- one after the other, in a thread ---

static void run(struct job *j) {
  struct sqlite_request *r = container_of(j, struct sqlite_request, job);
  sqlite_file_run(&r->database->file, r);
}

static void done(struct job *j) {
  struct sqlite_request *r = container_of(j, struct sqlite_request, job);
  tell(r, &r->error);
}

static void serve(struct sqlite_database *d);

// In any case the last of a job, also where the loop has ended before it could run.
static void release(struct job *j) {
  struct sqlite_request *r = container_of(j, struct sqlite_request, job);
  struct sqlite_database *d = r->database;
  d->running = NULL;
  d->pending--;
  sqlite_request_free(r);
  serve(d);
  unref(d);
}

static void serve(struct sqlite_database *d) {
  static const struct job_ops ops = {.run = run, .done = done, .free = release};
  while (!d->running && !list_empty(&d->queue)) {
    struct sqlite_request *r = container_of(list_take(&d->queue), struct sqlite_request, node);
    struct sqlite_error why;
    if (workers_submit(r->loop, &r->job, &ops)) {
      d->running = r;
      d->refs++;
      return;
    }
    d->pending--;
    d->counts.refused++;
    set_error(&why, "busy", "too many jobs wait for worker threads");
    answer(r, &why);
  }
}

static void enqueue(struct sqlite_request *r) {
  struct sqlite_database *d = r->database;
  list_append(&d->queue, &r->node);
  d->pending++;
  serve(d);
}

void sqlite_request_begin(struct sqlite_request *r) {
  struct sqlite_database *d = r->database;
  struct sqlite_error why = {.text = ""};
  if (d->closed)
    set_error(&why, "closed", "the database is closed");
  else if (d->pending >= d->options.max_pending)
    set_error(&why, "busy", "too many requests wait for the database (max_pending)");
  if (*why.text) {
    d->counts.refused++;
    answer(r, &why);
    return;
  }
  d->counts.requests++;
  timer_arm(&r->loop->timers, &r->timeout, r->loop->clock.now_ms + d->options.timeout_ms);
  enqueue(r);
}

void sqlite_database_close(struct sqlite_database *d, struct loop *loop) {
  if (d->closed) return;
  d->closed = true;
  if (loop) enqueue(sqlite_request_new(d, loop, SQLITE_CLOSE, 0));
}

void sqlite_database_leave(struct sqlite_database *d) {
  list_each(node, &d->queue) {
    struct sqlite_request *r = container_of(node, struct sqlite_request, node);
    if (r->kind != SQLITE_CLOSE) sqlite_request_forget(r);
  }
  if (d->running && d->running->call) sqlite_request_forget(d->running);
  sqlite_database_close(d, d->loop);
  unref(d);
}
