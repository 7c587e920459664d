// luamq.test, luamq.client and what hooks call when Lua runs out of memory, see lua_memory.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lua_memory.h"
#include "script/script.h"

static void ignore(void *arg, const char *problem) { (void)arg, (void)problem; }

// try_listeners(checked): what --check does
static int try_listeners(lua_State *L) {
  lua_pushboolean(L, script_try_listeners(L, 1, ignore, NULL));
  return 1;
}

static void register_try_listeners(lua_State *L) { lua_register(L, "try_listeners", try_listeners); }

static void fail_each_allocation(const char *chunk) {
  lua_memory_fail_each(&(struct lua_memory_run){.run = chunk, .open = register_try_listeners});
}

static void a_broker_with_clients(void **state) {
  (void)state;
  fail_each_allocation(
      "local broker <close> = test.broker({ log = { level = 'off' } })\n"
      "broker:capture()\n"
      "local a = assert(broker:connect { id = 'a', will = { topic = 'w', payload = 'x' } })\n"
      "local b = assert(broker:connect { id = 'b', username = 'u', password = 'p',\n"
      "  remote_address = '192.0.2.1:5000' })\n"
      "a:subscribe({ 't', 'w/#' }, 2)\n"
      "b:publish('t', 'one', 2, true)\n"
      "assert(a:receive().payload == 'one')\n"
      "a:unsubscribe 't'\n"
      "a:send_raw '\\xc0\\0'\n"
      "assert(a:raw() ~= '')\n"
      "broker:advance(100)\n"
      "assert(#broker:events() > 0 and broker:stats().clients == 2)\n"
      "a:drop()\n"
      "b:disconnect()\n");
}

static void clients_of_mqtt_5(void **state) {
  (void)state;
  fail_each_allocation(
      "local broker <close> = test.broker({ log = { level = 'off' } })\n"
      "local pairs = { { 'a', '1' }, { 'a', '2' } }\n"
      "local a = assert(broker:connect { session_expiry_interval = 9, user_properties = pairs,\n"
      "  topic_aliases = 5, topic_alias_maximum = 5, will = { topic = 'w', content_type = 'x',\n"
      "  user_properties = pairs } })\n"
      "assert(a:subscribe('t', { qos = 2, subscription_identifier = 3, no_local = false }))\n"
      "for _ = 1, 2 do\n"
      "  assert(a:publish('t', 'one', { qos = 2, correlation_data = 'c', user_properties = pairs }))\n"
      "  local message = assert(a:receive())\n"
      "  assert(message.user_properties[2][2] == '2' and message.subscription_identifiers[1] == 3)\n"
      "end\n"
      "a:unsubscribe({ 't', 'x' }, { user_properties = pairs })\n"
      "a:send_raw '\\xff'\n"
      "assert(a.disconnected.reason == 'malformed_packet')\n"
      "local b = assert(broker:connect())\n"
      "b:disconnect { with_will = true, user_properties = pairs }\n");
}

static void a_refusing_script(void **state) {
  (void)state;
  fail_each_allocation(
      "local hooks = {}\n"
      "function hooks.authenticate(client, name) return name == 'u', 'banned' end\n"
      "function hooks.publish(client, message) return message.topic == 't', 'quota_exceeded' end\n"
      "local broker <close> = test.broker({ log = { level = 'off' }, hooks = hooks })\n"
      "broker:connect()\n"
      "local c = broker:connect { username = 'u' }\n"
      "if c then c:publish('t', '', 1) c:publish('x', '', 1) end\n");
}

