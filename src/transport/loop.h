// The event loop of a shard: its clock, its timers, and readiness of its connections by libevent's
// event_base. With a virtual clock there is no event_base: only memory connections, and time stands still
// until a test moves it.
//
//   struct loop *loop = loop_new();
//   while (running) { loop_turn(loop, true); flush(); }
#ifndef LUAMQ_TRANSPORT_LOOP_H
#define LUAMQ_TRANSPORT_LOOP_H

#include "base/api.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/timer.h"

struct event_base;
struct workers;

// Something that has to be told in the next turn though no descriptor says so: bytes in memory, or bytes that
// a layer above a socket has taken from it already.
struct ready {
  struct list node;
  void (*run)(struct ready *r); // once; it may make itself ready again, and free itself
};

struct loop {
  struct clock clock;
  struct timers timers;
  struct event_base *base; // NULL with a virtual clock
  struct event *wakeup;    // for the next timer
  uint64_t wakeup_ms;      // when it is set to fire
  // What a turn does is bounded: after LOOP_TURN_US the rest of what is ready waits for the next turn. The
  // lag is how long the last of those had to wait, or the turn itself took.
  uint64_t turn_us;        // when the first handler of the turn was called; 0: none was
  struct event *probe;     // goes through the queue behind what is ready
  uint64_t probe_us;       // since when; 0: it is not under way
  uint32_t lag_ms;         // a test may set it
  struct list ready;       // of struct ready
  struct workers *workers; // see transport/workers.h; NULL until there is a job
  struct workers *network_workers;
  uint64_t (*now_us)(void *arg); // for tests, instead of the time; NULL otherwise
  void *now_arg;
};

struct loop *loop_new(void); // NULL when libevent has no usable method
struct loop *loop_new_virtual(uint64_t now_ms);
void loop_free(struct loop *l); // all connections, listeners and signals are closed before, jobs cancelled

#define LOOP_TURN_US 4000

// One turn: waits for readiness or the next timer (not at all unless `wait`), reads the clock, calls the
// handlers of what is ready, fires the timers that are due. Returns whether anything happened.
bool loop_turn(struct loop *l, bool wait);

// Around each call of a handler, by transports.
LUAMQ_API void loop_enter(struct loop *l);
LUAMQ_API void loop_leave(struct loop *l);
// Microseconds, for what bounds its own work; with a virtual clock nothing takes time, unless `now_us` says
// so.
uint64_t loop_now_us(const struct loop *l);
// The turn has ended: it may have taken long.
void loop_measure(struct loop *l);

LUAMQ_API void ready_init(struct ready *r, void (*run)(struct ready *r));
LUAMQ_API void loop_make_ready(struct loop *l, struct ready *r); // no effect when it is already
static inline void ready_cancel(struct ready *r) { list_remove(&r->node); }

// Calls fn(arg) in the loop when there is something to read from a descriptor, or its end, until
// loop_input_free. A file is always ready. Both may be called in fn.
struct loop_input;
struct loop_input *loop_input_new(struct loop *l, int fd, void (*fn)(void *arg), void *arg);
void loop_input_watch(struct loop_input *in, bool on); // at first it is watched
void loop_input_free(struct loop_input *in);           // the descriptor stays open

// Calls fn(arg, signal) in the loop when the process gets the signal, until loop_signal_free.
struct loop_signal;
struct loop_signal *loop_signal_new(struct loop *l, int signal, void (*fn)(void *arg, int signal), void *arg);
void loop_signal_free(struct loop_signal *s);

#endif
