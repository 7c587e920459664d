// `client`: its fields and methods.
#include <lauxlib.h>

#include "broker/client_5.h"
#include "script/client_object.h"
#include "script/property.h"

static const char *const fields[] = {"id",
                                     "session",
                                     "username",
                                     "version",
                                     "clean_session",
                                     "keep_alive",
                                     "will",
                                     "ref",
                                     "local_address",
                                     "remote_address",
                                     "closing",
                                     "closed",
                                     "credentials",
                                     "transport",
                                     "certificate",
                                     "psk_identity",
                                     "tls_version",
                                     "tls_cipher",
                                     "session_expiry_interval",
                                     "receive_maximum",
                                     "maximum_packet_size",
                                     "topic_alias_maximum",
                                     "user_properties",
                                     "authentication_method",
                                     NULL};
enum field {
  FIELD_ID = 1,
  FIELD_SESSION,
  FIELD_USERNAME,
  FIELD_VERSION,
  FIELD_CLEAN_SESSION,
  FIELD_KEEP_ALIVE,
  FIELD_WILL,
  FIELD_REF,
  FIELD_LOCAL_ADDRESS,
  FIELD_REMOTE_ADDRESS,
  FIELD_CLOSING,
  FIELD_CLOSED,
  FIELD_CREDENTIALS,
  FIELD_TRANSPORT,
  FIELD_CERTIFICATE,
  FIELD_PSK_IDENTITY,
  FIELD_TLS_VERSION,
  FIELD_TLS_CIPHER,
  FIELD_SESSION_EXPIRY_INTERVAL, // from here on what CONNECT of MQTT 5 has told
  FIELD_RECEIVE_MAXIMUM,
  FIELD_MAXIMUM_PACKET_SIZE,
  FIELD_TOPIC_ALIAS_MAXIMUM,
  FIELD_USER_PROPERTIES,
  FIELD_AUTHENTICATION_METHOD,
};

// --- fields ---

// An object that has outlived its script is one of the script that came after it in the same state.
static struct script *script_of(lua_State *L, const struct client_object *o) {
  return o->script ? o->script : script_current(L);
}

static void push_address(lua_State *L, const struct address *a) {
  char text[ADDRESS_TEXT_MAX];
  lua_pushstring(L, address_format(a, text));
}

static void push_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void push_credentials(lua_State *L, const struct address *remote) {
  if (remote->family != AF_UNIX) {
    lua_pushnil(L);
    return;
  }
  lua_createtable(L, 0, 3);
  push_integer(L, "uid", remote->peer.uid);
  push_integer(L, "gid", remote->peer.gid);
  push_integer(L, "pid", remote->peer.pid);
}

static void push_optional(lua_State *L, struct slice s) {
  if (s.ptr)
    object_push_slice(L, s);
  else
    lua_pushnil(L);
}

static void push_will(lua_State *L, const struct client *c) {
  const struct message *will = client_will(c);
  if (will)
    message_object_push_will(L, script_home(L), will, client_5(c) ? client_5(c)->will_delay_s : 0);
  else
    lua_pushnil(L);
}

// How long the session will be kept, as it stands; before there is one, as asked for.
static uint32_t session_expiry(const struct client *c) {
  return client_session(c) ? client_session(c)->expiry_s : client_session_expiry(c);
}

static void push_field_5(lua_State *L, const struct client *c, enum field field) {
  const struct client_5 *v5 = client_5(c);
  switch (v5 ? field : FIELD_REF) {
  case FIELD_SESSION_EXPIRY_INTERVAL: lua_pushinteger(L, session_expiry(c)); return;
  case FIELD_RECEIVE_MAXIMUM: lua_pushinteger(L, v5->receive_maximum); return;
  case FIELD_TOPIC_ALIAS_MAXIMUM: lua_pushinteger(L, v5->topic_alias_maximum); return;
  case FIELD_AUTHENTICATION_METHOD: push_optional(L, client_authentication_method(c)); return;
  case FIELD_MAXIMUM_PACKET_SIZE:
    if (v5->maximum_packet_size == UINT32_MAX) break; // it has none
    lua_pushinteger(L, v5->maximum_packet_size);
    return;
  case FIELD_USER_PROPERTIES: {
    struct packet_properties properties = packet_properties_of(buf_slice(&v5->user_properties));
    property_push(L, &properties, PROPERTY_USER_PROPERTY);
    return;
  }
  default: break;
  }
  lua_pushnil(L);
}

