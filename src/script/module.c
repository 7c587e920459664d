// The module `luamq.core`. Its table `broker` has the functions that lua/luamq/init.lua hands to scripts;
// they work on the broker whose hook is running, else on the one that was started last.
#include <dlfcn.h>
#include <lauxlib.h>
#include <math.h>

#include "base/api.h"
#include "script/commons.h"
#include "script/lua_client.h"
#include "script/lua_test.h"
#include "topic/pattern.h"
#include "topic/topic.h"

static struct script *check_script(lua_State *L) {
  struct script *s = script_current(L);
  if (!s || !s->inner) luaL_error(L, "no broker is running");
  return s;
}

static struct slice check_slice(lua_State *L, int index) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  return slice_of(text, len);
}

// For luamq.scope: whether a filter has anything in common with a topic or another filter.
static int overlaps(lua_State *L) {
  struct slice text = check_slice(L, 1), with = check_slice(L, 2);
  struct pattern *p = NULL;
  bool valid = !pattern_parse(text, PATTERN_PLAIN, &p) && topic_filter_valid(with);
  lua_pushboolean(L, valid && pattern_overlaps(p, &(struct pattern_values){0}, with));
  pattern_free(p);
  return 1;
}

// What is wrong with a filter, or nil.
static int filter_problem(lua_State *L) {
  struct pattern *p = NULL;
  lua_pushstring(L, pattern_parse(check_slice(L, 1), PATTERN_PLAIN, &p));
  pattern_free(p);
  return 1;
}

static int match(lua_State *L) {
  struct slice filter = check_slice(L, 1), topic = check_slice(L, 2);
  lua_pushboolean(L, topic_match(filter, topic));
  return 1;
}

static int publish(lua_State *L) {
  struct packet_message view = message_check_arguments(L, 1);
  struct script *s = check_script(L);
  if (s->depth >= HOOK_DEPTH_MAX) return luaL_error(L, "hooks are nested too deeply");
  const char *problem = message_problem(&view);
  if (problem) {
    lua_pushnil(L);
    lua_pushstring(L, problem);
    lua_pushliteral(L, "topic_name_invalid");
    return 3;
  }
  lua_State *outer = script_enter(s, L);
  struct message *m = message_new(&view, shard_now_ms(s->shard));
  s->inner->ops->publish(s->inner, m, (struct ack){.message = m});
  message_unref(m);
  script_leave(s, outer);
  lua_pushboolean(L, 1);
  return 1;
}

// The walk is safe although Lua may run a finalizer meanwhile: no function of the module removes a session,
// and one that is created has no client.
static int clients(lua_State *L) {
  struct script *s = check_script(L);
  lua_newtable(L);
  uint32_t at = 0;
  struct session *session;
  for (lua_Integer i = 1; (session = memory_each_session(s->inner, &at));) {
    if (!session->client) continue;
    client_object_push(L, s, session->client);
    lua_rawseti(L, -2, i++);
  }
  return 1;
}

static int client(lua_State *L) {
  struct slice id = check_slice(L, 1);
  struct script *s = check_script(L);
  const struct session *session = memory_session(s->inner, id);
  if (session && session->client)
    client_object_push(L, s, session->client);
  else
    lua_pushnil(L);
  return 1;
}

static int session(lua_State *L) {
  struct slice id = check_slice(L, 1);
  struct script *s = check_script(L);
  if (memory_session(s->inner, id)) {
    session_object_push(L, s, id);
    return 1;
  }
  lua_pushnil(L);
  lua_pushliteral(L, ERROR_MISSING_SESSION);
  return 2;
}

static void push_hook_times(lua_State *L, const struct script *s) {
  lua_newtable(L);
  for (int h = 0; h < HOOK_COUNT; h++) {
    if (!hook_defined(s, h) && !hook_times_any(&s->host->times[h])) continue;
    hook_times_push(L, &s->home->clock, &s->host->times[h]);
    lua_setfield(L, -2, hook_name((enum hook)h));
  }
}

void stats_push(lua_State *L, struct script *s) {
  s->shard->stats.lua_memory_bytes = s->home->heap.used_bytes;
  s->shard->stats.lua_memory_limit_bytes = s->settings.lua_memory_bytes;
  const struct stats *now = shard_stats(s->shard);
  lua_newtable(L);
#define X(name, text)                                                                                        \
  lua_pushinteger(L, (lua_Integer)now->name);                                                                \
  lua_setfield(L, -2, #name);
  STATS_COUNTERS(X)
  STATS_GAUGES(X)
#undef X
  push_hook_times(L, s);
  lua_setfield(L, -2, "hooks");
}

// The system's time where there is no broker.
static int now(lua_State *L) {
  static const struct clock of_system = {.is_virtual = false};
  const struct script *s = script_current(L);
  lua_pushnumber(L, (lua_Number)clock_day_ms(s && s->inner ? &s->loop->clock : &of_system) / 1000);
  return 1;
}

static int stats(lua_State *L) {
  stats_push(L, check_script(L));
  return 1;
}

static int stop(lua_State *L) {
  lua_Number seconds = luaL_optnumber(L, 1, -1);
  bool given = !lua_isnoneornil(L, 1);
  luaL_argcheck(L, !given || (seconds >= 0 && seconds <= 3600), 1, "seconds between 0 and 3600 expected");
  struct script *s = check_script(L);
  if (!s->engine) return 0; // it has ended
  lua_State *outer = script_enter(s, L);
  engine_stop(s->engine, given ? (uint32_t)ceil(seconds * 1000) : s->settings.close_timeout_ms);
  script_leave(s, outer);
  return 0;
}

// Lua keeps what a library defines from others. Modules such as luamq.core.http call functions of this one.
static void show_functions(void) {
  Dl_info here;
  static const char own = 0;
  if (dladdr(&own, &here) && here.dli_fname) dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL);
}

LUAMQ_API int luaopen_luamq_core(lua_State *L) {
  show_functions();
  script_guard(L); // before anybody keeps a function that it replaces
  static const luaL_Reg functions[] = {{"match", match},
                                       {"publish", publish},
                                       {"clients", clients},
                                       {"client", client},
                                       {"session", session},
                                       {"create_session", session_create},
                                       {"retained", retained_list},
                                       {"stats", stats},
                                       {"now", now},
                                       {"stop", stop},
                                       {"reload", reload_call},
                                       {"after", timer_after},
                                       {"every", timer_every},
                                       {"sleep", pause_sleep},
                                       {"spawn", pause_spawn},
                                       {"ticket", pause_ticket},
                                       {"record", record_call},
                                       {"overlaps", overlaps},
                                       {"filter_problem", filter_problem},
                                       {NULL, NULL}};
  lua_createtable(L, 0, 4);
  luaL_newlib(L, functions);
  log_module_push(L);
  lua_setfield(L, -2, "log");
  crypto_module_push(L);
  lua_setfield(L, -2, "crypto");
  shared_module_push(L);
  lua_setfield(L, -2, "shared");
  metrics_module_push(L);
  lua_setfield(L, -2, "metrics");
  lua_setfield(L, -2, "broker");
  signature_module_push(L);
  lua_setfield(L, -2, "signature");
  password_module_push(L);
  lua_setfield(L, -2, "password");
  lua_client_open(L);
  lua_setfield(L, -2, "client");
  lua_test_open(L);
  lua_setfield(L, -2, "test");
  lua_pushliteral(L, LUAMQ_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
