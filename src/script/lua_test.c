#include "script/lua_test.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "script/lua_test_impl.h"
#include "script/reload.h"

#define START_MS  1000000
#define SEED      UINT64_C(0x6c75616d71) // the same for every broker
#define TURNS_MAX 1000000

struct captured {
  struct list node;
  enum log_event event;
  size_t id_len, text_len;
  const char *error;
  uint8_t bytes[]; // client id, text
};

struct shard *test_shard(const struct test_broker *t) {
  return t->host->shard;
}

int test_raise(lua_State *L, const char *message) {
  lua_Debug where;
  for (int level = 1; lua_getstack(L, level, &where); level++) {
    lua_getinfo(L, "Sl", &where);
    if (where.currentline < 0 || strstr(where.source, "luamq/test.lua")) continue;
    lua_pushfstring(L, "%s:%d: %s", where.short_src, where.currentline, message);
    return lua_error(L);
  }
  return luaL_error(L, "%s", message);
}

// For what hooks may ask as well.
static struct test_broker *check_alive(lua_State *L, int index) {
  struct test_broker *t = luaL_checkudata(L, index, TEST_BROKER_TYPE);
  if (!t->loop) test_raise(L, "the broker is stopped");
  return t;
}

struct test_broker *test_broker_check(lua_State *L, int index) {
  struct test_broker *t = check_alive(L, index);
  if (t->running) test_raise(L, "a hook cannot use the broker of the test that it runs in");
  return t;
}

// The log. The script's backend keeps its place, with a table in which log is ours.

static struct test_broker *broker_of(struct backend *b) {
  return container_of((struct backend_ops *)(uintptr_t)b->ops, struct test_broker, ops);
}

static void capture(struct test_broker *t, const struct log_record *r) {
  struct buf text = BUF_INIT;
  if (r->message)
    packet_format_message(r->message, &text);
  else if (r->packet)
    packet_format(r->packet, r->version, &text);
  struct slice id = r->client ? client_id(r->client) : slice_of(NULL, 0);
  struct captured *e = mem_alloc(sizeof *e + id.len + text.len);
  *e = (struct captured){.event = r->event, .id_len = id.len, .text_len = text.len, .error = r->error};
  if (id.len) memcpy(e->bytes, id.ptr, id.len);
  if (text.len) memcpy(e->bytes + id.len, text.ptr, text.len);
  list_append(&t->events, &e->node);
  buf_release(&text);
}

static void log_event(struct backend *b, const struct log_record *r) {
  struct test_broker *t = broker_of(b);
  if (r->event == EVENT_NEW_CONNECTION) t->opened = r->client;
  if (t->capturing) capture(t, r);
  if (t->log_mask >> r->event & 1) t->log(b, r);
}

// The lines go to a stream in memory that stays when the broker has stopped.
static void direct_log(struct test_broker *t) {
  test_shard(t)->log_mask = t->capturing ? EVENT_ALL : t->log_mask | 1u << EVENT_NEW_CONNECTION;
  script_log(t->host->script)->out = t->capturing ? t->lines : stderr;
}

// Of each script that comes into force.
static void watch_log(void *arg) {
  struct test_broker *t = arg;
  struct shard *s = test_shard(t);
  t->ops = *s->backend->ops;
  t->log = t->ops.log;
  t->ops.log = log_event;
  s->backend->ops = &t->ops;
  t->log_mask = s->log_mask;
  direct_log(t);
}

static void forget_lines(struct test_broker *t) {
  if (t->lines) fclose(t->lines);
  t->lines = NULL;
  free(t->text);
  t->text = NULL;
}

static void forget_events(struct test_broker *t) {
  for (struct list *node; (node = list_take(&t->events));)
    mem_free(container_of(node, struct captured, node));
}

// Decisions

static void decided(void *arg, struct client *client, uint8_t packet_type, uint16_t id,
                    const struct reply *reply) {
  struct test_broker *t = arg;
  list_each(node, &t->clients) {
    struct test_client *c = container_of(node, struct test_client, node);
    if (c->client != client) continue;
    test_request_decided(c, packet_type, id, reply);
    test_steps_decided(c, packet_type, reply);
  }
}

// Turns

static bool step(struct test_broker *t) {
  bool any = shard_turn(test_shard(t), false);
  list_each(node, &t->clients) any |= test_client_exchange(container_of(node, struct test_client, node));
  return any;
}

