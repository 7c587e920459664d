#include "script/decision.h"

#include <lauxlib.h>
#include <stdio.h>

#include "script/script_impl.h"

void decision_place(const struct hook_call *call, char place[PLACE_MAX]) {
  lua_State *L = call->script->tool;
  const struct hook_chain *chain = call->chain;
  lua_Debug info;
  *place = 0;
  if (!chain || !chain->count || !lua_checkstack(L, 3)) return;
  unsigned at = call->at < chain->count ? call->at : chain->count - 1; // the last one gave no answer
  lua_rawgeti(L, LUA_REGISTRYINDEX, chain->functions[at]);
  lua_getinfo(L, ">S", &info);
  const char *source = *info.source == '@' ? info.source + 1 : info.short_src;
  if (*info.what == 'C')
    snprintf(place, PLACE_MAX, "a C function");
  else
    snprintf(place, PLACE_MAX, "%s:%d", source, info.linedefined);
}

const struct verdict *decision_verdict(const struct hook_call *call) {
  char place[PLACE_MAX];
  decision_place(call, place);
  return verdict_new(&(struct verdict){.decider = DECIDER_HOOK, .name = hook_name(call->hook)},
                     slice_str(place));
}

// --- as a table ---

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_slice(lua_State *L, const char *name, struct slice text) {
  if (!text.len) return;
  object_push_slice(L, text);
  lua_setfield(L, -2, name);
}

static void set_verdict(lua_State *L, const struct verdict *by) {
  if (!by) return;
  set_text(L, "by", decider_name((enum decider)by->decider));
  if (by->decider == DECIDER_HOOK) set_text(L, "hook", by->name);
  if (by->decider == DECIDER_LIMIT) set_text(L, "limit", by->name);
  set_text(L, "place", by->place);
  if (by->decider != DECIDER_RULE) return;
  lua_pushinteger(L, by->rule);
  lua_setfield(L, -2, "rule");
  lua_pushboolean(L, by->own);
  lua_setfield(L, -2, "own");
}

void decision_push(lua_State *L, const struct log_record *r) {
  luaL_checkstack(L, 4, NULL);
  lua_createtable(L, 0, 8);
  set_text(L, "operation", operation_name((enum operation)r->operation));
  set_text(L, "reason", reason_name(r->refusal->reason));
  set_text(L, "error", r->refusal->error);
  set_slice(L, "reason_string", reply_reason_string(r->refusal));
  set_slice(L, "filter", r->filter);
  set_verdict(L, r->refusal->by);
  if (r->operation != OPERATION_SUBSCRIBE) return;
  lua_pushinteger(L, r->qos);
  lua_setfield(L, -2, "qos");
}
