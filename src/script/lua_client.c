// All that a client owns hangs off its userdata, so that no error of Lua loses anything. Functions return nil
// and a message for what fails at run time; Lua has checked their arguments.
#include "script/lua_client.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#include "client/socket.h"
#include "script/lua_mqtt.h"
#include "script/property_table.h"

#define TYPE "luamq.client"

struct lua_client {
  struct mqtt_socket socket;
  struct tls_client *tls; // of the socket; NULL: none
  struct inbox inbox;
  struct buf scratch;
  struct buf farewell; // properties of the server's DISCONNECT
  uint8_t farewell_code;
  bool dismissed; // it has come
};

// A deadline from a number of seconds.
static uint64_t check_deadline(lua_State *L, int index) {
  lua_Number seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds >= 0, index, "expected a time in seconds");
  if (seconds > 1e9) return MQTT_SOCKET_FOREVER;
  return mqtt_socket_now() + (uint64_t)ceil(seconds * 1000);
}

static struct lua_client *check_client(lua_State *L) { return luaL_checkudata(L, 1, TYPE); }

static int fail(lua_State *L, const char *message) {
  luaL_pushfail(L);
  lua_pushstring(L, message);
  return 2;
}

// nil and why there is no event.
static int failed(lua_State *L, const struct lua_client *c, enum mqtt_socket_result r) {
  return fail(L, r == MQTT_SOCKET_TIMEOUT ? "timeout"
                 : *c->socket.error       ? c->socket.error
                                          : "connection closed");
}

// Keeps what comes without being asked for.
static void keep(struct lua_client *c, const struct mqtt_client_event *e) {
  if (e->type == MQTT_CLIENT_MESSAGE) inbox_add(&c->inbox, e);
  if (e->type != MQTT_CLIENT_DISCONNECTED) return;
  c->farewell.len = 0;
  buf_add_slice(&c->farewell, e->properties.raw);
  c->farewell_code = e->code;
  c->dismissed = true;
}

// Waits for an event of one of the types (bits) with this id.
static enum mqtt_socket_result wait_for_any(struct lua_client *c, uint32_t types, uint16_t id,
                                            uint64_t deadline, struct mqtt_client_event *e) {
  for (;;) {
    enum mqtt_socket_result r = mqtt_socket_next(&c->socket, deadline, e);
    if (r != MQTT_SOCKET_EVENT) return r;
    keep(c, e);
    if (types >> e->type & 1 && e->id == id) return r;
  }
}

static enum mqtt_socket_result wait_for(struct lua_client *c, enum mqtt_client_event_type type, uint16_t id,
                                        uint64_t deadline, struct mqtt_client_event *e) {
  return wait_for_any(c, 1u << type, id, deadline, e);
}

static struct lua_client *new_client(lua_State *L, const struct mqtt_client_options *options) {
  struct lua_client *c = lua_newuserdatauv(L, sizeof *c, 0);
  mqtt_socket_init(&c->socket, options);
  c->tls = NULL;
  inbox_init(&c->inbox);
  c->scratch = c->farewell = BUF_INIT;
  c->dismissed = false;
  luaL_setmetatable(L, TYPE);
  return c;
}

// Opening

// A field that Lua has checked: a string, which stays on the stack, or NULL.
static const char *field(lua_State *L, int table, const char *name) {
  luaL_checkstack(L, 1, NULL);
  return lua_getfield(L, table, name) == LUA_TNIL ? NULL : luaL_checkstring(L, -1);
}

