local config = require "luamq.config"
local listener_module = require "luamq.listeners"
local settings = require "luamq.settings"
local values = require "luamq.values"
local words = require "luamq.words"

local loopback = { "tcp://127.0.0.1:1883" }

--- The check's message for a script's text, as if it stood in broker.lua.
local function message(text)
  return select(2, config.check(assert(load(text, "@broker.lua"))(), "broker.lua", text))
end

--- The check's message for a table without a script.
local function refused(value)
  value.listeners = value.listeners or loopback
  local checked, problem = config.check(value)
  return not checked and problem
end

local function accepted(value)
  value.listeners = value.listeners or loopback
  return assert(config.check(value))
end

local function each_setting(fn)
  for _, section in ipairs(settings.sections) do
    for _, setting in ipairs(section.keys) do fn(section.name, setting.name, setting) end
  end
end

it("runs under Lua 5.4", function() assert.equal("Lua 5.4", _VERSION) end)

describe("a configuration", function()
  it("has these defaults", function()
    local checked = config.default()
    assert.same({
      read_limit = 8388608, connect_read_limit = 393216, max_write_delay = 0, connect_timeout = 10,
      handshake_timeout = 10, backlog = 1024, close_timeout = 5, server_reference = "",
      workers = 2, worker_queue = 4096,
    }, checked.engine)
    assert.same({
      session_queue_size = 100, kill_timeout = 5, maximum_keep_alive = 300, maximum_keep_alive_set = false,
      parallel_publishes = 100, parallel_subscribes = 10, inflight_messages = 10, token_timeout = 30,
      full_queue_wait = 0.1, refused_publish = "acknowledge", incoming_bytes = 64 << 20,
      max_sessions = 1e6, max_session_expiry = 30 * 86400, max_retained_messages = 1e6,
      max_retained_bytes = 1 << 30, session_queue_bytes = 64 << 20, inflight_bytes = 16 << 20,
      publish_rate = 0, publish_bytes = 0, full_queue = "wait",
      maximum_qos = 2, retain_available = true, wildcard_subscriptions = true,
      subscription_identifiers = true, shared_subscriptions = true, shared_strategy = "round_robin",
      topic_alias_maximum = 32, topic_aliases = 32, check_payload_format = false,
      response_information = "",
    }, checked.backend)
    assert.same({
      connections = 100000, topic_levels = 128, topic_length = 4096, subscriptions = 10000,
      connections_per_address = 20000, connections_per_user = 0, connect_rate = 5000,
      connect_rate_per_address = 1000, failed_logins = 10, login_delay = 1, login_delay_maximum = 60,
      password_checks = 2000, packet_time = 60, unfinished_bytes = 128 << 20, queued_bytes = 1 << 30,
      memory_limit = "80%", loop_lag = 0.5, client_rules = 200, client_rules_bytes = 32768,
    }, checked.limits)
    assert.same({ format = "text", level = "info", refusals = 10 }, checked.log)
    assert.same({ { url = "tcp://127.0.0.1:1883", scheme = "tcp", host = "127.0.0.1", port = 1883,
      options = { backlog = 1024, reuse_port = false, dual_stack = false, nodelay = true,
        proxy_protocol = false } } }, checked.listeners)
    assert.same({}, checked.hooks)
    assert.is_nil(checked.credentials)
    assert.is_false(checked.anonymous)
    assert.is_true(checked.open)
    assert.is_nil(checked.path)
  end)

  it("has defaults that it would accept itself", function()
    each_setting(function(_, _, setting)
      assert.equal(setting.default, values.read(setting, setting.default))
    end)
  end)

  it("normalizes values and leaves the script's table alone", function()
    local value = {
      listeners = { "tcp://127.0.0.1" }, log = { level = "off" },
      engine = { read_limit = "256K", connect_read_limit = 2048.0, max_write_delay = 0.01 },
      backend = { session_queue_size = 10.0, maximum_keep_alive = 300 },
    }
    local checked = accepted(value)
    assert.equal("integer", math.type(checked.engine.read_limit))
    assert.equal(262144, checked.engine.read_limit)
    assert.equal("integer", math.type(checked.engine.connect_read_limit))
    assert.equal(0.01, checked.engine.max_write_delay)
    assert.equal("integer", math.type(checked.backend.session_queue_size))
    assert.equal("off", checked.log.level)
    assert.is_true(checked.backend.maximum_keep_alive_set)
    assert.same({ read_limit = "256K", connect_read_limit = 2048.0, max_write_delay = 0.01 }, value.engine)
    assert.same({ "tcp://127.0.0.1" }, value.listeners)
  end)

  it("reads sizes with units", function()
    for text, size in pairs { ["2k"] = 2048, ["1M"] = 1 << 20, ["4096"] = 4096, ["256M"] = 1 << 28 } do
      assert.equal(size, accepted { engine = { read_limit = text } }.engine.read_limit)
    end
  end)
end)

