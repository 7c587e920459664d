#include "broker/shard.h"

#include <stdio.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/will.h"
#include "transport/workers.h"

#define SPARE_BUF_MAX      4096 // larger buffers are freed rather than kept
#define MEMORY_INTERVAL_MS 100
#define WORK_A_TURN        8192 // clients that one step of a turn works for; the rest have the next turn
#define WORK_A_LOOK        32   // and between two looks at the time

static void turn_due(struct timer *t) { (void)t; } // the turn does what is to be done

// Whoever is at work on a packet that may never be whole goes before others are refused anything.
static uint64_t relieve(void *arg, uint64_t bytes) { return client_close_unfinished(arg, bytes); }

static void configure_workers(const struct shard *s) {
  const struct workers_limits limits = {s->settings.workers, s->settings.worker_queue, WORKERS_STOP_MS};
  workers_configure(s->loop, &limits);
}

struct shard *shard_new(struct loop *loop, const struct settings *settings, uint64_t seed) {
  struct shard *s = mem_calloc(1, sizeof *s);
  s->loop = loop;
  s->settings = *settings;
  if (seed) {
    rand_init(&s->rand, seed);
    rand_init(&s->ids, ~seed);
  } else {
    rand_init_system(&s->rand);
    rand_init_system(&s->ids);
  }
  configure_workers(s);
  s->peers = peers_new(&s->settings, &s->stats, loop, rand_next(&s->rand));
  users_init(&s->users, rand_next(&s->rand));
  rules_pool_init(&s->own_rules, rand_next(&s->rand));
  pressure_init(&s->pressure);
  pressure_set_limit(&s->pressure, settings->memory_limit_bytes, settings->memory_limit_percent);
  s->pressure.relieve = relieve;
  s->pressure.relieve_arg = s;
  unfinished_init(&s->unfinished);
  list_init(&s->clients);
  list_init(&s->work);
  list_init(&s->backlog);
  list_init(&s->wills);
  timer_init(&s->flush_timer, turn_due);
  timer_init(&s->memory_timer, turn_due);
  s->read_buffer = mem_alloc(SHARD_READ_SIZE);
  s->scratch = mem_alloc(SHARD_SCRATCH_SIZE);
  s->spare = mem_alloc(SHARD_SPARE_MAX * sizeof *s->spare);
  return s;
}

void shard_set_backend(struct shard *s, struct backend *b) { s->backend = b; }

void shard_replace_backend(struct shard *s, struct backend *b) {
  s->backend = b;
  s->reign++;
}

void shard_change_settings(struct shard *s, const struct settings *settings) {
  s->settings = *settings;
  configure_workers(s);
  pressure_set_limit(&s->pressure, settings->memory_limit_bytes, settings->memory_limit_percent);
  list_each(node, &s->clients) client_settings_changed(container_of(node, struct client, node));
}

void shard_set_rules(struct shard *s, struct rules *rules) {
  s->rules = rules;
  s->rules_serial++;
}

void shard_free(struct shard *s) {
  s->log_mask = 0;
  while (!list_empty(&s->clients))
    client_abort(container_of(s->clients.next, struct client, node));
  wills_drop_all(s);
  if (s->backend) s->backend->ops->free(s->backend);
  timer_disarm(&s->loop->timers, &s->flush_timer);
  timer_disarm(&s->loop->timers, &s->memory_timer);
  peers_free(s->peers);
  users_release(&s->users);
  rules_pool_release(&s->own_rules);
  pressure_release(&s->pressure);
  queue_pool_release(&s->pool);
  while (s->spare_count) {
    struct buf *b = s->spare[--s->spare_count];
    buf_release(b);
    mem_free(b);
  }
  mem_free(s->spare);
  mem_free(s->scratch);
  mem_free(s->read_buffer);
  mem_free(s);
}

struct buf *shard_take_buf(struct shard *s) {
  if (s->spare_count) return s->spare[--s->spare_count];
  struct buf *b = mem_alloc(sizeof *b);
  *b = BUF_INIT;
  return b;
}

void shard_give_buf(struct shard *s, struct buf *b) {
  if (s->spare_count < SHARD_SPARE_MAX && b->cap <= SPARE_BUF_MAX) {
    b->len = 0;
    s->spare[s->spare_count++] = b;
    return;
  }
  buf_release(b);
  mem_free(b);
}

void shard_log(struct shard *s, struct log_record record) {
  if (shard_wants(s, record.event)) s->backend->ops->log(s->backend, &record);
}