static bool flag(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static bool use_tls(struct lua_client *c, const struct tls_client_options *o) {
  static const char *const names[] = {
      [TLS_CLIENT_CA_FILE] = "ca",
      [TLS_CLIENT_CA_PATH] = "ca_path",
      [TLS_CLIENT_CERTIFICATE] = "certificate",
      [TLS_CLIENT_KEY] = "key",
      [TLS_CLIENT_PSK] = "psk",
      [TLS_CLIENT_PSK_IDENTITY] = "psk_identity",
      [TLS_CLIENT_ALPN] = "alpn",
      [TLS_CLIENT_MIN_VERSION] = "min_version",
  };
  struct tls_client_error e;
  c->socket.tls = c->tls = tls_client_new(o, &e);
  if (!c->tls) snprintf(c->socket.error, sizeof c->socket.error, "tls.%s: %s", names[e.field], e.text);
  return c->tls;
}

// Takes the table `tls` of the options. False: the socket's error tells why.
static bool read_tls(lua_State *L, struct lua_client *c, int options) {
  mqtt_socket_close(&c->socket);
  tls_client_free(c->tls);
  c->socket.tls = c->tls = NULL;
  if (lua_getfield(L, options, "tls") == LUA_TNIL) return true;
  int at = lua_absindex(L, -1);
  struct tls_client_options o = {
      .ca_file = field(L, at, "ca"),
      .ca_path = field(L, at, "ca_path"),
      .certificate = field(L, at, "certificate"),
      .key = field(L, at, "key"),
      .psk_identity = field(L, at, "psk_identity"),
      .psk = field(L, at, "psk"),
      .alpn = field(L, at, "alpn"),
      .min_version = field(L, at, "min_version"),
      .insecure = flag(L, at, "insecure"),
  };
  return use_tls(c, &o);
}

// Takes the table `websocket`: into *o, whose texts stay on the stack. Returns it, or NULL.
static struct ws_client_options *read_websocket(lua_State *L, int options, struct ws_client_options *o) {
  if (lua_getfield(L, options, "websocket") == LUA_TNIL) return NULL;
  int at = lua_absindex(L, -1);
  *o = (struct ws_client_options){.path = field(L, at, "path"),
                                  .origin = field(L, at, "origin"),
                                  .headers = slice_str(field(L, at, "headers"))};
  return o;
}

static bool dial(lua_State *L, struct lua_client *c, int options, uint64_t deadline) {
  struct ws_client_options websocket;
  if (!read_tls(L, c, options)) return false;
  const char *path = field(L, options, "unix");
  if (path) return mqtt_socket_open_unix(&c->socket, path, deadline);
  const char *host = field(L, options, "host");
  lua_getfield(L, options, "port");
  uint16_t port = (uint16_t)luaL_checkinteger(L, -1);
  c->socket.websocket = read_websocket(L, options, &websocket);
  bool opened = mqtt_socket_open(&c->socket, host, port, deadline);
  c->socket.websocket = NULL;
  return opened;
}

// Waits for CONNACK or AUTH: answer, or nil and a message. What belongs to a CONNACK is session_present and,
// of a refusal, error.
static int await_connack(lua_State *L, struct lua_client *c, uint64_t deadline) {
  struct mqtt_client_event e;
  char text[REASON_TEXT_SIZE];
  enum mqtt_socket_result r =
      wait_for_any(c, 1u << MQTT_CLIENT_CONNACK | 1u << MQTT_CLIENT_AUTH, 0, deadline, &e);
  if (r != MQTT_SOCKET_EVENT) {
    failed(L, c, r);
    mqtt_socket_close(&c->socket);
    return 2;
  }
  lua_mqtt_push_answer(L, e.code, &e.properties);
  if (e.type == MQTT_CLIENT_AUTH) return 1;
  lua_pushboolean(L, e.session_present);
  lua_setfield(L, -2, "session_present");
  if (e.code == CONNACK_ACCEPTED) return 1;
  mqtt_socket_close(&c->socket);
  bool has_reason = c->socket.client.version == MQTT_5;
  lua_pushstring(L, has_reason ? reason_name(e.code)
                               : mqtt_client_connack_text(&c->socket.client, e.code, text));
  lua_setfield(L, -2, "error");
  return 1;
}

// new(options) -> client, not connected
static int l_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct mqtt_client_options options = lua_mqtt_options(L, 1);
  new_client(L, &options);
  return 1;
}

// client:connect(options, timeout) -> answer | nil, message
static int l_connect(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 3);
  c->dismissed = false;
  if (!dial(L, c, 2, deadline)) return fail(L, c->socket.error);
  mqtt_client_connect(&c->socket.client);
  return await_connack(L, c, deadline);
}

static bool connected(const struct lua_client *c) {
  return c->socket.fd >= 0 && c->socket.client.state == MQTT_CLIENT_CONNECTED;
}

// client:auth(reason code, properties, timeout) -> answer | nil, message
static int l_auth(lua_State *L) {
  struct lua_client *c = check_client(L);
  enum reason reason = (enum reason)luaL_checkinteger(L, 2);
  uint64_t deadline = check_deadline(L, 4);
  struct packet_properties properties = property_table_read(L, 3, PACKET_AUTH);
  bool connecting = c->socket.fd >= 0 && c->socket.client.state == MQTT_CLIENT_CONNECTING;
  if (!c->socket.client.authenticates) return fail(L, "the connection has no authentication method");
  if (!connected(c) && !connecting) return failed(L, c, MQTT_SOCKET_CLOSED);
  mqtt_client_auth(&c->socket.client, reason, &properties);
  return await_connack(L, c, deadline);
}

