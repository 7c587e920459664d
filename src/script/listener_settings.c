#include "script/listener_settings.h"

#include <grp.h>
#include <lauxlib.h>
#include <pwd.h>
#include <stdlib.h>

#include "script/script_impl.h"

// --- options: pushed, and left on the stack as long as what they say is used ---

// Pushes an option, and tells whether the listener has it.
static bool push_option(lua_State *L, int options, const char *name) {
  luaL_checkstack(L, 2, NULL);
  return lua_getfield(L, options, name) != LUA_TNIL;
}

static bool read_flag(lua_State *L, int options, const char *name) {
  push_option(L, options, name);
  return lua_toboolean(L, -1);
}

static const char *need_text(lua_State *L, int options, const char *name) {
  push_option(L, options, name);
  return luaL_checkstring(L, -1);
}

static const char *read_text(lua_State *L, int options, const char *name) { // NULL: not there
  return push_option(L, options, name) ? luaL_checkstring(L, -1) : NULL;
}

// A list of texts, as an array that Lua owns.
static const char *const *read_texts(lua_State *L, int options, const char *name, unsigned *count) {
  *count = 0;
  if (!push_option(L, options, name)) return NULL;
  int list = lua_gettop(L);
  *count = (unsigned)luaL_len(L, list);
  const char **texts = lua_newuserdatauv(L, *count * sizeof *texts, 0);
  luaL_checkstack(L, (int)*count, NULL);
  for (unsigned i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    texts[i] = luaL_checkstring(L, -1);
  }
  return texts;
}

// --- tcp, unix ---

