// The allocator that counts what a Lua state has, and the clock of hooks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/ticks.h"
#include "script/heap.h"
#include "script/hook_times.h"

#define MIB (1024 * 1024)

static size_t counted_by_lua(lua_State *L) {
  return (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB);
}

static lua_State *open_state(struct heap *h) {
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  luaL_openlibs(L);
  heap_install(h, L);
  return L;
}

static void close_state(struct heap *h, lua_State *L) {
  heap_release(h, L);
  lua_close(L);
}

static int status_of(lua_State *L, const char *chunk) {
  assert_int_equal(luaL_loadstring(L, chunk), LUA_OK);
  int status = lua_pcall(L, 0, 0, 0);
  lua_settop(L, 0);
  return status;
}

static void what_is_counted_is_what_lua_counts(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  assert_int_equal(h.used_bytes, counted_by_lua(L));
  assert_int_equal(
      status_of(L, "t = {} for i = 1, 10000 do t[i] = { ('x'):rep(i % 100), function() return i end } end\n"
                   "for i = 1, 10000, 2 do t[i] = nil end collectgarbage() u = coroutine.wrap(print)"),
      LUA_OK);
  assert_int_equal(h.used_bytes, counted_by_lua(L));
  lua_newuserdatauv(L, MIB, 1);
  assert_int_equal(h.used_bytes, counted_by_lua(L));
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  assert_int_equal(h.used_bytes, counted_by_lua(L));
  close_state(&h, L);
}

static void small_blocks_are_kept_up_to_a_limit(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  lua_newuserdatauv(L, 50, 0);
  const void *first = lua_touserdata(L, -1);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  bool keeps = HEAP_KEPT_MAX > 0;
  assert_int_equal(h.kept_bytes > 0, keeps);
  size_t before = h.kept_bytes;
  const void *second = lua_newuserdatauv(L, 50, 0);
  if (keeps) assert_ptr_equal(second, first);
  if (keeps) assert_true(h.kept_bytes < before);
  assert_int_equal(status_of(L, "local t = {} for i = 1, 100000 do t[i] = {} end"), LUA_OK);
  lua_gc(L, LUA_GCCOLLECT);
  assert_in_range(h.kept_bytes, 0, HEAP_KEPT_MAX);
  assert_int_equal(h.used_bytes, counted_by_lua(L));
  heap_release(&h, L);
  assert_int_equal(h.kept_bytes, 0);
  lua_close(L);
}

static void beyond_the_limit_an_allocation_fails(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  heap_limit(&h, 4 * MIB);
  assert_int_equal(status_of(L, "local t = {} while true do t[#t + 1] = {} end"), LUA_ERRMEM);
  assert_int_equal(h.failures, 1);
  assert_true(h.used_bytes <= 4 * MIB + 4 * MIB / HEAP_GRACE);
  assert_int_equal(status_of(L, "return {}"), LUA_OK);
  close_state(&h, L);
}

static void garbage_makes_room(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  heap_limit(&h, 8 * MIB);
  lua_gc(L, LUA_GCSTOP);
  assert_int_equal(status_of(L, "kept = ('x'):rep(2 << 20) for i = 1, 200000 do local _ = {} end"), LUA_OK);
  assert_int_equal(h.failures, 0);
  assert_in_range(h.live_bytes, 2 * MIB, 3 * MIB);
  close_state(&h, L);
}

static void garbage_makes_room_for_buffers(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  heap_limit(&h, 8 * MIB);
  lua_gc(L, LUA_GCSTOP);
  assert_int_equal(status_of(L, "for i = 1, 100 do local _ = ('x'):rep(400000) end"), LUA_OK);
  assert_int_equal(h.failures, 0);
  close_state(&h, L);
}

// The buffers of the string library are not collected for.
static void who_does_not_ask_again_has_failed(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  heap_limit(&h, 4 * MIB);
  assert_int_equal(status_of(L, "pcall(string.rep, 'x', 8 << 20) local _ = {}"), LUA_OK);
  assert_int_equal(h.failures, 1);
  assert_int_equal(h.live_bytes, 0);
  close_state(&h, L);
}

static void limits_nest_and_0_is_none(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = open_state(&h);
  size_t outer = heap_limit(&h, 2 * MIB);
  assert_int_equal(outer, SIZE_MAX);
  size_t middle = heap_limit(&h, 0);
  assert_int_equal(status_of(L, "return ('x'):rep(8 << 20)"), LUA_OK);
  heap_restore(&h, middle);
  assert_int_not_equal(status_of(L, "return ('x'):rep(8 << 20)"), LUA_OK);
  heap_restore(&h, outer);
  assert_int_equal(status_of(L, "return ('x'):rep(8 << 20)"), LUA_OK);
  close_state(&h, L);
}

static void a_released_state_has_its_own_allocator(void **state) {
  (void)state;
  struct heap h;
  lua_State *L = luaL_newstate();
  void *arg, *own_arg;
  lua_Alloc own = lua_getallocf(L, &own_arg);
  heap_install(&h, L);
  assert_ptr_not_equal(lua_getallocf(L, &arg), own);
  heap_release(&h, L);
  assert_ptr_equal(lua_getallocf(L, &arg), own);
  assert_ptr_equal(arg, own_arg);
  lua_close(L);
}

// --- the clock ---

static void ticks_go_as_the_clock_does(void **state) {
  (void)state;
  struct ticks fast, slow = {.counter = false, .seconds = 1e-9};
  ticks_init(&fast);
  uint64_t slow_from = ticks_now(&slow), from = ticks_now(&fast);
  while (ticks_now(&slow) - slow_from < 20000000) {
  }
  double s = (double)(ticks_now(&fast) - from) * fast.seconds;
  double expected_s = (double)(ticks_now(&slow) - slow_from) * slow.seconds;
  assert_true(s > 0.019 && s < expected_s * 1.1);
}

static void times_are_put_into_the_first_bucket_that_holds_them(void **state) {
  (void)state;
  struct hook_clock c = {0};
  struct histogram h = {0};
  hook_clock_init(&c);
  histogram_add(&c, &h, 0);
  histogram_add(&c, &h, c.bounds[0]);
  histogram_add(&c, &h, c.bounds[0] + 1);
  histogram_add(&c, &h, UINT64_MAX / 2);
  assert_int_equal(h.counts[0], 2);
  assert_int_equal(h.counts[1], 1);
  assert_int_equal(h.counts[HOOK_TIMES_BOUNDS], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_counted_is_what_lua_counts),
      cmocka_unit_test(small_blocks_are_kept_up_to_a_limit),
      cmocka_unit_test(beyond_the_limit_an_allocation_fails),
      cmocka_unit_test(garbage_makes_room),
      cmocka_unit_test(garbage_makes_room_for_buffers),
      cmocka_unit_test(who_does_not_ask_again_has_failed),
      cmocka_unit_test(limits_nest_and_0_is_none),
      cmocka_unit_test(a_released_state_has_its_own_allocator),
      cmocka_unit_test(ticks_go_as_the_clock_does),
      cmocka_unit_test(times_are_put_into_the_first_bucket_that_holds_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
