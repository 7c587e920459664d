// luamq.shared: values by name that survive a reload. What is stored is a copy as plain data, and so is what
// is read.
#include <lauxlib.h>

#include "base/mem.h"
#include "script/commons.h"
#include "script/plain.h"

#define KEY_MAX      65535
#define BYTES_UNHELD (64u << 20) // of a state that has no broker yet

static struct slice check_key(lua_State *L, int index) {
  size_t len;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "a key of luamq.shared is a string, got %s", luaL_typename(L, index));
  const char *key = lua_tolstring(L, index, &len);
  if (len > KEY_MAX) luaL_error(L, "a key of luamq.shared is longer than 65535 bytes");
  return slice_of(key, len);
}

static struct slice data_of(const struct shared_value *v) { return slice_of(v->bytes + v->key_len, v->len); }

static int get(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const struct shared_value *v = map_get(&commons_of(L)->shared, check_key(L, 2));
  if (!v) return 0;
  plain_push(L, data_of(v));
  return 1;
}

static uint64_t most_bytes(lua_State *L) {
  const struct script *s = script_current(L);
  return s && s->shard ? s->settings.shared_bytes : BYTES_UNHELD;
}

static void drop(struct commons *c, struct slice key) {
  struct shared_value *old = map_remove(&c->shared, key);
  if (!old) return;
  c->shared_bytes -= (uint64_t)old->key_len + old->len;
  mem_free(old);
}

static uint64_t bytes_without(const struct commons *c, struct slice key) {
  const struct shared_value *old = map_get(&c->shared, key);
  return c->shared_bytes - (old ? (uint64_t)old->key_len + old->len : 0);
}

static void store(struct commons *c, struct slice key, struct slice data) {
  struct shared_value *v = mem_alloc(sizeof *v + key.len + data.len);
  v->key_len = (uint32_t)key.len;
  v->len = (uint32_t)data.len;
  memcpy(v->bytes, key.ptr, key.len);
  memcpy(v->bytes + key.len, data.ptr, data.len);
  drop(c, key);
  map_put(&c->shared, v);
  c->shared_bytes += key.len + data.len;
}

static void tell_bytes(lua_State *L, const struct commons *c) {
  const struct script *s = script_current(L);
  if (s && s->shard) s->shard->stats.shared_bytes = c->shared_bytes;
}

static int refuse_value(lua_State *L, struct commons *c) {
  struct script *s = script_current(L);
  uint32_t missed = 0;
  if (s && s->shard) {
    s->shard->stats.shared_refused++;
    if (log_rate_allows(&c->full, s->loop->clock.now_ms, 1, &missed) &&
        log_begin(&s->log, LEVEL_WARN, SLICE("luamq.shared is full: a value was refused"))) {
      log_number(&s->log, "shared_bytes", (int64_t)s->settings.shared_bytes);
      if (missed) log_number(&s->log, "suppressed", missed);
      log_end(&s->log);
    }
  }
  return luaL_error(L, "luamq.shared would hold more than script.shared_bytes");
}

static int set(lua_State *L) {
  struct slice key = check_key(L, 2);
  struct commons *c = commons_of(L);
  if (lua_isnil(L, 3)) {
    drop(c, key);
    tell_bytes(L, c);
    return 0;
  }
  struct buf *data = object_text(L);
  struct plain_loss loss = {.name = "the value"};
  plain_write(L, 3, data, &loss);
  if (loss.count) return luaL_error(L, "luamq.shared takes plain data: %s", loss.first);
  if (bytes_without(c, key) + key.len + data->len > most_bytes(L)) return refuse_value(L, c);
  store(c, key, buf_slice(data));
  tell_bytes(L, c);
  return 0;
}

// Over a list of keys that pairs has made, in upvalue 1, from the place in upvalue 2 on.
static int next_pair(lua_State *L) {
  lua_Integer at = lua_tointeger(L, lua_upvalueindex(2));
  while (lua_rawgeti(L, lua_upvalueindex(1), ++at) == LUA_TSTRING) {
    const struct shared_value *v = map_get(&commons_of(L)->shared, check_key(L, -1));
    if (!v) { // it has been taken away meanwhile
      lua_pop(L, 1);
      continue;
    }
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(2));
    plain_push(L, data_of(v));
    return 2;
  }
  return 1;
}

static int each(lua_State *L) {
  const struct commons *c = commons_of(L);
  uint32_t at = 0;
  lua_createtable(L, (int)c->shared.count, 0);
  const struct shared_value *v;
  for (lua_Integer i = 1; (v = map_each(&c->shared, &at)); i++) {
    object_push_slice(L, slice_of(v->bytes, v->key_len));
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_pair, 2);
  return 1;
}

void shared_module_push(lua_State *L) {
  static const luaL_Reg meta[] = {{"__index", get}, {"__newindex", set}, {"__pairs", each}, {NULL, NULL}};
  lua_newtable(L);
  luaL_newlib(L, meta);
  lua_pushliteral(L, "luamq.shared");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}