static void read_tcp(lua_State *L, int options, struct listener_config *out) {
  out->reuse_port = read_flag(L, options, "reuse_port");
  out->dual_stack = read_flag(L, options, "dual_stack");
  out->nodelay = read_flag(L, options, "nodelay");
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

// An id, or a name that the system knows. Returns NULL, or the name that it does not know.
static const char *read_account(lua_State *L, int options, const char *option,
                                bool (*find)(const char *name, uint32_t *id), uint32_t *id) {
  if (!push_option(L, options, option)) return NULL;
  if (lua_isinteger(L, -1)) {
    *id = (uint32_t)lua_tointeger(L, -1);
    return NULL;
  }
  const char *name = luaL_checkstring(L, -1);
  return find(name, id) ? NULL : name;
}

static void read_unix(lua_State *L, int options, struct listener_settings *out) {
  out->config.mode = (mode_t)strtoul(need_text(L, options, "mode"), NULL, 8);
  out->unknown_user = read_account(L, options, "owner", find_user, &out->config.uid);
  out->unknown_group = read_account(L, options, "group", find_group, &out->config.gid);
}

// --- TLS ---

// `certificate` and `key` at the top of the options, and those in `certificates`.
static void read_identities(lua_State *L, int options, struct tls_config *out) {
  const char *certificate = read_text(L, options, "certificate");
  if (!certificate) return;
  lua_Integer further = push_option(L, options, "certificates") ? luaL_len(L, -1) : 0;
  int list = lua_gettop(L);
  struct tls_identity *identities = lua_newuserdatauv(L, (size_t)(further + 1) * sizeof *identities, 0);
  identities[0] = (struct tls_identity){certificate, read_text(L, options, "key")};
  for (lua_Integer i = 1; i <= further; i++) {
    luaL_checkstack(L, 4, NULL);
    lua_rawgeti(L, list, i);
    int one = lua_gettop(L);
    identities[i].certificate = read_text(L, one, "certificate");
    identities[i].key = read_text(L, one, "key");
  }
  out->identities = identities;
  out->identity_count = (unsigned)further + 1;
}

static enum tls_verify read_verify(lua_State *L, int options) {
  const char *verify = read_text(L, options, "verify");
  if (!verify) return TLS_VERIFY_NONE;
  return strcmp(verify, "required") == 0 ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OPTIONAL;
}

// The key that hooks.psk tells.
static unsigned find_key(void *arg, struct slice identity, uint8_t key[TLS_PSK_MAX]) {
  struct hook_call call = {
      .script = ((struct host *)arg)->script, .hook = HOOK_PSK, .id = identity, .key = key};
  hook_run(&call);
  return call.answer.key_len;
}

static void read_tls(lua_State *L, int listener, int options, struct script *s, struct tls_config *out) {
  tls_config_init(out);
  read_identities(L, options, out);
  out->ca = read_text(L, options, "ca");
  out->crl = read_text(L, options, "crl");
  out->verify = read_verify(L, options);
  out->min_version = read_text(L, options, "min_version");
  out->ciphers = read_text(L, options, "ciphers");
  out->ciphersuites = read_text(L, options, "ciphersuites");
  out->session_tickets = read_flag(L, options, "session_tickets");
  if (!read_flag(L, listener, "psk")) return;
  out->psk = find_key;
  out->psk_arg = s ? s->host : NULL; // the listener may outlive the script
}

// --- WebSocket ---

static void read_fallback(lua_State *L, int options, struct websocket_fallback *out) {
  if (!push_option(L, options, "fallback")) return;
  int fallback = lua_gettop(L);
  push_option(L, fallback, "status");
  out->status = (unsigned)luaL_checkinteger(L, -1);
  out->type = read_text(L, fallback, "type");
  out->body = read_text(L, fallback, "body");
}

static void read_websocket(lua_State *L, int listener, int options, struct websocket_config *out) {
  websocket_config_init(out);
  out->path = read_text(L, listener, "path");
  out->origins = read_texts(L, options, "origins", &out->origin_count);
  out->same_origin = read_flag(L, listener, "same_origin");
  read_fallback(L, options, &out->fallback);
}

// --- all of it ---

void listener_settings_read(lua_State *L, struct script *s, struct listener_settings *out) {
  int listener = lua_gettop(L);
  *out = (struct listener_settings){0};
  listener_config_init(&out->config, need_text(L, listener, "url"));
  const char *scheme = need_text(L, listener, "scheme");
  if (!push_option(L, listener, "options"))
    luaL_error(L, "not a checked configuration: a listener has no options");
  int options = lua_gettop(L);
  push_option(L, options, "backlog");
  out->config.backlog = (int)luaL_checkinteger(L, -1);
  out->config.proxy_protocol = read_flag(L, options, "proxy_protocol");
  out->trusted = read_texts(L, options, "trusted_proxies", &out->trusted_count);
  if (!strcmp(scheme, "unix")) {
    read_unix(L, options, out);
    return;
  }
  read_tcp(L, options, &out->config);
  out->has_tls = !strcmp(scheme, "tls") || !strcmp(scheme, "wss");
  out->has_websocket = !strcmp(scheme, "ws") || !strcmp(scheme, "wss");
  if (out->has_tls) read_tls(L, listener, options, s, &out->tls);
  out->tls.protocol = out->has_websocket ? "http/1.1" : "mqtt"; // so that no other one is taken for it
  if (out->has_tls) out->config.watch = read_flag(L, options, "watch");
  if (out->has_websocket) read_websocket(L, listener, options, &out->websocket);
}

static bool add_networks(struct listener_settings *s, char *error, size_t error_size) {
  if (s->trusted_count) s->networks = networks_new();
  for (unsigned i = 0; i < s->trusted_count; i++) {
    const char *problem = networks_add(s->networks, slice_str(s->trusted[i]));
    if (!problem) continue;
    snprintf(error, error_size, "'%s' among trusted_proxies: %s", s->trusted[i], problem);
    return false;
  }
  s->config.trusted_proxies = s->networks;
  return true;
}

static bool has_accounts(const struct listener_settings *s, char *error, size_t error_size) {
  const char *missing = s->unknown_user ? s->unknown_user : s->unknown_group;
  if (!missing) return true;
  snprintf(error, error_size, "there is no %s '%s' on this system", s->unknown_user ? "user" : "group",
           missing);
  return false;
}

static bool build(struct listener_settings *s, char *error, size_t error_size) {
  if (!has_accounts(s, error, error_size) || !add_networks(s, error, error_size)) return false;
  if (s->has_websocket) s->config.websocket = websocket_new(&s->websocket);
  if (s->has_tls) s->config.tls = tls_new(&s->tls, error, error_size);
  return !s->has_tls || s->config.tls;
}

bool listener_settings_build(struct listener_settings *s, char *error, size_t error_size) {
  char why[512];
  if (build(s, why, sizeof why)) return true;
  snprintf(error, error_size, "cannot listen on %s: %s", s->config.url, why);
  return false;
}

void listener_settings_release(struct listener_settings *s) {
  networks_free(s->networks);
  if (s->config.tls) tls_unref(s->config.tls);
  if (s->config.websocket) websocket_unref(s->config.websocket);
}
