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

#include "script/host.h"
#include "script/keeper.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "script/task.h"

#define REPORTS_A_SECOND 10 // of one hook
#define FRAMES_MAX       20 // of a traceback
#define ONCE_BUDGETS     10 // that a hook has which is called once
#define HELD_UP_S        0.5

// --- what went wrong ---

static void report(struct hook_call *call, struct slice text, struct slice traceback) {
  struct script *s = call->script;
  uint32_t missed = 0;
  s->shard->stats.hook_errors++;
  if (call->text) snprintf(call->text, call->text_size, "%.*s", (int)text.len, (const char *)text.ptr);
  if (!log_rate_allows(&s->rates[call->hook], s->loop->clock.now_ms, REPORTS_A_SECOND, &missed)) return;
  if (!log_begin(&s->log, LEVEL_ERROR, text)) return;
  logger_add_client(&s->log, call->client);
  if (missed) log_number(&s->log, "suppressed", missed);
  if (traceback.len) log_lines(&s->log, "traceback", traceback);
  log_end(&s->log);
}

static void report_memory(struct hook_call *call, enum log_level level, const char *text, size_t used_bytes) {
  struct script *s = call->script;
  if (!log_begin(&s->log, level, slice_str(text))) return;
  log_string(&s->log, "hook", slice_str(hook_name(call->hook)));
  logger_add_client(&s->log, call->client);
  log_number(&s->log, "used_bytes", (int64_t)used_bytes);
  log_number(&s->log, "limit_bytes", (int64_t)s->settings.lua_memory_bytes);
  log_end(&s->log);
}

// Lua has come to the limit while the hook ran: it was refused memory, or found enough when it had collected.
static void look_at_memory(struct hook_call *call, bool refused) {
  struct script *s = call->script;
  struct heap *heap = &s->home->heap;
  uint64_t now_ms = s->loop->clock.now_ms;
  uint32_t missed;
  if (refused) {
    s->shard->stats.hook_memory_exceeded++;
    if (log_rate_allows(&s->memory, now_ms, 1, &missed))
      report_memory(call, LEVEL_ERROR, "script.lua_memory is used up", heap->used_bytes);
  } else if (heap->live_bytes > s->settings.lua_memory_bytes / 10 * 9) {
    if (log_rate_allows(&s->memory_near, now_ms / 60, 1, &missed)) // one a minute
      report_memory(call, LEVEL_WARN, "script.lua_memory is nearly used up", heap->live_bytes);
  }
  heap->live_bytes = 0;
}

// They may take their time.
static bool is_once(enum hook h) {
  return h == HOOK_START || h == HOOK_STOP || h == HOOK_SELFTEST || h == HOOK_SAVE;
}

// It held up the broker, and not by Lua, which would have been stopped: by a function of C, or because the
// machine did something else.
static void look_at_time(const struct hook_call *call, double seconds) {
  struct script *s = call->script;
  uint32_t missed = 0, budget_ms = s->settings.hook_budget_ms;
  if (seconds < HELD_UP_S || seconds * 1000 < budget_ms || !budget_ms || is_once(call->hook)) return;
  if (!log_rate_allows(&s->held_up, s->loop->clock.now_ms, 1, &missed)) return;
  if (!log_begin(&s->log, LEVEL_WARN, SLICE("a hook held up the broker"))) return;
  log_string(&s->log, "hook", slice_str(hook_name(call->hook)));
  logger_add_client(&s->log, call->client);
  log_number(&s->log, "ms", (int64_t)(seconds * 1000));
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

static void fail(struct hook_call *call, const char *failed, uint8_t reason) {
  if (call->answer.message) message_unref(call->answer.message);
  told_free(call->answer.told);
  rules_unref(call->answer.rules);
  keeper_free(call->script, call->answer.keeper);
  if (call->operation) keeper_drop_packets(call->operation);
  call->answer = (struct answer){.reason = reason, .failed = failed};
}

// Pushes "broker.lua:12", the place of the function at `index`.
static void push_place(lua_State *L, int index) {
  lua_Debug info;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &info);
  const char *source = *info.source == '@' ? info.source + 1 : info.short_src;
  if (*info.what == 'C')
    lua_pushliteral(L, "a C function");
  else
    lua_pushfstring(L, "%s:%d", source, info.linedefined);
}