describe("a value that is not acceptable", function()
  local cases = {
    { "engine.read_limit", true, 'expected a size such as 262144 or "256K", got boolean' },
    { "engine.read_limit", "8MB", 'expected a size such as 262144 or "256K", got "8MB"' },
    { "engine.read_limit", 4096.5, 'expected a size such as 262144 or "256K", got 4096.5' },
    { "engine.read_limit", "9007199254740992G", 'must be between 1K and 256M, got "9007199254740992G"' },
    { "engine.read_limit", 0, "must be between 1K and 256M, got 0" },
    { "engine.connect_timeout", "10", 'expected a number of seconds, got "10"' },
    { "engine.max_write_delay", 0 / 0, "expected a number of seconds, got nan" },
    { "engine.max_write_delay", math.huge, "must be between 0 and 10, got inf" },
    { "engine.backlog", 0 / 0, "expected an integer, got nan" },
    { "engine.backlog", math.huge, "expected an integer, got inf" },
    { "engine.backlog", {}, "expected an integer, got table" },
    { "backend.inflight_messages", 0, "must be between 1 and 65535, got 0" },
    { "backend.inflight_messages", 65536, "must be between 1 and 65535, got 65536" },
    { "backend.session_queue_size", "x\n\"y\"", [[expected an integer, got "x\10\34y\34"]] },
    { "backend.session_queue_size", ("x"):rep(1e6),
      'expected an integer, got "' .. ("x"):rep(37) .. '..."' },
    { "backend.session_queue_size", "\255", [[expected an integer, got "\255"]] },
    { "backend.maximum_keep_alive", 1.5, "expected a whole number of seconds, got 1.5" },
    { "backend.maximum_qos", 3, "must be between 0 and 2, got 3" },
    { "backend.shared_strategy", "fair",
      'expected "round_robin", "random", "sticky" or "least_inflight", got "fair"' },
    { "backend.response_information", "a\nb",
      [[expected a string of at most 255 bytes of UTF-8 without control characters, got "a\10b"]] },
    { "engine.server_reference", "\255",
      [[expected a string of at most 255 bytes of UTF-8 without control characters, got "\255"]] },
    { "engine.server_reference", ("x"):rep(256),
      'expected a string of at most 255 bytes of UTF-8 without control characters, got "'
      .. ("x"):rep(37) .. '..."' },
    { "backend.refused_publish", "drop", 'expected "acknowledge" or "disconnect", got "drop"' },
    { "log.format", 1, 'expected "text" or "json", got 1' },
    { "log.level", "warning", 'expected "debug", "info", "warn", "error" or "off", got "warning"' },
  }
  for i, case in ipairs(cases) do
    it(("is told with what is expected: %s (%d)"):format(case[1], i), function()
      local section, key = case[1]:match("^(%w+)%.([%w_]+)$")
      assert.equal(case[1] .. ": " .. case[3], refused { [section] = { [key] = case[2] } })
    end)
  end

  it("is told for every setting", function()
    each_setting(function(section, name)
      local problem = refused { [section] = { [name] = print } }
      assert.equal(section .. "." .. name .. ": expected ", problem:match("^.-: expected "))
      assert.truthy(problem:find(", got function$"))
    end)
  end)

  it("is told when a section is no table", function()
    assert.equal("script: expected a table of settings, got boolean", refused { script = true })
    assert.equal("engine: expected a table of settings, got a table with a metatable",
      refused { engine = setmetatable({}, { __index = error, __pairs = error, __metatable = false }) })
  end)

  it("is told when the script returns no table", function()
    local expected = ": expected the script to return a table of settings, got "
    assert.equal("broker.lua:2" .. expected .. "number", message "\nreturn 5")
    assert.equal("broker.lua" .. expected .. "nil", message "")
    assert.equal("broker.lua:1" .. expected .. "a table with a metatable",
      message "return setmetatable({}, {})")
  end)
end)