// In real time: whether a hook or the check of a password is to be waited for.
static bool is_busy(const struct test_broker *t) {
  if (test_shard(t)->stats.password_checks_waiting) return true;
  list_each(node, &t->host->scripts) {
    if (hook_any_waits(container_of(node, struct script, node))) return true;
  }
  return false;
}

// Hooks may wait for a network, and are waited for: their time is bounded.
static bool settle_in_time(struct test_broker *t) {
  struct shard *s = test_shard(t);
  bool any;
  do {
    any = !list_empty(&t->loop->ready) || !list_empty(&s->work) || !list_empty(&s->backlog);
    shard_turn(s, !any && is_busy(t));
    list_each(node, &t->clients) any |= test_client_exchange(container_of(node, struct test_client, node));
  } while (any || is_busy(t));
  return true;
}

static bool settle(struct test_broker *t) {
  uint32_t turns = 0;
  if (t->loop->base) return settle_in_time(t);
  while (step(t))
    if (++turns == TURNS_MAX) return false;
  return true;
}

bool test_broker_settle(lua_State *L, struct test_broker *t) {
  lua_State *outer = script_enter(t->host->script, L);
  t->running = true;
  bool settled = settle(t);
  t->running = false;
  script_leave(t->host->script, outer);
  return settled;
}

int test_check_settled(lua_State *L, bool settled) {
  return settled ? 0 : test_raise(L, "the broker does not come to rest: it is busy without time passing");
}

// broker:run()
static int l_run(lua_State *L) {
  return test_check_settled(L, test_broker_settle(L, test_broker_check(L, 1)));
}

// broker:turn() -> whether anything happened
static int l_turn(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  lua_State *outer = script_enter(t->host->script, L);
  t->running = true;
  bool any = step(t);
  t->running = false;
  script_leave(t->host->script, outer);
  lua_pushboolean(L, any);
  return 1;
}

// The next moment at which something may happen, at most `end`.
static uint64_t next_moment(const struct test_broker *t, uint64_t end) {
  uint64_t now = t->loop->clock.now_ms, next = timers_next(&t->loop->timers);
  list_each(node, &t->clients) {
    uint64_t due = test_client_ping_due(container_of(node, struct test_client, node));
    if (due < next) next = due;
  }
  if (next <= now) next = now + 1;
  return next < end ? next : end;
}

static bool advance_to(struct test_broker *t, uint64_t end) {
  bool settled = settle(t);
  while (settled && t->loop->clock.now_ms < end) {
    clock_advance(&t->loop->clock, next_moment(t, end) - t->loop->clock.now_ms);
    list_each(node, &t->clients) test_client_ping_if_due(container_of(node, struct test_client, node));
    settled = settle(t);
  }
  return settled;
}

// broker:advance(seconds)
static int l_advance(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  lua_Number seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, seconds >= 0 && seconds <= 1e10, 2, "expected a time in seconds");
  if (t->loop->base) test_raise(L, "the time of this broker is real: it cannot be moved");
  uint64_t end = t->loop->clock.now_ms + (uint64_t)llround(seconds * 1000);
  lua_State *outer = script_enter(t->host->script, L);
  t->running = true;
  bool settled = advance_to(t, end);
  t->running = false;
  script_leave(t->host->script, outer);
  return test_check_settled(L, settled);
}

// broker:now() -> seconds since its start
static int l_now(lua_State *L) {
  const struct test_broker *t = check_alive(L, 1);
  lua_pushnumber(L, (lua_Number)(t->loop->clock.now_ms - t->start_ms) / 1000);
  return 1;
}

// What happened

// broker:capture(on)
static int l_capture(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  bool on = lua_toboolean(L, 2);
  if (on && !t->lines) t->lines = open_memstream(&t->text, &t->text_len);
  if (on && !t->lines) return luaL_error(L, "not enough memory");
  t->capturing = on;
  if (t->host->script) direct_log(t);
  return 0;
}

static void push_event(lua_State *L, const struct captured *e) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, event_name(e->event));
  lua_setfield(L, -2, "event");
  lua_pushlstring(L, (const char *)e->bytes, e->id_len);
  lua_setfield(L, -2, "client");
  if (e->text_len) {
    lua_pushlstring(L, (const char *)e->bytes + e->id_len, e->text_len);
    lua_setfield(L, -2, "text");
  }
  if (e->error) {
    lua_pushstring(L, e->error);
    lua_setfield(L, -2, "error");
  }
}

