// What the connection of a client tells: by which transport it came, and what TLS knows about the peer. It is
// asked at each use, and nothing is kept.
#include "script/script_impl.h"
#include "transport/websocket.h"

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

void client_push_certificate(lua_State *L, const struct conn *c) {
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

void client_push_psk_identity(lua_State *L, const struct conn *c) {
  struct slice identity = tls_psk_identity(c);
  if (identity.ptr)
    object_push_slice(L, identity);
  else
    lua_pushnil(L);
}

void client_push_transport(lua_State *L, const struct conn *c) {
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
