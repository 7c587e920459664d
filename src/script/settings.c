// From the values of a checked script to struct settings, and client settings that a script changes at run
// time. What a value may be is told in one place, lua/luamq/settings.lua; here is where it goes.
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "script/script_impl.h"

enum kind {
  KIND_MS,
  KIND_S,
  KIND_U64,
  KIND_U16,
  KIND_U32,
  KIND_BOOL,
  KIND_DISCONNECT,
  KIND_FULL_QUEUE,
  KIND_STRATEGY,
  KIND_U8,
  KIND_TEXT,          // of at most SETTINGS_TEXT_MAX - 1 bytes
  KIND_SHARE_BYTES,   // of "80%" or a size: the size, or 0
  KIND_SHARE_PERCENT, // the percentage, or 0
};

struct row {
  const char *section, *name;
  enum kind kind;
  size_t offset; // in struct settings, or in struct client_settings
};

static const struct row rows[] = {
    {"engine", "connect_read_limit", KIND_U32, offsetof(struct settings, connect_read_limit)},
    {"engine", "max_write_delay", KIND_MS, offsetof(struct settings, max_write_delay_ms)},
    {"engine", "connect_timeout", KIND_MS, offsetof(struct settings, connect_timeout_ms)},
    {"engine", "handshake_timeout", KIND_MS, offsetof(struct settings, handshake_timeout_ms)},
    {"engine", "close_timeout", KIND_MS, offsetof(struct settings, close_timeout_ms)},
    {"engine", "workers", KIND_U32, offsetof(struct settings, workers)},
    {"engine", "worker_queue", KIND_U32, offsetof(struct settings, worker_queue)},
    {"engine", "server_reference", KIND_TEXT, offsetof(struct settings, server_reference)},
    {"backend", "session_queue_size", KIND_U32, offsetof(struct settings, session_queue_size)},
    {"backend", "session_queue_bytes", KIND_U32, offsetof(struct settings, session_queue_bytes)},
    {"backend", "kill_timeout", KIND_MS, offsetof(struct settings, kill_timeout_ms)},
    {"backend", "full_queue_wait", KIND_MS, offsetof(struct settings, full_queue_wait_ms)},
    {"backend", "full_queue", KIND_FULL_QUEUE, offsetof(struct settings, full_queue)},
    {"backend", "incoming_bytes", KIND_U32, offsetof(struct settings, incoming_bytes)},
    {"backend", "max_sessions", KIND_U32, offsetof(struct settings, max_sessions)},
    {"backend", "max_session_expiry", KIND_S, offsetof(struct settings, max_session_expiry_s)},
    {"backend", "max_retained_messages", KIND_U32, offsetof(struct settings, max_retained_messages)},
    {"backend", "max_retained_bytes", KIND_U64, offsetof(struct settings, max_retained_bytes)},
    {"backend", "maximum_qos", KIND_U8, offsetof(struct settings, maximum_qos)},
    {"backend", "retain_available", KIND_BOOL, offsetof(struct settings, retain_available)},
    {"backend", "wildcard_subscriptions", KIND_BOOL, offsetof(struct settings, wildcard_subscriptions)},
    {"backend", "subscription_identifiers", KIND_BOOL, offsetof(struct settings, subscription_identifiers)},
    {"backend", "shared_subscriptions", KIND_BOOL, offsetof(struct settings, shared_subscriptions)},
    {"backend", "shared_strategy", KIND_STRATEGY, offsetof(struct settings, shared_strategy)},
    {"backend", "topic_alias_maximum", KIND_U16, offsetof(struct settings, topic_alias_maximum)},
    {"backend", "topic_aliases", KIND_U16, offsetof(struct settings, topic_aliases)},
    {"backend", "check_payload_format", KIND_BOOL, offsetof(struct settings, check_payload_format)},
    {"backend", "response_information", KIND_TEXT, offsetof(struct settings, response_information)},
    {"limits", "connections", KIND_U32, offsetof(struct settings, connections)},
    {"limits", "loop_lag", KIND_MS, offsetof(struct settings, loop_lag_ms)},
    {"limits", "topic_levels", KIND_U32, offsetof(struct settings, topic_levels)},
    {"limits", "topic_length", KIND_U32, offsetof(struct settings, topic_length)},
    {"limits", "subscriptions", KIND_U32, offsetof(struct settings, subscriptions)},
    {"limits", "client_rules", KIND_U32, offsetof(struct settings, client_rules)},
    {"limits", "client_rules_bytes", KIND_U32, offsetof(struct settings, client_rules_bytes)},
    {"limits", "connections_per_address", KIND_U32, offsetof(struct settings, connections_per_address)},
    {"limits", "connections_per_user", KIND_U32, offsetof(struct settings, connections_per_user)},
    {"limits", "connect_rate", KIND_U32, offsetof(struct settings, connect_rate)},
    {"limits", "connect_rate_per_address", KIND_U32, offsetof(struct settings, connect_rate_per_address)},
    {"limits", "failed_logins", KIND_U32, offsetof(struct settings, failed_logins)},
    {"limits", "login_delay", KIND_MS, offsetof(struct settings, login_delay_ms)},
    {"limits", "login_delay_maximum", KIND_MS, offsetof(struct settings, login_delay_maximum_ms)},
    {"limits", "password_checks", KIND_U32, offsetof(struct settings, password_checks)},
    {"limits", "queued_bytes", KIND_U64, offsetof(struct settings, queued_bytes)},
    {"limits", "packet_time", KIND_MS, offsetof(struct settings, packet_time_ms)},
    {"limits", "unfinished_bytes", KIND_U64, offsetof(struct settings, unfinished_bytes)},
    {"limits", "memory_limit", KIND_SHARE_BYTES, offsetof(struct settings, memory_limit_bytes)},
    {"limits", "memory_limit", KIND_SHARE_PERCENT, offsetof(struct settings, memory_limit_percent)},
    {"script", "hook_timeout", KIND_MS, offsetof(struct settings, hook_timeout_ms)},
    {"script", "reauthorize", KIND_BOOL, offsetof(struct settings, reauthorize)},
    {"script", "max_suspended", KIND_U32, offsetof(struct settings, max_suspended)},
    {"script", "max_series", KIND_U32, offsetof(struct settings, max_series)},
    {"script", "shared_bytes", KIND_U64, offsetof(struct settings, shared_bytes)},
    {"script", "max_spawned", KIND_U32, offsetof(struct settings, max_spawned)},
    {"script", "hook_budget", KIND_MS, offsetof(struct settings, hook_budget_ms)},
    {"script", "lua_memory", KIND_U64, offsetof(struct settings, lua_memory_bytes)},
    {"backend", "refused_publish", KIND_DISCONNECT, offsetof(struct settings, disconnect_refused_publish)},
    {"script", "shadow", KIND_TEXT, offsetof(struct settings, shadow)},
    {"script", "record", KIND_TEXT, offsetof(struct settings, record)},
    {"script", "record_bytes", KIND_U64, offsetof(struct settings, record_bytes)},
    {"script", "record_payload", KIND_U32, offsetof(struct settings, record_payload)},
    {"script", "record_clients", KIND_U32, offsetof(struct settings, record_clients)},
    {"log", "refusals", KIND_U32, offsetof(struct settings, logged_refusals)},
    {"backend", "maximum_keep_alive_set", KIND_BOOL,
     offsetof(struct settings, client.maximum_keep_alive_set)},
};

