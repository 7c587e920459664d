// luamq.record, and the record that a script's settings ask for.
#include <lauxlib.h>
#include <string.h>

#include "script/host.h"
#include "script/recorder.h"
#include "script/script_impl.h"

bool record_follow_settings(struct script *s, char *error, size_t error_size) {
  const char *path = s->settings.record;
  struct recorder *now = s->host->recorder;
  struct recorder_options options;
  recorder_options_of(s->host, &options);
  options.append = true;
  if (!*path || (now && !strcmp(recorder_path(now), path))) return true;
  if (now) recorder_end(now);
  return recorder_new(s->host, path, &options, error, error_size) != NULL;
}

static int end(lua_State *L, struct host *h) {
  if (!h->recorder) {
    luaL_pushfail(L);
    lua_pushliteral(L, "nothing is recorded");
    return 2;
  }
  lua_pushinteger(L, (lua_Integer)recorder_lines(h->recorder));
  recorder_end(h->recorder);
  return 1;
}

static lua_Integer number_at(lua_State *L, int index, uint64_t otherwise) {
  return luaL_optinteger(L, index, (lua_Integer)otherwise);
}

// record(path, bytes, payload bytes, clients of 100, append) -> true | nil, message
// record(nil) -> lines of the record that has ended | nil, message
int record_call(lua_State *L) {
  struct script *s = script_current(L);
  if (!s || !s->inner) return luaL_error(L, "no broker is running");
  if (lua_isnil(L, 1)) return end(L, s->host);
  const char *path = luaL_checkstring(L, 1);
  struct recorder_options o;
  char error[512];
  recorder_options_of(s->host, &o);
  o.bytes = (uint64_t)number_at(L, 2, o.bytes);
  o.payload_bytes = (uint32_t)number_at(L, 3, o.payload_bytes);
  o.clients_of_100 = (uint32_t)number_at(L, 4, o.clients_of_100);
  o.append = lua_toboolean(L, 5);
  if (recorder_new(s->host, path, &o, error, sizeof error)) {
    lua_pushboolean(L, true);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushstring(L, error);
  return 2;
}
