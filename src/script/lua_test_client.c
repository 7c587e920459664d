#include <lauxlib.h>
#include <netdb.h>

#include "base/mem.h"
#include "script/lua_test_impl.h"
#include "script/property_table.h"

struct test_client *test_client_check(lua_State *L, int index) {
  return *(struct test_client **)luaL_checkudata(L, index, TEST_CLIENT_TYPE);
}

static struct test_client *check_client(lua_State *L) { return test_client_check(L, 1); }

bool test_client_closed(const struct test_client *c) {
  return !c->broker || c->dropped || memory_closed(c->peer) ||
         (c->protocol && c->mqtt.state == MQTT_CLIENT_ENDED);
}

bool test_client_open(lua_State *L, const struct test_client *c) {
  if (c->broker && c->broker->running)
    test_raise(L, "a hook cannot use a client of the test that it runs in");
  return !test_client_closed(c);
}

bool test_client_connected(lua_State *L, const struct test_client *c) {
  return test_client_open(L, c) && c->mqtt.state == MQTT_CLIENT_CONNECTED;
}

// Exchange

void test_answer_set(struct test_answer *a, const struct mqtt_client_event *e) {
  a->given = true;
  a->code = e->code;
  a->properties.len = 0;
  buf_add_slice(&a->properties, e->properties.raw);
}

int test_answer_push(lua_State *L, const struct test_answer *a) {
  if (!a->given) return 0;
  struct packet_properties properties = packet_properties_of(buf_slice(&a->properties));
  lua_mqtt_push_answer(L, a->code, &properties);
  return 1;
}

static void connected(struct test_client *c, const struct mqtt_client_event *e) {
  test_answer_set(&c->connack, e);
  c->session_present = e->session_present;
  c->keep_alive_ms = c->mqtt.keep_alive * UINT64_C(1000);
}