// broker:events() -> what was captured since the last call
static int l_events(lua_State *L) {
  struct test_broker *t = luaL_checkudata(L, 1, TEST_BROKER_TYPE);
  lua_Integer count = 0;
  lua_newtable(L);
  list_each(node, &t->events) {
    push_event(L, container_of(node, struct captured, node));
    lua_rawseti(L, -2, ++count);
  }
  forget_events(t);
  return 1;
}

// broker:lines() -> what the log has written since the last call, as one string
static int l_lines(lua_State *L) {
  struct test_broker *t = luaL_checkudata(L, 1, TEST_BROKER_TYPE);
  lua_pushliteral(L, "");
  if (!t->lines) return 1;
  fflush(t->lines);
  lua_pushlstring(L, t->text, t->text_len);
  rewind(t->lines);
  return 1;
}

// broker:exit_status() -> what a hook has called os.exit with, or nil
static int l_exit_status(lua_State *L) {
  const struct host *host = check_alive(L, 1)->host;
  if (host->exits)
    lua_pushinteger(L, host->exit_status);
  else
    lua_pushnil(L);
  return 1;
}

// broker:stats() -> a table of all counters and gauges
static int l_stats(lua_State *L) {
  stats_push(L, check_alive(L, 1)->host->script);
  return 1;
}

static uint64_t used_memory(void *arg) { return ((const struct test_broker *)arg)->memory_bytes; }

// broker:use_memory(bytes): what limits.memory_limit is compared with from now on
static int l_use_memory(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  struct pressure *pressure = &test_shard(t)->pressure;
  t->memory_bytes = (uint64_t)luaL_checkinteger(L, 2);
  pressure->measure = used_memory;
  pressure->measure_arg = t;
  pressure->next_ms = 0;
  return l_run(L);
}

// broker:call(function, ...): with this broker as the one that the functions of `luamq` mean.
static int l_call(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  struct script_home *home = script_home(L);
  struct script *before = home->running;
  home->running = t->host->script;
  int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  home->running = before;
  if (status != LUA_OK) return lua_error(L);
  return lua_gettop(L) - 1;
}

// Replacing the script

struct replacing {
  struct reload_wish wish;
  bool told, done;
  struct buf why;
};

static void replaced(struct reload_wish *w, const char *why) {
  struct replacing *r = container_of(w, struct replacing, wish);
  r->told = true;
  r->done = !why;
  if (why) buf_add_str(&r->why, why);
}

// Hooks of the steps may wait: then time passes.
static bool turn_until_told(struct test_broker *t, const struct replacing *r) {
  bool settled = settle(t);
  while (settled && !r->told) {
    uint64_t next = timers_next(&t->loop->timers);
    settled = next != TIMER_NEVER && advance_to(t, next);
  }
  return settled;
}

static bool replace(lua_State *L, struct test_broker *t, struct script *s, struct replacing *r) {
  lua_State *outer = script_enter(s, L);
  t->running = true;
  host_replace(t->host, s, &r->wish);
  bool settled = turn_until_told(t, r);
  t->running = false;
  script_leave(t->host->script, outer);
  reload_forget(&r->wish);
  return settled;
}

// broker:replace(config) -> true | nil, message: the script of another checked table decides from now on.
static int l_replace(lua_State *L) {
  struct test_broker *t = test_broker_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (reload_is_under_way(t->host)) test_raise(L, "another reload is under way");
  struct replacing r = {.wish.done = replaced};
  list_init(&r.wish.node);
  bool settled = replace(L, t, script_new(L, 2, t->host), &r);
  struct buf *text = object_text(L);
  buf_add_slice(text, buf_slice(&r.why));
  buf_release(&r.why);
  test_check_settled(L, settled);
  if (r.done) {
    lua_pushboolean(L, 1);
    return 1;
  }
  luaL_pushfail(L);
  object_push_text(L, text);
  return 2;
}

// Life

static void release(struct test_broker *t) {
  list_each(node, &t->clients) test_client_let_go(container_of(node, struct test_client, node));
  observe_end(&t->observer);
  if (t->host) host_free(t->host);
  t->host = NULL;
  if (t->loop) loop_free(t->loop);
  t->loop = NULL;
}

