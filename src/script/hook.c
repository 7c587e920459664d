// One call of a hook:
//
//   hook_run ── lua_resume ──► start ─► arguments ─► ask: function 1, function 2 ... until one answers ─►
//   read the answer
//      ▲                                                │
//      └──────── returned, raised or yielded ◄──────────┘
//
// `start` and what it calls run in the coroutine, so whatever Lua raises ends in lua_resume. The functions
// are called with a continuation, so that a yield arrives in hook_run as well: task.c keeps the call then,
// and hook_go_on is the second half of hook_run. What runs in the coroutine knows its task, never the call,
// which moves when it is kept.
#include "script/hook.h"

#include <lauxlib.h>

#include "script/hook_report.h"
#include "script/host.h"
#include "script/keeper.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "script/task.h"

#define ONCE_BUDGETS 10 // that a hook has which is called once

// --- in the coroutine: 1 is the task, then come the arguments, then a function, then its answer ---

static void end_loans(struct hook_call *call) {
  for (unsigned i = 0; i < sizeof call->lent / sizeof *call->lent; i++)
    if (call->lent[i]) call->lent[i]->over = true;
}

static bool take_answer(lua_State *L, struct hook_call *call) {
  int function = 2 + call->argument_count, answer = function + 1;
  bool last = scope_next(call, call->at + 1) == call->chain->count;
  if (!call->decides) return false;
  if (!lua_isnil(L, answer)) {
    const char *problem = answer_read(L, answer, call);
    if (problem) hook_report_answer(L, function, call, problem);
    return true;
  }
  if (!last) return false;
  if (answer_is_needed(call->hook))
    hook_report_answer(L, function, call, NULL);
  else
    call->answer.allowed = true;
  return true;
}

static int ask(lua_State *L, struct hook_task *t);

static int answered(lua_State *L, int status, lua_KContext context) {
  (void)status;
  struct hook_task *t = (struct hook_task *)context;
  if (!take_answer(L, t->call)) {
    t->call->at++;
    lua_settop(L, 1 + t->call->argument_count);
    return ask(L, t);
  }
  end_loans(t->call);
  return 0;
}

// A function is kept below its answer, for the place in reports.
static int ask(lua_State *L, struct hook_task *t) {
  int count = t->call->argument_count;
  for (;; t->call->at++, lua_settop(L, 1 + count)) {
    t->call->at = scope_next(t->call, t->call->at);
    if (t->call->at == t->call->chain->count) break;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->call->chain->functions[t->call->at]);
    lua_pushvalue(L, -1);
    for (int i = 0; i < count; i++)
      lua_pushvalue(L, 2 + i);
    lua_callk(L, count, 3, (lua_KContext)t, answered);
    if (take_answer(L, t->call)) break;
  }
  end_loans(t->call);
  return 0;
}

static int start(lua_State *L) {
  struct hook_task *t = lua_touserdata(L, 1);
  t->call->argument_count = argument_push(L, t->call);
  return ask(L, t);
}

// --- outside ---

// What ran in the state before, from enter to leave.
struct outer {
  struct script *running;
  struct hook_task *task;
  lua_State *L;
  size_t limit_bytes;
  uint64_t failures, since;  // of the heap; in ticks
  struct budget_frame frame; // of what runs now
};

static uint64_t budget_of(const struct hook_call *call) {
  if (call->hook == HOOK_PROMPT) return 0; // whoever types is there to wait
  uint64_t budget_ns = (uint64_t)call->script->settings.hook_budget_ms * 1000000;
  return hook_is_once(call->hook) ? ONCE_BUDGETS * budget_ns : budget_ns;
}

static void enter(struct hook_task *t, struct outer *outer) {
  struct script_home *home = t->script->home;
  outer->running = home->running;
  outer->task = home->task;
  home->running = t->script;
  home->task = t;
  budget_enter(&home->budget, &outer->frame, budget_of(t->call));
  outer->L = budget_run(&home->budget, t->L);
  outer->limit_bytes = heap_limit(&home->heap, t->script->settings.lua_memory_bytes);
  outer->failures = home->heap.failures;
  outer->since = ticks_now(&home->clock.ticks);
  t->script->depth++;
}

static void leave(struct hook_task *t, struct outer *outer) {
  struct script_home *home = t->script->home;
  t->script->depth--;
  t->call->ticks += ticks_now(&home->clock.ticks) - outer->since;
  bool refused = home->heap.failures != outer->failures;
  if (refused || home->heap.live_bytes) hook_look_at_memory(t->call, refused);
  heap_restore(&home->heap, outer->limit_bytes);
  home->running = outer->running;
  home->task = outer->task;
  budget_leave(&home->budget, &outer->frame);
  budget_back(&home->budget, outer->L);
}

