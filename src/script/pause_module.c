// luamq.sleep, luamq.spawn, and tickets: what one coroutine waits for until another one opens it.
#include <lauxlib.h>
#include <math.h>

#include "base/mem.h"
#include "script/script_impl.h"
#include "script/task.h"

#define SECONDS_MAX 1e9

static uint64_t check_ms(lua_State *L, int index) {
  lua_Number seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds >= 0 && seconds <= SECONDS_MAX, index, "seconds between 0 and 1e9 expected");
  return (uint64_t)ceil(seconds * 1000 - 1e-6);
}

// --- sleep ---

struct sleep {
  struct wait wait;
  struct timer timer;
  struct loop *loop;
  uint64_t ms;
};

static void slept(struct timer *t) { wait_done(&container_of(t, struct sleep, timer)->wait); }

static void start_sleep(struct wait *w) {
  struct sleep *s = container_of(w, struct sleep, wait);
  timer_arm(&s->loop->timers, &s->timer, s->loop->clock.now_ms + s->ms);
}

static int finish_sleep(lua_State *L, struct wait *w) {
  (void)L, (void)w;
  return 0;
}

static void cancel_sleep(struct wait *w) {
  struct sleep *s = container_of(w, struct sleep, wait);
  timer_disarm(&s->loop->timers, &s->timer);
}

int pause_sleep(lua_State *L) {
  static const struct wait_ops ops = {"luamq.sleep", start_sleep, finish_sleep, cancel_sleep};
  uint64_t ms = check_ms(L, 1);
  wait_check(L, ops.name);
  struct sleep *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (struct sleep){.loop = wait_loop(L), .ms = ms};
  timer_init(&s->timer, slept);
  return wait_for(L, &s->wait, &ops);
}

// --- tickets ---

struct ticket {
  struct wait wait;
  struct timer timer; // of a wait with a limit
  struct loop *loop;
  uint64_t ms;
  bool limited, waited_for, open;
};

static void end_ticket(struct ticket *t) {
  timer_disarm(&t->loop->timers, &t->timer);
  t->waited_for = false;
  wait_done(&t->wait);
}

static void ticket_expired(struct timer *timer) { end_ticket(container_of(timer, struct ticket, timer)); }

// It may have been opened while it waited to be started.
static void start_ticket(struct wait *w) {
  struct ticket *t = container_of(w, struct ticket, wait);
  t->waited_for = true;
  if (t->open)
    end_ticket(t);
  else if (t->limited)
    timer_arm(&t->loop->timers, &t->timer, t->loop->clock.now_ms + t->ms);
}

static int finish_ticket(lua_State *L, struct wait *w) {
  lua_pushboolean(L, container_of(w, struct ticket, wait)->open);
  return 1;
}

static void cancel_ticket(struct wait *w) {
  struct ticket *t = container_of(w, struct ticket, wait);
  timer_disarm(&t->loop->timers, &t->timer);
  t->waited_for = false;
}

// ticket:wait([seconds]) -> true, or false when the time is over
static int wait_ticket(lua_State *L) {
  static const struct wait_ops ops = {"waiting", start_ticket, finish_ticket, cancel_ticket};
  struct ticket *t = object_self(L, "ticket");
  bool limited = !lua_isnoneornil(L, 2);
  uint64_t ms = limited ? check_ms(L, 2) : 0;
  if (t->open) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (t->waited_for) return luaL_error(L, "a ticket is waited for once");
  wait_check(L, ops.name);
  t->loop = wait_loop(L);
  t->limited = limited;
  t->ms = ms;
  return wait_for(L, &t->wait, &ops);
}

// ticket:open(): whoever waits for it goes on in the next turn.
static int open_ticket(lua_State *L) {
  struct ticket *t = object_self(L, "ticket");
  t->open = true;
  if (t->waited_for) end_ticket(t);
  return 0;
}

int pause_ticket(lua_State *L) {
  struct ticket *t = object_new(L, script_home(L), OBJECT_TICKET, sizeof *t, 0);
  *t = (struct ticket){0};
  timer_init(&t->timer, ticket_expired);
  return 1;
}

// --- spawn ---

struct spawned { // in C's memory: the coroutine and its object may end in any order
  struct script *script;
  struct hook_task *task; // NULL: it has ended
  bool has_object;
};

