#include "script/prompt.h"

#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/script_impl.h"

struct prompt_call {     // lives until it is done
  struct prompt *prompt; // NULL: nobody wants to know any longer
  struct script *script;
  int function; // reference into the registry
};

void prompt_init(struct prompt *p, struct host *host, void (*done)(void *arg, bool incomplete), void *arg) {
  *p = (struct prompt){.host = host, .done = done, .arg = arg};
}

void prompt_release(struct prompt *p) {
  if (p->running) p->running->prompt = NULL;
  p->running = NULL;
}

static int evaluated(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L);
}

// (text) -> whether it is incomplete
static int evaluate(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "luamq.prompt") != LUA_TTABLE) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "luamq.prompt");
    lua_call(L, 1, 1);
  }
  lua_getfield(L, -1, "run");
  lua_replace(L, 2);
  lua_settop(L, 2);
  lua_insert(L, 1);
  lua_callk(L, 1, 1, 0, evaluated);
  return evaluated(L, LUA_OK, 0);
}

static int make_function(lua_State *L) {
  struct prompt_call *c = lua_touserdata(L, 1);
  lua_pushcfunction(L, evaluate);
  c->function = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static bool prepare(struct prompt_call *c) {
  lua_State *L = c->script->tool;
  if (!lua_checkstack(L, 4)) return false;
  lua_pushcfunction(L, make_function);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static void end(struct prompt_call *c, bool incomplete) {
  struct prompt *p = c->prompt;
  if (lua_checkstack(c->script->tool, 4)) luaL_unref(c->script->tool, LUA_REGISTRYINDEX, c->function);
  mem_free(c);
  if (!p) return;
  p->running = NULL;
  p->done(p->arg, incomplete);
}

static void call_done(struct hook_call *call) { end(call->data, call->answer.continues); }

void prompt_run(struct prompt *p, struct slice text) {
  assert(!p->running);
  struct prompt_call *c = p->running = mem_alloc(sizeof *c);
  *c = (struct prompt_call){.prompt = p, .script = p->host->script, .function = LUA_NOREF};
  struct hook_chain chain = {.functions = &c->function, .count = 1};
  struct hook_call call = {
      .script = c->script, .hook = HOOK_PROMPT, .chain = &chain, .id = text, .data = c, .done = call_done};
  if (prepare(c)) hook_run(&call);
  if (!call.suspended) end(c, call.answer.continues);
}