// What is to be closed failed, in a hook that had not failed itself.
static void report_close(struct hook_task *t) {
  struct hook_failure f = {.call = t->call, .thread = t->L, .text = BUF_INIT};
  buf_printf(&f.text, "hook %s, when it was cancelled: ", hook_name(t->call->hook));
  hook_describe(t->script, &f);
  hook_report(t->call, buf_slice(&f.text), slice_of(NULL, 0));
  buf_release(&f.text);
}

// The frame of `start`. By halves: a stack may have hundreds of thousands.
static bool find_outermost(lua_State *L, lua_Debug *frame) {
  int at = 0, beyond = 1;
  while (lua_getstack(L, beyond, frame)) {
    at = beyond;
    beyond *= 2;
  }
  while (beyond - at > 1) {
    int middle = at + (beyond - at) / 2;
    if (lua_getstack(L, middle, frame))
      at = middle;
    else
      beyond = middle;
  }
  return lua_getstack(L, at, frame);
}

// Keeps the arguments of the hook from the collector, on the stack of `tool`: closing the coroutine takes
// them off its own. False where there is no room; then some may be there.
static bool hold_arguments(struct hook_task *t, lua_State *tool) {
  lua_Debug frame;
  int count = t->call->argument_count;
  if (!lua_checkstack(tool, count + 4) || !lua_checkstack(t->L, 1) || !find_outermost(t->L, &frame))
    return false;
  for (int i = 0; i < count; i++) {
    if (!lua_getlocal(t->L, &frame, 2 + i)) return false;
    lua_xmove(t->L, tool, 1);
  }
  return true;
}

static bool is_lent(const struct hook_call *call) { return call->lent[0] || call->lent[1]; }

// Closes what is to be closed, which may look at what was lent to the hook. In one that is spoilt that could
// not be stopped, and is left to the collector. False: it failed, with an error on the stack.
static bool close_coroutine(struct hook_task *t) {
  lua_State *tool = t->script->tool;
  int top = lua_gettop(tool);
  bool closed = true;
  t->spoilt = budget_spoilt(t->L);
  if (t->spoilt || (is_lent(t->call) && !hold_arguments(t, tool))) {
    end_loans(t->call);
    t->call->lent[0] = t->call->lent[1] = NULL; // they may be collected
  }
  if (!t->spoilt) {
    struct budget *b = &t->script->home->budget;
    enum budget_end end = budget_grace(b);
    t->closing = true;
    closed = lua_resetthread(t->L) == LUA_OK;
    t->closing = false;
    budget_grace_over(b, end);
  }
  end_loans(t->call);
  lua_settop(tool, top);
  return closed;
}

static const char *failure_of(int status, enum budget_end end) {
  if (end == BUDGET_OVER) return "hook budget exceeded";
  if (end == BUDGET_EXIT) return "the script ended the broker";
  return status == LUA_YIELD ? "hook cannot suspend" : "hook error";
}

static void report_exit(const struct hook_call *call, const struct budget_frame *frame) {
  struct script *s = call->script;
  if (!log_begin(&s->log, LEVEL_INFO, SLICE("os.exit: stopping"))) return;
  log_string(&s->log, "hook", slice_str(hook_name(call->hook)));
  if (*frame->place) log_string(&s->log, "at", slice_str(frame->place));
  log_number(&s->log, "status", s->host->exit_status);
  log_end(&s->log);
}

static void failed(struct hook_task *t, int status) {
  struct hook_call *call = t->call;
  const struct budget_frame *frame = t->script->home->budget.top;
  t->wait = NULL; // it was stopped before this began
  if (frame->end == BUDGET_EXIT)
    report_exit(call, frame);
  else
    hook_report_failure(call, t->L, status); // which may call __tostring
  if (frame->end == BUDGET_OVER) call->script->shard->stats.hook_budget_exceeded++;
  hook_fail(call, failure_of(status, (enum budget_end)frame->end), answer_reason_of_error(call->hook));
  close_coroutine(t);
}

// After a hook for which there was no memory. What Lua collects when an allocation fails is not all: deep
// stacks stay. So the next hook would find no memory either.
static void collect_rest(struct hook_task *t) {
  struct script *s = t->script;
  struct budget *b = &s->home->budget;
  if (s->home->heap.used_bytes < s->settings.lua_memory_bytes / 2) return;
  lua_State *outer = script_enter(s, s->tool);
  enum budget_end end = budget_grace(b); // finalizers run
  lua_gc(s->tool, LUA_GCCOLLECT);
  budget_grace_over(b, end);
  script_leave(s, outer);
}