describe("an unknown key", function()
  local function unknown(value) return (refused(value):gsub("^.-: ", "")) end

  it("is told with the nearest name", function()
    assert.equal("backend.session_queue_sise: unknown setting (did you mean 'session_queue_size'?)",
      refused { backend = { session_queue_sise = 1 } })
    assert.equal("unknown setting (did you mean 'read_limit'?)", unknown { engine = { raed_limit = 1 } })
    assert.equal("unknown setting (did you mean 'read_limit'?)", unknown { engine = { readLimit = 1 } })
    assert.equal("unknown setting (did you mean 'read_limit'?)", unknown { engine = { ["read-limit"] = 1 } })
    assert.equal("unknown setting (did you mean 'listeners'?)", unknown { listener = {} })
  end)

  it("is told with its section when it stands in the wrong place", function()
    assert.equal("engine.inflight_messages: unknown setting (did you mean 'backend.inflight_messages'?)",
      refused { engine = { inflight_messages = 1 } })
    assert.equal("inflight_messages: unknown setting (did you mean 'backend.inflight_messages'?)",
      refused { inflight_messages = 1 })
    assert.equal("unknown setting (did you mean 'backend.token_timeout'?)",
      unknown { engine = { token_timout = 1 } })
    assert.equal("unknown setting (did you mean 'hooks'?)", unknown { backend = { hooks = {} } })
  end)

  it("gets no guess when nothing is near", function()
    assert.equal("unknown setting", unknown { engine = { colour = 1 } })
    assert.equal("unknown setting", unknown { [("x"):rep(1e6)] = 1 })
  end)

  it("is told when it is no name", function()
    assert.equal("[1]: expected a setting of the form name = value", refused { "tcp://127.0.0.1" })
    local problem = "]: expected a setting of the form name = value"
    assert.equal("engine[true" .. problem, refused { engine = { [true] = 1 } })
    assert.equal("log[1.5" .. problem, refused { log = { [1.5] = 1 } })
    assert.equal("log[table" .. problem, refused { log = { [{}] = 1 } })
    assert.equal('log["a b\\10"]: unknown setting', refused { log = { ["a b\n"] = 1 } })
  end)

  it("is told apart from what a later version has", function()
    for _, name in ipairs { "storage", "metrics", "cluster" } do
      assert.equal(name .. ": not supported in this version", refused { [name] = {} })
    end
    assert.equal("script.hook_bugdet: unknown setting (did you mean 'hook_budget'?)",
      refused { script = { hook_bugdet = 1 } })
  end)
end)

