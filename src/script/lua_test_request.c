// Requests: a packet goes out, the broker runs until it is at rest, and usually the answer is there. One that
// is not (a hook waits, the publisher is held up) is kept until client:answer() finds it. The results are
// tables:
//
//   { kind = "publish",                      or "connect", "auth", "subscribe", "unsubscribe"
//     reason = "not_authorized", error = nil what the broker decided, where it refused
//     said = { code = 135, ... },            MQTT 5: what its packet said; of CONNACK in any version
//     codes = { 0 } }                        of SUBACK and UNSUBACK
#include "base/mem.h"
#include "packet/reason.h"
#include "script/lua_test_impl.h"
#include "script/property_table.h"

static struct test_request *request_new(struct test_client *c, uint8_t type, uint16_t id) {
  struct test_request *r = mem_calloc(1, sizeof *r);
  r->type = type;
  r->id = id;
  list_append(&c->requests, &r->node);
  return r;
}

static void request_free(struct test_request *r) {
  list_remove(&r->node);
  buf_release(&r->codes);
  buf_release(&r->said.properties);
  mem_free(r);
}

void test_requests_release(struct test_client *c) {
  for (struct list *node; (node = list_take(&c->requests));)
    request_free(container_of(node, struct test_request, node));
}

// --- what comes back ---

// AUTH goes on with what CONNECT began.
static bool is_of_type(const struct test_request *r, uint8_t type) {
  return r->type == type || (r->type == PACKET_AUTH && type == PACKET_CONNECT);
}

void test_request_decided(struct test_client *c, uint8_t packet_type, uint16_t id,
                          const struct reply *reply) {
  list_each(node, &c->requests) {
    struct test_request *r = container_of(node, struct test_request, node);
    if (!is_of_type(r, packet_type) || (id ? r->id != id : r->decision.given)) continue;
    struct test_decision *d = &r->decision;
    *d = (struct test_decision){.given = true,
                                .refused = reply->reason != REASON_SUCCESS,
                                .reason = reply->reason,
                                .failed = reply->error != NULL};
    if (reply->error) snprintf(d->error, sizeof d->error, "%s", reply->error);
    return;
  }
}

static bool answers(const struct test_request *r, const struct mqtt_client_event *e) {
  switch (e->type) {
  case MQTT_CLIENT_CONNACK:
  case MQTT_CLIENT_AUTH: return r->type == PACKET_CONNECT || r->type == PACKET_AUTH;
  case MQTT_CLIENT_SUBACK: return r->type == PACKET_SUBSCRIBE && r->id == e->id;
  case MQTT_CLIENT_UNSUBACK: return r->type == PACKET_UNSUBSCRIBE && r->id == e->id;
  case MQTT_CLIENT_PUBLISHED: return r->type == PACKET_PUBLISH && r->id == e->id;
  default: return false;
  }
}

void test_request_answered(struct test_client *c, const struct mqtt_client_event *e) {
  list_each(node, &c->requests) {
    struct test_request *r = container_of(node, struct test_request, node);
    if (r->acked || !answers(r, e)) continue;
    r->acked = true;
    r->session_present = e->session_present;
    buf_add_slice(&r->codes, e->codes);
    test_answer_set(&r->said, e);
    return;
  }
}

// --- results ---

static bool is_over(const struct test_client *c, const struct test_request *r) {
  if (r->acked || r->decision.refused) return true;
  bool needs_no_answer = r->type == PACKET_PUBLISH && !r->id;
  return needs_no_answer && !test_client_closed(c) && (r->decision.given || client_is_idle(c->client));
}

static const char *kind_of(const struct test_request *r) {
  switch (r->type) {
  case PACKET_CONNECT: return "connect";
  case PACKET_AUTH: return "auth";
  case PACKET_SUBSCRIBE: return "subscribe";
  case PACKET_UNSUBSCRIBE: return "unsubscribe";
  default: return "publish";
  }
}

static void push_decision(lua_State *L, const struct test_decision *d) {
  if (!d->refused) return;
  lua_pushstring(L, reason_name(d->reason));
  lua_setfield(L, -2, "reason");
  if (!d->failed) return;
  lua_pushstring(L, d->error);
  lua_setfield(L, -2, "error");
}

// Before MQTT 5 only CONNACK says something.
static void push_said(lua_State *L, const struct test_client *c, const struct test_request *r) {
  bool login = r->type == PACKET_CONNECT || r->type == PACKET_AUTH;
  if (!login && c->mqtt.version != MQTT_5) return;
  if (test_answer_push(L, &r->said)) lua_setfield(L, -2, "said");
}

