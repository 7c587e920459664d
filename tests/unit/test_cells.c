// Values between Lua and what knows no Lua: there and back, and when Lua runs out of memory on the way.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "script/rows.h"

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  luaL_openlibs(L);
  return L;
}

// Asserts that the chunk, called with the value at the top, answers true; pops it.
static void check(lua_State *L, const char *chunk) {
  assert_int_equal(luaL_loadstring(L, chunk), LUA_OK);
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
  assert_true(lua_toboolean(L, -1));
  lua_pop(L, 1);
}

static void values_come_back_as_they_were(void **state) {
  (void)state;
  static const char *const values[] = {"nil", "true",       "false", "7",          "math.mininteger",
                                       "0.5", "-math.huge", "'x'",   "'\\0\\255'", "''"};
  lua_State *L = open_state();
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    struct buf b = BUF_INIT;
    char chunk[80];
    snprintf(chunk, sizeof chunk, "return %s", values[i]);
    assert_int_equal(luaL_dostring(L, chunk), LUA_OK);
    assert_true(cells_add_value(&b, L, -1));
    lua_pop(L, 1);
    struct slice run = buf_slice(&b);
    cells_push(L, &run);
    assert_int_equal(run.len, 0);
    snprintf(chunk, sizeof chunk, "return %s == ... and type(...) == type(%s)", values[i], values[i]);
    check(L, chunk);
    buf_release(&b);
  }
  lua_close(L);
}

static void bytes_are_told_from_text(void **state) {
  (void)state;
  lua_State *L = open_state();
  struct buf b = BUF_INIT;
  struct cell c;
  assert_int_equal(luaL_dostring(L, "return { bytes = 'x' }, {}, print"), LUA_OK);
  assert_true(cells_add_value(&b, L, -3));
  assert_false(cells_add_value(&b, L, -2));
  assert_false(cells_add_value(&b, L, -1));
  struct slice run = buf_slice(&b);
  assert_true(cells_next(&run, &c));
  assert_int_equal(c.type, CELL_BYTES);
  assert_true(slice_eq(c.text, SLICE("x")));
  assert_false(cells_next(&run, &c));
  buf_release(&b);
  lua_close(L);
}

static void lists_have_no_holes(void **state) {
  (void)state;
  lua_State *L = open_state();
  struct buf b = BUF_INIT;
  cells_add_list(&b, 4);
  cells_add(&b, CELL_NIL);
  cells_add_string(&b, CELL_ERROR, SLICE("ERR no"));
  cells_add_list(&b, 1);
  cells_add_integer(&b, 7);
  cells_add(&b, CELL_NIL);
  struct slice run = buf_slice(&b);
  cells_push(L, &run);
  check(L, "local l = ... return #l == 4 and l[1] == false and l[2].error == 'ERR no' and l[3][1] == 7\n"
           "  and l[4] == false");
  buf_release(&b);
  lua_close(L);
}

static void fill(struct rows *r) {
  static const struct rows_limits limits = {.rows = 2, .bytes = 64};
  rows_init(r, &limits);
  rows_add_column(r, SLICE("a"));
  rows_add_column(r, SLICE("b"));
  for (int i = 1; i <= 2; i++) {
    assert_true(rows_begin_row(r));
    cells_add_integer(&r->cells, i);
    cells_add(&r->cells, CELL_NIL);
    assert_true(rows_end(r));
  }
  r->affected = 2;
}

static void rows_are_tables_by_column(void **state) {
  (void)state;
  lua_State *L = open_state();
  struct rows r;
  fill(&r);
  rows_push(L, &r);
  check(L,
        "local r = ... return #r == 2 and r.affected == 2 and r[1].a == 1 and r[2].a == 2 and r[1].b == nil");
  rows_release(&r);
  lua_close(L);
}

static void rows_are_bounded(void **state) {
  (void)state;
  struct rows r;
  fill(&r);
  assert_false(rows_begin_row(&r));
  assert_string_equal(r.problem, "more rows than max_rows");
  rows_clear(&r);
  assert_null(r.problem);
  rows_add_column(&r, SLICE("a"));
  assert_true(rows_begin_row(&r));
  cells_add_string(&r.cells, CELL_TEXT,
                   slice_str("0123456789012345678901234567890123456789012345678901234567890"));
  assert_false(rows_end(&r));
  assert_string_equal(r.problem, "the rows are larger than max_bytes");
  rows_release(&r);
}

struct memory {
  size_t left; // allocations until the one that fails
  bool failed;
};

static void *allocate(void *arg, void *old, size_t old_size, size_t size) {
  struct memory *m = arg;
  if (size == 0) {
    free(old);
    return NULL;
  }
  bool grows = !old || size > old_size; // Lua relies on shrinking
  if (grows && m->left && --m->left == 0) {
    m->failed = true;
    return NULL;
  }
  return realloc(old, size);
}

static int push_rows(lua_State *L) {
  rows_push(L, lua_touserdata(L, 1));
  return 1;
}

static void no_memory_is_an_error_of_lua(void **state) {
  (void)state;
  struct rows r;
  fill(&r);
  bool failed = true;
  for (size_t n = 1; failed; n++) {
    struct memory m = {.left = 0};
    lua_State *L = lua_newstate(allocate, &m);
    lua_pushcfunction(L, push_rows);
    lua_pushlightuserdata(L, &r);
    m.left = n;
    int status = lua_pcall(L, 1, 1, 0);
    failed = m.failed;
    assert_true(status == LUA_OK || (failed && status == LUA_ERRMEM)); // it collects garbage and tries again
    m.left = 0;
    lua_close(L);
  }
  rows_release(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_come_back_as_they_were),
      cmocka_unit_test(bytes_are_told_from_text),
      cmocka_unit_test(lists_have_no_holes),
      cmocka_unit_test(rows_are_tables_by_column),
      cmocka_unit_test(rows_are_bounded),
      cmocka_unit_test(no_memory_is_an_error_of_lua),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
