// Scopes of hooks: hooks.publish = luamq.on_topics({ "cmd/#" }, fn). Where a function is not about the topic
// it is as if it were not there, and Lua is not entered to find that out.
#include <assert.h>

#include "base/mem.h"
#include "script/script_impl.h"

struct hook_scope {
  struct filters filters;
  bool otherwise; // the answer where nobody is to be asked
};

static bool is_about_filters(enum hook h) { return h == HOOK_SUBSCRIBE || h == HOOK_UNSUBSCRIBE; }

// A filter is what it is about when there may be a topic that is.
static bool covers(struct hook_scope *scope, const struct hook_call *call) {
  struct filters_query q = {.is_filter = is_about_filters(call->hook), .cases = 1};
  q.topic = q.is_filter ? call->item->filter : call->message->topic;
  return filters_find(&scope->filters, &q, UINT32_MAX);
}

unsigned scope_find_next(const struct hook_call *call, unsigned at) {
  struct hook_scope **scopes = call->chain->scopes;
  while (at < call->chain->count && scopes[at] && !covers(scopes[at], call))
    at++;
  return at;
}

void scope_answer(struct hook_call *call) {
  call->answer.allowed = true;
  for (unsigned i = 0; i < call->chain->count; i++)
    if (!call->chain->scopes[i]->otherwise) call->answer.allowed = false;
  if (call->item) call->answer.qos = call->item->qos;
}

// Filters as lua/luamq/scope.lua packs them: the length in 2 bytes, and the text, one after the other.
static struct hook_scope *make_scope(struct slice packed, bool otherwise, uint64_t seed) {
  struct hook_scope *scope = mem_alloc(sizeof *scope);
  scope->otherwise = otherwise;
  filters_init(&scope->filters, seed);
  for (uint32_t number = 1; packed.len; number++) {
    size_t len = packed.ptr[0] | (size_t)packed.ptr[1] << 8;
    struct pattern *p = NULL;
    const char *problem = pattern_parse(slice_of(packed.ptr + 2, len), PATTERN_PLAIN, &p);
    assert(!problem);
    (void)problem;
    filters_add(&scope->filters, p, number, FILTERS_OVERLAP, 1);
    packed = slice_from(packed, 2 + len);
  }
  filters_seal(&scope->filters, FILTERS_SCANNED);
  filters_remember(&scope->filters);
  return scope;
}

static void add_scope(struct hook_chain *chain, unsigned at, struct hook_scope *scope) {
  if (!chain->scopes) chain->scopes = mem_calloc(chain->count, sizeof *chain->scopes);
  chain->scopes[at] = scope;
}

// The scope of the function of this hook in one table of hooks, at the top of the stack; or NULL.
static struct hook_scope *scope_of(lua_State *L, enum hook h, uint64_t seed) {
  struct hook_scope *scope = NULL;
  if (lua_getfield(L, -1, hook_name(h)) == LUA_TTABLE) {
    lua_getfield(L, -1, "packed");
    lua_getfield(L, -2, "otherwise");
    size_t len;
    const char *packed = lua_tolstring(L, -2, &len);
    scope = make_scope(slice_of(packed, len), lua_toboolean(L, -1), seed);
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  return scope;
}

// config.scopes[i] is of config.hooks[i], in which the functions of the chains were found in this order.
void scopes_collect(lua_State *L, int config, struct script *s) {
  lua_getfield(L, config, "hooks");
  lua_getfield(L, config, "scopes");
  int hooks = lua_gettop(L) - 1, scopes = hooks + 1;
  lua_Integer tables = lua_istable(L, scopes) ? (lua_Integer)lua_rawlen(L, hooks) : 0;
  for (int h = 0; h < HOOK_TIMER; h++) {
    unsigned at = 0;
    for (lua_Integer i = 1; i <= tables; i++) {
      lua_rawgeti(L, hooks, i);
      bool defined = lua_getfield(L, -1, hook_name((enum hook)h)) == LUA_TFUNCTION;
      lua_pop(L, 2);
      if (!defined) continue;
      lua_rawgeti(L, scopes, i);
      struct hook_scope *scope = scope_of(L, (enum hook)h, rand_next(&s->shard->rand));
      if (scope) add_scope(&s->hooks[h], at, scope);
      lua_pop(L, 1);
      at++;
    }
  }
  lua_settop(L, hooks - 1);
}

void scopes_release(struct script *s) {
  for (int h = 0; h < HOOK_TIMER; h++) {
    struct hook_chain *chain = &s->hooks[h];
    for (unsigned i = 0; chain->scopes && i < chain->count; i++) {
      if (!chain->scopes[i]) continue;
      filters_release(&chain->scopes[i]->filters);
      mem_free(chain->scopes[i]);
    }
    mem_free(chain->scopes);
    chain->scopes = NULL;
  }
}