describe("messages", function()
  it("come in the order of lines, one for each problem", function()
    assert.equal([[
broker.lua:3: hooks.autenticate: unknown hook (did you mean 'authenticate'?)
broker.lua:5: listeners[2]: unknown scheme 'tpc' (did you mean 'tcp'?)
broker.lua:6: engine.read_limit: expected a size such as 262144 or "256K", got boolean
broker.lua:8: backend.session_queue_sise: unknown setting (did you mean 'session_queue_size'?)
broker.lua:9: backend.parallel_publishes: must be between 1 and 65535, got 0]], message [[
-- what the broker does
local hooks = {}
function hooks.autenticate() return true end
return {
  listeners = { "tcp://127.0.0.1", "tpc://127.0.0.1" },
  engine = { read_limit = true },
  backend = {
    session_queue_sise = 5,
    parallel_publishes = 0,
  },
  hooks = hooks,
}]])
  end)

  it("carry the file alone when the line is unknown", function()
    assert.equal("broker.lua: engine.backlog: must be between 1 and 65535, got 0",
      message "return { listeners = { 'tcp://[::1]' }, ['eng' .. 'ine'] = { ['back' .. 'log'] = 0 } }")
  end)

  it("name the place of a hook's function when the key isn't found", function()
    assert.equal("broker.lua:2: hooks.foobar: unknown hook", message [[
local hooks = {}
hooks["foo" .. "bar"] = function() end
return { listeners = { "tcp://[::1]" }, hooks = hooks }]])
  end)

  it("leave the marks of a chunk name out", function()
    assert.equal("a.lua: listeners: missing", select(2, config.check({}, "@a.lua")):match("^.-missing"))
    assert.equal("a.lua", config.check({ listeners = loopback }, "@a.lua").path)
  end)
end)

