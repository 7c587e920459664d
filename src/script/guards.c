#include "script/guards.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "script/script_impl.h"

static struct script_home *home_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

// --- coroutines ---

static lua_State *check_coroutine(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  return lua_tothread(L, 1);
}

// Closes a coroutine that was stopped. One that was stopped by an error runs nothing any more.
static void close_stopped(struct budget *b, lua_State *co) {
  if (budget_spoilt(co)) return;
  enum budget_end why = budget_grace(b);
  lua_State *outer = budget_run(b, co);
  lua_resetthread(co);
  b->running = outer;
  budget_grace_over(b, why);
}

enum resumed { RESUMED, FAILED, STOPPED };

// Resumes with the `count` values at the top of L, which it takes; then *count results are there, or the
// error.
static enum resumed resume(lua_State *L, lua_State *co, int *count) {
  struct budget *b = &home_of(L)->budget;
  if (!lua_checkstack(co, *count)) {
    lua_pop(L, *count);
    lua_pushliteral(L, "too many arguments to resume");
    return FAILED;
  }
  lua_xmove(L, co, *count);
  lua_State *outer = budget_run(b, co);
  int status = lua_resume(co, L, *count, count);
  budget_back(b, outer);
  if (budget_ended(b)) {
    close_stopped(b, co);
    budget_back(b, outer);
    return STOPPED;
  }
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return FAILED;
  }
  if (!lua_checkstack(L, *count + 1)) {
    lua_pop(co, *count);
    lua_pushliteral(L, "too many results to resume");
    return FAILED;
  }
  lua_xmove(co, L, *count);
  return RESUMED;
}

static int l_resume(lua_State *L) {
  lua_State *co = check_coroutine(L);
  int count = lua_gettop(L) - 1;
  enum resumed how = resume(L, co, &count);
  if (how == STOPPED) return budget_stop(L, &home_of(L)->budget);
  if (how == FAILED) count = 1;
  lua_pushboolean(L, how == RESUMED);
  lua_insert(L, -(count + 1));
  return count + 1;
}

static int close_coroutine(lua_State *L, lua_State *co) {
  struct budget *b = &home_of(L)->budget;
  lua_State *outer = budget_run(b, co);
  int status = lua_resetthread(co);
  budget_back(b, outer);
  return status;
}

// An error ends the coroutine, and goes on in the caller with its place.
static int raise_of_wrapped(lua_State *L, lua_State *co) {
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    status = close_coroutine(L, co);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int call_wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(2));
  int count = lua_gettop(L);
  switch (resume(L, co, &count)) {
  case STOPPED: return budget_stop(L, &home_of(L)->budget);
  case FAILED: return raise_of_wrapped(L, co);
  default: return count;
  }
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, call_wrapped, 2);
  return 1;
}

// Why a coroutine cannot be closed; NULL: it can.
static const char *in_use(lua_State *L, lua_State *co) {
  lua_Debug frame;
  if (L == co) return "running";
  return lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame) ? "normal" : NULL;
}

static int l_close(lua_State *L) {
  lua_State *co = check_coroutine(L);
  struct budget *b = &home_of(L)->budget;
  const char *state = in_use(L, co);
  if (state) return luaL_error(L, "cannot close a %s coroutine", state);
  bool fine = !budget_spoilt(co) && close_coroutine(L, co) == LUA_OK;
  if (budget_ended(b)) return budget_stop(L, b);
  lua_pushboolean(L, fine);
  if (fine) return 1;
  lua_xmove(co, L, 1);
  return 2;
}

// --- finalizers ---

static bool called_by_collector(lua_State *L) {
  lua_Debug self;
  return lua_getstack(L, 0, &self) && lua_getinfo(L, "n", &self) && self.name && !strcmp(self.name, "__gc") &&
         !strcmp(self.namewhat, "metamethod");
}

static int results(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L);
}

// What the script has set, in the state that is there.
static int finalize_here(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, results);
  return lua_gettop(L);
}

