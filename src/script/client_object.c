// `client`: the same value in every hook as long as the client lives. The client knows its object, a
// reference in the registry keeps it. When the client is freed the object becomes a snapshot with copies of
// what names it; `ref` stays in it in any case, as its user value. A client that is closed and not yet freed
// shows no more than its snapshot would.
#include <lauxlib.h>

#include "base/mem.h"
#include "broker/client_5.h"
#include "script/property.h"
#include "script/script_impl.h"

enum { REF_VALUE = 1 };

struct snapshot {
  struct address remote;
  bool has_username;
  size_t id_len, username_len;
  uint8_t bytes[]; // id, username
};

struct client_object {
  struct client *client;      // NULL: it is gone
  struct snapshot *snapshot;  // what is left then
  int ref;                    // in the registry, while the client lives
  struct held_delivery *held; // see client_object_held
  struct list tasks;          // hooks of this client that are suspended, by struct hook_task's client_node
  bool collected;             // Lua has finalized it; only when a state is closed before its broker
};

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

// --- its life ---

static struct snapshot *snapshot_new(const struct client *c) {
  struct slice id = client_id(c), username = client_username(c);
  struct snapshot *s = mem_alloc(sizeof *s + id.len + username.len);
  s->remote = *client_remote_address(c);
  s->has_username = username.ptr != NULL;
  s->id_len = id.len;
  s->username_len = username.len;
  if (id.len) memcpy(s->bytes, id.ptr, id.len);
  if (username.ptr) memcpy(s->bytes + id.len, username.ptr, username.len);
  return s;
}

static void released(void *object) {
  struct client_object *o = object;
  struct script *s = script_of_client(o->client);
  if (!o->collected) o->snapshot = snapshot_new(o->client);
  o->client = NULL;
  if (lua_checkstack(s->tool, 4)) luaL_unref(s->tool, LUA_REGISTRYINDEX, o->ref);
}

void client_object_push(lua_State *L, struct script *s, struct client *c) {
  struct client_object *o = client_script(c);
  if (o) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, o->ref);
    return;
  }
  o = object_new(L, s->home, OBJECT_CLIENT, sizeof *o, 1);
  *o = (struct client_object){0};
  list_init(&o->tasks);
  const struct client_object *other = client_script(c);
  if (other) { // a finalizer that ran meanwhile has made it
    lua_rawgeti(L, LUA_REGISTRYINDEX, other->ref);
    return;
  }
  lua_pushvalue(L, -1);
  o->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  o->client = c;
  client_set_script(c, o, released);
}

struct list *client_object_tasks(struct client *c) {
  return &((struct client_object *)client_script(c))->tasks;
}

struct held_delivery **client_object_held(struct client *c) {
  return &((struct client_object *)client_script(c))->held;
}

static int collect(lua_State *L) {
  struct client_object *o = object_self(L, "client");
  mem_free(o->snapshot);
  o->snapshot = NULL;
  o->collected = true;
  return 0;
}

// --- fields ---

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

static void push_session(lua_State *L, struct client *c) {
  if (client_session(c))
    session_object_push(L, script_of_client(c), session_id(client_session(c)));
  else
    lua_pushnil(L);
}

static void push_field(lua_State *L, struct client *c, enum field field) {
  switch (field) {
  case FIELD_ID: object_push_slice(L, client_id(c)); return;
  case FIELD_SESSION: push_session(L, c); return;
  case FIELD_USERNAME: push_optional(L, client_username(c)); return;
  case FIELD_VERSION: lua_pushinteger(L, client_version(c)); return;
  case FIELD_CLEAN_SESSION: lua_pushboolean(L, client_clean_session(c)); return;
  case FIELD_KEEP_ALIVE: lua_pushinteger(L, client_keep_alive(c)); return;
  case FIELD_WILL: push_will(L, c); return;
  case FIELD_REMOTE_ADDRESS: push_address(L, client_remote_address(c)); return;
  case FIELD_CLOSING: lua_pushboolean(L, client_closing(c)); return;
  case FIELD_CLOSED: lua_pushboolean(L, client_closed(c)); return;
  case FIELD_CREDENTIALS: push_credentials(L, client_remote_address(c)); return;
  case FIELD_TRANSPORT: client_push_transport(L, client_conn(c)); return;
  case FIELD_CERTIFICATE: client_push_certificate(L, client_conn(c)); return;
  case FIELD_PSK_IDENTITY: client_push_psk_identity(L, client_conn(c)); return;
  case FIELD_TLS_VERSION: lua_pushstring(L, tls_version(client_conn(c))); return; // nil for NULL
  case FIELD_TLS_CIPHER: lua_pushstring(L, tls_cipher(client_conn(c))); return;
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

static void push_snapshot_field(lua_State *L, const struct snapshot *s, enum field field) {
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
    lua_getiuservalue(L, 1, REF_VALUE);
  } else if (field && closed && ends_with_connection((enum field)field)) {
    lua_pushnil(L);
  } else if (field && o->client) {
    push_field(L, o->client, (enum field)field);
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
  const char *problem = settings_client_set(L, script_of_client(o->client), row, 3, &settings);
  if (problem) return luaL_error(L, "client.%s: %s", settings_client_name(row), problem);
  client_change_settings(o->client, &settings);
  return 0;
}

static int change_client(lua_State *L) {
  const struct client_object *o = object_self(L, "client");
  size_t len;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : NULL;
  if (name && !strcmp(name, "ref")) {
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, REF_VALUE);
    return 0;
  }
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
  if (!o->client) return 0;
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
                                  {"__gc", collect},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"close", close_client}, {NULL, NULL}};
  object_define(
      L, home, OBJECT_CLIENT,
      &(struct object_methods){.name = "client", .meta = meta, .methods = methods, .fields = fields});
}