static const struct row client_rows[] = {
    {"engine", "read_limit", KIND_U32, offsetof(struct client_settings, read_limit)},
    {"backend", "maximum_keep_alive", KIND_MS, offsetof(struct client_settings, maximum_keep_alive_ms)},
    {"backend", "token_timeout", KIND_MS, offsetof(struct client_settings, token_timeout_ms)},
    {"backend", "parallel_publishes", KIND_U16, offsetof(struct client_settings, parallel_publishes)},
    {"backend", "parallel_subscribes", KIND_U16, offsetof(struct client_settings, parallel_subscribes)},
    {"backend", "inflight_messages", KIND_U16, offsetof(struct client_settings, inflight_messages)},
    {"backend", "inflight_bytes", KIND_U32, offsetof(struct client_settings, inflight_bytes)},
    {"backend", "publish_rate", KIND_U32, offsetof(struct client_settings, publish_rate)},
    {"backend", "publish_bytes", KIND_U32, offsetof(struct client_settings, publish_bytes)},
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

// A wait that is not none is at least a millisecond.
static uint32_t to_ms(lua_Number seconds) {
  lua_Number ms = ceil(seconds * 1000 - 1e-6);
  return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static bool is_type_of(int type, enum kind kind) {
  switch (kind) {
  case KIND_BOOL: return type == LUA_TBOOLEAN;
  case KIND_DISCONNECT:
  case KIND_STRATEGY:
  case KIND_TEXT:
  case KIND_FULL_QUEUE: return type == LUA_TSTRING;
  case KIND_SHARE_BYTES:
  case KIND_SHARE_PERCENT: return type == LUA_TSTRING || type == LUA_TNUMBER;
  default: return type == LUA_TNUMBER;
  }
}

// Stores the value at the top, which has been checked.
static void store(lua_State *L, const struct row *row, void *base) {
  void *to = (char *)base + row->offset;
  bool is_text = lua_type(L, -1) == LUA_TSTRING;
  switch (row->kind) {
  case KIND_MS: *(uint32_t *)to = to_ms(lua_tonumber(L, -1)); break;
  case KIND_S: *(uint32_t *)to = (uint32_t)ceil(lua_tonumber(L, -1)); break;
  case KIND_U64: *(uint64_t *)to = (uint64_t)lua_tointeger(L, -1); break;
  case KIND_U16: *(uint16_t *)to = (uint16_t)lua_tointeger(L, -1); break;
  case KIND_U32: *(uint32_t *)to = (uint32_t)lua_tointeger(L, -1); break;
  case KIND_BOOL: *(bool *)to = lua_toboolean(L, -1); break;
  case KIND_DISCONNECT: *(bool *)to = !strcmp(lua_tostring(L, -1), "disconnect"); break;
  case KIND_FULL_QUEUE: *(uint8_t *)to = (uint8_t)full_queue_by_name(slice_str(lua_tostring(L, -1))); break;
  case KIND_STRATEGY:
    *(uint8_t *)to = (uint8_t)shared_strategy_by_name(slice_str(lua_tostring(L, -1)));
    break;
  case KIND_U8: *(uint8_t *)to = (uint8_t)lua_tointeger(L, -1); break;
  case KIND_TEXT: snprintf(to, SETTINGS_TEXT_MAX, "%s", lua_tostring(L, -1)); break;
  case KIND_SHARE_BYTES: *(uint64_t *)to = is_text ? 0 : (uint64_t)lua_tointeger(L, -1); break;
  case KIND_SHARE_PERCENT:
    *(uint32_t *)to = is_text ? (uint32_t)strtoul(lua_tostring(L, -1), NULL, 10) : 0;
    break;
  }
}

static void read_rows(lua_State *L, int config, const struct row *list, size_t count, void *base) {
  for (const struct row *row = list; row < list + count; row++) {
    if (lua_getfield(L, config, row->section) != LUA_TTABLE)
      luaL_error(L, "not a checked configuration: %s is missing", row->section);
    int type = lua_getfield(L, -1, row->name);
    if (!is_type_of(type, row->kind))
      luaL_error(L, "not a checked configuration: %s.%s", row->section, row->name);
    store(L, row, base);
    lua_pop(L, 2);
  }
}

void settings_from_config(lua_State *L, int config, struct settings *out) {
  config = lua_absindex(L, config);
  settings_init(out);
  read_rows(L, config, rows, COUNT(rows), out);
  read_rows(L, config, client_rows, COUNT(client_rows), &out->client);
}

int settings_client_row(struct slice name) {
  for (size_t i = 0; i < COUNT(client_rows); i++)
    if (slice_eq(name, slice_str(client_rows[i].name))) return (int)i + 1;
  return 0;
}

const char *settings_client_name(int row) {
  return row >= 1 && (size_t)row <= COUNT(client_rows) ? client_rows[row - 1].name : NULL;
}

void settings_client_push(lua_State *L, int row, const struct client_settings *from) {
  const struct row *r = &client_rows[row - 1];
  const void *at = (const char *)from + r->offset;
  uint32_t value = r->kind == KIND_U16 ? *(const uint16_t *)at : *(const uint32_t *)at;
  if (r->kind == KIND_MS && value % 1000)
    lua_pushnumber(L, value / 1000.0);
  else
    lua_pushinteger(L, r->kind == KIND_MS ? value / 1000 : value);
}

const char *settings_client_set(lua_State *L, struct script *s, int row, int index,
                                struct client_settings *to) {
  const struct row *r = &client_rows[row - 1];
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, NULL);
  int top = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->read_ref);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->index_ref);
  lua_getfield(L, -1, r->section);
  lua_getfield(L, -1, r->name);
  lua_replace(L, top + 2);
  lua_settop(L, top + 2);
  lua_pushvalue(L, index);
  lua_call(L, 2, 2); // value, or nil and a problem
  if (lua_isnil(L, -2)) return lua_tostring(L, -1);
  lua_pop(L, 1);
  store(L, r, to);
  if (r->offset == offsetof(struct client_settings, maximum_keep_alive_ms)) to->maximum_keep_alive_set = true;
  lua_settop(L, top);
  return NULL;
}