// True: the coroutine waits for something.
static bool resume(struct hook_task *t, int arguments) {
  struct outer outer;
  int results;
  enter(t, &outer);
  int status = lua_resume(t->L, outer.L, arguments, &results);
  bool stopped = outer.frame.end != BUDGET_RUNS;
  bool waits = status == LUA_YIELD && t->wait && !stopped;
  if (!waits && (stopped || status != LUA_OK)) failed(t, status);
  if (!waits && t->script->home->heap.failures != outer.failures) collect_rest(t);
  leave(t, &outer);
  return waits;
}

// An error in a hook that only takes notice keeps nobody else of the list from it. A start is over with it.
static bool skips_failed(const struct hook_call *call) {
  bool takes_notice = !call->decides && call->hook != HOOK_START;
  return takes_notice && call->answer.failed && call->at + 1 < call->chain->count;
}

static bool begin(struct hook_task *t) {
  lua_pushcfunction(t->L, start);
  lua_pushlightuserdata(t->L, t);
  return resume(t, 1);
}

// After a coroutine came back. True: it waits.
static bool run_rest(struct hook_task *t, bool waits) {
  while (!waits && skips_failed(t->call)) {
    t->call->at++;
    lua_settop(t->L, 0);
    waits = begin(t);
  }
  if (waits) task_suspend(t);
  return waits;
}

static void count(const struct hook_task *t) {
  const struct hook_call *call = t->call;
  const struct hook_clock *clock = &call->script->home->clock;
  struct hook_times *times = &call->script->host->times[call->hook];
  histogram_add(clock, &times->running, call->ticks);
  if (call == &t->kept) histogram_add_ms(clock, &times->waiting, t->waited_ms);
  times->denials += call->decides && !call->answer.allowed;
  times->errors += call->answer.failed != NULL;
  hook_look_at_time(call, (double)call->ticks * clock->ticks.seconds);
}

bool hook_run(struct hook_call *call) {
  struct script *s = call->script;
  if (!call->chain) call->chain = &s->hooks[call->hook];
  call->decides = answer_counts(call->hook);
  call->answer.allowed = !call->decides;
  call->answer.reason = REASON_NOT_AUTHORIZED;
  if (call->chain->scopes && scope_next(call, 0) == call->chain->count) {
    scope_answer(call);
    if (is_observed(s->host)) observe_hook(call, 0);
    return call->answer.allowed;
  }
  struct hook_task *t = s->depth < HOOK_DEPTH_MAX ? task_take(s) : NULL;
  if (!t) {
    bool deep = s->depth >= HOOK_DEPTH_MAX;
    hook_report(call, deep ? SLICE("hooks are nested too deeply") : SLICE("not enough memory for a hook"),
                slice_of(NULL, 0));
    hook_fail(call, "hook error", answer_reason_of_error(call->hook));
    return false;
  }
  t->call = call;
  if (run_rest(t, begin(t))) {
    call->suspended = true;
    call->task = t;
    return false;
  }
  count(t);
  if (is_observed(s->host)) observe_hook(call, 0);
  task_give(t);
  return call->answer.allowed;
}

void hook_keep(struct hook_call *call, void *data) { call->task->kept.data = data; }

static void finished(struct hook_task *t) {
  task_leave(t);
  count(t);
  t->kept.suspended = false;
  if (is_observed(t->script->host)) observe_hook(&t->kept, t->waited_ms);
  t->kept.done(&t->kept);
  task_give(t);
}

void hook_go_on(struct hook_task *t) {
  if (!run_rest(t, resume(t, 0))) finished(t);
}

void hook_give_up(struct hook_task *t, const char *failed_with, const char *report_text) {
  struct hook_call *call = t->call;
  if (report_text) {
    struct buf frames = hook_traceback(t->L);
    hook_report(call, slice_str(report_text), buf_slice(&frames));
    buf_release(&frames);
  }
  hook_fail(call, failed_with, answer_reason_of_error(call->hook));
  struct outer outer;
  enter(t, &outer);
  if (!close_coroutine(t)) report_close(t);
  leave(t, &outer);
  finished(t);
}

static void ended(struct hook_call *call) {
  struct hook_call *caller = call->data;
  caller->answer = call->answer;
  caller->suspended = false;
}

// With a virtual clock nothing but a timer can end a wait.
static void pass_time(struct loop *l) {
  if (!l->base && list_empty(&l->ready)) {
    uint64_t next = timers_next(&l->timers);
    if (next > l->clock.now_ms) clock_advance(&l->clock, next - l->clock.now_ms);
  }
  loop_turn(l, true);
}

bool hook_run_to_end(struct hook_call *call) {
  call->done = ended;
  if (hook_run(call) || !call->suspended) return call->answer.allowed;
  hook_keep(call, call);
  while (call->suspended)
    pass_time(call->script->loop);
  return call->answer.allowed;
}
