// From rules as a script writes them to those of the broker. lua/luamq/rules.lua checks them and makes bytes
// of them, a record for each combination of a rule's lists, in the order of the rules:
//
//   number 4, line 4, flags 1, operations 1, of them named 1, qos 1, kind of user 1, user, kind of client 1,
//   client, topic                  little endian; a text is its length in 2 bytes, and itself
//
// So nothing here calls Lua, but for the check itself, while it owns what it makes.
#include <assert.h>
#include <lauxlib.h>

#include "script/script_impl.h"

enum flags { ALLOW = 1, HAS_TOPIC = 2, VERBATIM = 4, ANY_RETAIN = 8, RETAIN = 16 };

static uint32_t take_number(struct slice *rest, unsigned bytes) {
  uint32_t number = 0;
  assert(rest->len >= bytes);
  for (unsigned i = 0; i < bytes; i++)
    number |= (uint32_t)rest->ptr[i] << 8 * i;
  *rest = slice_from(*rest, bytes);
  return number;
}

static struct slice take_text(struct slice *rest) {
  size_t len = take_number(rest, 2);
  assert(rest->len >= len);
  struct slice text = slice_of(rest->ptr, len);
  *rest = slice_from(*rest, len);
  return text;
}

static struct rules_name take_name(struct slice *rest) {
  enum rules_name_kind kind = (enum rules_name_kind)take_number(rest, 1);
  return (struct rules_name){kind, take_text(rest)};
}

static struct rule take_rule(struct slice *rest) {
  struct rule rule = {.number = take_number(rest, 4), .line = take_number(rest, 4)};
  unsigned flags = take_number(rest, 1);
  rule.allow = flags & ALLOW;
  rule.has_topic = flags & HAS_TOPIC;
  rule.exact = flags & VERBATIM;
  rule.any_retain = flags & ANY_RETAIN;
  rule.retain = flags & RETAIN;
  rule.operations = (uint8_t)take_number(rest, 1);
  rule.named = (uint8_t)take_number(rest, 1);
  rule.qos = (uint8_t)take_number(rest, 1);
  rule.user = take_name(rest);
  rule.client = take_name(rest);
  rule.topic = take_text(rest);
  return rule;
}

// What has been checked has no problem left.
static struct rules *unpack(struct slice packed, const char *file, uint64_t seed) {
  struct rules *r = rules_new(file, seed);
  while (packed.len) {
    struct rule rule = take_rule(&packed);
    const char *problem = rules_add(r, &rule);
    assert(!problem);
    (void)problem;
  }
  rules_seal(r);
  return r;
}

struct rules *rules_from_config(lua_State *L, int config, uint64_t seed) {
  lua_getfield(L, config, "rules");
  lua_getfield(L, config, "path");
  size_t len;
  const char *packed = lua_tolstring(L, -2, &len);
  struct rules *r = packed ? unpack(slice_of(packed, len), lua_tostring(L, -1), seed) : NULL;
  lua_pop(L, 2);
  return r;
}

static struct rules *shared(struct shard *shard, struct slice packed) {
  struct rules *r = rules_pool_get(&shard->own_rules, packed);
  if (r) return r;
  r = unpack(packed, NULL, rand_next(&shard->rand));
  rules_pool_put(&shard->own_rules, r, packed);
  return r;
}

const char *rules_of_client(lua_State *L, struct script *s, int index, struct rules **out) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 6, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->own_rules_ref);
  lua_pushvalue(L, index);
  lua_pushinteger(L, s->settings.client_rules);
  lua_pushinteger(L, s->settings.client_rules_bytes);
  lua_call(L, 3, 2); // packed, or nil and a problem
  size_t len;
  const char *packed = lua_tolstring(L, -2, &len);
  if (!packed) {
    s->shard->stats.client_rules_refused++;
    return lua_tostring(L, -1);
  }
  *out = shared(s->shard, slice_of(packed, len));
  lua_pop(L, 2);
  return NULL;
}
