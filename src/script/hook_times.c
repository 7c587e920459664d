#include "script/hook_times.h"

#include <math.h>

static const double bounds_s[HOOK_TIMES_BOUNDS] = {1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3,
                                                   3e-3, 1e-2, 3e-2, 0.1,  0.3,  1,    5};

void hook_clock_init(struct hook_clock *c) {
  if (c->bounds[0]) return;
  ticks_init(&c->ticks);
  for (int i = 0; i < HOOK_TIMES_BOUNDS; i++)
    c->bounds[i] = (uint64_t)(bounds_s[i] / c->ticks.seconds);
  c->bounds[HOOK_TIMES_BOUNDS] = UINT64_MAX;
}

void histogram_add_ms(const struct hook_clock *c, struct histogram *h, uint64_t ms) {
  histogram_add(c, h, (uint64_t)((double)ms / 1000 / c->ticks.seconds));
}

static void push_bucket(lua_State *L, double le, uint64_t count) {
  lua_createtable(L, 0, 2);
  lua_pushnumber(L, le);
  lua_setfield(L, -2, "le");
  lua_pushinteger(L, (lua_Integer)count);
  lua_setfield(L, -2, "count");
}

static uint64_t count_of(const struct histogram *h) {
  uint64_t count = 0;
  for (int i = 0; i <= HOOK_TIMES_BOUNDS; i++)
    count += h->counts[i];
  return count;
}

bool hook_times_any(const struct hook_times *t) { return count_of(&t->running) || t->shadow_calls; }

static void push_histogram(lua_State *L, const struct hook_clock *c, const struct histogram *h) {
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, (lua_Integer)count_of(h));
  lua_setfield(L, -2, "count");
  lua_pushnumber(L, (lua_Number)h->sum * c->ticks.seconds);
  lua_setfield(L, -2, "sum");
  lua_createtable(L, HOOK_TIMES_BOUNDS + 1, 0);
  uint64_t count = 0;
  for (int i = 0; i <= HOOK_TIMES_BOUNDS; i++) {
    count += h->counts[i];
    push_bucket(L, i < HOOK_TIMES_BOUNDS ? bounds_s[i] : HUGE_VAL, count);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "buckets");
}

static void push_counter(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

void hook_times_push(lua_State *L, const struct hook_clock *c, const struct hook_times *t) {
  lua_createtable(L, 0, 7);
  push_counter(L, "calls", count_of(&t->running));
  push_counter(L, "denials", t->denials);
  push_counter(L, "errors", t->errors);
  push_counter(L, "shadow_calls", t->shadow_calls);
  push_counter(L, "shadow_differences", t->shadow_differences);
  push_histogram(L, c, &t->running);
  lua_setfield(L, -2, "running");
  push_histogram(L, c, &t->waiting);
  lua_setfield(L, -2, "waiting");
}
