local annotations = require "scripts.annotations"
local pages = require "scripts.pages"
local process = require "spec.support.process"
local settings = require "luamq.settings"
local test = require "luamq.test"

local index = pages.index()

local function keys(list)
  local names = {}
  for name in pairs(list) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The names of the fields and methods of a class that a script sees.
local function documented(class)
  local names = {}
  for _, field in ipairs(index.types[class].fields) do
    if not field.private and not field.name:find "^%[" then names[field.name] = true end
  end
  for _, item in ipairs(index.files[index.types[class].file].items) do
    if item.owner == class and item.documented and not item.private then names[item.name] = true end
  end
  return names
end

describe("the reference", function()
  local made = pages.all()

  it("is what `make reference` makes", function()
    for path, text in pairs(made) do
      assert.is_true(text == process.read(path), path .. " is out of date: run `make reference`")
    end
  end)

  it("has no page of something that has gone", function()
    for path in process.output { "find", "lua/reference", "-type", "f" }:gmatch "[^\n]+" do
      assert.truthy(made[path], path)
    end
  end)

  it("has links to what is there", function()
    local anchors = {}
    for path, text in pairs(made) do
      anchors[path] = {}
      for heading in ("\n" .. text):gmatch "\n#+ ([^\n]+)" do
        local slug = pages.slug(heading)
        anchors[path][slug] = true
      end
    end
    local wrong, count = {}, 0
    for path, text in pairs(made) do
      for target in text:gmatch "%]%(([^)%s]+)%)" do
        local file, anchor = target:match "^([^#]*)#?(.*)$"
        local other = file == "" and path or "lua/reference/" .. file
        if not file:find "^%.%." then
          local there = anchors[other] and (anchor == "" or anchors[other][anchor])
          if not there then wrong[#wrong + 1] = path .. ": " .. target end
          count = count + 1
        end
      end
    end
    assert.same({}, wrong)
    assert.is_true(count > 150)
  end)
end)

describe("annotations", function()
  it("name only types that are defined", function()
    for name, file in pairs(index.files) do
      for _, item in ipairs(file.items) do
        pages.each_type(item, function(type)
          assert.is_true(pages.is_basic(type) or index.types[type] ~= nil,
            ("%s:%s: the type %s is not defined"):format(file.path or name, item.line, type))
        end)
      end
    end
  end)

  it("name the parameters that functions have", function()
    local wrong = {}
    for _, file in pairs(index.files) do
      for _, item in ipairs(file.items) do
        if item.arguments and #item.params > 0 then
          local names = {}
          for i, param in ipairs(item.params) do names[i] = param.name end
          if names[1] == "self" and item.arguments[1] ~= "self" then table.remove(names, 1) end
          local is, told = table.concat(item.arguments, ", "), table.concat(names, ", ")
          if is ~= told then wrong[("%s:%d"):format(file.path, item.line)] = { is, told } end
        end
      end
    end
    assert.same({}, wrong)
  end)

  it("tell each function and value of each module, and no other", function()
    local count = 0
    for class, type in pairs(index.types) do
      local name = class:match "^luamq%.?(%l*)$"
      if name and (type.file == name or class == "luamq") then
        local module, there = require(class), {}
        for key in pairs(module) do there[key] = true end
        for _, field in ipairs(type.fields) do there[field.name] = module[field.name] ~= nil end
        assert.same(keys(there), keys(documented(class)), class)
        count = count + 1
      end
    end
    assert.is_true(count >= 9)
  end)

  it("tell the functions of the parts of luamq", function()
    local luamq = require "luamq"
    for class, part in pairs {
      ["luamq.Crypto"] = "crypto", ["luamq.Log"] = "log", ["luamq.Password"] = "password",
    } do
      assert.same(keys(luamq[part]), keys(documented(class)), class)
    end
  end)

  it("tell each method of the classes in Lua", function()
    local count = 0
    for _, file in pairs(index.files) do
      for _, item in ipairs(file.items) do
        local class = index.types[item.owner]
        if class and class.page and item.kind == "function" and not item.name:find "^__" then
          local where = ("%s:%d: %s is not annotated"):format(file.path, item.line, item.name)
          assert.is_true(item.documented or item.private, where)
          count = count + 1
        end
      end
    end
    assert.is_true(count > 100)
  end)

  --- The fields and methods of a value that C makes.
  local function fields_of(value)
    local _, fields = debug.getupvalue(debug.getmetatable(value).__index, 2)
    local names = {}
    for name in pairs(fields) do names[name] = true end
    return names
  end

  it("tell each field and method of the values that C makes, and no other", function()
    local seen, limits = {}, {}
    local script = { listeners = { "tcp://127.0.0.1:1883" }, hooks = {
      setup = function(client)
        seen["luamq.Client"] = fields_of(client)
        for name in pairs(documented "luamq.Client") do limits[name] = client[name] ~= nil end
        return true
      end,
      subscribe = function(_, subscription)
        seen["luamq.Subscription"] = fields_of(subscription)
        return true
      end,
      publish = function(client, message)
        seen["luamq.Session"], seen["luamq.Message"] = fields_of(client.session), fields_of(message)
        return true
      end,
      packet = function(_, packet)
        seen["luamq.Packet"] = fields_of(packet)
        return true
      end,
    } }
    local broker <close> = test.broker(script)
    local client = broker:connect { id = "c" }
    client:subscribe("t", 1)
    client:publish("t", "", 1)
    broker:call(function()
      local luamq = require "luamq"
      seen["luamq.Timer"] = fields_of(luamq.after(1, print))
      seen["luamq.Task"] = fields_of(luamq.spawn(luamq.sleep, 1))
      for name, class in pairs { counter = "Counter", gauge = "Gauge", histogram = "Histogram" } do
        seen["luamq." .. class] = fields_of(luamq[name]("reference_" .. name, {}))
      end
    end)
    -- What a client is let in with are fields too; its rules can only be set.
    for _, field in ipairs(index.types["luamq.LoginSettings"].fields) do
      assert.is_true(limits[field.name] or field.name == "acl", field.name)
      seen["luamq.Client"][field.name] = true
    end
    seen["luamq.Packet"].will_delay_interval = nil -- never in one: its will has it
    local count = 0
    for class, there in pairs(seen) do
      assert.same(keys(there), keys(documented(class)), class)
      count = count + 1
    end
    assert.equal(10, count)
  end)

  it("tell each hook", function()
    local names = {}
    for _, name in ipairs(settings.hooks) do names[name] = true end
    assert.same(keys(names), keys(documented "luamq.Hooks"))
  end)

  it("tell each event of the log", function()
    local there, told = {}, {}
    local body = process.read "src/broker/backend.c":match "%*event_name%(.-\n}"
    for name in body:gmatch '%] = "([^"]+)"' do there[name] = true end
    for _, choice in ipairs(index.types["luamq.Event"].choices) do told[choice.type:sub(2, -2)] = true end
    assert.same(keys(there), keys(told))
  end)

  it("tell each assertion", function()
    local there = {}
    local text = process.read "lua/luamq/assertions.lua"
    for name in text:gmatch '\nregister%("([%l_]+)"' do there[name] = true end
    assert.same(keys(there), keys(documented "luassert"))
  end)

  it("stand in files that a program never loads", function()
    for name, file in pairs(index.files) do assert.equal(name:find "^types/" ~= nil, file.meta, name) end
  end)
end)

describe("an annotation's type", function()
  local rows = {
    { "string?  a text", "string?", "a text" },
    { '"a"|"b" | nil  which', '"a"|"b" | nil', "which" },
    { "(string|false)[]?", "(string|false)[]?", "" },
    { "{ topic: string?, qos: integer? }[] x", "{ topic: string?, qos: integer? }[]", "x" },
    { "table<string, luamq.Rule[]> x", "table<string, luamq.Rule[]>", "x",
      { "table", "string", "luamq.Rule" } },
    { "[string, string][]", "[string, string][]", "" },
    { "fun(a: string, ...: any): done: true?, string?  x",
      "fun(a: string, ...: any): done: true?, string?", "x" },
    { "nil|async fun(fn: fun(), b?: integer)", "nil|async fun(fn: fun(), b?: integer)", "" },
    { "function x", "function", "x" },
  }

  for _, row in ipairs(rows) do
    it("is read: " .. row[1], function()
      local read = annotations.type(row[1])
      assert.same({ row[2], row[3] }, { read.text, read.rest })
      if row[4] then assert.same(row[4], read.names) end
    end)
  end

  it("has the parts of a function", function()
    local fn = annotations.type("nil|async fun(a: string, b?: integer): done: true?, ...").fn
    assert.is_true(fn.async)
    assert.same({ "a", "string", "b", "integer?" },
      { fn.params[1].name, fn.params[1].type, fn.params[2].name, fn.params[2].type })
    assert.same({ "done", "true?", "..." }, { fn.returns[1].name, fn.returns[1].type, fn.returns[2].type })
  end)

  it("is told when it is none, with its place", function()
    for text, problem in pairs {
      ["---@param a fun(x: string"] = "x.lua:1: expected , at ''",
      ["---@class"] = "x.lua:1: expected the name of a class",
      ["---@field a string"] = "x.lua:1: a field without a class",
      ["---@retrun string"] = "x.lua:1: unknown annotation @retrun",
      ["---@type {"] = "expected the name of a field", ["---@type |"] = "expected a type",
    } do
      local fine, message = pcall(annotations.read, "x.lua", text .. "\n")
      assert.is_false(fine)
      assert.matches(problem, message, 1, true)
    end
  end)
end)