// Inside of the protection: the function at `index` gave no answer, or one with a problem.
static void report_answer(lua_State *L, int index, struct hook_call *call, const char *problem) {
  luaL_checkstack(L, 6, NULL);
  push_place(L, index);
  struct buf text = BUF_INIT;
  buf_printf(&text, "%s: hook %s gave %s", lua_tostring(L, -1), hook_name(call->hook),
             problem ? "a wrong answer: " : "no answer");
  if (problem) task_add_without_secret(&text, slice_str(problem), call);
  report(call, buf_slice(&text), slice_of(NULL, 0));
  buf_release(&text);
  fail(call, problem ? "hook gave a wrong answer" : "hook gave no answer", REASON_NOT_AUTHORIZED);
}

struct failure { // what describe_error fills
  const struct hook_call *call;
  lua_State *thread;
  struct buf text;
};

// Runs protected in the script's tool thread: __tostring of an error object may do anything.
static int describe_error(lua_State *L) {
  struct failure *f = lua_touserdata(L, 1);
  if (!lua_checkstack(f->thread, 1)) return 0; // it must not raise there
  lua_pushvalue(f->thread, -1);
  lua_xmove(f->thread, L, 1);
  int type = lua_type(L, -1);
  if (type == LUA_TSTRING || type == LUA_TNUMBER || luaL_getmetafield(L, -1, "__tostring") != LUA_TNIL) {
    size_t len;
    const char *text = luaL_tolstring(L, 2, &len);
    task_add_without_secret(&f->text, slice_of(text, len), f->call);
  } else {
    buf_printf(&f->text, "(the error is a %s value)", lua_typename(L, type));
  }
  return 0;
}

static void describe(struct script *s, struct failure *f) {
  lua_State *L = s->tool;
  if (!lua_checkstack(L, 8)) return;
  lua_State *outer = script_enter(s, L);
  lua_pushcfunction(L, describe_error);
  lua_pushlightuserdata(L, f);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  script_leave(s, outer);
  if (lua_gethook(L)) lua_sethook(L, NULL, 0, 0);
}

static void add_frame(struct buf *out, const lua_Debug *frame) {
  buf_printf(out, "%s:", frame->short_src);
  if (frame->currentline > 0) buf_printf(out, "%d:", frame->currentline);
  if (*frame->namewhat)
    buf_printf(out, " in %s '%s'\n", frame->namewhat, frame->name);
  else if (*frame->what == 'C')
    buf_add_str(out, " in ?\n");
  else
    buf_printf(out, " in function <%s:%d>\n", frame->short_src, frame->linedefined);
}

// The innermost frames. Not luaL_traceback: it takes a second to find the outermost of a million.
static struct buf traceback(lua_State *thread) {
  struct buf text = BUF_INIT;
  lua_Debug frame;
  int level = 0;
  for (; level < FRAMES_MAX && lua_getstack(thread, level, &frame); level++) {
    lua_getinfo(thread, "Sln", &frame);
    add_frame(&text, &frame);
  }
  if (lua_getstack(thread, level, &frame)) buf_add_str(&text, "...\n");
  return text;
}

// What a hook is told of that was stopped; the place is the innermost, which may be in a coroutine of its
// own.
static void describe_end(const struct budget_frame *f, struct buf *text) {
  if (*f->place) buf_printf(text, "%s: ", f->place);
  double limit_s = (double)f->limit_ns / 1e9, ran_s = (double)f->used_ns / 1e9;
  buf_printf(text, "hook budget exceeded: ran longer than %.15g s", limit_s);
  if (ran_s > 2 * limit_s)
    buf_printf(text, ", %.1f s, in a call of a C function that nothing could interrupt", ran_s);
}