void shard_connect_from(struct shard *s, struct conn *conn, const struct address *remote) {
  s->stats.connections_accepted++;
  client_new(s, conn, remote);
}

void shard_connect(struct shard *s, struct conn *conn) {
  shard_connect_from(s, conn, &(struct address){.family = AF_UNSPEC});
}

void shard_close_clients(struct shard *s) {
  s->closing = true;
  wills_send_all(s);
  list_each(node, &s->clients) {
    struct client *c = container_of(node, struct client, node);
    if (!client_closing(c)) client_flush(c);
    client_close_for_stop(c);
  }
}

struct budget { // of one step of a turn
  const struct loop *loop;
  uint64_t end_us;
  unsigned used;
};

static struct budget budget_new(const struct shard *s, uint64_t most_us) {
  return (struct budget){.loop = s->loop, .end_us = loop_now_us(s->loop) + most_us};
}

// Takes one off; false when it is used up.
static bool budget_take(struct budget *b) {
  if (b->used >= WORK_A_TURN) return false;
  if (b->used++ % WORK_A_LOOK == 0 && loop_now_us(b->loop) > b->end_us) b->used = WORK_A_TURN;
  return b->used < WORK_A_TURN;
}

static struct client *client_of(struct list *node) { return container_of(node, struct client, work_node); }

// Each client is moved on before it is called: any other one of the round may end meanwhile.
static void process_clients(struct shard *s, struct list *round) {
  struct budget budget = budget_new(s, LOOP_TURN_US);
  struct list rest;
  list_init(&rest);
  list_splice(&rest, round);
  for (struct list *node; (node = list_take(&rest));) {
    struct client *c = client_of(node);
    list_append(round, node);
    if (!(c->work & WORK_PROCESS) || !budget_take(&budget)) continue;
    c->work &= (uint8_t)~WORK_PROCESS;
    client_process_unread(c);
  }
}

// Sends for those of the list that have something to send; a client that has come to its end is flushed by
// client_end. Those that have more to send go to `more`.
static void flush_list(struct list *list, struct list *more, struct budget *budget) {
  struct list rest;
  list_init(&rest);
  list_splice(&rest, list);
  for (struct list *node; (node = list_take(&rest));) {
    struct client *c = client_of(node);
    list_append(list, node);
    if (!(c->work & WORK_FLUSH) || !budget_take(budget)) continue;
    c->work &= (uint8_t) ~(WORK_FLUSH | WORK_BACKLOG);
    if (!client_closing(c)) client_flush(c);
    if (c->work != WORK_FLUSH) continue;
    list_remove(node);
    list_append(more, node);
    c->work |= WORK_BACKLOG; // from now on client_add_work takes it out again
  }
}

// Those of the backlog that were flushed: they are done, or have come to something else to do.
static void leave_backlog(struct shard *s, struct list *round) {
  list_each(node, &s->backlog) {
    if (client_of(node)->work & WORK_BACKLOG) continue;
    list_remove(node);
    if (client_of(node)->work) list_append(round, node);
  }
}

// Who has something new to be sent comes first, so that those who are sent more than they can take at once
// hold up nobody else. They have some of the turn's time in any case.
static void flush_clients(struct shard *s, struct list *round) {
  struct budget budget = budget_new(s, LOOP_TURN_US);
  struct list more;
  list_init(&more);
  flush_list(round, &more, &budget);
  budget = (struct budget){.loop = s->loop, .end_us = budget.end_us};
  uint64_t least_us = loop_now_us(s->loop) + LOOP_TURN_US / 4;
  if (budget.end_us < least_us) budget.end_us = least_us;
  flush_list(&s->backlog, &more, &budget);
  leave_backlog(s, round);
  list_splice(&s->backlog, &more);
}

// What is left over, or was added meanwhile, goes on in the next turn: nobody waits for an end.
static void end_clients(struct shard *s, struct list *round) {
  struct budget budget = budget_new(s, LOOP_TURN_US / 4);
  for (struct list *node; (node = list_take(round));) {
    struct client *c = client_of(node);
    bool ends = c->work & WORK_END && budget_take(&budget);
    if (ends) c->work &= (uint8_t)~WORK_END;
    if (c->work) list_append(&s->work, node);
    if (ends) client_end(c);
  }
}

static bool is_only_to_flush(struct shard *s) {
  if (!list_empty(&s->backlog)) return false;
  list_each(node, &s->work) if (client_of(node)->work & ~(unsigned)WORK_FLUSH) return false;
  return true;
}