static void push_codes(lua_State *L, const struct test_request *r) {
  if (r->type != PACKET_SUBSCRIBE && r->type != PACKET_UNSUBSCRIBE) return;
  lua_mqtt_push_codes(L, buf_slice(&r->codes));
  lua_setfield(L, -2, "codes");
}

static void push_result(lua_State *L, const struct test_client *c, const struct test_request *r) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, kind_of(r));
  lua_setfield(L, -2, "kind");
  lua_pushboolean(L, r->acked);
  lua_setfield(L, -2, "acked");
  lua_pushboolean(L, r->session_present);
  lua_setfield(L, -2, "session_present");
  push_decision(L, &r->decision);
  push_said(L, c, r);
  push_codes(L, r);
}

// The result of one that is over; or nothing, and the request is kept while it may still be answered.
static int take(lua_State *L, struct test_client *c, struct test_request *r) {
  bool over = is_over(c, r);
  if (over) push_result(L, c, r);
  if (over || test_client_closed(c)) request_free(r);
  return over;
}

static int ask(lua_State *L, struct test_client *c, uint8_t type, uint16_t id) {
  struct test_request *r = request_new(c, type, id);
  test_client_settle(L, c);
  return take(L, c, r);
}

// client:answer() -> the result of the oldest request that had none | nil, whether there is one
static int l_answer(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  if (test_client_open(L, c)) test_client_settle(L, c);
  bool any = !list_empty(&c->requests);
  lua_settop(L, 1);
  if (any && take(L, c, container_of(c->requests.next, struct test_request, node))) return 1;
  lua_pushnil(L);
  lua_pushboolean(L, any);
  return 2;
}

// --- the requests: each answers its result, or nothing when there is none yet ---

// client:connect(options)
static int l_connect(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (!test_client_open(L, c)) return 0;
  struct mqtt_client_options options = lua_mqtt_options(L, 2);
  mqtt_client_release(&c->mqtt);
  mqtt_client_init(&c->mqtt, &options);
  c->protocol = true;
  mqtt_client_connect(&c->mqtt);
  test_requests_release(c);
  c->connack.given = c->farewell.given = false;
  return ask(L, c, PACKET_CONNECT, 0);
}

// client:auth(reason code, properties)
static int l_auth(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  enum reason reason = (enum reason)luaL_checkinteger(L, 2);
  struct packet_properties properties = property_table_read(L, 3, PACKET_AUTH);
  if (!test_client_open(L, c) || !c->mqtt.authenticates) return 0;
  mqtt_client_auth(&c->mqtt, reason, &properties);
  return ask(L, c, PACKET_AUTH, 0);
}

// client:subscribe(filters, options byte, properties)
static int l_subscribe(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  size_t count;
  struct packet_subscription *list = lua_mqtt_subscriptions(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 4, PACKET_SUBSCRIBE);
  if (!test_client_connected(L, c)) return 0;
  return ask(L, c, PACKET_SUBSCRIBE, mqtt_client_subscribe(&c->mqtt, list, count, &properties));
}

// client:unsubscribe(filters, properties)
static int l_unsubscribe(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  size_t count;
  struct slice *filters = lua_mqtt_filters(L, 2, &count);
  struct packet_properties properties = property_table_read(L, 3, PACKET_UNSUBSCRIBE);
  if (!test_client_connected(L, c)) return 0;
  return ask(L, c, PACKET_UNSUBSCRIBE, mqtt_client_unsubscribe(&c->mqtt, filters, count, &properties));
}

// client:publish(topic, payload, qos, retain, properties); also false, and why it was not sent
static int l_publish(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  struct packet_message m = lua_mqtt_message(L, 2);
  m.properties = property_table_read(L, 6, PACKET_PUBLISH);
  if (!test_client_connected(L, c)) return 0;
  const char *refusal = mqtt_client_refuses(&c->mqtt, &m);
  if (!refusal) return ask(L, c, PACKET_PUBLISH, mqtt_client_publish(&c->mqtt, &m));
  lua_pushboolean(L, false);
  lua_pushstring(L, refusal);
  return 2;
}

const luaL_Reg test_request_methods[] = {
    {"connect", l_connect},
    {"auth", l_auth},
    {"subscribe", l_subscribe},
    {"unsubscribe", l_unsubscribe},
    {"publish", l_publish},
    {"answer", l_answer},
    {NULL, NULL},
};