static void a_script_of_mqtt_5(void **state) {
  (void)state;
  fail_each_allocation(
      "local function method(data)\n"
      "  local raw = '\\x15' .. string.pack('>s2', 'M') .. '\\x16' .. string.pack('>s2', data)\n"
      "  return string.pack('s1', raw)\n"
      "end\n"
      "local pair = '\\x26' .. string.pack('>s2s2', 'a', 'b')\n"
      "local hooks = {}\n"
      "function hooks.auth(client, name, data)\n"
      "  if data == 'good' then return true, 'welcome' end\n"
      "  return 'continue', name .. data\n"
      "end\n"
      "function hooks.setup(client) client.ref = client.will, client.authentication_method end\n"
      "function hooks.subscribe(client, s)\n"
      "  return false, { reason_string = s.topic .. tostring(s.no_local), user_properties = { { 'a', 'b' } } "
      "}\n"
      "end\n"
      "function hooks.publish(client, m)\n"
      "  if m.topic == 'no' then return false, 'banned', 'no' end\n"
      "  return { add_user_properties = m.user_properties, content_type = 'c', response_topic = false }\n"
      "end\n"
      "function hooks.packet(client, p) return p.reason ~= 'x' and p.user_properties ~= p end\n"
      "local broker <close> = test.broker({ log = { level = 'off' }, hooks = hooks })\n"
      "local c = broker:open()\n"
      "c:send_raw('\\x10' .. string.pack('s1', '\\0\\4MQTT\\5\\6\\0\\60' .. method 'x' .. '\\0\\1c' ..\n"
      "  string.pack('s1', '\\x18\\0\\0\\0\\1' .. pair) .. '\\0\\1w\\0\\1x'))\n"
      "c:send_raw('\\xf0' .. string.pack('s1', '\\x18' .. method 'good'))\n"
      "c:send_raw '\\x82\\7\\0\\1\\0\\0\\1t\\4'\n"
      "c:send_raw('\\x33' .. string.pack('s1', '\\0\\1t\\0\\1' .. string.pack('s1', pair) .. 'x'))\n"
      "c:send_raw '\\x32\\7\\0\\2no\\0\\1\\0'\n"
      "broker:publish('t', 'x', { qos = 1, retain = true, user_properties = { { 'a', 'b' } } })\n"
      "broker:retained 't'\n"
      "local seen = broker:client 'c'\n"
      "if seen then seen:close('banned', 'enough') end\n"
      "local raw = c:raw()\n"
      "for _, part in ipairs { 'Mx', 'welcome', 'ttrue', 'enough' } do assert(raw:find(part, 1, true), part) "
      "end\n");
}

static void a_reload(void **state) {
  (void)state;
  fail_each_allocation(
      "local luamq = require 'luamq'\n"
      "local function hooks()\n"
      "  return {\n"
      "    authenticate = function(client) client.ref = { id = client.id, { 1, 'x', f = print } } return "
      "true end,\n"
      "    publish = function(client, m) return m.topic ~= 'reload' or luamq.reload() == true end,\n"
      "    subscribe = function(client, s) return s.topic ~= 'no' end,\n"
      "    selftest = function() luamq.sleep(1) return true end,\n"
      "    save = function() return { a = { 'b', 1.5 } } end,\n"
      "    start = function(b) luamq.after(9, print) return b.saved end,\n"
      "    adopt = function(client) client.ref.adopted = true end,\n"
      "  }\n"
      "end\n"
      "local options = { log = { level = 'off' }, script = { reauthorize = true } }\n"
      "options.hooks = { authenticate = hooks().authenticate, save = hooks().save }\n"
      "local broker <close> = test.broker(options)\n"
      "local a = assert(broker:connect { id = 'a' })\n"
      "local b = assert(broker:connect { id = 'b' })\n"
      "a:subscribe({ 'no', 'yes', '$share/g/yes' }, 1)\n"
      "options.hooks = hooks()\n"
      "if broker:reload(options) then b:publish('reload', '', 1) broker:advance(5) end\n"
      "broker:reload { hooks = { selftest = function() return false, 'no' end } }\n"
      "b:publish('yes', 'x', 1)\n"
      "a:disconnect()\n");
}

