#include "script/script.h"

#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/commons.h"
#include "script/guards.h"
#include "script/program.h"
#include "script/script_impl.h"
#include "script/task.h"

// --- the home ---

static const char home_key = 0; // its address is a key of the registry

static int collect_home(lua_State *L) {
  struct script_home *home = lua_touserdata(L, 1);
  budget_release(&home->budget);
  heap_release(&home->heap, L);
  log_release(&home->log);
  commons_unref(home->commons);
  buf_release(&home->text);
  tls_certificate_release(&home->certificate);
  buf_release(&home->raw);
  return 0;
}

static struct script_home *make_home(lua_State *L) {
  struct script_home *home = lua_newuserdatauv(L, sizeof *home, HOME_VALUES);
  *home = (struct script_home){.text = BUF_INIT, .raw = BUF_INIT};
  log_init(&home->log, stderr);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, collect_home);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  objects_open(L, home);
  heap_install(&home->heap, L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &home_key);
  return home;
}

void script_guard(lua_State *L) {
  script_home(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &home_key);
  guards_install(L);
  lua_pop(L, 1);
}

struct script_home *script_home(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &home_key);
  struct script_home *home = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return home ? home : make_home(L);
}

struct script *script_current(lua_State *L) {
  const struct script_home *home = script_home(L);
  return home->running ? home->running : home->started;
}

// --- making one: first all that may raise, protected, then what the broker knows of ---

static void collect_hooks(lua_State *L, int list, struct script *s, unsigned tables) {
  for (int h = 0; h < HOOK_TIMER; h++) {
    struct hook_chain *chain = &s->hooks[h];
    chain->functions = s->functions + (unsigned)h * tables;
    for (unsigned i = 1; i <= tables; i++) {
      lua_rawgeti(L, list, i);
      if (lua_getfield(L, -1, hook_name((enum hook)h)) == LUA_TFUNCTION)
        chain->functions[chain->count++] = luaL_ref(L, LUA_REGISTRYINDEX);
      else
        lua_pop(L, 1);
      lua_pop(L, 1);
    }
  }
}

static int ref_of(lua_State *L, int index) {
  lua_pushvalue(L, index);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int ref_of_module(lua_State *L, const char *module, const char *field) {
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, field);
  int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
  return ref;
}

static void read_log_settings(lua_State *L, int config, struct log *log) {
  luaL_checktype(L, config, LUA_TTABLE);
  if (lua_getfield(L, config, "log") != LUA_TTABLE)
    luaL_error(L, "not a checked configuration: log is missing");
  lua_getfield(L, -1, "level");
  lua_getfield(L, -2, "format");
  const char *level = luaL_checkstring(L, -2), *format = luaL_checkstring(L, -1);
  int number = log_level_by_name(slice_str(level));
  if (number < 0) luaL_error(L, "not a checked configuration: log.level");
  log->level = (enum log_level)number;
  log->json = !strcmp(format, "json");
  lua_pop(L, 3);
}

static struct script *new_script(lua_State *L, unsigned tables, struct host *host) {
  struct script *s = lua_newuserdatauv(L, sizeof *s + HOOK_COUNT * tables * sizeof s->functions[0], 0);
  *s = (struct script){.home = script_home(L), .host = host, .loop = host->loop, .shard = host->shard};
  s->inner = host->inner;
  s->engine = host->engine;
  s->saved_ref = s->self_ref = s->tool_ref = s->config_ref = LUA_NOREF;
  s->read_ref = s->index_ref = s->own_rules_ref = LUA_NOREF;
  s->logger = (struct logger){.log = &s->log, .clock = &host->loop->clock, .stats = &host->shard->stats};
  log_init(&s->log, stderr);
  list_init(&s->node);
  list_init(&s->timers);
  tasks_init(s);
  list_init(&s->clients);
  return s;
}

// All that may raise: the checked table is at 1, its tables of hooks at 2, the userdata of the script at 3.
static int fill(lua_State *L) {
  struct script *s = lua_touserdata(L, 3);
  settings_from_config(L, 1, &s->settings);
  read_log_settings(L, 1, &s->log);
  collect_hooks(L, 2, s, (unsigned)lua_rawlen(L, 2));
  s->read_ref = ref_of_module(L, "luamq.values", "read");
  s->index_ref = ref_of_module(L, "luamq.settings", "index");
  s->own_rules_ref = ref_of_module(L, "luamq.rules", "own");
  s->tool = lua_newthread(L);
  s->tool_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  s->config_ref = ref_of(L, 1);
  s->self_ref = ref_of(L, 3);
  scopes_collect(L, 1, s);
  s->rules = rules_from_config(L, 1, rand_next(&s->shard->rand));
  return 0;
}

static enum memory_access access_of(bool open, bool credentials, bool anonymous) {
  if (open) return MEMORY_OPEN;
  if (credentials && anonymous) return MEMORY_CREDENTIALS_OR_ANONYMOUS;
  return anonymous ? MEMORY_ANONYMOUS : MEMORY_CREDENTIALS; // where there are none: by hooks.auth alone
}

static struct slice string_at(lua_State *L, int index) {
  size_t len;
  const char *text = lua_tolstring(L, index, &len);
  return slice_of(text, len);
}