static void handle(struct test_client *c, const struct mqtt_client_event *e) {
  switch (e->type) {
  case MQTT_CLIENT_CONNACK: connected(c, e); break;
  case MQTT_CLIENT_DISCONNECTED: test_answer_set(&c->farewell, e); break;
  case MQTT_CLIENT_MESSAGE: inbox_add(&c->inbox, e); break;
  case MQTT_CLIENT_ERROR: c->error = e->error; break;
  default: break;
  }
  test_request_answered(c, e);
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

void test_client_settle(lua_State *L, struct test_client *c) {
  send_waiting(c);
  test_check_settled(L, test_broker_settle(L, c->broker));
}

uint64_t test_client_ping_due(const struct test_client *c) {
  bool pings = c->auto_ping && c->keep_alive_ms && c->protocol && c->mqtt.state == MQTT_CLIENT_CONNECTED;
  return pings && !test_client_closed(c) ? c->sent_ms + c->keep_alive_ms : TIMER_NEVER;
}

void test_client_ping_if_due(struct test_client *c) {
  if (test_client_ping_due(c) <= c->broker->loop->clock.now_ms) mqtt_client_ping(&c->mqtt);
}

// client:receive() -> message | nil
static int l_receive(lua_State *L) {
  struct test_client *c = check_client(L);
  if (test_client_open(L, c)) test_client_settle(L, c);
  return inbox_push(L, &c->inbox) ? 1 : 0;
}

// The end, and what is no protocol

// client:disconnect(reason code, properties)
static int l_disconnect(lua_State *L) {
  struct test_client *c = check_client(L);
  enum reason reason = (enum reason)luaL_optinteger(L, 2, REASON_SUCCESS);
  struct packet_properties properties = property_table_read(L, 3, PACKET_DISCONNECT);
  if (!test_client_connected(L, c)) return 0;
  mqtt_client_disconnect(&c->mqtt, reason, &properties);
  send_waiting(c);
  memory_shutdown(c->peer);
  test_client_settle(L, c);
  return 0;
}

// client:drop()
static int l_drop(lua_State *L) {
  struct test_client *c = check_client(L);
  if (!test_client_open(L, c)) return 0;
  c->dropped = true;
  memory_reset(c->peer);
  test_client_settle(L, c);
  return 0;
}

// client:half_close()
static int l_half_close(lua_State *L) {
  struct test_client *c = check_client(L);
  if (!test_client_open(L, c)) return 0;
  send_waiting(c);
  memory_shutdown(c->peer);
  test_client_settle(L, c);
  return 0;
}

// client:send_raw(bytes) -> true | nil
static int l_send_raw(lua_State *L) {
  struct test_client *c = check_client(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  if (!test_client_open(L, c)) return 0;
  buf_add(&c->mqtt.out, bytes, len);
  test_client_settle(L, c);
  lua_pushboolean(L, true);
  return 1;
}

// client:raw() -> bytes received since the last call
static int l_raw(lua_State *L) {
  struct test_client *c = check_client(L);
  if (test_client_open(L, c)) test_client_settle(L, c);
  lua_mqtt_push_slice(L, buf_slice(&c->raw));
  c->raw.len = 0;
  return 1;
}

// client:set_window(bytes): it stops reading, and the broker can write that much. Without bytes it reads
// again.
static int l_set_window(lua_State *L) {
  struct test_client *c = check_client(L);
  lua_Integer bytes = luaL_optinteger(L, 2, -1);
  if (!test_client_open(L, c)) return 0;
  c->stalled = bytes >= 0;
  memory_set_window(c->peer, bytes >= 0 ? (size_t)bytes : SIZE_MAX);
  test_client_settle(L, c);
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
  lua_pushboolean(L, test_client_closed(c));
  const char *error = c->client ? client_error(c->client) : NULL;
  if (!error) error = c->error;
  if (!error) return 1;
  lua_pushstring(L, error);
  return 2;
}

// client:farewell() -> the broker's DISCONNECT as an answer | nil
static int l_farewell(lua_State *L) { return test_answer_push(L, &check_client(L)->farewell); }

// client:connack() -> answer, session present | nil
static int l_connack(lua_State *L) {
  const struct test_client *c = check_client(L);
  if (!test_answer_push(L, &c->connack)) return 0;
  lua_pushboolean(L, c->session_present);
  return 2;
}

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
  test_requests_release(c);
  test_steps_forget(c);
  buf_release(&c->connack.properties);
  buf_release(&c->farewell.properties);
  mem_free(c);
  return 0;
}

static struct test_client *client_make(void) {
  struct test_client *c = mem_calloc(1, sizeof *c);
  c->auto_ping = true;
  list_init(&c->node);
  list_init(&c->requests);
  test_steps_init(c);
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

// broker:open([remote address[, facts]]): facts are fields of `client` that its connection does not have
int test_broker_open(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  struct address remote = read_remote(L, 2);
  lua_settop(L, 3);
  struct test_client **box = lua_newuserdatauv(L, sizeof *box, 2);
  *box = NULL;
  luaL_setmetatable(L, TEST_CLIENT_TYPE);
  struct test_client *c = *box = client_make();
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1); // the broker lives as long as a client can be asked
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 2);
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
  client_tell(L, c->client, 3); // also that there is nothing: another client may have been there
  return 1;
}

static const luaL_Reg methods[] = {
    {"receive", l_receive},
    {"disconnect", l_disconnect},
    {"drop", l_drop},
    {"half_close", l_half_close},
    {"send_raw", l_send_raw},
    {"raw", l_raw},
    {"set_window", l_set_window},
    {"silence", l_silence},
    {"closed", l_closed},
    {"farewell", l_farewell},
    {"connack", l_connack},
    {"version", l_version},
    {"__gc", l_gc},
    {NULL, NULL},
};

void test_client_define(lua_State *L) {
  luaL_newmetatable(L, TEST_CLIENT_TYPE);
  luaL_setfuncs(L, methods, 0);
  luaL_setfuncs(L, test_request_methods, 0);
  luaL_setfuncs(L, test_step_methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