describe("listeners", function()
  local function listen(...) return accepted { anonymous = true, listeners = { ... } }.listeners end
  local function refuse(value)
    return (refused { anonymous = true, listeners = { value } }:gsub("^listeners%[1%]: ", ""))
  end

  it("are normalized", function()
    local options = { backlog = 1024, reuse_port = false, dual_stack = false, nodelay = true,
      proxy_protocol = false }
    assert.same({ url = "tcp://localhost:1883", scheme = "tcp", host = "localhost", port = 1883,
      options = options }, listen("MQTT://LocalHost")[1])
    assert.same({ url = "tcp://[::1]:0", scheme = "tcp", host = "::1", port = 0, options = options },
      listen { "tcp://[::1]:0" }[1])
    assert.equal("tcp://[fe80::1%eth0]:1883", listen("tcp://[FE80::1%eth0]")[1].url)
    assert.equal("tcp://mq-1.example.org:65535", listen("tcp://mq-1.example.org:65535")[1].url)
    assert.equal(3, #listen("tcp://[::]", "tcp://0.0.0.0", "tcp://[::ffff:1.2.3.4]:1"))
    assert.equal(2, #listen("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"))
  end)

  it("know their lines", function()
    local text = "local u = 'tcp://[::1]:2'\nreturn { listeners = {\n 'tcp://127.0.0.1:1',\n { u } } }"
    local listeners = assert(config.check(load(text)(), "broker.lua", text)).listeners
    assert.same({ 3, 4 }, { listeners[1].line, listeners[2].line })
  end)

  it("need an address that is one", function()
    local example = 'expected a URL such as "tcp://127.0.0.1:1883", got '
    assert.equal(example .. '"127.0.0.1:1883"', refuse "127.0.0.1:1883")
    assert.equal(example .. "number", refuse(1883))
    assert.equal(example .. "a table without one", refuse { url = "tcp://127.0.0.1" })
    assert.equal(example .. '""', refuse "")
    assert.equal(example .. '"tcp://' .. ("x"):rep(31) .. '..."', refuse("tcp://" .. ("x"):rep(1e6)))
    assert.equal("the host is missing (0.0.0.0 and [::] are all addresses)", refuse "tcp://:1883")
    for _, host in ipairs { "*", "256.1.1.1", "1.2.3", "01.2.3.4", "-a", "a-", "a..b", "a b", "\255",
      ("x"):rep(64) } do
      assert.truthy(refuse("tcp://" .. host .. ":1"):find("is not an IP address or host name", 1, true), host)
    end
    for _, host in ipairs { "", ":", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", ":::",
      "g::", "1:2:3:4:5:6:7::8", "::1.2.3", "1.2.3.4::", "::256.1.1.1" } do
      assert.equal('"[' .. host .. ']" is not an IPv6 address', refuse("tcp://[" .. host .. "]:1"))
    end
    assert.equal('"[\\10]" is not an IPv6 address', refuse "tcp://[\n]")
    assert.equal('an IPv6 address stands in [ ], as in "tcp://[::1]:1883"', refuse "tcp://::1:1883")
    for port, shown in pairs { [":"] = '""', [":65536"] = '"65536"', [":x"] = '"x"', [":-1"] = '"-1"',
      [":99999999999999999999"] = '"99999999999999999999"' } do
      assert.equal("the port must be a number between 0 and 65535, got " .. shown, refuse("tcp://a" .. port))
    end
    for _, rest in ipairs { "/", "/mqtt", "?x=1", "#x" } do
      assert.equal("the address of a tcp listener ends after the port, got "
        .. words.show("tcp://a:1" .. rest), refuse("tcp://a:1" .. rest))
    end
  end)

  it("never show the user part of a URL", function()
    for _, url in ipairs { "tcp://joe:hunter2@a:1", "joe:hunter2@a", "//joe:hunter2@a",
      "unix://joe:hunter2@a", "unix:///joe:hunter2@a/", "unix:///joe:hunter2@\n" } do
      assert.is_nil(refuse(url):find("hunter2"))
    end
  end)

  it("refuse unknown options", function()
    assert.equal("listeners[1].certificate: an option of tls and wss listeners, not of tcp ones",
      refuse { "tcp://a", certificate = "x" })
    assert.equal("listeners[1][2]: expected an option of the form name = value",
      refuse { "tcp://a", "tcp://b" })
    assert.equal("expected a URL, or a table that starts with one, got a table with a metatable",
      refuse(setmetatable({ "tcp://a" }, {})))
  end)

  it("are a list of at least one", function()
    local example = 'listeners = { "tcp://127.0.0.1:1883" }'
    assert.equal("listeners: missing, for example " .. example, select(2, config.check {}))
    assert.equal("listeners: empty, expected for example " .. example, refused { listeners = {} })
    assert.equal("listeners: expected a list of URLs, got string", refused { listeners = "tcp://127.0.0.1" })
    assert.equal("listeners.tcp: expected a list, which has no such key", refused { listeners = { tcp = 1 } })
    assert.equal("listeners[3]: expected a list without gaps",
      refused { listeners = { "tcp://[::1]", [3] = "x" } })
    assert.equal("listeners[2]: the same address as listeners[1]",
      refused { listeners = { "tcp://127.0.0.1", "mqtt://127.0.0.1:1883" } })
  end)
end)

describe("who gets in", function()
  local function hook() return true end

  it("is everybody on this machine unless something is said", function()
    for _, host in ipairs { "127.0.0.1", "127.8.9.1", "localhost", "[::1]", "[0:0::0:1]" } do
      assert.is_true(accepted { listeners = { "tcp://" .. host } }.open)
    end
  end)

  it("is nobody from the network unless something is said", function()
    for _, host in ipairs { "0.0.0.0", "[::]", "192.168.1.1", "example.org", "[::1:1]", "[1::1]", "128.0.0.1",
      "127.example.org", "localhost.example.org" } do
      assert.equal("listeners[2]: tcp://" .. host .. ":1 would let in everybody from the network: "
        .. "add credentials or an authenticate hook, set anonymous = true, or listen on 127.0.0.1",
        refused { listeners = { "tcp://127.0.0.1:1", "tcp://" .. host .. ":1" } })
    end
    local remote = { "tcp://0.0.0.0" }
    assert.is_false(accepted { listeners = remote, credentials = { joe = "x" } }.open)
    assert.is_false(accepted { listeners = remote, hooks = { authenticate = hook } }.open)
    assert.is_false(accepted { listeners = remote, hooks = { {}, { authenticate = hook } } }.open)
    assert.is_false(accepted { listeners = remote, anonymous = true }.open)
    assert.truthy(refused { listeners = remote, hooks = { publish = hook } }:find("add credentials"))
  end)

  it("is not asked while what decides it has mistakes", function()
    assert.equal("hooks.autenticate: unknown hook (did you mean 'authenticate'?)",
      (refused { listeners = { "tcp://0.0.0.0" }, hooks = { autenticate = hook } }:gsub("^.-: ", "")))
  end)

  it("is not left to a contradiction", function()
    assert.equal("anonymous: nobody could log in: add credentials or an authenticate hook, set it to true, "
      .. "or leave it out", refused { anonymous = false })
    assert.is_false(accepted { anonymous = false, credentials = {} }.anonymous)
    assert.equal('anonymous: expected true or false, got "yes"', refused { anonymous = "yes" })
  end)

  it("takes a copy of the credentials", function()
    local credentials = { joe = "secret", [""] = "" }
    local copy = accepted { credentials = credentials }.credentials
    assert.same(credentials, copy)
    assert.are_not.equal(credentials, copy)
  end)

  it("refuses credentials that cannot be, and never shows a password", function()
    local function refuse(value)
      local problem = refused { credentials = value }
      return problem:find("hunter2") and "a password" or problem
    end
    assert.equal("credentials: expected a table of user name = password, or luamq.password_file, got string",
      refuse "hunter2")
    assert.equal("credentials[1]: expected a user name, got number", refuse { "hunter2" })
    assert.equal("credentials.j: expected a password as a string, got table", refuse { j = { "hunter2" } })
    assert.equal('credentials["a-"]: expected a password as a string, got number', refuse { ["a-"] = 1 })
    assert.equal("credentials.joe: the password is longer than 65535 bytes, so no client can send it",
      refuse { joe = ("hunter2"):rep(10000) })
    assert.equal([[credentials["\255"]: the user name is not valid UTF-8 text, so no client can send it]],
      refuse { ["\255"] = "hunter2" })
    assert.equal("credentials: expected a table of user name = password, or luamq.password_file, "
      .. "got a table with a metatable",
      refuse(setmetatable({}, { __index = { joe = "hunter2" } })))
  end)
end)

describe("hooks", function()
  local function hook() end

  it("become a list of tables", function()
    local all = {}
    for _, name in ipairs(settings.hooks) do all[name] = hook end
    assert.equal(19, #settings.hooks)
    local checked = accepted { hooks = all }
    assert.same({ all }, checked.hooks)
    assert.are_not.equal(all, checked.hooks[1])
    local several = { { log = hook }, { log = print } }
    assert.same(several, accepted { hooks = several }.hooks)
    assert.same({}, accepted { hooks = {} }.hooks)
  end)

  it("are functions with known names", function()
    local function refuse(hooks) return (refused { hooks = hooks }:gsub("^[^:]*spec.lua:%d+: ", "")) end
    assert.equal("hooks.publish: expected a function, got string", refuse { publish = "allow" })
    assert.equal("hooks.pubilsh: unknown hook (did you mean 'publish'?)", refuse { pubilsh = hook })
    assert.equal("hooks[1]: expected the name of a hook, got number", refuse { hook })
    assert.equal("hooks.publish: expected a list, which has no such key", refuse { {}, publish = hook })
    assert.equal("hooks[2].onPublish: unknown hook (did you mean 'publish'?)",
      refuse { {}, { onPublish = hook } })
    assert.equal("hooks.message: unknown hook", refuse { message = hook })
    assert.equal("hooks[2]: expected a table of functions, got number", refuse { {}, 1 })
    assert.equal("hooks: expected a table of functions, or a list of them, got function", refuse(hook))
    assert.equal("hooks: expected a table of functions, or a list of them, got a table with a metatable",
      refuse(setmetatable({}, { __index = { publish = hook } })))
  end)
end)

describe("config.load", function()
  local search, files = package.path, {}
  after_each(function()
    package.path = search
    while #files > 0 do os.remove(table.remove(files)) end
  end)

  local function script(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    files[#files + 1] = path
    return path
  end

  local function problem_of(path) return select(2, config.load(path)) end

  it("loads a script with its arguments", function()
    local path = script "#!luamq\nlocal port = ...\nreturn { listeners = {\n'tcp://[::1]:' .. port } }"
    local checked = assert(config.load(path, { "1884" }))
    assert.equal(1, #checked.listeners)
    assert.same({ "tcp://[::1]:1884", 4 }, { checked.listeners[1].url, checked.listeners[1].line })
    assert.equal(path, checked.path)
  end)

  it("tells what is wrong, and where", function()
    assert.equal("cannot open nowhere.lua: No such file or directory", problem_of "nowhere.lua")
    local path = script "return { listeners = { 'tcp://[::1]' },\n engin = {} }"
    assert.equal(path .. ":2: engin: unknown setting (did you mean 'engine'?)", problem_of(path))
    path = script "return {\n listeners = = 1 }"
    assert.equal(path .. ":2: unexpected symbol near '='", problem_of(path))
    path = script "return {\n listeners = f() }"
    assert.equal(path .. ":2: attempt to call a nil value (global 'f')\n\t" .. path .. ":2: in main chunk",
      problem_of(path))
  end)

  it("raises when it is misused", function()
    assert.error_matches(function() config.load() end, "config.load expects the path of a script$")
    assert.error_matches(function() config.check({}, 1) end, "config.check expects a name as a string$")
    assert.error_matches(function() config.dump {} end, "config.dump expects a checked configuration$")
  end)
end)

describe("config.dump", function()
  local function load_back(checked) return assert(load(config.dump(checked), "=dump", "t", {}))() end

  it("is Lua that gives the same configuration", function()
    local checked = accepted {
      listeners = { "tcp://[::1]:1", { "mqtt://localhost" } }, log = { format = "json" },
      engine = { read_limit = "1M", max_write_delay = 0.1 + 0.2 }, backend = { maximum_keep_alive = 60 },
    }
    assert.same(checked, config.check(load_back(checked)))
    assert.same(config.default(), config.check(load_back(config.default())))
  end)

  it("holds every key with unit and default", function()
    local text = config.dump(accepted { engine = { read_limit = "256K" } })
    assert.truthy(text:find("\n    read_limit = 262144, -- bytes, default 8388608; largest", 1, true))
    each_setting(function(_, name)
      assert.truthy(text:find("\n    [- ]*" .. name .. " = [^\n]+, %-%- [^\n]+, default [^\n]+; "), name)
    end)
  end)

  it("never shows a password", function()
    local odd = "a\"b\n\1\r]]--\\"
    local checked = accepted { credentials = { joe = "hunter2", [odd] = "hunter2" }, anonymous = true }
    assert.is_nil(config.dump(checked):find("hunter2"))
    local back = load_back(checked)
    assert.same({ joe = "***", [odd] = "***" }, back.credentials)
    assert.is_true(back.anonymous)
    assert.equal("hunter2", checked.credentials.joe)
  end)

  it("tells where hooks are", function()
    local hooks = load("local h = {}\nfunction h.publish() end\nreturn h", "@broker.lua")()
    assert.truthy(config.dump(accepted { hooks = hooks }):find("\n    -- publish: broker.lua:2\n", 1, true))
    local two = accepted { hooks = { hooks, { log = print } } }
    two.path = "a\nb"
    assert.truthy(config.dump(two):find("\n      -- log: a C function\n", 1, true))
    assert.same({ {}, {} }, load_back(two).hooks)
  end)
end)

describe("config.reference", function()
  it("has a row for every setting", function()
    local text = config.reference()
    assert.truthy(text:find('\n| `engine.read_limit` | `"8M"` | bytes, 1K to 256M | largest', 1, true))
    each_setting(function(section, name)
      assert.truthy(text:find("\n| `" .. section .. "." .. name .. "` | `", 1, true))
    end)
    local first, second = text:match("^(.-\n)\n(.*)$")
    for line in first:gmatch("[^\n]+") do assert.equal(5, select(2, line:gsub("|", ""))) end
    for line in second:gmatch("[^\n]+") do assert.equal(6, select(2, line:gsub("|", ""))) end
  end)

  it("has a row for every option of a listener", function()
    local text = config.reference()
    for _, listener in ipairs(listener_module.transports) do
      for _, option in ipairs(listener.keys) do
        assert.matches("\n| `" .. option.name .. "` | [^\n]*[ ,]" .. listener.scheme .. "[ ,]", text)
      end
    end
  end)
end)