static int l_gc(lua_State *L) {
  struct test_broker *t = luaL_checkudata(L, 1, TEST_BROKER_TYPE);
  release(t);
  luaL_unref(L, LUA_REGISTRYINDEX, t->loader_ref);
  t->loader_ref = LUA_NOREF;
  forget_events(t);
  forget_lines(t);
  return 0;
}

// broker:stop() -> whether all clients closed without time passing; closes them in order, then ends. nil, and
// no effect, when it is stopped.
static int l_stop(lua_State *L) {
  struct test_broker *t = luaL_checkudata(L, 1, TEST_BROKER_TYPE);
  if (!t->loop) return 0;
  test_broker_check(L, 1);
  shard_close_clients(test_shard(t));
  bool settled = test_broker_settle(L, t);
  bool in_time = list_empty(&test_shard(t)->clients);
  t->running = true; // hooks.stop is called
  release(t);
  t->running = false;
  test_check_settled(L, settled);
  lua_pushboolean(L, in_time);
  return 1;
}

// What luamq.reload takes.
static struct script *load_again(void *arg, struct host *h, struct buf *why) {
  const struct test_broker *t = arg;
  lua_State *L = h->script->tool;
  struct script *s = NULL;
  lua_State *outer = script_enter(h->script, L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, t->loader_ref);
  if (lua_pcall(L, 0, 2, 0) == LUA_OK && lua_istable(L, -2)) {
    lua_pop(L, 1);
    s = script_load(L, h, why);
  } else {
    buf_add_str(why, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "it cannot be loaded");
  }
  lua_settop(L, 0);
  script_leave(h->script, outer);
  return s;
}

// broker:identity(): what `running` answers for it
static int l_identity(lua_State *L) {
  lua_pushlightuserdata(L, luaL_checkudata(L, 1, TEST_BROKER_TYPE));
  return 1;
}

// running() -> the identity of the broker whose hook is running | nil
static int l_running(lua_State *L) {
  const struct script *s = script_home(L)->running;
  const struct shard *shard = s ? s->shard : NULL;
  if (!shard || shard->decided != decided) return 0;
  lua_pushlightuserdata(L, shard->decided_arg);
  return 1;
}

// new(config, loader, before, with real time) -> broker | nil, message. The loader returns a checked table,
// or nil and a message; before(broker) is called when it is made, and not started yet.
static int l_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  bool real = lua_toboolean(L, 4);
  struct test_broker *t = lua_newuserdatauv(L, sizeof *t, 0);
  *t = (struct test_broker){.loop = real ? loop_new() : loop_new_virtual(START_MS),
                            .observer = {.seen = test_steps_seen}};
  if (!t->loop) return luaL_error(L, "no usable event method");
  list_init(&t->clients);
  list_init(&t->events);
  luaL_setmetatable(L, TEST_BROKER_TYPE);
  t->start_ms = t->loop->clock.now_ms;
  t->loader_ref = LUA_NOREF;
  t->host = host_new(t->loop, SEED);
  observe(t->host, &t->observer);
  if (lua_isfunction(L, 2)) {
    lua_pushvalue(L, 2);
    t->loader_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    t->host->source = (struct host_source){load_again, t};
  }
  t->host->installed = watch_log;
  t->host->installed_arg = t;
  test_shard(t)->decided = decided;
  test_shard(t)->decided_arg = t;
  struct script *s = script_new(L, 1, t->host);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, -2);
  lua_call(L, 1, 0);
  char error[512];
  t->running = true;
  bool started = host_start(t->host, s, error, sizeof error);
  t->running = false;
  if (started) return 1;
  release(t);
  luaL_pushfail(L);
  lua_pushstring(L, error);
  return 2;
}

static const luaL_Reg methods[] = {
    {"open", test_broker_open},
    {"run", l_run},
    {"turn", l_turn},
    {"advance", l_advance},
    {"now", l_now},
    {"capture", l_capture},
    {"events", l_events},
    {"lines", l_lines},
    {"stats", l_stats},
    {"exit_status", l_exit_status},
    {"use_memory", l_use_memory},
    {"call", l_call},
    {"replace", l_replace},
    {"identity", l_identity},
    {"stop", l_stop},
    {"__gc", l_gc},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"new", l_new}, {"running", l_running}, {NULL, NULL}};

int lua_test_open(lua_State *L) {
  luaL_newmetatable(L, TEST_BROKER_TYPE);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  test_client_define(L);
  luaL_newlib(L, functions);
  return 1;
}