// Not by an error of its own, which it raised before it could be stopped.
static bool was_stopped(const struct budget *b, int status) {
  return budget_ended(b) && (b->top->stopped || status == LUA_OK);
}

static void report_failure(struct hook_call *call, lua_State *thread, int status) {
  struct failure f = {.call = call, .thread = thread, .text = BUF_INIT};
  const struct budget *budget = &call->script->home->budget;
  const char *name = hook_name(call->hook);
  if (was_stopped(budget, status)) {
    buf_printf(&f.text, "hook %s: ", name);
    describe_end(budget->top, &f.text);
  } else if (status == LUA_YIELD) {
    buf_printf(&f.text, "hook %s cannot suspend here: it yielded by itself, and nobody would resume it",
               name);
  } else {
    buf_printf(&f.text, "hook %s: ", name);
    size_t prefix = f.text.len;
    describe(call->script, &f);
    if (f.text.len == prefix)
      buf_add_str(&f.text, status == LUA_ERRMEM ? "not enough memory" : "error in error handling");
  }
  struct buf frames = traceback(thread);
  report(call, buf_slice(&f.text), buf_slice(&frames));
  buf_release(&f.text);
  buf_release(&frames);
}

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
    if (problem) report_answer(L, function, call, problem);
    return true;
  }
  if (!last) return false;
  if (answer_is_needed(call->hook))
    report_answer(L, function, call, NULL);
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
  return is_once(call->hook) ? ONCE_BUDGETS * budget_ns : budget_ns;
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
  if (refused || home->heap.live_bytes) look_at_memory(t->call, refused);
  heap_restore(&home->heap, outer->limit_bytes);
  home->running = outer->running;
  home->task = outer->task;
  budget_leave(&home->budget, &outer->frame);
  budget_back(&home->budget, outer->L);
}

// What is to be closed failed, in a hook that had not failed itself.
static void report_close(struct hook_task *t) {
  struct failure f = {.call = t->call, .thread = t->L, .text = BUF_INIT};
  buf_printf(&f.text, "hook %s, when it was cancelled: ", hook_name(t->call->hook));
  describe(t->script, &f);
  report(t->call, buf_slice(&f.text), slice_of(NULL, 0));
  buf_release(&f.text);
}

// Closes what is to be closed, which may look at what was lent to the hook. In one that is spoilt that could
// not be stopped, and is left to the collector. False: it failed, with an error on the stack.
static bool close_coroutine(struct hook_task *t) {
  bool closed = true;
  t->spoilt = budget_spoilt(t->L);
  if (!t->spoilt) {
    struct budget *b = &t->script->home->budget;
    enum budget_end end = budget_grace(b);
    t->closing = true;
    closed = lua_resetthread(t->L) == LUA_OK;
    t->closing = false;
    budget_grace_over(b, end);
  }
  end_loans(t->call);
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
    report_failure(call, t->L, status); // which may call __tostring
  if (frame->end == BUDGET_OVER) call->script->shard->stats.hook_budget_exceeded++;
  fail(call, failure_of(status, (enum budget_end)frame->end), answer_reason_of_error(call->hook));
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
  look_at_time(call, (double)call->ticks * clock->ticks.seconds);
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
    report(call, deep ? SLICE("hooks are nested too deeply") : SLICE("not enough memory for a hook"),
           slice_of(NULL, 0));
    fail(call, "hook error", answer_reason_of_error(call->hook));
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
    struct buf frames = traceback(t->L);
    report(call, slice_str(report_text), buf_slice(&frames));
    buf_release(&frames);
  }
  fail(call, failed_with, answer_reason_of_error(call->hook));
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
