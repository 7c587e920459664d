#include "script/hook_report.h"

#include <lauxlib.h>

#include "script/keeper.h"
#include "script/script_impl.h"
#include "script/task.h"

#define REPORTS_A_SECOND 10 // of one hook
#define FRAMES_MAX       20 // of a traceback
#define HELD_UP_S        0.5

void hook_report(struct hook_call *call, struct slice text, struct slice traceback) {
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
void hook_look_at_memory(struct hook_call *call, bool refused) {
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
bool hook_is_once(enum hook h) {
  return h == HOOK_START || h == HOOK_STOP || h == HOOK_SELFTEST || h == HOOK_SAVE;
}

// It held up the broker, and not by Lua, which would have been stopped: by a function of C, or because the
// machine did something else.
void hook_look_at_time(const struct hook_call *call, double seconds) {
  struct script *s = call->script;
  uint32_t missed = 0, budget_ms = s->settings.hook_budget_ms;
  if (seconds < HELD_UP_S || seconds * 1000 < budget_ms || !budget_ms || hook_is_once(call->hook)) return;
  if (!log_rate_allows(&s->held_up, s->loop->clock.now_ms, 1, &missed)) return;
  if (!log_begin(&s->log, LEVEL_WARN, SLICE("a hook held up the broker"))) return;
  log_string(&s->log, "hook", slice_str(hook_name(call->hook)));
  logger_add_client(&s->log, call->client);
  log_number(&s->log, "ms", (int64_t)(seconds * 1000));
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

void hook_fail(struct hook_call *call, const char *failed, uint8_t reason) {
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
void hook_report_answer(lua_State *L, int index, struct hook_call *call, const char *problem) {
  luaL_checkstack(L, 6, NULL);
  push_place(L, index);
  struct buf text = BUF_INIT;
  buf_printf(&text, "%s: hook %s gave %s", lua_tostring(L, -1), hook_name(call->hook),
             problem ? "a wrong answer: " : "no answer");
  if (problem) task_add_without_secret(&text, slice_str(problem), call);
  hook_report(call, buf_slice(&text), slice_of(NULL, 0));
  buf_release(&text);
  hook_fail(call, problem ? "hook gave a wrong answer" : "hook gave no answer", REASON_NOT_AUTHORIZED);
}

// Runs protected in the script's tool thread: __tostring of an error object may do anything.
static int describe_error(lua_State *L) {
  struct hook_failure *f = lua_touserdata(L, 1);
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

void hook_describe(struct script *s, struct hook_failure *f) {
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
struct buf hook_traceback(lua_State *thread) {
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

void hook_report_failure(struct hook_call *call, lua_State *thread, int status) {
  struct hook_failure f = {.call = call, .thread = thread, .text = BUF_INIT};
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
    hook_describe(call->script, &f);
    if (f.text.len == prefix)
      buf_add_str(&f.text, status == LUA_ERRMEM ? "not enough memory" : "error in error handling");
  }
  struct buf frames = hook_traceback(thread);
  hook_report(call, buf_slice(&f.text), buf_slice(&frames));
  buf_release(&f.text);
  buf_release(&frames);
}
