#include "script/budget.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "script/script_impl.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICKS_A_LIMIT 5 // so many times the timer looks while a limit passes
#define PERIOD_MIN_NS 1000000
#define LEVELS_MAX    20 // between a function of C that stops and the function of Lua whose place is told
#define PERIOD_MAX_NS 100000000

static void stop_running(lua_State *L, lua_Debug *where);

static uint64_t thread_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// --- the timer ---

// A frame is charged from the first time on that it is seen, so it has always run longer than it is said to.
static bool is_over(struct budget *b, struct budget_frame *f, uint64_t now_ns) {
  if (!b->since_ns) b->since_ns = now_ns;
  if (f->seen) f->used_ns += now_ns - b->last_ns;
  f->seen = 1;
  b->last_ns = now_ns;
  return f->used_ns >= f->limit_ns || now_ns - b->since_ns >= BUDGET_NESTED * f->limit_ns;
}

// In the signal handler: nothing here but what such a one may call. lua_sethook is meant for it.
static void tick(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  int saved = errno;
  struct budget *b = info->si_value.sival_ptr;
  struct budget_frame *f = info->si_code == SI_TIMER && b ? b->top : NULL;
  if (f && f->limit_ns && is_over(b, f, thread_ns())) {
    if (!f->end) f->end = BUDGET_OVER;
    if (b->running) lua_sethook(b->running, stop_running, LUA_MASKCOUNT, 1);
  }
  errno = saved;
}

// A real-time signal that nobody else uses; ours stays with its handler, so that a late one does no harm.
static int find_signal(void) {
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
    struct sigaction now;
    if (sigaction(number, NULL, &now)) continue;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == tick) return number;
    if ((now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL) continue;
    struct sigaction own = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigfillset(&own.sa_mask);
    if (sigaction(number, &own, NULL) == 0) return number;
  }
  return -1;
}

static uint64_t period_of(uint64_t limit_ns) {
  uint64_t period_ns = limit_ns / TICKS_A_LIMIT;
  if (period_ns < PERIOD_MIN_NS) return PERIOD_MIN_NS;
  return period_ns > PERIOD_MAX_NS ? PERIOD_MAX_NS : period_ns;
}

static const char *create(struct budget *b) {
  int number = find_signal();
  if (number < 0) return "no real-time signal is free";
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number};
  event.sigev_value.sival_ptr = b;
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  return timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &b->timer) ? "timer_create failed" : NULL;
}

const char *budget_start(struct budget *b, uint64_t limit_ns) {
  uint64_t period_ns = period_of(limit_ns);
  if (!limit_ns || (b->period_ns && b->period_ns <= period_ns)) return NULL;
  const char *problem = b->period_ns ? NULL : create(b);
  if (problem) return problem;
  b->period_ns = period_ns;
  struct timespec every = {.tv_nsec = (long)period_ns};
  struct itimerspec when = {.it_interval = every, .it_value = every};
  if (timer_settime(b->timer, 0, &when, NULL) == 0) return NULL;
  budget_release(b);
  return "timer_settime failed";
}

// A signal that is under way would find nothing behind its pointer.
static void drop_signals(void) {
  static const struct timespec at_once = {0};
  sigset_t own;
  sigemptyset(&own);
  int number = find_signal();
  if (number < 0) return;
  sigaddset(&own, number);
  while (sigtimedwait(&own, NULL, &at_once) > 0 || errno == EINTR) {
  }
}

void budget_release(struct budget *b) {
  if (!b->period_ns) return;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  timer_delete(b->timer);
  drop_signals();
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  b->period_ns = 0;
}

// --- stopping ---

const char *budget_push_text(lua_State *L, const struct budget_frame *f) {
  if (f->end == BUDGET_EXIT) return lua_pushliteral(L, "the script ended the broker");
  return lua_pushfstring(L, "hook budget exceeded: ran longer than %f s", (lua_Number)f->limit_ns / 1e9);
}

// Once a frame: where it was when it had to stop.
static void note_place(struct budget_frame *f, lua_State *L, lua_Debug *where) {
  if (f->place[0] || !lua_getinfo(L, "Sl", where) || where->currentline < 0) return;
  snprintf(f->place, sizeof f->place, "%s:%d", where->short_src, where->currentline);
}

// The debug hook. One that is left in a state although its frame is over takes itself away.
static void stop_running(lua_State *L, lua_Debug *where) {
  struct budget *b = &script_home(L)->budget;
  if (!budget_ended(b)) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  b->top->stopped = true;
  note_place(b->top, L, where);
  bool may_yield = where->event == LUA_HOOKCOUNT || where->event == LUA_HOOKLINE;
  if (may_yield && lua_isyieldable(L)) {
    lua_yield(L, 0); // returns here, and Lua yields when we have returned
    return;
  }
  budget_push_text(L, b->top);
  lua_error(L);
}

void budget_back(struct budget *b, lua_State *outer) {
  b->running = outer;
  atomic_signal_fence(memory_order_seq_cst);
  if (outer && budget_ended(b)) lua_sethook(outer, stop_running, LUA_MASKCOUNT, 1);
}

void budget_end(struct budget *b, enum budget_end why) {
  if (!b->top) return;
  b->top->end = why;
  budget_back(b, b->running);
}

int budget_stop(lua_State *L, struct budget *b) {
  lua_Debug where;
  b->top->stopped = true;
  for (int level = 1; level <= LEVELS_MAX && lua_getstack(L, level, &where); level++)
    note_place(b->top, L, &where);
  if (lua_isyieldable(L)) return lua_yield(L, 0);
  budget_push_text(L, b->top);
  return lua_error(L);
}

enum budget_end budget_grace(struct budget *b) {
  enum budget_end why = (enum budget_end)b->top->end;
  b->top->used_ns = 0;
  b->top->seen = 0;
  atomic_signal_fence(memory_order_seq_cst);
  b->top->end = BUDGET_RUNS;
  return why;
}

void budget_grace_over(struct budget *b, enum budget_end why) { b->top->end = why; }

bool budget_spoilt(lua_State *L) { return lua_status(L) > LUA_YIELD && lua_gethook(L) == stop_running; }
