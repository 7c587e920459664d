// Timers of scripts: luamq.after and luamq.every. The object is in the registry as long as its timer is
// armed, so it can be forgotten by the script; a broker that ends cancels all of its timers.
#include <lauxlib.h>
#include <math.h>

#include "base/mem.h"
#include "script/script_impl.h"

#define SECONDS_MAX 1e9

struct timer_object {
  struct timer timer;
  struct list node; // in script->timers while it is armed
  struct script *script;
  uint64_t every_ms;          // 0: once
  bool runs;                  // its function has been called, and has not returned
  int self_ref, function_ref; // LUA_NOREF: not, or no longer
};

static struct timer_object *of_timer(struct timer *t) { return container_of(t, struct timer_object, timer); }

// Takes it out of the registry: it may be collected from here on.
static void unref(struct timer_object *o) {
  lua_State *L = o->script->tool;
  if (!lua_checkstack(L, 4)) return;
  luaL_unref(L, LUA_REGISTRYINDEX, o->function_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, o->self_ref);
  o->function_ref = o->self_ref = LUA_NOREF;
}

// It fires no more. One whose function is running, or waits, is kept until that is over.
static void forget(struct timer_object *o) {
  list_remove(&o->node);
  timer_disarm(&o->script->loop->timers, &o->timer);
  if (!o->runs) unref(o);
}

static void ran(struct timer_object *o) {
  o->runs = false;
  if (!timer_armed(&o->timer)) {
    list_remove(&o->node);
    unref(o);
  }
}

static void function_done(struct hook_call *call) { ran(call->data); }

// One that is still at its last time is not called again meanwhile.
static void fired(struct timer *t) {
  struct timer_object *o = of_timer(t);
  struct script *s = o->script;
  if (o->every_ms) {
    uint64_t now_ms = s->loop->clock.now_ms, due_ms = t->due_ms + o->every_ms;
    timer_arm(&s->loop->timers, t, due_ms > now_ms ? due_ms : now_ms + o->every_ms);
  }
  if (o->runs) return;
  struct hook_chain chain = {.functions = &o->function_ref, .count = 1};
  struct hook_call call = {
      .script = s, .hook = HOOK_TIMER, .chain = &chain, .data = o, .done = function_done};
  o->runs = true;
  hook_run(&call);
  if (!call.suspended) ran(o);
}

void timer_cancel_all(struct script *s) {
  struct list *node;
  while ((node = list_first(&s->timers)))
    forget(container_of(node, struct timer_object, node));
}

static int cancel(lua_State *L) {
  struct timer_object *o = object_self(L, "timer");
  bool armed = timer_armed(&o->timer);
  if (armed) forget(o);
  lua_pushboolean(L, armed);
  return 1;
}

// There was no memory for the second reference.
static int collect(lua_State *L) {
  struct timer_object *o = object_self(L, "timer");
  if (o->self_ref != LUA_NOREF) return 0; // the state is being closed
  luaL_unref(L, LUA_REGISTRYINDEX, o->function_ref);
  o->function_ref = LUA_NOREF;
  return 0;
}

static int index_timer(lua_State *L) {
  object_self(L, "timer");
  object_field(L);
  return 1;
}

static int timer_text(lua_State *L) {
  const struct timer_object *o = object_self(L, "timer");
  lua_pushstring(L, timer_armed(&o->timer) ? "<Timer>" : "<Timer over>");
  return 1;
}

static int arm(lua_State *L, lua_Number least, bool again) {
  lua_Number seconds = luaL_checknumber(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_argcheck(L, seconds >= least && seconds <= SECONDS_MAX, 1,
                again ? "seconds between 0.001 and 1e9 expected" : "seconds between 0 and 1e9 expected");
  struct script *s = script_current(L);
  if (!s || !s->shard) return luaL_error(L, "no broker is running");
  uint64_t ms = (uint64_t)ceil(seconds * 1000 - 1e-6);
  struct timer_object *o = object_new(L, s->home, OBJECT_TIMER, sizeof *o, 1);
  *o = (struct timer_object){.script = s, .every_ms = again ? ms : 0};
  o->function_ref = o->self_ref = LUA_NOREF;
  timer_init(&o->timer, fired);
  list_init(&o->node);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->self_ref);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  o->function_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, -1);
  o->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (s->is_retired) { // its timers have been cancelled
    unref(o);
    return 1;
  }
  list_append(&s->timers, &o->node);
  timer_arm(&s->loop->timers, &o->timer, s->loop->clock.now_ms + ms);
  return 1;
}

int timer_after(lua_State *L) { return arm(L, 0, false); }
int timer_every(lua_State *L) { return arm(L, 0.001, true); }

void timer_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_timer},
                                  {"__newindex", object_read_only},
                                  {"__tostring", timer_text},
                                  {"__gc", collect},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"cancel", cancel}, {NULL, NULL}};
  object_define(L, home, OBJECT_TIMER,
                &(struct object_methods){.name = "timer", .meta = meta, .methods = methods});
}