// client:open(options, timeout) -> true | nil, message; the connection alone
static int l_open(lua_State *L) {
  struct lua_client *c = check_client(L);
  if (!dial(L, c, 2, check_deadline(L, 3))) return fail(L, c->socket.error);
  lua_pushboolean(L, true);
  return 1;
}

// Requests

// Pushes what an ack of MQTT 5 said behind what is at the top; returns how many results there are.
static int with_answer(lua_State *L, const struct lua_client *c, const struct mqtt_client_event *e) {
  if (c->socket.client.version != MQTT_5) return 1;
  lua_mqtt_push_answer(L, e->code, &e->properties);
  return 2;
}

static const char no_id[] = "no packet id is free, or the packet is larger than the server takes";

// client:subscribe(filters, options byte, timeout, properties) -> codes, answer | nil, message
static int l_subscribe(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 4);
  size_t count;
  struct packet_subscription *list = lua_mqtt_subscriptions(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 5, PACKET_SUBSCRIBE);
  if (!connected(c)) return failed(L, c, MQTT_SOCKET_CLOSED);
  uint16_t id = mqtt_client_subscribe(&c->socket.client, list, count, &properties);
  if (!id) return fail(L, no_id);
  struct mqtt_client_event e;
  enum mqtt_socket_result r = wait_for(c, MQTT_CLIENT_SUBACK, id, deadline, &e);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_mqtt_push_codes(L, e.codes);
  return with_answer(L, c, &e);
}

// client:unsubscribe(filters, timeout, properties) -> codes (empty before MQTT 5), answer | nil, message
static int l_unsubscribe(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 3);
  size_t count;
  struct slice *filters = lua_mqtt_filters(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 4, PACKET_UNSUBSCRIBE);
  if (!connected(c)) return failed(L, c, MQTT_SOCKET_CLOSED);
  uint16_t id = mqtt_client_unsubscribe(&c->socket.client, filters, count, &properties);
  if (!id) return fail(L, no_id);
  struct mqtt_client_event e;
  enum mqtt_socket_result r = wait_for(c, MQTT_CLIENT_UNSUBACK, id, deadline, &e);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_mqtt_push_codes(L, e.codes);
  return with_answer(L, c, &e);
}

// client:publish(topic, payload, qos, retain, timeout, wait, properties) -> true, answer | nil, message
static int l_publish(lua_State *L) {
  struct lua_client *c = check_client(L);
  struct packet_message m = lua_mqtt_message(L, 2);
  uint64_t deadline = check_deadline(L, 6);
  bool wait = lua_toboolean(L, 7);
  m.properties = property_table_read(L, 8, PACKET_PUBLISH);
  if (!connected(c)) return failed(L, c, MQTT_SOCKET_CLOSED);
  const char *refusal = mqtt_client_refuses(&c->socket.client, &m);
  if (refusal) return fail(L, refusal);
  uint16_t id = mqtt_client_publish(&c->socket.client, &m);
  if (m.qos && !id) return fail(L, no_id);
  struct mqtt_client_event e;
  bool awaited = m.qos && wait;
  enum mqtt_socket_result r = awaited ? wait_for(c, MQTT_CLIENT_PUBLISHED, id, deadline, &e)
                                      : mqtt_socket_flush(&c->socket, deadline);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_pushboolean(L, true);
  return awaited ? with_answer(L, c, &e) : 1;
}

// client:ping(timeout) -> true | nil, message
static int l_ping(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 2);
  if (!connected(c)) return failed(L, c, MQTT_SOCKET_CLOSED);
  mqtt_client_ping(&c->socket.client);
  struct mqtt_client_event e;
  enum mqtt_socket_result r = wait_for(c, MQTT_CLIENT_PINGRESP, 0, deadline, &e);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_pushboolean(L, true);
  return 1;
}

// Receiving

// client:receive(timeout) -> message | nil, "timeout" or why it is closed
static int l_receive(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 2);
  if (inbox_push(L, &c->inbox)) return 1;
  struct mqtt_client_event e;
  enum mqtt_socket_result r;
  do {
    r = mqtt_socket_next(&c->socket, deadline, &e);
    if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
    keep(c, &e);
  } while (e.type != MQTT_CLIENT_MESSAGE);
  inbox_push(L, &c->inbox);
  return 1;
}

