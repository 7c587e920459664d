#include <lauxlib.h>
#include <netdb.h>

#include "base/mem.h"
#include "script/lua_test_impl.h"
#include "script/property_table.h"

static struct test_client *check_client(lua_State *L) {
  return *(struct test_client **)luaL_checkudata(L, 1, TEST_CLIENT_TYPE);
}

static bool is_closed(const struct test_client *c) {
  return !c->broker || c->dropped || memory_closed(c->peer) ||
         (c->protocol && c->mqtt.state == MQTT_CLIENT_ENDED);
}

// Whether it can ask the broker for something. Raises when a hook calls.
static bool is_open(lua_State *L, const struct test_client *c) {
  if (c->broker && c->broker->running)
    test_raise(L, "a hook cannot use a client of the test that it runs in");
  return !is_closed(c);
}

static bool is_connected(lua_State *L, const struct test_client *c) {
  return is_open(L, c) && c->mqtt.state == MQTT_CLIENT_CONNECTED;
}

// Exchange

static void answer_set(struct test_answer *a, const struct mqtt_client_event *e) {
  a->given = true;
  a->code = e->code;
  a->properties.len = 0;
  buf_add_slice(&a->properties, e->properties.raw);
}

static void on_ack(struct test_client *c, const struct mqtt_client_event *e) {
  if (e->id != c->awaited) return;
  c->acked = e->id;
  c->codes.len = 0;
  buf_add_slice(&c->codes, e->codes);
  answer_set(&c->ack, e);
}

static void handle(struct test_client *c, const struct mqtt_client_event *e) {
  switch (e->type) {
  case MQTT_CLIENT_CONNACK:
    answer_set(&c->connack, e);
    c->session_present = e->session_present;
    c->keep_alive_ms = c->mqtt.keep_alive * UINT64_C(1000);
    break;
  case MQTT_CLIENT_AUTH: answer_set(&c->auth, e); break;
  case MQTT_CLIENT_DISCONNECTED: answer_set(&c->farewell, e); break;
  case MQTT_CLIENT_SUBACK:
  case MQTT_CLIENT_UNSUBACK:
  case MQTT_CLIENT_PUBLISHED: on_ack(c, e); break;
  case MQTT_CLIENT_MESSAGE: inbox_add(&c->inbox, e); break;
  case MQTT_CLIENT_ERROR: c->error = e->error; break;
  default: break;
  }
}

static void record(struct test_client *c, struct slice bytes) {
  size_t room = TEST_RAW_MAX - c->raw.len;
  buf_add(&c->raw, bytes.ptr, bytes.len < room ? bytes.len : room);
}

static bool take_received(struct test_client *c) {
  struct slice bytes = memory_received(c->peer);
  if (!bytes.len || c->stalled || c->dropped) return false;
  record(c, bytes);
  if (c->protocol) mqtt_client_feed(&c->mqtt, bytes);
  memory_consume(c->peer, bytes.len);
  struct mqtt_client_event e;
  while (mqtt_client_next(&c->mqtt, &e))
    handle(c, &e);
  return true;
}

static bool send_waiting(struct test_client *c) {
  struct buf *out = &c->mqtt.out;
  if (!out->len) return false;
  memory_send(c->peer, buf_slice(out));
  out->len = 0;
  c->sent_ms = c->broker->loop->clock.now_ms;
  return true;
}

bool test_client_exchange(struct test_client *c) {
  bool received = take_received(c);
  return send_waiting(c) || received;
}

static void settle(lua_State *L, struct test_client *c) {
  send_waiting(c);
  test_check_settled(L, test_broker_settle(L, c->broker));
}

uint64_t test_client_ping_due(const struct test_client *c) {
  bool pings = c->auto_ping && c->keep_alive_ms && c->protocol && c->mqtt.state == MQTT_CLIENT_CONNECTED;
  return pings && !is_closed(c) ? c->sent_ms + c->keep_alive_ms : TIMER_NEVER;
}

