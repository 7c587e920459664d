// What the connection of a client tells: by which transport it came, and what TLS knows about the peer. It is
// asked at each use, and nothing is kept.
#include <lauxlib.h>

#include "script/script_impl.h"
#include "transport/websocket.h"

// --- what a test says ---

static const char told_key = 0; // its address is a key of the registry: a weak table from clients to tables

void client_tell(lua_State *L, const struct client *c, int index) {
  int told = lua_absindex(L, index);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &told_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &told_key);
  }
  lua_pushvalue(L, told);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
}

bool client_push_told(lua_State *L, const struct client *c, const char *field) {
  int top = lua_gettop(L);
  bool any = lua_rawgetp(L, LUA_REGISTRYINDEX, &told_key) == LUA_TTABLE &&
             lua_rawgetp(L, -1, c) == LUA_TTABLE && lua_getfield(L, -1, field) != LUA_TNIL;
  if (any) lua_replace(L, top + 1);
  lua_settop(L, any ? top + 1 : top);
  return any;
}

// --- certificate ---

// The buffers are the state's own, so that nothing leaks when Lua raises.
static struct tls_certificate *empty_certificate(lua_State *L) {
  struct tls_certificate *certificate = &script_home(L)->certificate;
  certificate->subject.len = 0;
  certificate->issuer.len = 0;
  certificate->common_name.len = 0;
  certificate->names.len = 0;
  return certificate;
}

static void set_text(lua_State *L, const char *name, struct slice text) {
  object_push_slice(L, text);
  lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, int64_t seconds) {
  lua_pushinteger(L, seconds);
  lua_setfield(L, -2, name);
}

// The names of one kind in the alternative names of the subject, as a list.
static void set_names(lua_State *L, const char *name, const char *prefix, struct slice names) {
  lua_newtable(L);
  size_t prefix_len = strlen(prefix);
  lua_Integer count = 0;
  while (names.len) {
    size_t len = strnlen((const char *)names.ptr, names.len);
    if (len >= prefix_len && !memcmp(names.ptr, prefix, prefix_len)) {
      object_push_slice(L, slice_of(names.ptr + prefix_len, len - prefix_len));
      lua_rawseti(L, -2, ++count);
    }
    names = slice_from(names, len + 1);
  }
  lua_setfield(L, -2, name);
}

void client_push_certificate(lua_State *L, const struct client *client) {
  const struct conn *c = client_conn(client);
  if (client_push_told(L, client, "certificate")) return;
  struct tls_certificate *certificate = empty_certificate(L);
  if (!tls_peer_certificate(c, certificate)) {
    lua_pushnil(L);
    return;
  }
  struct slice names = buf_slice(&certificate->names);
  lua_createtable(L, 0, 11);
  set_text(L, "subject", buf_slice(&certificate->subject));
  set_text(L, "issuer", buf_slice(&certificate->issuer));
  if (certificate->common_name.len) set_text(L, "common_name", buf_slice(&certificate->common_name));
  set_text(L, "serial", slice_str(certificate->serial));
  set_text(L, "fingerprint", slice_str(certificate->fingerprint));
  set_time(L, "not_before", certificate->not_before);
  set_time(L, "not_after", certificate->not_after);
  set_names(L, "dns", "DNS:", names);
  set_names(L, "ip", "IP:", names);
  set_names(L, "uri", "URI:", names);
  set_names(L, "email", "email:", names);
}

// --- the rest ---

void client_push_psk_identity(lua_State *L, const struct client *c) {
  if (client_push_told(L, c, "psk_identity")) return;
  struct slice identity = tls_psk_identity(client_conn(c));
  if (identity.ptr)
    object_push_slice(L, identity);
  else
    lua_pushnil(L);
}

void client_push_tls_version(lua_State *L, const struct client *c) {
  if (!client_push_told(L, c, "tls_version")) lua_pushstring(L, tls_version(client_conn(c))); // nil for NULL
}

void client_push_tls_cipher(lua_State *L, const struct client *c) {
  if (!client_push_told(L, c, "tls_cipher")) lua_pushstring(L, tls_cipher(client_conn(c)));
}

void client_push_transport(lua_State *L, const struct client *client) {
  const struct conn *c = client_conn(client);
  if (client_push_told(L, client, "transport")) return;
  bool encrypted = tls_version(c) != NULL;
  struct address local;
  conn_local_address(c, &local);
  if (websocket_is(c))
    lua_pushstring(L, encrypted ? "wss" : "ws");
  else if (encrypted)
    lua_pushliteral(L, "tls");
  else
    lua_pushstring(L, local.family == AF_UNIX ? "unix" : local.family == AF_UNSPEC ? "memory" : "tcp");
}
