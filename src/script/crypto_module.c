// `luamq.crypto`: digests, HMAC, PBKDF2, comparison in constant time, randomness, base64. A misuse raises;
// what OpenSSL refuses is nil and a message.
#include <lauxlib.h>

#include "script/script_impl.h"
#include "transport/crypto.h"

#define RANDOM_MAX 65536 // bytes

static struct slice check_slice(lua_State *L, int index) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  return slice_of(text, len);
}

static const char *check_digest(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (!crypto_has_digest(name)) luaL_argerror(L, 1, lua_pushfstring(L, "unknown digest '%s'", name));
  return name;
}

static lua_Integer check_number(lua_State *L, int index, lua_Integer maximum) {
  lua_Integer n = luaL_checkinteger(L, index);
  if (n < 1 || n > maximum)
    luaL_argerror(L, index, lua_pushfstring(L, "expected an integer between 1 and %I", (LUAI_UACINT)maximum));
  return n;
}

static int refused(lua_State *L, const char *what) {
  luaL_pushfail(L);
  lua_pushfstring(L, "OpenSSL refuses %s", what);
  return 2;
}

static int push_digest(lua_State *L, const uint8_t *bytes, size_t len, const char *digest) {
  if (!len) return refused(L, digest);
  object_push_slice(L, slice_of(bytes, len));
  return 1;
}

static int hash(lua_State *L) {
  uint8_t bytes[CRYPTO_DIGEST_MAX];
  const char *digest = check_digest(L);
  return push_digest(L, bytes, crypto_hash(digest, check_slice(L, 2), bytes), digest);
}

static int hmac(lua_State *L) {
  uint8_t bytes[CRYPTO_DIGEST_MAX];
  const char *digest = check_digest(L);
  struct slice key = check_slice(L, 2), data = check_slice(L, 3);
  return push_digest(L, bytes, crypto_hmac(digest, key, data, bytes), digest);
}

static int pbkdf2(lua_State *L) {
  uint8_t bytes[CRYPTO_KEY_MAX];
  const char *digest = check_digest(L);
  struct slice password = check_slice(L, 2), salt = check_slice(L, 3);
  uint32_t iterations = (uint32_t)check_number(L, 4, CRYPTO_ITERATIONS_MAX);
  size_t len = (size_t)check_number(L, 5, CRYPTO_KEY_MAX);
  bool done = crypto_pbkdf2(digest, password, salt, iterations, bytes, len);
  return push_digest(L, bytes, done ? len : 0, digest);
}

static int equal(lua_State *L) {
  lua_pushboolean(L, slice_eq_secret(check_slice(L, 1), check_slice(L, 2)));
  return 1;
}

static int random_bytes(lua_State *L) {
  size_t len = (size_t)check_number(L, 1, RANDOM_MAX);
  luaL_Buffer b;
  uint8_t *bytes = (uint8_t *)luaL_buffinitsize(L, &b, len);
  if (!crypto_random(bytes, len)) return refused(L, "random bytes");
  luaL_pushresultsize(&b, len);
  return 1;
}

static int base64_encode(lua_State *L) {
  struct slice bytes = check_slice(L, 1);
  struct buf *text = object_text(L);
  crypto_base64_encode(bytes, text);
  return object_push_text(L, text);
}

static int push_decoded(lua_State *L, struct buf *bytes, bool good, const char *problem) {
  if (good) return object_push_text(L, bytes);
  luaL_pushfail(L);
  lua_pushstring(L, problem);
  return 2;
}

static int base64_decode(lua_State *L) {
  struct slice text = check_slice(L, 1);
  struct buf *bytes = object_text(L);
  return push_decoded(L, bytes, crypto_base64_decode(text, bytes), "not base64");
}

static int base64url_encode(lua_State *L) {
  struct slice bytes = check_slice(L, 1);
  struct buf *text = object_text(L);
  crypto_base64url_encode(bytes, text);
  return object_push_text(L, text);
}

static int base64url_decode(lua_State *L) {
  struct slice text = check_slice(L, 1);
  struct buf *bytes = object_text(L);
  return push_decoded(L, bytes, crypto_base64url_decode(text, bytes), "not base64url");
}

void crypto_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {{"hash", hash},
                                       {"hmac", hmac},
                                       {"pbkdf2", pbkdf2},
                                       {"equal", equal},
                                       {"random", random_bytes},
                                       {"base64_encode", base64_encode},
                                       {"base64_decode", base64_decode},
                                       {"base64url_encode", base64url_encode},
                                       {"base64url_decode", base64url_decode},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
}