void test_client_ping_if_due(struct test_client *c) {
  if (test_client_ping_due(c) <= c->broker->loop->clock.now_ms) mqtt_client_ping(&c->mqtt);
}

// Requests. Each one runs the broker until it is at rest; what it decided is asked for with
// client:decision().

// An answer as a table, or nil.
static int push_answer(lua_State *L, const struct test_answer *a) {
  if (!a->given) return 0;
  struct packet_properties properties = packet_properties_of(buf_slice(&a->properties));
  lua_mqtt_push_answer(L, a->code, &properties);
  return 1;
}

// An AUTH that asks for more, or what CONNACK or the last AUTH said.
static int push_connack(lua_State *L, struct test_client *c) {
  if (c->auth.given) return push_answer(L, &c->auth);
  if (!push_answer(L, &c->connack)) return 0;
  lua_pushboolean(L, c->session_present);
  lua_setfield(L, -2, "session_present");
  return 1;
}

// client:connect(options) -> answer | nil: no answer
static int l_connect(lua_State *L) {
  struct test_client *c = check_client(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  c->decision.given = false;
  if (!is_open(L, c)) return 0;
  struct mqtt_client_options options = lua_mqtt_options(L, 2);
  mqtt_client_release(&c->mqtt);
  mqtt_client_init(&c->mqtt, &options);
  c->protocol = true;
  mqtt_client_connect(&c->mqtt);
  c->auth.given = c->connack.given = c->farewell.given = false;
  settle(L, c);
  return push_connack(L, c);
}

// client:auth(reason code, properties) -> answer | nil: no answer
static int l_auth(lua_State *L) {
  struct test_client *c = check_client(L);
  enum reason reason = (enum reason)luaL_checkinteger(L, 2);
  struct packet_properties properties = property_table_read(L, 3, PACKET_AUTH);
  c->decision.given = c->auth.given = c->connack.given = false;
  if (!is_open(L, c) || !c->mqtt.authenticates) return 0;
  mqtt_client_auth(&c->mqtt, reason, &properties);
  settle(L, c);
  return push_connack(L, c);
}

// Whether a request can be sent; what was decided before is forgotten.
static bool is_ready(lua_State *L, struct test_client *c) {
  c->decision.given = false;
  return is_connected(L, c);
}

// Waits for the ack of `id`; 0 needs none.
static bool await(lua_State *L, struct test_client *c, uint16_t id) {
  c->awaited = id;
  c->acked = 0;
  c->ack.given = false;
  settle(L, c);
  return id ? c->acked == id : !is_closed(c);
}

// Pushes the answer behind what is at the top; before MQTT 5 none.
static int with_answer(lua_State *L, const struct test_client *c) {
  return c->mqtt.version == MQTT_5 ? 1 + push_answer(L, &c->ack) : 1;
}

// client:subscribe(filters, options byte, properties) -> codes, answer | nil: no answer
static int l_subscribe(lua_State *L) {
  struct test_client *c = check_client(L);
  size_t count;
  struct packet_subscription *list = lua_mqtt_subscriptions(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 4, PACKET_SUBSCRIBE);
  if (!is_ready(L, c) || !await(L, c, mqtt_client_subscribe(&c->mqtt, list, count, &properties))) return 0;
  lua_mqtt_push_codes(L, buf_slice(&c->codes));
  return with_answer(L, c);
}

// client:unsubscribe(filters, properties) -> codes (before MQTT 5 none), answer | nil
static int l_unsubscribe(lua_State *L) {
  struct test_client *c = check_client(L);
  size_t count;
  struct slice *filters = lua_mqtt_filters(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 3, PACKET_UNSUBSCRIBE);
  if (!is_ready(L, c) || !await(L, c, mqtt_client_unsubscribe(&c->mqtt, filters, count, &properties)))
    return 0;
  lua_mqtt_push_codes(L, buf_slice(&c->codes));
  return with_answer(L, c);
}

// client:publish(topic, payload, qos, retain, properties) -> true, answer | nil | false, why it was not sent
static int l_publish(lua_State *L) {
  struct test_client *c = check_client(L);
  struct packet_message m = lua_mqtt_message(L, 2);
  m.properties = property_table_read(L, 6, PACKET_PUBLISH);
  if (!is_ready(L, c)) return 0;
  const char *refusal = mqtt_client_refuses(&c->mqtt, &m);
  if (refusal) {
    lua_pushboolean(L, false);
    lua_pushstring(L, refusal);
    return 2;
  }
  if (!await(L, c, mqtt_client_publish(&c->mqtt, &m))) return 0;
  lua_pushboolean(L, true);
  return with_answer(L, c);
}

// client:decision() -> reason, error | nil: since the last request nothing was refused
static int l_decision(lua_State *L) {
  const struct test_decision *d = &check_client(L)->decision;
  if (!d->given) return 0;
  lua_pushstring(L, reason_name(d->reason));
  if (!d->failed) return 1;
  lua_pushstring(L, d->error);
  return 2;
}

// client:receive() -> message | nil
static int l_receive(lua_State *L) {
  struct test_client *c = check_client(L);
  if (is_open(L, c)) settle(L, c);
  return inbox_push(L, &c->inbox) ? 1 : 0;
}

// The end, and what is no protocol

// client:disconnect(reason code, properties)
static int l_disconnect(lua_State *L) {
  struct test_client *c = check_client(L);
  enum reason reason = (enum reason)luaL_optinteger(L, 2, REASON_SUCCESS);
  struct packet_properties properties = property_table_read(L, 3, PACKET_DISCONNECT);
  if (!is_connected(L, c)) return 0;
  mqtt_client_disconnect(&c->mqtt, reason, &properties);
  send_waiting(c);
  memory_shutdown(c->peer);
  settle(L, c);
  return 0;
}

// client:drop()
static int l_drop(lua_State *L) {
  struct test_client *c = check_client(L);
  if (!is_open(L, c)) return 0;
  c->dropped = true;
  memory_reset(c->peer);
  settle(L, c);
  return 0;
}

// client:half_close()
static int l_half_close(lua_State *L) {
  struct test_client *c = check_client(L);
  if (!is_open(L, c)) return 0;
  send_waiting(c);
  memory_shutdown(c->peer);
  settle(L, c);
  return 0;
}

// client:send_raw(bytes) -> true | nil
static int l_send_raw(lua_State *L) {
  struct test_client *c = check_client(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  c->decision.given = false;
  if (!is_open(L, c)) return 0;
  buf_add(&c->mqtt.out, bytes, len);
  settle(L, c);
  lua_pushboolean(L, true);
  return 1;
}

// client:raw() -> bytes received since the last call
static int l_raw(lua_State *L) {
  struct test_client *c = check_client(L);
  if (is_open(L, c)) settle(L, c);
  lua_mqtt_push_slice(L, buf_slice(&c->raw));
  c->raw.len = 0;
  return 1;
}

// client:set_window(bytes): it stops reading, and the broker can write that much. Without bytes it reads
// again.
static int l_set_window(lua_State *L) {
  struct test_client *c = check_client(L);
  lua_Integer bytes = luaL_optinteger(L, 2, -1);
  if (!is_open(L, c)) return 0;
  c->stalled = bytes >= 0;
  memory_set_window(c->peer, bytes >= 0 ? (size_t)bytes : SIZE_MAX);
  settle(L, c);
  return 0;
}

// client:silence(on)
static int l_silence(lua_State *L) {
  struct test_client *c = check_client(L);
  c->auto_ping = !lua_toboolean(L, 2);
  return 0;
}

// client:closed() -> boolean, why | nil
static int l_closed(lua_State *L) {
  const struct test_client *c = check_client(L);
  lua_pushboolean(L, is_closed(c));
  const char *error = c->client ? client_error(c->client) : NULL;
  if (!error) error = c->error;
  if (!error) return 1;
  lua_pushstring(L, error);
  return 2;
}

// client:farewell() -> the broker's DISCONNECT as an answer | nil
static int l_farewell(lua_State *L) { return push_answer(L, &check_client(L)->farewell); }

// client:version() -> 3, 4 or 5
static int l_version(lua_State *L) {
  lua_pushinteger(L, check_client(L)->mqtt.version);
  return 1;
}

// Life

void test_client_let_go(struct test_client *c) {
  if (c->client && client_error(c->client)) c->error = client_error(c->client);
  if (c->client) client_unref(c->client);
  c->client = NULL;
  c->broker = NULL;
  list_remove(&c->node);
}

static int l_gc(lua_State *L) {
  struct test_client **box = luaL_checkudata(L, 1, TEST_CLIENT_TYPE), *c = *box;
  if (!c) return 0;
  *box = NULL;
  if (c->peer) memory_peer_free(c->peer);
  test_client_let_go(c);
  mqtt_client_release(&c->mqtt);
  inbox_release(&c->inbox);
  buf_release(&c->raw);
  buf_release(&c->codes);
  buf_release(&c->ack.properties);
  buf_release(&c->connack.properties);
  buf_release(&c->auth.properties);
  buf_release(&c->farewell.properties);
  mem_free(c);
  return 0;
}

static struct test_client *client_make(void) {
  struct test_client *c = mem_calloc(1, sizeof *c);
  c->auto_ping = true;
  list_init(&c->node);
  inbox_init(&c->inbox);
  mqtt_client_init(&c->mqtt, &(struct mqtt_client_options){0});
  return c;
}

// Who the other end is said to be: an address, or nothing at all.
static struct address read_remote(lua_State *L, int index) {
  struct address remote = {.family = AF_UNSPEC};
  struct addrinfo *list = NULL;
  if (lua_isnoneornil(L, index)) return remote;
  const char *problem = address_resolve(lua_pushfstring(L, "tcp://%s", luaL_checkstring(L, index)), &list);
  if (problem) luaL_argerror(L, index, problem);
  address_from(&remote, list->ai_addr);
  freeaddrinfo(list);
  return remote;
}

// broker:open([remote address])
int test_broker_open(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  struct address remote = read_remote(L, 2);
  struct test_client **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, TEST_CLIENT_TYPE);
  struct test_client *c = *box = client_make();
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1); // the broker lives as long as a client can be asked
  struct conn *conn = memory_open(t->loop, &c->peer);
  lua_State *outer = script_enter(t->host->script, L);
  t->running = true;
  t->opened = NULL;
  shard_connect_from(test_shard(t), conn, &remote);
  t->running = false;
  script_leave(t->host->script, outer);
  c->client = client_ref(t->opened);
  c->broker = t;
  c->sent_ms = t->loop->clock.now_ms;
  list_append(&t->clients, &c->node);
  return 1;
}

static const luaL_Reg methods[] = {
    {"connect", l_connect},
    {"subscribe", l_subscribe},
    {"unsubscribe", l_unsubscribe},
    {"publish", l_publish},
    {"decision", l_decision},
    {"receive", l_receive},
    {"disconnect", l_disconnect},
    {"drop", l_drop},
    {"half_close", l_half_close},
    {"send_raw", l_send_raw},
    {"raw", l_raw},
    {"set_window", l_set_window},
    {"silence", l_silence},
    {"closed", l_closed},
    {"auth", l_auth},
    {"farewell", l_farewell},
    {"version", l_version},
    {"__gc", l_gc},
    {NULL, NULL},
};

void test_client_define(lua_State *L) {
  luaL_newmetatable(L, TEST_CLIENT_TYPE);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