static void sessions_that_a_script_keeps(void **state) {
  (void)state;
  fail_each_allocation(
      "local luamq = require 'luamq'\n"
      "local kept = { incoming = {}, outgoing = {}, last = 0 }\n"
      "function kept:next_id() self.last = self.last + 1 return self.last end\n"
      "function kept:save_packet(d, p) self[d][p.id] = p end\n"
      "function kept:lookup_packet(d, id) return self[d][id] end\n"
      "function kept:delete_packet(d, id) self[d][id] = nil end\n"
      "function kept:all_packets(d)\n"
      "  local list = {}\n"
      "  for _, p in pairs(self[d]) do list[#list + 1] = p end\n"
      "  return list\n"
      "end\n"
      "kept.outgoing[9] = { type = 'publish', id = 9, message = { topic = 't', payload = 'x', qos = 1,\n"
      "  user_properties = { { 'a', 'b' } } } }\n"
      "local hooks = {}\n"
      "function hooks.setup(_, id)\n"
      "  local session = luamq.create_session(id, 60)\n"
      "  if session then\n"
      "    session:subscribe { topic = 't', qos = 2, identifier = 4, retain_handling = 2 }\n"
      "    session:deliver('t', 'one', { qos = 1 })\n"
      "    assert(session:all_messages()[1].payload == 'one')\n"
      "    session:unsubscribe 'x'\n"
      "  end\n"
      "  return kept\n"
      "end\n"
      "function hooks.adopt() return kept end\n"
      "local options = { log = { level = 'off' }, hooks = hooks }\n"
      "local broker <close> = test.broker(options)\n"
      "local a = broker:connect { id = 'a', clean = false, session_expiry_interval = 60 }\n"
      "if a then a:publish('t', 'two', 2) broker:reload(options) a:publish('t', 'three', 1) end\n"
      "if a then a:drop() end\n");
}

static void a_client_without_a_server(void **state) {
  (void)state;
  fail_each_allocation("assert(not client.connect { host = '127.0.0.1', port = 1, timeout = 1,\n"
                       "  will = { topic = 'w' }, username = 'u', password = 'p' })\n"
                       "assert(not client.open { port = 1, timeout = 1 })\n");
}

static void listeners_that_are_tried(void **state) {
  (void)state;
  fail_each_allocation(
      "local checked = assert(config.check { anonymous = true, listeners = {\n"
      "  { 'unix:///x', owner = 'no one here' },\n"
      "  { 'ws://127.0.0.1:1', origins = { 'https://a.example', '*' }, trusted_proxies = { '10.0.0.0/8' } "
      "},\n"
      "  { 'wss://127.0.0.1:2', certificate = '/nowhere/a', key = '/nowhere/b', ca = '/nowhere/c',\n"
      "    certificates = { { certificate = '/nowhere/d', key = '/nowhere/e' } } } } })\n"
      "assert(not try_listeners(checked))\n");
}

