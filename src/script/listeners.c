// The listeners of a checked table: opened at the start, or only tried for --check, or at a reload compared
// with those that there are. A listener is the same when its URL and all of its options are.
#include <lauxlib.h>

#include "base/mem.h"
#include "script/listener_settings.h"
#include "script/script_impl.h"

struct walk {
  struct script *script;      // NULL: they are only tried
  const struct script *older; // whose listeners are kept where they are the same; or NULL
  struct inherited *lent;     // sockets of those that are not; or NULL
  char *error;
  size_t error_size;
};

// "broker.lua:12: ", where the script names the listener at the top.
static void add_place(lua_State *L, int config, const struct walk *walk) {
  char text[512];
  lua_getfield(L, -1, "line");
  lua_getfield(L, config, "path");
  if (lua_isstring(L, -1) && lua_isinteger(L, -2)) {
    snprintf(text, sizeof text, "%s", walk->error);
    snprintf(walk->error, walk->error_size, "%s:%d: %s", lua_tostring(L, -1), (int)lua_tointeger(L, -2),
             text);
  }
  lua_pop(L, 2);
}

// The listener at the top, prepared; or NULL. That is no failure where they are only tried.
static struct listener *prepare(lua_State *L, const struct walk *walk, bool *fine) {
  struct script *s = walk->script;
  struct listener *l = NULL;
  struct listener_settings settings;
  listener_settings_read(L, s, &settings);
  *fine = listener_settings_build(&settings, walk->error, walk->error_size);
  if (s) settings.config.handshake_timeout_ms = s->settings.handshake_timeout_ms;
  if (s && *fine) {
    l = engine_prepare(s->engine, &settings.config, walk->lent, walk->error, walk->error_size);
    *fine = l != NULL;
  }
  listener_settings_release(&settings);
  return l;
}

// Likewise; says where it stands in the script when it fails.
static struct listener *prepare_one(lua_State *L, int config, const struct walk *walk, bool *fine) {
  int place = lua_gettop(L);
  struct listener *l = prepare(L, walk, fine);
  lua_settop(L, place);
  if (!*fine) add_place(L, config, walk);
  return l;
}

static bool has(const struct script *s, const struct listener *l) {
  for (unsigned i = 0; i < s->listener_count; i++)
    if (s->listeners[i].listener == l) return true;
  return false;
}

// One of `older` with this signature, which the script does not have yet; or NULL.
static struct listener *find_same(const struct script *s, const struct script *older, const char *signature) {
  for (unsigned i = 0; older && i < older->listener_count; i++) {
    struct listener *l = older->listeners[i].listener;
    if (!strcmp(older->listeners[i].signature, signature) && !has(s, l)) return l;
  }
  return NULL;
}

static char *copy(const char *text) {
  size_t size = strlen(text) + 1;
  return memcpy(mem_alloc(size), text, size);
}

// For each listener of the table at 3 a signature, in the script's list.
static void read_signatures(lua_State *L, struct script *s) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.listeners");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "signature");
  lua_Integer count = luaL_len(L, 3);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_pushvalue(L, -1);
    lua_rawgeti(L, 3, i);
    lua_call(L, 1, 1);
    const char *signature = luaL_checkstring(L, -1);
    s->listeners = mem_realloc(s->listeners, (s->listener_count + 1) * sizeof *s->listeners);
    s->listeners[s->listener_count++] = (struct script_listener){.signature = copy(signature)};
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
}

static void lend_others(const struct script *s, const struct script *older, struct inherited *lent) {
  for (unsigned i = 0; older && i < older->listener_count; i++)
    if (!has(s, older->listeners[i].listener)) listener_lend(older->listeners[i].listener, lent);
}

static int prepare_all(lua_State *L) {
  const struct walk *walk = lua_touserdata(L, 1);
  struct script *s = walk->script;
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->config_ref);
  lua_getfield(L, -1, "listeners");
  read_signatures(L, s);
  for (unsigned i = 0; i < s->listener_count; i++)
    s->listeners[i].listener = find_same(s, walk->older, s->listeners[i].signature);
  if (walk->lent) lend_others(s, walk->older, walk->lent);
  bool fine = true;
  for (unsigned i = 0; i < s->listener_count && fine; i++) {
    if (s->listeners[i].listener) continue;
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    s->listeners[i].listener = prepare_one(L, 2, walk, &fine);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, fine);
  return 1;
}

bool listeners_prepare(struct script *s, const struct script *older, char *error, size_t error_size) {
  if (s->loop->clock.is_virtual) return true;
  struct inherited lent = {0};
  struct walk walk = {
      .script = s, .older = older, .lent = older ? &lent : NULL, .error = error, .error_size = error_size};
  lua_pushcfunction(s->tool, prepare_all);
  lua_pushlightuserdata(s->tool, &walk);
  bool called = lua_pcall(s->tool, 1, 1, 0) == LUA_OK;
  if (!called) snprintf(error, error_size, "%s", lua_tostring(s->tool, -1));
  bool fine = called && lua_toboolean(s->tool, -1);
  lua_pop(s->tool, 1);
  inherited_release(&lent);
  return fine;
}

void listeners_install(struct script *s) {
  struct listener **list = mem_alloc((s->listener_count + 1) * sizeof *list);
  for (unsigned i = 0; i < s->listener_count; i++)
    list[i] = s->listeners[i].listener;
  engine_replace_listeners(s->engine, list, s->listener_count);
  mem_free(list);
}

void listeners_abandon(struct script *s, const struct script *older) {
  for (unsigned i = 0; i < s->listener_count; i++) {
    struct listener *l = s->listeners[i].listener;
    if (l && !(older && has(older, l))) listener_close(l);
  }
  listeners_forget(s);
}

void listeners_forget(struct script *s) {
  for (unsigned i = 0; i < s->listener_count; i++)
    mem_free(s->listeners[i].signature);
  mem_free(s->listeners);
  s->listeners = NULL;
  s->listener_count = 0;
}

bool script_try_listeners(lua_State *L, int checked, void (*tell)(void *arg, const char *problem),
                          void *arg) {
  int config = lua_absindex(L, checked);
  char error[512];
  struct walk walk = {.error = error, .error_size = sizeof error};
  luaL_checkstack(L, 8, NULL);
  lua_getfield(L, config, "listeners");
  int list = lua_gettop(L);
  bool fine = true;
  lua_Integer count = luaL_len(L, list);
  for (lua_Integer i = 1; i <= count; i++) {
    bool one_fine;
    lua_rawgeti(L, list, i);
    prepare_one(L, config, &walk, &one_fine);
    if (!one_fine) tell(arg, error);
    fine = fine && one_fine;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return fine;
}