static void let_go(struct spawned *s) {
  if (!s->task && !s->has_object) mem_free(s);
}

static void spawn_done(struct hook_call *call) {
  struct spawned *s = call->data;
  s->script->spawned--;
  s->task = NULL;
  let_go(s);
}

static struct spawned *check_spawned(lua_State *L) { return *(struct spawned **)object_self(L, "task"); }

static int cancel_spawned(lua_State *L) {
  const struct spawned *s = check_spawned(L);
  bool cancelled = s->task && s->task->wait;
  if (cancelled) hook_cancel(s->task);
  lua_pushboolean(L, cancelled);
  return 1;
}

static int spawned_over(lua_State *L) {
  lua_pushboolean(L, !check_spawned(L)->task);
  return 1;
}

static int spawned_text(lua_State *L) {
  lua_pushstring(L, check_spawned(L)->task ? "<Task>" : "<Task over>");
  return 1;
}

static int collect_spawned(lua_State *L) {
  struct spawned *s = check_spawned(L);
  s->has_object = false;
  let_go(s);
  return 0;
}

static int index_object(lua_State *L) {
  object_field(L);
  return 1;
}

static struct spawned *push_spawned(lua_State *L, struct script *script) {
  struct spawned **o = object_new(L, script->home, OBJECT_TASK, sizeof *o, 0);
  *o = mem_calloc(1, sizeof **o);
  **o = (struct spawned){.script = script, .has_object = true};
  return *o;
}

static void tell_spawn_refused(struct script *s) {
  uint32_t missed = 0;
  if (!log_rate_allows(&s->spawns, s->loop->clock.now_ms, 1, &missed)) return;
  if (!log_begin(&s->log, LEVEL_WARN, SLICE("too many coroutines of luamq.spawn: one was refused"))) return;
  log_number(&s->log, "max_spawned", s->settings.max_spawned);
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

static int refuse_spawn(lua_State *L, struct script *s) {
  s->shard->stats.spawns_refused++;
  tell_spawn_refused(s);
  luaL_pushfail(L);
  lua_pushfstring(L, "more than script.max_spawned = %d coroutines", (int)s->settings.max_spawned);
  lua_pushliteral(L, "quota_exceeded");
  return 3;
}

// Runs it until it waits for the first time.
int pause_spawn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  struct script *script = script_current(L);
  if (!script || !script->shard)
    return wait_misuse(L, "luamq.spawn", "no broker is running; the hook start is called when there is one");
  if (script->spawned >= script->settings.max_spawned) return refuse_spawn(L, script);
  lua_settop(L, 1);
  struct spawned *s = push_spawned(L, script);
  lua_pushvalue(L, 1);
  int function = luaL_ref(L, LUA_REGISTRYINDEX);
  struct hook_chain chain = {.functions = &function, .count = 1};
  struct hook_call call = {
      .script = script, .hook = HOOK_SPAWN, .chain = &chain, .data = s, .done = spawn_done};
  script->spawned++;
  hook_run(&call);
  luaL_unref(L, LUA_REGISTRYINDEX, function);
  if (call.suspended)
    s->task = call.task;
  else
    script->spawned--;
  if (s->task && script->is_retired) hook_cancel(s->task); // as those that there were
  return 1;
}

void pause_objects_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg ticket_meta[] = {
      {"__index", index_object}, {"__newindex", object_read_only}, {NULL, NULL}};
  static const luaL_Reg ticket_methods[] = {{"wait", wait_ticket}, {"open", open_ticket}, {NULL, NULL}};
  static const luaL_Reg task_meta[] = {{"__index", index_object},
                                       {"__newindex", object_read_only},
                                       {"__tostring", spawned_text},
                                       {"__gc", collect_spawned},
                                       {NULL, NULL}};
  static const luaL_Reg task_methods[] = {{"cancel", cancel_spawned}, {"over", spawned_over}, {NULL, NULL}};
  object_define(L, home, OBJECT_TICKET,
                &(struct object_methods){.name = "ticket", .meta = ticket_meta, .methods = ticket_methods});
  object_define(L, home, OBJECT_TASK,
                &(struct object_methods){.name = "task", .meta = task_meta, .methods = task_methods});
}