// What it reads is there, and strings only, so nothing raises. An authenticate hook decides alone: then it
// has no effect.
void script_give_access(struct script *s) {
  lua_State *L = s->tool;
  bool hooked = hook_defined(s, HOOK_AUTHENTICATE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->config_ref);
  int config = lua_gettop(L);
  memory_clear_credentials(s->inner);
  lua_getfield(L, config, "open");
  lua_getfield(L, config, "anonymous");
  lua_getfield(L, config, "password_file");
  const char *file = lua_tostring(L, -1);
  lua_getfield(L, config, "credentials");
  int credentials = lua_gettop(L);
  bool has_credentials = lua_istable(L, credentials);
  bool open = hooked || lua_toboolean(L, -4);
  memory_set_access(s->inner, access_of(open, has_credentials || file, lua_toboolean(L, -3)));
  memory_set_password_file(s->inner, hooked ? NULL : file);
  for (lua_pushnil(L); has_credentials && lua_next(L, credentials); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING)
      memory_add_credentials(s->inner, string_at(L, -2), string_at(L, -1));
  lua_settop(L, config - 1);
}

static void limit_hooks(struct script *s) {
  hook_clock_init(&s->home->clock);
  const char *problem = budget_start(&s->home->budget, (uint64_t)s->settings.hook_budget_ms * 1000000);
  if (!problem || !log_begin(&s->log, LEVEL_ERROR, SLICE("script.hook_budget has no effect"))) return;
  log_string(&s->log, "error", slice_str(problem));
  log_end(&s->log);
}

// What a script holds: in the registry of L, and beside Lua.
static void release(struct script *s, lua_State *L) {
  rules_unref(s->rules);
  scopes_release(s);
  log_release(&s->log);
  hook_pool_release(s);
  for (int h = 0; h < HOOK_TIMER; h++)
    for (unsigned i = 0; i < s->hooks[h].count; i++)
      luaL_unref(L, LUA_REGISTRYINDEX, s->hooks[h].functions[i]);
  luaL_unref(L, LUA_REGISTRYINDEX, s->read_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->index_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->own_rules_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->config_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->saved_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->self_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, s->tool_ref); // s->tool is no longer used from here on
}

struct script *script_new(lua_State *L, int checked, struct host *host) {
  luaL_checkstack(L, 20, NULL);
  int config = lua_absindex(L, checked);
  luaL_checktype(L, config, LUA_TTABLE);
  if (lua_getfield(L, config, "hooks") != LUA_TTABLE)
    luaL_error(L, "not a checked configuration: hooks is missing");
  int list = lua_gettop(L);
  struct script *s = new_script(L, (unsigned)lua_rawlen(L, list), host);
  lua_pushcfunction(L, fill);
  lua_pushvalue(L, config);
  lua_pushvalue(L, list);
  lua_pushvalue(L, list + 1);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    release(s, L);
    lua_error(L);
  }
  s->number = ++host->made;
  s->logger.refusals = s->settings.logged_refusals;
  script_backend_init(s);
  commons_take(s->home, host);
  limit_hooks(s);
  list_append(&host->scripts, &s->node);
  lua_settop(L, list - 1);
  return s;
}

struct making { // of `make`
  struct host *host;
  struct script *made;
};

static int make(lua_State *L) {
  struct making *m = lua_touserdata(L, 2);
  m->made = script_new(L, 1, m->host);
  return 0;
}

struct script *script_load(lua_State *L, struct host *host, struct buf *why) {
  struct making m = {.host = host};
  lua_pushcfunction(L, make);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, &m);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return m.made;
  buf_add_str(why, lua_tostring(L, -1));
  lua_pop(L, 1);
  return NULL;
}

void script_own_state(struct script *s, lua_State *L) { s->state = L; }

struct log *script_log(struct script *s) {
  return &s->log;
}

// --- start and end ---

void script_enter_started(struct script *s) {
  s->started_before = s->home->started;
  s->home->started = s;
}

bool script_run_start(struct script *s, char *error, size_t error_size) {
  script_enter_started(s);
  struct hook_call call = {.script = s, .hook = HOOK_START, .text = error, .text_size = error_size};
  s->is_started = !hook_defined(s, HOOK_START) || hook_run_to_end(&call);
  return s->is_started;
}

static void leave_started(struct script *s) {
  struct script **at = &s->home->started;
  while (*at && *at != s)
    at = &(*at)->started_before;
  if (*at) *at = s->started_before;
}

void script_retire(struct script *s) {
  s->is_started = false; // its broker goes on: hooks.stop is not called
  s->is_retired = true;
  timer_cancel_all(s);
  hook_cancel_background(s);
}

void script_stop(struct script *s) {
  assert(!s->depth);
  if (s->is_started && hook_defined(s, HOOK_STOP)) {
    struct hook_call call = {.script = s, .hook = HOOK_STOP};
    hook_run_to_end(&call);
  }
  s->is_started = false;
  s->ends = true; // what is closed now could begin to wait again for ever
  timer_cancel_all(s);
  hook_cancel_all(s);
}

void script_free(struct script *s) {
  assert(!s->depth);
  lua_State *state = s->state;
  list_remove(&s->node);
  client_objects_end(s);
  s->shard = NULL;
  s->engine = NULL;
  s->inner = NULL;
  listeners_forget(s);
  timer_cancel_all(s); // of those that hooks made at the very end
  ready_cancel(&s->waits_over);
  leave_started(s);
  release(s, s->tool);
  if (state) program_close(state); // with the script
}