// Slots and values are neither lost nor there twice, whatever a hook was doing when it found no memory.
static void hooks_that_wait(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .setup = "slots, values, hooks = luamq.semaphore(2), luamq.channel(1), {}\n"
               "sum = 0\n"
               "function hooks.authenticate(client)\n"
               "  local slot <close> = slots:acquire(30)\n"
               "  luamq.sleep(1)\n"
               "  return slot ~= nil\n"
               "end\n"
               "function hooks.publish(client, m)\n"
               "  values:send(tonumber(m.payload), 20)\n"
               "  return true\n"
               "end\n"
               "function hooks.subscribe(client, s)\n"
               "  luamq.spawn(function(n) luamq.sleep(n) end, 1):cancel()\n"
               "  luamq.after(1, function() luamq.sleep(1) end)\n"
               "  luamq.every(9, function() end):cancel()\n"
               "  return s.qos\n"
               "end\n"
               "broker = test.broker({ log = { level = 'off' }, hooks = hooks })\n",
      .run = "local clients = {}\n"
             "for i = 1, 4 do clients[i] = broker:open() end\n"
             "for i, c in ipairs(clients) do\n"
             "  c:send_raw('\\x10\\x0d\\0\\4MQTT\\4\\2\\0\\0\\0\\1' .. i)\n"
             "  c:send_raw('\\x82\\6\\0\\1\\0\\1t\\0\\x30\\4\\0\\1t' .. i)\n"
             "end\n"
             "broker:advance(3)\n"
             "for _ = 1, 4 do sum = sum + (broker:call(function() return luamq.spawn(function()\n"
             "  sum = sum + (values:receive(5) or 0) end) end) and 0 or 0) end\n"
             "broker:advance(9)\n",
      .after = "broker:advance(100)\n"
               "for _ = 1, 3 do collectgarbage() end\n"
               "local stats = broker:stats()\n"
               "assert(stats.hooks_suspended == 0, 'suspended')\n"
               "assert(slots.free == 2, slots.free)\n"
               "local got\n"
               "broker:call(function() luamq.spawn(function()\n"
               "  while values.count > 0 do values:receive(1) end\n"
               "  values:send(7) got = values:receive(1) end) end)\n"
               "broker:advance(5)\n"
               "assert(got == 7 and values.count == 0, 'channel')\n"
               "local c = broker:open()\n"
               "c:send_raw('\\x10\\x0d\\0\\4MQTT\\4\\2\\0\\0\\0\\1x')\n"
               "broker:advance(2)\n"
               "assert(c:raw() == '\\x20\\2\\0\\0', 'it goes on')\n"
               "broker:stop()\n"
               "broker = nil\n"});
}

static void timers_and_spawned_functions(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){.setup = "broker = test.broker({ log = { level = 'off' } })",
                                                .run = "broker:call(function()\n"
                                                       "  for _ = 1, 30 do\n"
                                                       "    luamq.after(1, function() luamq.sleep(1) end)\n"
                                                       "    luamq.spawn(function(n) luamq.sleep(n) end, 1)\n"
                                                       "  end\n"
                                                       "end)\n"
                                                       "broker:advance(3)\n",
                                                .after = "broker:advance(3)\n"
                                                         "assert(broker:stats().hooks_suspended == 0)\n"
                                                         "broker:stop() broker = nil\n"});
}

static void metrics_and_shared_values(void **state) {
  (void)state;
  lua_memory_fail_each(
      &(struct lua_memory_run){.setup = "broker = test.broker({ log = { level = 'off' } })\n"
                                        "nested = { 1 }\n"
                                        "for _ = 1, 12 do nested = { nested, name = 'x' } end\n"
                                        "function depth(t) return t[1] == 1 and 1 or 1 + depth(t[1]) end\n"
                                        "counter = luamq.counter('c', { 'a', 'b' }, 'help')\n",
                               .run = "broker:call(function()\n"
                                      "  counter:inc(1.5, true, 2)\n"
                                      "  luamq.gauge('g', {}, { help = 'x' }):dec(1)\n"
                                      "  local h = luamq.histogram('h', { 'l' }, { buckets = { 1, 2 } })\n"
                                      "  h:observe('x', 1.5)\n"
                                      "  assert(h:value('x').buckets[2].count == 1)\n"
                                      "  assert(luamq.metrics().h.series[1].sum == 1.5)\n"
                                      "  luamq.shared.nested = nested\n"
                                      "  luamq.shared.text = ('x'):rep(100)\n"
                                      "  for _, value in pairs(luamq.shared) do assert(value) end\n"
                                      "  luamq.shared.text = nil\n"
                                      "end)\n"
                                      "luamq.log.warn('off', { a = 1.5, b = {} })\n"
                                      "broker:stats()\n",
                               .after = "broker:call(function()\n"
                                        "  local kept = luamq.shared.nested\n"
                                        "  assert(kept == nil or depth(kept) == 13, 'a part is missing')\n"
                                        "  assert(counter:value(1.5, true) % 2 == 0)\n"
                                        "  counter:inc(1.5, true, 2)\n"
                                        "end)\n"
                                        "broker:stop() broker = nil\n"});
}

