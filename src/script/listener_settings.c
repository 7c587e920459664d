// From a checked listener to struct listener_config. What its options may be is told in one place,
// lua/luamq/settings.lua; names of users and groups mean something on this machine only, and are looked up
// here.
#include <grp.h>
#include <lauxlib.h>
#include <pwd.h>
#include <stdlib.h>

#include "script/script_impl.h"

// Pushes an option, and tells whether the listener has it.
static bool push_option(lua_State *L, int options, const char *name) {
  return lua_getfield(L, options, name) != LUA_TNIL;
}

static void read_tcp(lua_State *L, int options, struct listener_config *out) {
  push_option(L, options, "reuse_port");
  out->reuse_port = lua_toboolean(L, -1);
  push_option(L, options, "dual_stack");
  out->dual_stack = lua_toboolean(L, -1);
  push_option(L, options, "nodelay");
  out->nodelay = lua_toboolean(L, -1);
  if (push_option(L, options, "keepalive")) out->keepalive = (int)luaL_checkinteger(L, -1);
}

static bool find_user(const char *name, uint32_t *id) {
  const struct passwd *entry = getpwnam(name);
  if (entry) *id = entry->pw_uid;
  return entry;
}

static bool find_group(const char *name, uint32_t *id) {
  const struct group *entry = getgrnam(name);
  if (entry) *id = entry->gr_gid;
  return entry;
}

// An id, or a name that the system knows; else false, and the name that it does not know is at the top.
static bool read_account(lua_State *L, int options, const char *option,
                         bool (*find)(const char *name, uint32_t *id), uint32_t *id) {
  if (!push_option(L, options, option)) return true;
  if (!lua_isinteger(L, -1)) return find(luaL_checkstring(L, -1), id);
  *id = (uint32_t)lua_tointeger(L, -1);
  return true;
}

// NULL, or what the name at the top is none of.
static const char *read_unix(lua_State *L, int options, struct listener_config *out) {
  push_option(L, options, "mode");
  out->mode = (mode_t)strtoul(luaL_checkstring(L, -1), NULL, 8);
  if (!read_account(L, options, "owner", find_user, &out->uid)) return "user";
  if (!read_account(L, options, "group", find_group, &out->gid)) return "group";
  return NULL;
}

bool listener_from_config(lua_State *L, struct listener_config *out, char *error, size_t error_size) {
  int listener = lua_gettop(L);
  lua_getfield(L, listener, "url");
  listener_config_init(out, luaL_checkstring(L, -1));
  lua_getfield(L, listener, "scheme");
  const char *scheme = luaL_checkstring(L, -1);
  if (lua_getfield(L, listener, "options") != LUA_TTABLE)
    luaL_error(L, "not a checked configuration: a listener has no options");
  int options = lua_gettop(L);
  push_option(L, options, "backlog");
  out->backlog = (int)luaL_checkinteger(L, -1);
  if (strcmp(scheme, "unix") != 0) {
    read_tcp(L, options, out);
    return true;
  }
  const char *missing = read_unix(L, options, out);
  if (missing)
    snprintf(error, error_size, "cannot listen on %s: there is no %s '%s' on this system", out->url, missing,
             lua_tostring(L, -1));
  return !missing;
}