static void push_session(lua_State *L, const struct client_object *o) {
  struct script *s = script_of(L, o);
  if (s && client_session(o->client))
    session_object_push(L, s, session_id(client_session(o->client)));
  else
    lua_pushnil(L);
}

// The string is made once: from the time on that there is a session the id stays what it is.
static void push_id(lua_State *L, const struct client *c) {
  if (lua_getiuservalue(L, 1, CLIENT_ID_VALUE) != LUA_TNIL) return;
  object_push_slice(L, client_id(c));
  if (!client_session(c)) return;
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, CLIENT_ID_VALUE);
}

static void push_field(lua_State *L, const struct client_object *o, enum field field) {
  struct client *c = o->client;
  switch (field) {
  case FIELD_ID: push_id(L, c); return;
  case FIELD_SESSION: push_session(L, o); return;
  case FIELD_USERNAME: push_optional(L, client_username(c)); return;
  case FIELD_VERSION: lua_pushinteger(L, client_version(c)); return;
  case FIELD_CLEAN_SESSION: lua_pushboolean(L, client_clean_session(c)); return;
  case FIELD_KEEP_ALIVE: lua_pushinteger(L, client_keep_alive(c)); return;
  case FIELD_WILL: push_will(L, c); return;
  case FIELD_REMOTE_ADDRESS: push_address(L, client_remote_address(c)); return;
  case FIELD_CLOSING: lua_pushboolean(L, client_closing(c)); return;
  case FIELD_CLOSED: lua_pushboolean(L, client_closed(c)); return;
  case FIELD_CREDENTIALS:
    if (!client_push_told(L, c, "credentials")) push_credentials(L, client_remote_address(c));
    return;
  case FIELD_TRANSPORT: client_push_transport(L, c); return;
  case FIELD_CERTIFICATE: client_push_certificate(L, c); return;
  case FIELD_PSK_IDENTITY: client_push_psk_identity(L, c); return;
  case FIELD_TLS_VERSION: client_push_tls_version(L, c); return;
  case FIELD_TLS_CIPHER: client_push_tls_cipher(L, c); return;
  case FIELD_LOCAL_ADDRESS: {
    struct address local;
    client_local_address(c, &local);
    push_address(L, &local);
    return;
  }
  case FIELD_REF: lua_pushnil(L); return; // it is the object's
  default: push_field_5(L, c, field);
  }
}

// What a snapshot does not have.
static bool ends_with_connection(enum field field) {
  switch (field) {
  case FIELD_ID:
  case FIELD_USERNAME:
  case FIELD_REF:
  case FIELD_REMOTE_ADDRESS:
  case FIELD_CREDENTIALS:
  case FIELD_CLOSING:
  case FIELD_CLOSED: return false;
  default: return true;
  }
}

static void push_snapshot_field(lua_State *L, const struct client_snapshot *s, enum field field) {
  switch (s ? field : FIELD_CLOSED) {
  case FIELD_ID: object_push_slice(L, slice_of(s->bytes, s->id_len)); return;
  case FIELD_USERNAME:
    push_optional(L, s->has_username ? slice_of(s->bytes + s->id_len, s->username_len) : slice_of(NULL, 0));
    return;
  case FIELD_REMOTE_ADDRESS: push_address(L, &s->remote); return;
  case FIELD_CREDENTIALS: push_credentials(L, &s->remote); return;
  case FIELD_CLOSING:
  case FIELD_CLOSED: lua_pushboolean(L, 1); return;
  default: lua_pushnil(L);
  }
}

static int setting_row(lua_State *L, int index) {
  size_t len;
  if (lua_type(L, index) != LUA_TSTRING) return 0;
  const char *name = lua_tolstring(L, index, &len);
  return settings_client_row(slice_of(name, len));
}