static void rules_and_scopes(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .run = "local hooks = {}\n"
             "function hooks.authenticate(client, name)\n"
             "  if name == 'no' then return false, { reason = 'banned', reason_string = 'x',\n"
             "    user_properties = { { 'a', 'b' } } } end\n"
             "  return { acl = { { allow = 'publish', topic = 'a/%c' }, { deny = 'all' } }, read_limit = "
             "'4K' }\n"
             "end\n"
             "hooks.publish = luamq.on_topics({ 'a/#', 'b' }, function() return true end,\n"
             "  { otherwise = false })\n"
             "local broker <close> = test.broker({ log = { level = 'off' }, hooks = hooks,\n"
             "  acl = { { deny = 'subscribe', topic = '$SYS/#' }, { allow = 'all' } } })\n"
             "local c = broker:connect { id = 'x' }\n"
             "if c then\n"
             "  c:publish('a/x', '', 1) c:publish('c', '', 1) c:subscribe('$SYS/#')\n"
             "  local seen = broker:call(function() return luamq.client('x') end)\n"
             "  if seen then seen.acl = { { allow = 'all' } } end\n"
             "end\n"
             "broker:connect { username = 'no' }\n"});
}

static void passwords_and_signatures(void **state) {
  (void)state;
  lua_memory_fail_each(&(struct lua_memory_run){
      .setup = "jwt = require 'luamq.jwt'\n"
               "key = jwt.secret(('k'):rep(32))\n"
               "pem = '-----BEGIN PUBLIC KEY-----\\n'\n"
               "  .. 'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\\n'\n"
               "  .. '6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\\n'\n"
               "  .. '-----END PUBLIC KEY-----\\n'\n"
               "broker = test.broker({ log = { level = 'off' } })\n"
               "known = '$7$101$c2FsdHNhbHRzYQ==$' .. ('A'):rep(86) .. '=='\n",
      .run = "luamq.crypto.base64url_decode(luamq.crypto.base64url_encode(luamq.crypto.random(8)))\n"
             "luamq.crypto.hmac('sha256', 'k', 'x')\n"
             "local token = assert(jwt.sign({ sub = 'x', exp = 2000000000 }, { key = key }))\n"
             "jwt.verify(token, { key = key, algorithms = { 'HS256' } })\n"
             "jwt.key(pem)\n"
             "luamq.password_file('/nowhere')\n"
             "broker:call(luamq.spawn, function()\n"
             "  luamq.password.verify('x', known)\n"
             "  luamq.password.hash('x', { kind = 'pbkdf2', cost = 1000 })\n"
             "end)\n"
             "broker:advance(1)\n",
      .after = "broker:advance(100)\n"
               "assert(broker:stats().hooks_suspended == 0)\n"
               "broker:stop() broker = nil\n"});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_broker_with_clients),
      cmocka_unit_test(clients_of_mqtt_5),
      cmocka_unit_test(a_refusing_script),
      cmocka_unit_test(a_script_of_mqtt_5),
      cmocka_unit_test(a_client_without_a_server),
      cmocka_unit_test(listeners_that_are_tried),
      cmocka_unit_test(a_reload),
      cmocka_unit_test(sessions_that_a_script_keeps),
      cmocka_unit_test(hooks_that_wait),
      cmocka_unit_test(timers_and_spawned_functions),
      cmocka_unit_test(metrics_and_shared_values),
      cmocka_unit_test(rules_and_scopes),
      cmocka_unit_test(passwords_and_signatures),
  };
  cmocka_set_test_filter(getenv("F"));
  return cmocka_run_group_tests(tests, NULL, NULL);
}