// Whether there is something to do now, which is not what waits for the timer.
static bool has_work(struct shard *s) {
  if (list_empty(&s->work)) return !list_empty(&s->backlog);
  return !timer_armed(&s->flush_timer) || !is_only_to_flush(s);
}

// With a write delay, what is only to be flushed waits for the timer.
static bool hold_back(struct shard *s) {
  if (!s->settings.max_write_delay_ms || list_empty(&s->work) || !is_only_to_flush(s)) return false;
  if (timer_armed(&s->flush_timer)) return true;
  if (s->flush_timer.due_ms != TIMER_NEVER && s->flush_timer.due_ms <= s->loop->clock.now_ms) {
    s->flush_timer.due_ms = TIMER_NEVER; // it has fired
    return false;
  }
  timer_arm(&s->loop->timers, &s->flush_timer, s->loop->clock.now_ms + s->settings.max_write_delay_ms);
  return true;
}

bool shard_finish_turn(struct shard *s) {
  if ((list_empty(&s->work) && list_empty(&s->backlog)) || hold_back(s)) return false;
  struct list round;
  list_init(&round);
  // Packets that waited may give others something to send: they are part of this round.
  list_splice(&round, &s->work);
  process_clients(s, &round);
  list_splice(&round, &s->work);
  flush_clients(s, &round);
  end_clients(s, &round);
  return true;
}

static void count_workers(struct shard *s) {
  struct workers_counts counts;
  workers_count(s->loop, &counts);
  s->stats.jobs_submitted = counts.submitted;
  s->stats.jobs_refused = counts.refused;
  s->stats.jobs_waiting = counts.waiting;
  s->stats.worker_threads = counts.threads;
}

const struct stats *shard_stats(struct shard *s) {
  count_workers(s);
  s->stats.queued_bytes = s->pool.bytes;
  s->stats.unfinished_bytes = s->unfinished.bytes;
  s->stats.memory_bytes = s->pressure.used_bytes;
  s->stats.memory_limit_bytes = s->pressure.limit_bytes;
  return &s->stats;
}

static const char *memory_text(bool was_high, const struct pressure *p) {
  if (p->high) return "memory limit reached";
  if (was_high) return "memory limit no longer reached";
  return p->near ? "memory near its limit" : "memory no longer near its limit";
}

static void memory_changed(struct shard *s, bool was_high) {
  const struct pressure *p = &s->pressure;
  struct backend *b = s->backend;
  char text[96];
  snprintf(text, sizeof text, "%s: %llu of %llu MiB", memory_text(was_high, p),
           (unsigned long long)(p->used_bytes >> 20), (unsigned long long)(p->limit_bytes >> 20));
  if (b->ops->engine_error) b->ops->engine_error(b, text);
  if (was_high == p->high) return;
  s->stats.memory_limit_reached += p->high;
  list_each(node, &s->clients) client_memory_changed(container_of(node, struct client, node));
}

static void check_memory(struct shard *s) {
  uint64_t now_ms = s->loop->clock.now_ms, unfinished_max = s->settings.unfinished_bytes;
  if (unfinished_max && s->unfinished.bytes > unfinished_max)
    client_close_unfinished(s, s->unfinished.bytes - unfinished_max);
  bool was_near = s->pressure.near, was_high = s->pressure.high;
  if (pressure_update(&s->pressure, now_ms)) {
    s->stats.memory_limit_near += s->pressure.near && !was_near;
    memory_changed(s, was_high);
  }
  if (s->pressure.near && !timer_armed(&s->memory_timer))
    timer_arm(&s->loop->timers, &s->memory_timer, now_ms + MEMORY_INTERVAL_MS);
}

// Whoever wanted a job to be done has an answer of its own; that there were too many is told once a second.
static void check_workers(struct shard *s) {
  uint64_t refused = workers_refused(s->loop);
  if (refused == s->jobs_refused_told) return;
  uint32_t missed = 0;
  if (!log_rate_allows(&s->jobs_rate, shard_now_ms(s), 1, &missed)) return;
  char text[96];
  snprintf(text, sizeof text, "worker threads: %llu jobs refused, as too many are waiting",
           (unsigned long long)(refused - s->jobs_refused_told));
  s->jobs_refused_told = refused;
  if (s->backend->ops->engine_error) s->backend->ops->engine_error(s->backend, text);
}

bool shard_turn(struct shard *s, bool wait) {
  s->turn_pushed = s->pool.pushed;
  bool any = loop_turn(s->loop, wait && !has_work(s));
  check_memory(s);
  check_workers(s);
  any |= shard_finish_turn(s);
  loop_measure(s->loop);
  overload_update(s);
  return any;
}
