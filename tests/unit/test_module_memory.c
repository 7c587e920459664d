// Modules that scripts load when Lua runs out of memory, see lua_memory.h. They are linked into this program.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "lua_memory.h"

int luaopen_luamq_core_dns(lua_State *L);
int luaopen_luamq_core_http(lua_State *L);
int luaopen_luamq_core_postgres(lua_State *L);
int luaopen_luamq_core_redis(lua_State *L);
int luaopen_luamq_core_sqlite(lua_State *L);

static void add_modules(lua_State *L) {
  static const luaL_Reg modules[] = {
      {"luamq.core.dns", luaopen_luamq_core_dns},           {"luamq.core.http", luaopen_luamq_core_http},
      {"luamq.core.postgres", luaopen_luamq_core_postgres}, {"luamq.core.redis", luaopen_luamq_core_redis},
      {"luamq.core.sqlite", luaopen_luamq_core_sqlite},     {NULL, NULL}};
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, modules, 0);
  lua_pop(L, 1);
}

#define BROKER "broker = test.broker({ log = { level = 'off' } })\n"
#define END    "broker:stop() broker = nil\n"

static void loading_them(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .run = "for _, name in ipairs { 'dns', 'http', 'postgres', 'redis', 'sqlite' } do\n"
             "  require('luamq.core.' .. name)\n"
             "end\n",
      .open = add_modules});
}

static void sqlite(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .setup = "sqlite = require 'luamq.sqlite'\n" BROKER,
      .run = "local db = sqlite.open(':memory:', { max_rows = 50 })\n"
             "broker:call(luamq.spawn, function()\n"
             "  local _ <close> = setmetatable({}, { __close = function() db:close() end })\n"
             "  assert(db:exec 'create table t (a, b)')\n"
             "  assert(db:transaction { { 'insert into t values (?, ?)', 1, 'x' },\n"
             "    { 'insert into t values (?, ?)', 2.5, sqlite.blob 'y' } })\n"
             "  local rows = assert(db:query('select a, b, null as c from t where a > ?', 0))\n"
             "  assert(#rows == 2 and rows[2].b == 'y')\n"
             "  assert(not db:query 'select')\n"
             "  assert(db:stats().requests > 0)\n"
             "end)\n"
             "broker:advance(1)\n",
      .after = "broker:advance(100)\n"
               "assert(broker:stats().hooks_suspended == 0)\n" END,
      .open = add_modules});
}

static void what_knows_no_network(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .setup =
          "http, dns = require 'luamq.http', require 'luamq.dns'\n"
          "redis, postgres = require 'luamq.redis', require 'luamq.postgres'\n"
          "origin, parse = require 'luamq.core.http'.origin, require 'luamq.core.postgres'.parse\n" BROKER,
      .run = "http.configure { max_connections = 4, idle_timeout = 2 }\n"
             "assert(origin('../b?c', 'http://h.example/a/') == 'http://h.example:80')\n"
             "assert(not origin 'http://u@h/')\n"
             "assert(parse('postgres://u:secret@h:5/d?sslmode=disable').password == 'secret')\n"
             "assert(not parse 'postgres://[::1/')\n"
             "local cache = redis.new { host = 'h', port = 1, password = 'secret' }\n"
             "local db = postgres.new { uri = 'postgres://u:secret@h:5/d', timeout = 1 }\n"
             "broker:call(luamq.spawn, function()\n"
             "  http.get 'http://h/' dns.lookup 'h' cache:get 'x' cache:pipeline { { 'GET', 'x' } }\n"
             "  db:query('select $1', 1) db:transaction(function() return true end)\n"
             "  cache:subscribe('c', print)\n"
             "end)\n"
             "http.stats() cache:stats() db:stats()\n"
             "cache:close() db:close()\n",
      .after = "broker:advance(100)\n"
               "assert(broker:stats().hooks_suspended == 0)\n" END,
      .open = add_modules});
}

static void fakes(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .setup = "http, dns = require 'luamq.http', require 'luamq.dns'\n"
               "redis, postgres = require 'luamq.redis', require 'luamq.postgres'\n"
               "cache, db = redis.new(), postgres.new {}\n" BROKER,
      .run = "broker:fake('http', { ['POST /a'] = { json = { x = 1 }, delay = 0.1 } })\n"
             "broker:fake('dns', { h = { '192.0.2.1' } })\n"
             "broker:fake('redis', { x = 'y' })\n"
             "broker:fake('postgres', { ['select 1'] = { { one = 1 } } })\n"
             "broker:call(luamq.spawn, function()\n"
             "  assert(http.post('http://h/a', { json = { 1 }, query = { a = 'b' } }).json.x == 1)\n"
             "  assert(dns.lookup('h')[1] == '192.0.2.1')\n"
             "  assert(cache:get 'x' == 'y')\n"
             "  assert(db:query('select 1')[1].one == 1)\n"
             "end)\n"
             "broker:advance(1)\n",
      .after = "broker:advance(100)\n"
               "assert(broker:stats().hooks_suspended == 0)\n" END,
      .open = add_modules});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loading_them),
      cmocka_unit_test(sqlite),
      cmocka_unit_test(what_knows_no_network),
      cmocka_unit_test(fakes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
