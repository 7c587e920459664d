#include "transport/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/workers.h"

static void woken(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  ((struct loop *)arg)->wakeup_ms = TIMER_NEVER;
}

uint64_t loop_now_us(const struct loop *l) {
  if (l->now_us) return l->now_us(l->now_arg);
  if (l->clock.is_virtual) return 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void loop_enter(struct loop *l) {
  if (!l->turn_us) l->turn_us = loop_now_us(l);
}

void loop_leave(struct loop *l) {
  if (l->base && loop_now_us(l) - l->turn_us > LOOP_TURN_US) event_base_loopbreak(l->base);
}

static void probed(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct loop *l = arg;
  l->lag_ms = (uint32_t)((loop_now_us(l) - l->probe_us) / 1000);
  l->probe_us = 0;
}

// Sends the probe behind what is left over from this turn.
static void probe(struct loop *l) {
  if (l->probe_us || event_base_get_num_events(l->base, EVENT_BASE_COUNT_ACTIVE) == 0) return;
  l->probe_us = loop_now_us(l);
  event_active(l->probe, EV_TIMEOUT, 0);
}

void loop_measure(struct loop *l) {
  if (l->clock.is_virtual) return;
  uint64_t now = loop_now_us(l);
  uint64_t turn = l->turn_us ? now - l->turn_us : 0, waiting = l->probe_us ? now - l->probe_us : 0;
  uint32_t lag_ms = (uint32_t)((turn > waiting ? turn : waiting) / 1000);
  if (lag_ms > l->lag_ms) l->lag_ms = lag_ms;
}

struct loop *loop_new_virtual(uint64_t now_ms) {
  struct loop *l = mem_calloc(1, sizeof *l);
  clock_init_virtual(&l->clock, now_ms);
  timers_init(&l->timers, now_ms);
  list_init(&l->ready);
  l->wakeup_ms = TIMER_NEVER;
  return l;
}

struct loop *loop_new(void) {
  event_set_mem_functions(mem_alloc, mem_realloc, mem_free); // out of memory ends the process there too
  struct event_config *config = event_config_new();
  if (!config) return NULL;
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  struct event_base *base = event_base_new_with_config(config);
  event_config_free(config);
  if (!base) return NULL;
  struct loop *l = mem_calloc(1, sizeof *l);
  clock_init(&l->clock);
  timers_init(&l->timers, l->clock.now_ms);
  list_init(&l->ready);
  l->base = base;
  l->wakeup = evtimer_new(base, woken, l);
  l->wakeup_ms = TIMER_NEVER;
  l->probe = event_new(base, -1, 0, probed, l);
  return l;
}

void loop_free(struct loop *l) {
  workers_free(l->workers);
  workers_free(l->network_workers);
  if (l->probe) event_free(l->probe);
  if (l->wakeup) event_free(l->wakeup);
  if (l->base) event_base_free(l->base);
  mem_free(l);
}

// The wake-up event is touched only when an earlier timer has come, or it has fired.
static void set_wakeup(struct loop *l) {
  uint64_t next = timers_next(&l->timers);
  if (next >= l->wakeup_ms) return;
  clock_update(&l->clock);
  uint64_t in_ms = next > l->clock.now_ms ? next - l->clock.now_ms : 0;
  struct timeval tv = {.tv_sec = (time_t)(in_ms / 1000), .tv_usec = (suseconds_t)(in_ms % 1000 * 1000)};
  if (event_add(l->wakeup, &tv) == 0) l->wakeup_ms = next;
}

void ready_init(struct ready *r, void (*run)(struct ready *r)) {
  list_init(&r->node);
  r->run = run;
}

void loop_make_ready(struct loop *l, struct ready *r) {
  if (list_empty(&r->node)) list_append(&l->ready, &r->node);
}

// Those that are ready now; what becomes ready meanwhile has its turn in the next one.
static bool run_ready(struct loop *l) {
  struct list now;
  list_init(&now);
  list_splice(&now, &l->ready);
  bool any = !list_empty(&now);
  for (struct list *node; (node = list_take(&now));) {
    struct ready *r = container_of(node, struct ready, node);
    r->run(r);
  }
  return any;
}

bool loop_turn(struct loop *l, bool wait) {
  bool any = false;
  if (l->base) {
    if (!list_empty(&l->ready)) wait = false;
    if (wait) set_wakeup(l);
    l->turn_us = 0;
    l->lag_ms = 0;
    event_base_loop(l->base, EVLOOP_ONCE | (wait ? 0 : EVLOOP_NONBLOCK));
    probe(l);
    clock_update(&l->clock);
    any = true;
  }
  any |= run_ready(l);
  bool due = timers_next(&l->timers) <= l->clock.now_ms;
  if (due) loop_enter(l);
  any |= due;
  timers_run(&l->timers, l->clock.now_ms);
  return any;
}

// Not everything can be waited for: a file is always ready, and then `ready` stands in the place of the
// event.
struct loop_input {
  struct event event;
  struct ready ready;
  struct loop *loop;
  void (*fn)(void *arg);
  void *arg;
  bool is_file, watched, freed, calling;
};

static void call_input(struct loop_input *in) {
  in->calling = true;
  in->fn(in->arg);
  in->calling = false;
  if (in->freed)
    mem_free(in);
  else if (in->is_file && in->watched)
    loop_make_ready(in->loop, &in->ready);
}

static void input_readable(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct loop_input *in = arg;
  struct loop *l = in->loop;
  loop_enter(l);
  call_input(in);
  loop_leave(l);
}

static void input_ready(struct ready *r) { call_input(container_of(r, struct loop_input, ready)); }

static bool can_be_waited_for(int fd) {
  struct stat what;
  if (fstat(fd, &what)) return false;
  return S_ISFIFO(what.st_mode) || S_ISSOCK(what.st_mode) || isatty(fd);
}

struct loop_input *loop_input_new(struct loop *l, int fd, void (*fn)(void *arg), void *arg) {
  struct loop_input *in = mem_calloc(1, sizeof *in);
  in->loop = l;
  in->fn = fn;
  in->arg = arg;
  in->is_file = !can_be_waited_for(fd);
  ready_init(&in->ready, input_ready);
  event_assign(&in->event, l->base, fd, EV_READ | EV_PERSIST, input_readable, in);
  loop_input_watch(in, true);
  return in;
}

void loop_input_watch(struct loop_input *in, bool on) {
  in->watched = on;
  if (in->is_file && on)
    loop_make_ready(in->loop, &in->ready);
  else if (in->is_file)
    ready_cancel(&in->ready);
  else if (on)
    event_add(&in->event, NULL);
  else
    event_del(&in->event);
}

void loop_input_free(struct loop_input *in) {
  loop_input_watch(in, false);
  in->freed = true;
  if (!in->calling) mem_free(in);
}

struct loop_signal {
  struct event event;
  void (*fn)(void *arg, int signal);
  void *arg;
};

static void signalled(evutil_socket_t signal, short what, void *arg) {
  (void)what;
  struct loop_signal *s = arg;
  s->fn(s->arg, (int)signal);
}

struct loop_signal *loop_signal_new(struct loop *l, int signal, void (*fn)(void *arg, int signal),
                                    void *arg) {
  struct loop_signal *s = mem_alloc(sizeof *s);
  s->fn = fn;
  s->arg = arg;
  evsignal_assign(&s->event, l->base, signal, signalled, s);
  event_add(&s->event, NULL);
  return s;
}

void loop_signal_free(struct loop_signal *s) {
  event_del(&s->event);
  mem_free(s);
}
