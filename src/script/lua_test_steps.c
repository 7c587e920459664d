// Steps of decisions, of each client of a test: which hook, rule, setting or
// credentials answered, and what.
#include <lauxlib.h>

#include "base/mem.h"
#include "script/lua_test_impl.h"

#define STEPS_MAX 1000 // of a client; the oldest go

struct step {
  struct list node;
  enum operation operation;
  struct verdict by; // its place is in `bytes`
  uint8_t reason;
  bool dropped, changed;
  struct message *became; // or NULL
  const char *error;
  uint64_t running_us, waiting_us;
  size_t place_len, text_len, filter_len;
  char bytes[]; // place, reason string, filter
};

static struct test_client *find_client(const struct test_broker *t, const struct client *client) {
  list_each(node, &t->clients) {
    struct test_client *c = container_of(node, struct test_client, node);
    if (c->client == client) return c;
  }
  return NULL;
}

static struct step *step_new(const struct observation *what) {
  const char *place = what->by && what->by->place ? what->by->place : "";
  struct slice text = reply_reason_string(what->reply);
  size_t place_len = strlen(place);
  struct step *s = mem_alloc(sizeof *s + place_len + 1 + text.len + what->filter.len);
  *s = (struct step){.operation = what->operation,
                     .reason = what->reply->reason,
                     .dropped = what->reply->drop,
                     .changed = what->changed,
                     .became = what->became ? message_ref((struct message *)(uintptr_t)what->became) : NULL,
                     .error = what->reply->error,
                     .running_us = what->running_us,
                     .waiting_us = what->waiting_us,
                     .place_len = place_len,
                     .text_len = text.len,
                     .filter_len = what->filter.len};
  if (what->by) s->by = *what->by;
  memcpy(s->bytes, place, place_len + 1);
  if (text.len) memcpy(s->bytes + place_len + 1, text.ptr, text.len);
  if (what->filter.len) memcpy(s->bytes + place_len + 1 + text.len, what->filter.ptr, what->filter.len);
  return s;
}

static void drop_first(struct test_client *c) {
  struct step *s = container_of(list_take(&c->steps), struct step, node);
  if (s->became) message_unref(s->became);
  mem_free(s);
  c->step_count--;
}

void test_steps_forget(struct test_client *c) {
  while (c->step_count)
    drop_first(c);
}

void test_steps_init(struct test_client *c) { list_init(&c->steps); }

static void add(struct test_client *c, const struct observation *what) {
  list_append(&c->steps, &step_new(what)->node);
  if (++c->step_count > STEPS_MAX) drop_first(c);
}

void test_steps_seen(struct observer *o, const struct observation *what) {
  struct test_client *c = find_client(container_of(o, struct test_broker, observer), what->client);
  if (c) add(c, what);
}

void test_steps_decided(struct test_client *c, uint8_t packet_type, const struct reply *reply) {
  static const uint8_t operations[16] = {
      [PACKET_CONNECT] = OPERATION_CONNECT,     [PACKET_AUTH] = OPERATION_AUTH,
      [PACKET_SUBSCRIBE] = OPERATION_SUBSCRIBE, [PACKET_UNSUBSCRIBE] = OPERATION_UNSUBSCRIBE,
      [PACKET_PUBLISH] = OPERATION_PUBLISH,
  };
  const struct verdict *by = reply->by;
  if (reply->reason == REASON_SUCCESS) return;
  if (by && by->decider != DECIDER_LIMIT && by->decider != DECIDER_PROTOCOL) return; // it has been seen
  enum operation operation = (enum operation)operations[packet_type];
  add(c, &(struct observation){.operation = operation ? operation : OPERATION_PACKET,
                               .client = c->client,
                               .by = by,
                               .reply = reply});
}

static void set_text(lua_State *L, const char *name, const char *text, size_t len) {
  if (!len) return;
  lua_pushlstring(L, text, len);
  lua_setfield(L, -2, name);
}

static void set_name(lua_State *L, const char *name, const char *text) {
  set_text(L, name, text, text ? strlen(text) : 0);
}

static void set_flag(lua_State *L, const char *name, bool on) {
  if (!on) return;
  lua_pushboolean(L, true);
  lua_setfield(L, -2, name);
}

static void set_us(lua_State *L, const char *name, uint64_t us) {
  lua_pushnumber(L, (lua_Number)us / 1e6);
  lua_setfield(L, -2, name);
}

static void set_became(lua_State *L, const struct message *m) {
  struct packet_message view = message_view(m);
  lua_mqtt_push_message(L, &view);
  lua_setfield(L, -2, "message");
}

static void push_step(lua_State *L, const struct step *s) {
  enum decider decider = (enum decider)s->by.decider;
  lua_createtable(L, 0, 10);
  set_name(L, "operation", operation_name(s->operation));
  set_name(L, "reason", reason_name(s->reason));
  set_name(L, "error", s->error);
  set_text(L, "reason_string", s->bytes + s->place_len + 1, s->text_len);
  set_name(L, "by", decider_name(decider));
  if (decider == DECIDER_HOOK) set_name(L, "hook", s->by.name);
  if (decider == DECIDER_LIMIT) set_name(L, "limit", s->by.name);
  set_text(L, "place", s->bytes, s->place_len);
  set_text(L, "filter", s->bytes + s->place_len + 1 + s->text_len, s->filter_len);
  if (s->became) set_became(L, s->became);
  set_flag(L, "dropped", s->dropped);
  set_flag(L, "changed", s->changed);
  set_flag(L, "own", s->by.own && s->by.rule);
  if (s->by.rule) {
    lua_pushinteger(L, s->by.rule);
    lua_setfield(L, -2, "rule");
  }
  if (decider != DECIDER_HOOK) return;
  set_us(L, "running", s->running_us);
  set_us(L, "waiting", s->waiting_us);
}

// client:steps() -> how what was decided since the last call came about, as a list
static int l_steps(lua_State *L) {
  struct test_client *c = test_client_check(L, 1);
  lua_Integer count = 0;
  lua_createtable(L, (int)c->step_count, 0);
  list_each(node, &c->steps) {
    push_step(L, container_of(node, struct step, node));
    lua_rawseti(L, -2, ++count);
  }
  test_steps_forget(c);
  return 1;
}

const struct luaL_Reg test_step_methods[] = {{"steps", l_steps}, {NULL, NULL}};
