local config = require "luamq.config"
local process = require "spec.support.process"
local settings = require "luamq.settings"
local values = require "luamq.values"

local readme = process.read "README.md"

--- What follows a heading, up to the next of its level.
local function section(title)
  return (readme .. "\n## "):match("\n## " .. title .. "\n(.-)\n## ")
end

--- The code blocks of a language, in order.
local function blocks(language)
  local list = {}
  for text in readme:gmatch("\n```" .. language .. "\n(.-)\n```\n") do list[#list + 1] = text end
  return list
end

--- The only Lua block with this text in it.
local function block_with(text)
  local found
  for _, block in ipairs(blocks "lua") do
    if block:find(text, 1, true) then
      assert.is_nil(found, "two blocks have " .. text)
      found = block
    end
  end
  return assert(found, "no block has " .. text)
end

describe("README", function()
  it("has limits with settings, defaults and counters that are there", function()
    local test = require "luamq.test"
    local broker <close> = test.broker {}
    local stats, listed = broker:stats(), {}
    for name, default, counters in section "Limits":gmatch "\n| `([%l_.]+)` | `([^`]+)` | ([^|]+) |" do
      local group, key = name:match "^(%l+)%.([%l_]+)$"
      local setting = assert(settings.index[group][key], name)
      local value = load("return " .. default)()
      assert.equal(setting.default, values.read(setting, value), name)
      local count = 0
      for counter in counters:gmatch "`([%l_]+)`" do
        assert.truthy(stats[counter], counter)
        count = count + 1
      end
      assert.is_true(count > 0, name)
      listed[name] = true
    end
    for name in pairs(settings.index.limits) do assert.is_true(listed["limits." .. name], name) end
    for counter in section "Limits":gmatch "%(`([%l_]+_memory)`%)" do
      assert.truthy(stats[counter], counter)
    end
  end)

  it("has settings for features of MQTT 5 that are there", function()
    local count = 0
    for group, key in section "MQTT 5":gmatch "`(%l+)%.([%l_]+)`" do
      if settings.index[group] then
        assert.truthy(settings.index[group][key], key)
        count = count + 1
      end
    end
    assert.is_true(count >= 18)
  end)

  it("has a script that is right", function()
    local text = blocks("lua")[1]
    local script = assert(load(text, "@broker.lua"))()
    local checked, problem = config.check(script, "broker.lua", text)
    assert.is_nil(problem)
    assert.equal(262144, checked.engine.read_limit)
  end)

  it("has a script that does what is said", function()
    local test = require "luamq.test"
    local broker <close> = test.broker(assert(load(blocks("lua")[1], "@broker.lua"))())
    assert.is_nil((broker:connect { id = "north-1", username = "north", password = "wrong" }))
    assert.is_nil((broker:connect { id = "north-1", username = "north" }))
    assert.is_nil((broker:connect { id = "south-1", username = "north", password = "n0rth" }))
    local c = broker:connect { id = "north-1", username = "north", password = "n0rth" }
    assert.equal(1, c:subscribe("sites/#", 2).qos)
    assert.equal("success", c:publish("sites/north/x", "hi", 2).reason)
    assert.equal("not_authorized", c:publish("sites/south/x", "hi", 2).reason)
    assert.equal("success", c:publish("sites/north/x", ("x"):rep(1025), 1).reason)
    assert.same({ "hi", 1 }, { (function(m) return m.payload, m.qos end)(c:receive()) })
    assert.is_nil(c:receive())
  end)

  it("has listeners that are right", function()
    local text = "return { anonymous = true, " .. blocks("lua")[2] .. " }"
    local checked, problem = config.check(assert(load(text))(), "broker.lua", text)
    assert.is_nil(problem)
    assert.same({ true, 60, "0660", "meters" }, { checked.listeners[2].options.dual_stack,
      checked.listeners[2].options.keepalive, checked.listeners[5].options.mode,
      checked.listeners[5].options.group })
  end)

  it("has hooks of TLS that are right", function()
    local hooks, keys = {}, { a = "c0ffee" }
    local environment = { hooks = hooks, keys = keys }
    assert(load(blocks("lua")[3], "=readme", "t", environment))()
    assert(load(blocks("lua")[4], "=readme", "t", environment))()
    assert.is_true(hooks.authenticate { id = "m", certificate = { common_name = "m" } })
    assert.is_false(hooks.authenticate { id = "n", certificate = { common_name = "m" } })
    assert.is_false(hooks.authenticate { id = "m" })
    assert.same({ "c0ffee" }, { hooks.psk "a", hooks.psk "b" })
  end)

  it("has listeners behind proxies that are right", function()
    local text = "return { anonymous = true, " .. blocks("lua")[5] .. " }"
    local checked = assert(config.check(assert(load(text))(), "broker.lua", text))
    assert.same({ "10.0.0.2", "10.0.0.3" }, checked.listeners[1].options.trusted_proxies)
    assert.same({ "https://dashboard.example.org" }, checked.listeners[2].options.origins)
  end)

  it("has rules that do what is said", function()
    local test = require "luamq.test"
    local script = assert(load("local " .. block_with "acl = {" .. "\nreturn { acl = acl, anonymous = true,"
      .. " hooks = { authenticate = function() return true end } }"))()
    local broker <close> = test.broker(script)
    local ann = broker:connect { id = "sensor-1", username = "ann" }
    local admin = broker:connect { id = "c", username = "admin" }
    local function refused(client, topic, retain)
      return client:publish(topic, "", 1, retain).reason ~= "success"
    end
    assert.same({ false, true }, { refused(ann, "t/ann/x"), refused(ann, "t/bob/x") })
    assert.same({ false, true }, { refused(ann, "s/sensor-1"), refused(ann, "s/sensor-1", true) })
    assert.same({ false, true }, { refused(admin, "x"), refused(ann, "x") })
    assert.same({ 1, nil }, { ann:subscribe("t/ann/#", 2).qos, ann:subscribe("#", 0).qos })
    assert.equal(2, admin:subscribe("#", 2).qos)
  end)

  it("shows the message of --check as it is", function()
    local directory = process.directory()
    local wrong = blocks("lua")[1]:gsub("inflight_messages", "inflight_mesages")
    process.write(directory .. "/broker.lua", wrong)
    local status, output = process.run({ process.absolute(process.luamq), "--check", "broker.lua" },
      { directory = directory, errors = true })
    process.remove(directory)
    assert.equal(1, status)
    assert.truthy(readme:find("\n    $ luamq --check broker.lua\n    " .. output, 1, true), output)
  end)

  it("has a spec that passes", function()
    local directory = process.directory()
    process.write(directory .. "/broker.lua", blocks("lua")[1])
    process.write(directory .. "/my_spec.lua", block_with "describe(\"my policy\"")
    local modules = os.getenv "LUA_PATH" or ""
    local here = process.absolute ""
    local status, output = process.run({ "busted", "--lua=/usr/bin/lua5.4", "-o", "TAP", "my_spec.lua" }, {
      directory = directory, errors = true,
      environment = {
        LUA_PATH = here .. "lua/?.lua;" .. here .. "lua/?/init.lua;" .. modules,
        LUA_CPATH = process.absolute(process.build) .. "/lib/?.so;" .. (os.getenv "LUA_CPATH" or ""),
      },
    })
    process.remove(directory)
    assert.same({ 0, "ok 1 - my policy keeps sites apart\n1..1\n" }, { status, output })
  end)

  it("names only targets of make that are there", function()
    local makefile, count = "\n" .. process.read "Makefile", 0
    for line in readme:gmatch "[^\n]+" do
      local named = line:match "^    make (%l+)"
      if named then line = "`make " .. named .. "`" end
      for target in line:gmatch "`make (%l[%w_-]*)[^`]*`" do
        count = count + 1
        assert.truthy(makefile:find("\n" .. target .. ":", 1, true), target)
      end
    end
    assert.is_true(count >= 6)
  end)

  it("links to files that are there", function()
    local count = 0
    for path in readme:gmatch "%]%(([^)#]+)%)" do
      if not path:find "^https?:" then
        count = count + 1
        assert.is_true(os.rename(path, path) == true, path)
      end
    end
    for path in readme:gmatch "`([%w_]+/[%w_/.]*)`" do
      assert.is_true(os.rename(path, path) == true, path)
    end
    assert.is_true(count >= 8)
  end)

  it("lists all hooks", function()
    local listed = {}
    for row in section "Hooks":gmatch "\n|([^\n|]*)|" do
      for name in row:gmatch "`([%l_]+)%(" do listed[name] = true end
    end
    for _, name in ipairs(settings.hooks) do
      assert.is_true(listed[name], name)
      listed[name] = nil
    end
    assert.same({}, listed)
  end)

  it("names functions of the module that are there", function()
    local luamq = require "luamq"
    local sentence = readme:match "\nThe module `luamq` has (.-)%.\n"
    local count = 0
    for name in sentence:gmatch "`(%l+)%(" do
      assert.equal("function", type(luamq[name]), name)
      count = count + 1
    end
    assert.is_true(count >= 10)
    for _, level in ipairs { "debug", "info", "warn", "error" } do
      assert.equal("function", type(luamq.log[level]))
    end
  end)
end)