// Its coroutine is not used again after an error: see budget_spoilt. The next finalizer makes another one.
static int finalizer_failed(lua_State *L, lua_State *co, int status) {
  struct script_home *home = home_of(L);
  struct budget *b = &home->budget;
  if (status == LUA_YIELD && !budget_ended(b)) {
    lua_resetthread(co);
    return luaL_error(L, "attempt to yield across a C-call boundary");
  }
  if (budget_ended(b))
    budget_push_text(L, b->top);
  else
    lua_xmove(co, L, 1);
  if (budget_spoilt(co))
    home->finalizer = NULL;
  else
    close_stopped(b, co);
  return lua_error(L);
}

static lua_State *finalizer_coroutine(lua_State *L) {
  struct script_home *home = home_of(L);
  if (!home->finalizer) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_State *co = lua_newthread(L);
    lua_setiuservalue(L, -2, HOME_FINALIZER);
    lua_pop(L, 1);
    home->finalizer = co;
  }
  return home->finalizer;
}

// In the place of a __gc, which is upvalue 2. Finalizers do not nest, so that one coroutine does for all.
static int finalize(lua_State *L) {
  struct budget *b = &home_of(L)->budget;
  if (!b->top || !called_by_collector(L)) return finalize_here(L);
  lua_State *co = finalizer_coroutine(L);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 2);
  lua_State *outer = budget_run(b, co);
  int count, status = lua_resume(co, L, 1, &count);
  budget_back(b, outer);
  if (status != LUA_OK) return finalizer_failed(L, co, status);
  lua_settop(co, 0);
  return 0;
}

// The metatable at index 2 gets another function for its __gc. Functions of C are left alone.
static void guard_finalizer(lua_State *L) {
  lua_pushliteral(L, "__gc");
  int type = lua_rawget(L, 2);
  bool callable = type == LUA_TFUNCTION || type == LUA_TTABLE || type == LUA_TUSERDATA;
  if (callable && !lua_iscfunction(L, -1)) {
    lua_pushliteral(L, "__gc");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, finalize, 2);
    lua_rawset(L, 2);
  }
  lua_settop(L, 2);
}

static int l_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
    return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  if (type == LUA_TTABLE) guard_finalizer(L);
  lua_setmetatable(L, 1);
  return 1;
}

// --- os.exit ---

// A boolean, or a number, as os.exit takes it.
static int exit_status(lua_State *L) {
  if (lua_isboolean(L, 1)) return lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
  return (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
}

// Outside of hooks, as when a script is loaded, it is the original: upvalue 2.
static int l_exit(lua_State *L) {
  struct script_home *home = home_of(L);
  struct script *s = home->running;
  int status = exit_status(L);
  if (!home->budget.top && home->reloads)
    return luaL_error(L, "os.exit in a script that is loaded for a broker which runs");
  if (!s || !home->budget.top || !s->engine) {
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
  }
  if (!s->host->exits) s->host->exit_status = status;
  s->host->exits = true;
  lua_State *outer = script_enter(s, L);
  engine_stop(s->engine, s->settings.close_timeout_ms);
  script_leave(s, outer);
  budget_end(&home->budget, BUDGET_EXIT);
  return budget_stop(L, &home->budget);
}

// --- all of them ---

// Takes the functions into the table at the top; each gets the home, which is at `home`, and the original.
static void replace(lua_State *L, int home, const luaL_Reg *functions) {
  for (; functions->name; functions++) {
    lua_pushvalue(L, home);
    lua_getfield(L, -2, functions->name);
    if (lua_tocfunction(L, -1) == functions->func) {
      lua_pop(L, 2);
      continue;
    }
    lua_pushcclosure(L, functions->func, 2);
    lua_setfield(L, -2, functions->name);
  }
}

static void replace_in(lua_State *L, int home, const char *library, const luaL_Reg *functions) {
  if (lua_getglobal(L, library) == LUA_TTABLE) replace(L, home, functions);
  lua_pop(L, 1);
}

void guards_install(lua_State *L) {
  static const luaL_Reg coroutines[] = {
      {"resume", l_resume}, {"wrap", l_wrap}, {"close", l_close}, {NULL, NULL}};
  static const luaL_Reg basic[] = {{"setmetatable", l_setmetatable}, {NULL, NULL}};
  static const luaL_Reg os[] = {{"exit", l_exit}, {NULL, NULL}};
  int home = lua_gettop(L);
  replace_in(L, home, LUA_GNAME, basic);
  replace_in(L, home, LUA_COLIBNAME, coroutines);
  replace_in(L, home, LUA_OSLIBNAME, os);
}