static int index_client(lua_State *L) {
  const struct client_object *o = object_self(L, "client");
  int field = object_field(L);
  bool closed = !o->client || client_closed(o->client);
  if (field == FIELD_REF) {
    lua_getiuservalue(L, 1, CLIENT_REF_VALUE);
  } else if (field && closed && ends_with_connection((enum field)field)) {
    lua_pushnil(L);
  } else if (field && o->client) {
    push_field(L, o, (enum field)field);
  } else if (field) {
    push_snapshot_field(L, o->snapshot, (enum field)field);
  } else if (!closed && lua_isnil(L, -1)) {
    int row = setting_row(L, 2);
    if (row) settings_client_push(L, row, client_settings(o->client));
  }
  return 1;
}

static int change_setting(lua_State *L, const struct client_object *o, int row) {
  if (!o->client || client_closed(o->client)) return 0;
  struct client_settings settings = *client_settings(o->client);
  struct script *s = script_of(L, o);
  if (!s) return luaL_error(L, "no broker is running");
  const char *problem = settings_client_set(L, s, row, 3, &settings);
  if (problem) return luaL_error(L, "client.%s: %s", settings_client_name(row), problem);
  if (s->host->is_shadow) return 0;
  client_change_settings(o->client, &settings);
  return 0;
}

// The rules of this client alone, from now on; nil: none.
static int change_rules(lua_State *L, const struct client_object *o) {
  struct rules *rules = NULL;
  if (!o->client || client_closed(o->client)) return 0;
  if (!lua_isnil(L, 3)) {
    const char *problem = rules_of_client(L, script_of_client(o->client), 3, &rules);
    if (problem) return luaL_error(L, "client.%s", problem);
  }
  client_set_rules(o->client, rules);
  return 0;
}

static int change_client(lua_State *L) {
  struct client_object *o = object_self(L, "client");
  size_t len;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : NULL;
  if (name && !strcmp(name, "ref")) {
    lua_settop(L, 3);
    o->settled = true;
    lua_setiuservalue(L, 1, CLIENT_REF_VALUE);
    return 0;
  }
  if (name && !strcmp(name, "acl")) return change_rules(L, o);
  int row = setting_row(L, 2);
  if (row) return change_setting(L, o, row);
  if (name)
    return luaL_error(L, "client.%s cannot be set; client.ref takes what a script wants to keep", name);
  return luaL_error(L, "a field of client is a name, got %s", luaL_typename(L, 2));
}

// --- methods ---

static uint8_t check_reason(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return REASON_SUCCESS;
  size_t len;
  const char *name = luaL_checklstring(L, index, &len);
  int reason = reason_by_name(slice_of(name, len));
  if (reason < 0) luaL_argerror(L, index, lua_pushfstring(L, "unknown reason '%s'", name));
  return (uint8_t)reason;
}

// `client:close([reason [, text]])`: the name of a reason, and a text, that an MQTT 5 client is told.
static int close_client(lua_State *L) {
  const struct client_object *o = object_self(L, "client");
  uint8_t reason = check_reason(L, 2);
  struct slice text = {0};
  const char *problem = lua_isnoneornil(L, 3) ? NULL : property_check_text(L, 3, &text);
  if (problem) return luaL_argerror(L, 3, problem);
  if (!o->client || (o->script && o->script->host->is_shadow)) return 0;
  struct buf *told = text.ptr ? told_new() : NULL;
  if (told) packet_add_value(told, PROPERTY_REASON_STRING, text);
  client_close_telling(o->client, reason, told, ERROR_CLIENT_CLOSED);
  told_free(told);
  return 0;
}

static int client_text(lua_State *L) {
  const struct client_object *o = object_self(L, "client");
  struct slice id = o->client     ? client_id(o->client)
                    : o->snapshot ? slice_of(o->snapshot->bytes, o->snapshot->id_len)
                                  : slice_of(NULL, 0);
  struct buf *text = object_text(L);
  buf_add_str(text, "<Client ID=");
  packet_format_string(id, text);
  buf_add_byte(text, '>');
  return object_push_text(L, text);
}

void client_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_client},
                                  {"__newindex", change_client},
                                  {"__tostring", client_text},
                                  {"__gc", client_object_collect},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"close", close_client}, {NULL, NULL}};
  object_define(
      L, home, OBJECT_CLIENT,
      &(struct object_methods){.name = "client", .meta = meta, .methods = methods, .fields = fields});
}
