// What lua/luamq/jwt.lua is made of: keys for signatures.
#include <lauxlib.h>

#include "script/script_impl.h"
#include "transport/signature.h"

#define KEY_TYPE "luamq.signature_key"

static struct slice check_slice(lua_State *L, int index) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  return slice_of(text, len);
}

static struct signature_key *check_key(lua_State *L) {
  return *(struct signature_key **)luaL_checkudata(L, 1, KEY_TYPE);
}

static int collect(lua_State *L) {
  signature_key_free(check_key(L));
  return 0;
}

// The key's userdata, its algorithm, and whether it signs; or nil and why it is none.
static int key(lua_State *L) {
  struct slice pem = check_slice(L, 1);
  const char *error;
  struct signature_key **k = lua_newuserdatauv(L, sizeof *k, 0);
  *k = NULL;
  luaL_setmetatable(L, KEY_TYPE);
  *k = signature_key_read(pem, &error);
  if (!*k) {
    luaL_pushfail(L);
    lua_pushstring(L, error);
    return 2;
  }
  lua_pushstring(L, signature_key_algorithm(*k));
  lua_pushboolean(L, signature_key_signs(*k));
  return 3;
}

static int verify(lua_State *L) {
  lua_pushboolean(L, signature_verify(check_key(L), check_slice(L, 2), check_slice(L, 3)));
  return 1;
}

static int sign(lua_State *L) {
  const struct signature_key *k = check_key(L);
  struct slice data = check_slice(L, 2);
  luaL_argcheck(L, signature_key_signs(k), 1, "a private key expected");
  struct buf *out = object_text(L);
  if (signature_make(k, data, out)) return object_push_text(L, out);
  luaL_pushfail(L);
  lua_pushliteral(L, "OpenSSL makes no signature");
  return 2;
}

void signature_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {{"key", key}, {"verify", verify}, {"sign", sign}, {NULL, NULL}};
  if (luaL_newmetatable(L, KEY_TYPE)) {
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
}