// client:receive_packet(timeout) -> packet | nil, message
static int l_receive_packet(lua_State *L) {
  struct lua_client *c = check_client(L);
  struct packet p;
  enum mqtt_socket_result r = mqtt_socket_next_packet(&c->socket, check_deadline(L, 2), &p);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_mqtt_push_packet(L, &p, c->socket.client.version, &c->scratch);
  return 1;
}

// client:send_raw(bytes, timeout) -> true | nil, message
static int l_send_raw(lua_State *L) {
  struct lua_client *c = check_client(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  uint64_t deadline = check_deadline(L, 3);
  if (c->socket.fd < 0) return failed(L, c, MQTT_SOCKET_CLOSED);
  buf_add(&c->socket.client.out, bytes, len);
  enum mqtt_socket_result r = mqtt_socket_flush(&c->socket, deadline);
  if (r != MQTT_SOCKET_EVENT) return failed(L, c, r);
  lua_pushboolean(L, true);
  return 1;
}

// The end

// client:disconnect(timeout, reason code, properties)
static int l_disconnect(lua_State *L) {
  struct lua_client *c = check_client(L);
  uint64_t deadline = check_deadline(L, 2);
  enum reason reason = (enum reason)luaL_optinteger(L, 3, REASON_SUCCESS);
  struct packet_properties properties = property_table_read(L, 4, PACKET_DISCONNECT);
  if (connected(c)) mqtt_client_disconnect(&c->socket.client, reason, &properties);
  mqtt_socket_disconnect(&c->socket, deadline);
  return 0;
}

// client:farewell() -> the server's DISCONNECT as an answer | nil
static int l_farewell(lua_State *L) {
  const struct lua_client *c = check_client(L);
  if (!c->dismissed) return 0;
  struct packet_properties properties = packet_properties_of(buf_slice(&c->farewell));
  lua_mqtt_push_answer(L, c->farewell_code, &properties);
  return 1;
}

// client:close()
static int l_close(lua_State *L) {
  mqtt_socket_close(&check_client(L)->socket);
  return 0;
}

// client:closed() -> boolean; takes in what has come
static int l_closed(lua_State *L) {
  struct lua_client *c = check_client(L);
  struct mqtt_client_event e;
  while (mqtt_socket_next(&c->socket, 0, &e) == MQTT_SOCKET_EVENT)
    keep(c, &e);
  lua_pushboolean(L, c->socket.fd < 0);
  return 1;
}

static int l_gc(lua_State *L) {
  struct lua_client *c = check_client(L);
  mqtt_socket_release(&c->socket);
  tls_client_free(c->tls);
  c->tls = NULL;
  inbox_release(&c->inbox);
  buf_release(&c->scratch);
  buf_release(&c->farewell);
  return 0;
}

static const luaL_Reg methods[] = {
    {"connect", l_connect},
    {"open", l_open},
    {"auth", l_auth},
    {"subscribe", l_subscribe},
    {"unsubscribe", l_unsubscribe},
    {"publish", l_publish},
    {"ping", l_ping},
    {"receive", l_receive},
    {"receive_packet", l_receive_packet},
    {"send_raw", l_send_raw},
    {"disconnect", l_disconnect},
    {"close", l_close},
    {"farewell", l_farewell},
    {"closed", l_closed},
    {"__gc", l_gc},
    {NULL, NULL},
};

// Strings with a NUL are neither.

// is_path(text) -> boolean: what the request of a WebSocket may ask for
static int l_is_path(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  lua_pushboolean(L, strlen(text) == len && ws_client_path_valid(text));
  return 1;
}

// is_header(name, value) -> boolean
static int l_is_header(lua_State *L) {
  size_t name_len, len;
  const char *name = luaL_checklstring(L, 1, &name_len), *value = luaL_checklstring(L, 2, &len);
  lua_pushboolean(L, strlen(name) == name_len && strlen(value) == len && ws_client_header_valid(name, value));
  return 1;
}

// reason_name(code) -> "not_authorized", ...
static int l_reason_name(lua_State *L) {
  lua_pushstring(L, reason_name((uint8_t)luaL_checkinteger(L, 1)));
  return 1;
}

static const luaL_Reg functions[] = {{"new", l_new},
                                     {"is_topic", lua_mqtt_is_topic},
                                     {"is_filter", lua_mqtt_is_filter},
                                     {"is_path", l_is_path},
                                     {"is_header", l_is_header},
                                     {"property_types", property_table_types},
                                     {"property_problem", property_table_problem},
                                     {"reason_name", l_reason_name},
                                     {NULL, NULL}};

int lua_client_open(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
