// One call of a hook:
//
//   hook_run ── lua_resume ──► start ─► arguments ─► ask: function 1, function 2 ... until one answers ─►
//   read the answer
//      ▲                                                │
//      └──────── returned, raised or yielded ◄──────────┘
//
// `start` and what it calls run in the coroutine, so whatever Lua raises ends in lua_resume. The functions
// are called with a continuation, so that a yield arrives in hook_run as well: the place where suspending
// will come in.
#include "script/hook.h"

#include <lauxlib.h>

#include "script/script_impl.h"

#define REPORTS_A_SECOND 10 // of one hook
#define FRAMES_MAX       20 // of a traceback

// --- coroutines ---

static int make_thread(lua_State *L) {
  struct hook_thread *t = lua_touserdata(L, 1);
  t->L = lua_newthread(L);
  t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static bool take_thread(struct script *s, struct hook_thread *t) {
  if (s->pool.count) {
    *t = s->pool.idle[--s->pool.count];
    return true;
  }
  lua_State *L = s->tool;
  if (!lua_checkstack(L, 4)) return false;
  lua_pushcfunction(L, make_thread);
  lua_pushlightuserdata(L, t);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static void drop_thread(struct script *s, const struct hook_thread *t) {
  if (lua_checkstack(s->tool, 4)) luaL_unref(s->tool, LUA_REGISTRYINDEX, t->ref);
}

static void give_thread(struct script *s, const struct hook_thread *t) {
  lua_settop(t->L, 0);
  if (s->pool.count < HOOK_IDLE_MAX)
    s->pool.idle[s->pool.count++] = *t;
  else
    drop_thread(s, t);
}

void hook_pool_release(struct script *s) {
  while (s->pool.count)
    drop_thread(s, &s->pool.idle[--s->pool.count]);
}

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

static void fail(struct hook_call *call, const char *failed, uint8_t reason) {
  if (call->answer.message) message_unref(call->answer.message);
  told_free(call->answer.told);
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
  const char *text =
      problem ? lua_pushfstring(L, "%s: hook %s gave a wrong answer: %s", lua_tostring(L, -1),
                                hook_name(call->hook), problem)
              : lua_pushfstring(L, "%s: hook %s gave no answer", lua_tostring(L, -1), hook_name(call->hook));
  report(call, slice_str(text), slice_of(NULL, 0));
  fail(call, problem ? "hook gave a wrong answer" : "hook gave no answer", REASON_NOT_AUTHORIZED);
}

struct failure { // what describe_error fills
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
    buf_add(&f->text, text, len);
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

static void report_failure(struct hook_call *call, lua_State *thread, int status) {
  struct failure f = {.thread = thread, .text = BUF_INIT};
  const char *name = hook_name(call->hook);
  if (status == LUA_YIELD) {
    buf_printf(&f.text, "hook %s cannot suspend here: yielding is not supported yet", name);
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

// --- in the coroutine: 1 is the call, then come the arguments, then a function, then its answer ---

static void end_loans(struct hook_call *call) {
  for (unsigned i = 0; i < sizeof call->lent / sizeof *call->lent; i++)
    if (call->lent[i]) call->lent[i]->over = true;
}

static bool take_answer(lua_State *L, struct hook_call *call) {
  int function = 2 + call->argument_count, answer = function + 1;
  bool last = call->at + 1 == call->chain->count;
  if (!answer_counts(call->hook)) return false;
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

static int ask(lua_State *L, struct hook_call *call);

static int answered(lua_State *L, int status, lua_KContext context) {
  (void)status;
  struct hook_call *call = (struct hook_call *)context;
  if (!take_answer(L, call)) {
    call->at++;
    return ask(L, call);
  }
  end_loans(call);
  return 0;
}

// A function is kept below its answer, for the place in reports.
static int ask(lua_State *L, struct hook_call *call) {
  int count = call->argument_count;
  for (; call->at < call->chain->count; call->at++) {
    lua_settop(L, 1 + count);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->chain->functions[call->at]);
    lua_pushvalue(L, -1);
    for (int i = 0; i < count; i++)
      lua_pushvalue(L, 2 + i);
    lua_callk(L, count, 3, (lua_KContext)call, answered);
    if (take_answer(L, call)) break;
  }
  end_loans(call);
  return 0;
}

static int start(lua_State *L) {
  struct hook_call *call = lua_touserdata(L, 1);
  call->argument_count = argument_push(L, call);
  return ask(L, call);
}

// --- outside ---

static void failed(struct hook_call *call, const struct hook_thread *t, int status) {
  end_loans(call);
  report_failure(call, t->L, status);
  fail(call, status == LUA_YIELD ? "hook cannot suspend" : "hook error", answer_reason_of_error(call->hook));
  lua_resetthread(t->L); // also closes what is to be closed
}

static void run(struct hook_call *call, const struct hook_thread *t) {
  struct script *s = call->script;
  struct script_home *home = s->home;
  struct script *outer_script = home->running;
  lua_State *outer = home->L;
  home->running = s;
  home->L = t->L;
  s->depth++;
  lua_pushcfunction(t->L, start);
  lua_pushlightuserdata(t->L, call);
  int results;
  int status = lua_resume(t->L, outer, 1, &results);
  if (status != LUA_OK) failed(call, t, status);
  s->depth--;
  home->running = outer_script;
  home->L = outer;
}

// An error in a hook that only takes notice keeps nobody else of the list from it. A start is over with it.
static bool skips_failed(const struct hook_call *call) {
  bool takes_notice = !answer_counts(call->hook) && call->hook != HOOK_START;
  return takes_notice && call->answer.failed && call->at + 1 < call->chain->count;
}

bool hook_run(struct hook_call *call) {
  struct script *s = call->script;
  struct hook_thread t;
  if (!call->chain) call->chain = &s->hooks[call->hook];
  bool decides = answer_counts(call->hook);
  call->answer = (struct answer){.allowed = !decides, .reason = REASON_NOT_AUTHORIZED};
  if (s->depth >= HOOK_DEPTH_MAX || !take_thread(s, &t)) {
    bool deep = s->depth >= HOOK_DEPTH_MAX;
    report(call, deep ? SLICE("hooks are nested too deeply") : SLICE("not enough memory for a hook"),
           slice_of(NULL, 0));
    fail(call, "hook error", answer_reason_of_error(call->hook));
    return false;
  }
  run(call, &t);
  while (skips_failed(call)) {
    call->at++;
    run(call, &t);
  }
  give_thread(s, &t);
  return call->answer.allowed;
}
