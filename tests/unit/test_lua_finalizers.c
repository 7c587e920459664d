// A finalizer runs wherever Lua allocates, also in the midst of a function of C, which then finds changed
// what it has been looking at.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lua_memory.h"

// interrupted(step, meanwhile): runs the step many times, while finalizers call the other function in all
// kinds of places. What is young is looked at whenever the small heap has grown by a hundredth.
#define INTERRUPTED                                                                                          \
  "function interrupted(step, meanwhile)\n"                                                                  \
  "  local left, calls = 2000, 0\n"                                                                          \
  "  local function arm()\n"                                                                                 \
  "    setmetatable({}, { __gc = function()\n"                                                               \
  "      calls = calls + 1\n"                                                                                \
  "      if left == 0 then return end\n"                                                                     \
  "      meanwhile()\n"                                                                                      \
  "      arm()\n"                                                                                            \
  "    end })\n"                                                                                             \
  "  end\n"                                                                                                  \
  "  for _ = 1, 10 do arm() end\n"                                                                           \
  "  collectgarbage('generational', 1, 100)\n"                                                               \
  "  while left > 0 do\n"                                                                                    \
  "    local _ = ('x'):rep(left % 97 * 7)\n"                                                                 \
  "    step(left)\n"                                                                                         \
  "    left = left - 1\n"                                                                                    \
  "  end\n"                                                                                                  \
  "  collectgarbage('incremental')\n"                                                                        \
  "  assert(calls > 100, calls)\n"                                                                           \
  "end\n"

static void run(const char *chunk) {
  lua_memory_run_once(&(struct lua_memory_run){.setup = INTERRUPTED, .run = chunk});
}

static void a_sample_keeps_its_labels(void **state) {
  (void)state;
  run("local counter = luamq.counter('c', { 'a', 'b', 'c' })\n"
      "interrupted(function(i) counter:inc('text', i + 0.5, i) end,\n"
      "  function() counter:inc('another and longer text', 'x', 'y') end)\n"
      "for _, series in ipairs(luamq.metrics().c.series) do\n"
      "  local labels = series.labels\n"
      "  local own = labels.a == 'text' and tonumber(labels.b) == tonumber(labels.c) + 0.5\n"
      "  local count = 0\n"
      "  for _ in pairs(labels) do count = count + 1 end\n"
      "  assert(count == 3 and (own or labels.c == 'y'), labels.a)\n"
      "end\n");
}

static void a_histogram_that_is_read_stays(void **state) {
  (void)state;
  run("local histogram = luamq.histogram('h')\n"
      "interrupted(function()\n"
      "  local value = histogram:value()\n"
      "  assert(not value or value.count >= 1 and #value.buckets == 11)\n"
      "end, function()\n"
      "  luamq.histogram('h', nil, { buckets = { 1, 2, 3 } }):observe(1)\n"
      "  histogram:observe(1)\n"
      "end)\n");
}

static void there_is_one_value_for_a_client(void **state) {
  (void)state;
  run("local broker <close> = test.broker({ log = { level = 'off' } })\n"
      "local id = 'none'\n"
      "interrupted(function(i)\n"
      "  id = 'c' .. i\n"
      "  local client = assert(broker:connect { id = id, version = '3.1.1' })\n"
      "  local all = luamq.clients()\n"
      "  assert(#all == 1 and all[1] == luamq.client(id), #all)\n"
      "  client:drop()\n"
      "end, function() luamq.client(id) end)\n");
}

static void refs_are_handed_over_whole(void **state) {
  (void)state;
  run("local function authenticate(client)\n"
      "  local ref = { id = client.id }\n"
      "  for i = 1, 20 do ref[i] = { client.id .. i } end\n"
      "  client.ref = ref\n"
      "  return true\n"
      "end\n"
      "local hooks = { authenticate = authenticate }\n"
      "local broker <close> = test.broker({ log = { level = 'off' }, hooks = hooks })\n"
      "for i = 1, 10 do broker:connect { id = 'c' .. i } end\n"
      "local n = 0\n"
      "interrupted(function(i)\n"
      "  if i % 10 ~= 0 then return end\n"
      "  assert(broker:reload { hooks = hooks, log = { level = 'off' } })\n"
      "  for _, client in ipairs(luamq.clients()) do\n"
      "    assert(client.ref.id == client.id and client.ref[20][1] == client.id .. 20)\n"
      "  end\n"
      "end, function() n = n + 1 luamq.client('c' .. n % 10 + 1) end)\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_sample_keeps_its_labels),
      cmocka_unit_test(a_histogram_that_is_read_stays),
      cmocka_unit_test(there_is_one_value_for_a_client),
      cmocka_unit_test(refs_are_handed_over_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
