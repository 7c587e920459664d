local source = require "luamq.source"

local function kinds(text)
  local shown = {}
  for _, token in ipairs(source.tokens(text)) do
    local value = token.symbol or token.name and "name " .. token.name
      or token.string and "string " .. token.string or "number " .. tostring(token.number)
    shown[#shown + 1] = token.line .. ":" .. value
  end
  return shown
end

describe("source.tokens", function()
  it("tells names, keywords and operators apart", function()
    assert.same({ "1:local", "1:name x1", "1:=", "1:not", "1:name _y", "1:..", "1:name z", "1://", "1:..." },
      kinds("local x1 = not _y .. z // ..."))
  end)

  it("reads strings as Lua does", function()
    assert.same({ 'string a"b', "string a'b", "string \n\\A\65z" }, (function()
      local shown = kinds([['a"b' "a'b" "\n\\\x41\u{41}\z
        z"]])
      for i, value in ipairs(shown) do shown[i] = value:gsub("^%d+:", "") end
      return shown
    end)())
  end)

  it("counts lines in long strings, comments and escaped line breaks", function()
    assert.same({ "2:string a\nb", "4:name x" }, kinds("\n[[\na\nb]] x"))
    assert.same({ "1:string ]]", "1:name x" }, kinds("[==[]]]==] x"))
    assert.same({ "3:name x" }, kinds("--[==[ a\n]] ]=]\n]==] x -- y"))
    assert.same({ "2:name x" }, kinds("--[ no long comment\nx"))
    assert.same({ "1:string a\nb", "2:name x" }, kinds("'a\\\nb' x"))
  end)

  it("counts every kind of line break once", function()
    assert.same({ "1:name a", "2:name b", "3:name c", "4:name d", "6:name e" }, kinds("a\nb\r\nc\rd\n\ne"))
  end)

  it("reads numbers", function()
    assert.same({ "1:number 1", "1:number 255", "1:number 0.5", "1:number 1e-05", "1:number 16.0" },
      kinds("1 0xff .5 1e-5 0x1p4"))
    assert.same({ "1:name t", "1:[", "1:number 1", "1:]", "1:-", "1:number 2" }, kinds("t[1]-2"))
  end)

  it("skips a byte order mark and a first line that starts with #", function()
    assert.same({ "2:return" }, kinds("#!/usr/bin/env luamq 'x\nreturn"))
    assert.same({ "2:return" }, kinds("\239\187\191#!/usr/bin/env luamq\r\nreturn"))
    assert.same({}, kinds("#!only"))
  end)

  it("comes to an end with any text", function()
    for _, text in ipairs { "'", '"\\', "[[", "--[[", "[==", "0x", "\0\255@", "'a\nb", "'\\z  ", "'\\" } do
      source.tokens(text)
    end
    math.randomseed(7)
    local pieces = { "'", '"', "\\", "[", "[[", "]]", "=", "--", "\n", "{", "}", "(", ")", "a", ".", "1",
      "end", "function ", "return ", ",", "<", ">", ":", "local ", "if ", "\0" }
    for _ = 1, 3000 do
      local text = {}
      for i = 1, math.random(12) do text[i] = pieces[math.random(#pieces)] end
      source.new(table.concat(text)):line_of { "a", "a" }
    end
  end)
end)

describe("source line_of", function()
  local function line(text, ...)
    return source.new(text):line_of { ... }
  end

  it("finds keys of the returned table", function()
    local text = [[
return {
  backend = {
    session_queue_sise = 5,
    ["inflight_messages"] = 1; token_timeout
      = 3,
  },
  engine = { session_queue_sise = 6 },
  acl = f { backend = { read_limit = 1 } },
}]]
    assert.equal(1, line(text))
    assert.equal(2, line(text, "backend"))
    assert.equal(3, line(text, "backend", "session_queue_sise"))
    assert.equal(4, line(text, "backend", "inflight_messages"))
    assert.equal(4, line(text, "backend", "token_timeout"))
    assert.equal(7, line(text, "engine", "session_queue_sise"))
    assert.equal(8, line(text, "acl"))
  end)

  it("follows variables and assignments", function()
    local text = [[
local config <const> = {}
local limits = { read_limit = 1 }
limits["backlog"] = 2
config.engine = limits
config.backend = {
  kill_timeout = 1,
}
config.backend.token_timeout = 2
config["log"] = { level = 3 }
return config]]
    assert.equal(2, line(text, "engine", "read_limit"))
    assert.equal(3, line(text, "engine", "backlog"))
    assert.equal(4, line(text, "engine"))
    assert.equal(6, line(text, "backend", "kill_timeout"))
    assert.equal(8, line(text, "backend", "token_timeout"))
    assert.equal(9, line(text, "log", "level"))
    assert.equal(10, line(text))
  end)

  it("takes the last of several, as Lua does", function()
    assert.equal(3, line("return {\na = 1,\na = 2 }", "a"))
  end)

  it("finds hooks however they are written", function()
    local text = [[
local hooks, other = {}, {}
function hooks.publish(client) local t = { publish = 1 } if t then return { publish = 2 } end end
hooks.subscribe = function() return { 1 } end
local function setup() end
function other:packet() for i = 1, 2 do repeat until i end while true do end end
return { hooks = { hooks, other, { setup = setup,
  restore = function() return end } } }]]
    assert.equal(2, line(text, "hooks", 1, "publish"))
    assert.equal(3, line(text, "hooks", 1, "subscribe"))
    assert.equal(5, line(text, "hooks", 2, "packet"))
    assert.equal(6, line(text, "hooks", 3, "setup"))
    assert.equal(7, line(text, "hooks", 3, "restore"))
  end)

  it("counts the elements of a list", function()
    local text = [[
return { listeners = {
  "tcp://[::1]", { "tcp://a{b", backlog = 1 },
  x = 1, f(1, 2), [t(1)] = 2,
  "tcp://c" } }]]
    assert.equal(2, line(text, "listeners", 2))
    assert.equal(2, line(text, "listeners", 2, "backlog"))
    assert.equal(2, line(text, "listeners", 2, 1))
    assert.equal(3, line(text, "listeners", 3))
    assert.equal(4, line(text, "listeners", 4))
    assert.is_nil(line(text, "listeners", 5))
  end)

  it("doesn't take a return of a function for the script's", function()
    local text = "local function f()\n return { level = 1, x = 1 }\nend\nreturn { log = {\n level = 2 } }"
    assert.equal(4, line(text))
    assert.equal(5, line(text, "log", "level"))
  end)

  it("accepts a return inside of a block", function()
    assert.equal(2, line("if x then\n return { a = 1 } end", "a"))
  end)

  it("falls back to the only key or string of the name", function()
    assert.equal(2, line("return f {\n backend = { size = 1 } }", "backend", "size"))
    assert.equal(3, line("local c = f()\nlocal t = c.backend\nt.size = 1\nreturn c", "backend", "size"))
    assert.equal(2, line("local c = {}\nset(c, 'size', 1)\nreturn c", "backend", "size"))
    assert.equal(2, line("return f { size = 1, backend = {\n size = 1 } }", "backend", "size"))
  end)

  it("answers nil when it cannot tell", function()
    assert.is_nil(line("return f { a = { size = 1 },\n b = { size = 1 } }", "backend", "size"))
    assert.is_nil(line("return f()", "backend", "size"))
    assert.is_nil(line("return f { { 1 } }", "listeners", 1))
    assert.is_nil(line("", "a"))
    assert.is_nil(line("f()"))
    assert.is_nil(line("a = a return a", "b"))
  end)

  it("takes a string that stands there as a hint", function()
    local text = source.new("local urls = {}\nadd(urls, 'tcp://a')\nreturn { listeners = urls }")
    assert.equal(2, text:line_of({ "listeners", 1 }, "tcp://a"))
    assert.is_nil(text:line_of({ "listeners", 1 }, "tcp://b"))
  end)

  it("doesn't see keys in strings and comments", function()
    assert.equal(3, line("-- { a = 1 }\nx = '{ a = 1'\nreturn { a = 1 }", "a"))
  end)
end)

describe("source.run", function()
  local search = package.path
  after_each(function() package.path = search end)

  local function fails(text, path)
    local success, problem = source.run(text, path or "broker.lua")
    assert.is_false(success)
    return problem
  end

  it("gives the script its arguments and answers its first value", function()
    local text = "local a, b, c = ... return a .. tostring(b) .. c"
    assert.same({ true, "anilc" }, { source.run(text, "broker.lua", { "a", nil, "c", n = 3 }) })
    assert.same({ true }, { source.run("", "broker.lua") })
    text = "\239\187\191#!/usr/bin/env luamq\nreturn debug.getinfo(1, 'l').currentline"
    assert.same({ true, 2 }, { source.run(text, "broker.lua") })
  end)

  it("tells where a text is no Lua, but not the string there", function()
    assert.equal("broker.lua:3: unexpected symbol near '='", fails "#!luamq\n\nx = = 1")
    assert.equal("broker.lua:1: '}' expected near a string", fails "return { 5 'hunter2' }")
    assert.equal("broker.lua:1: '}' expected near a string", fails "return { 5 [[hunter2]] }")
    assert.equal("broker.lua:1: unfinished string near a string", fails "return { 'hunter2\n }")
  end)

  it("takes source only", function()
    assert.equal("broker.lua: this is a compiled chunk, expected Lua source",
      fails(string.dump(function() end)))
  end)

  it("tells where a script fails, with its own frames", function()
    assert.equal("broker.lua:2: attempt to index a nil value (global 'missing')\n"
      .. "\tbroker.lua:2: in function 'helper'\n"
      .. "\tbroker.lua:4: in main chunk", fails [[
local function helper()
  return missing.field
end
local x = helper()
return x]])
    local place = "\n\tbroker.lua:1: in main chunk"
    assert.equal("broker.lua:1: no" .. place, fails "error('no')")
    assert.equal("broker.lua: no" .. place, fails "error('no', 0)")
    assert.equal("broker.lua: the error is a table value" .. place, fails "error {}")
    assert.equal("broker.lua: the error is a nil value" .. place, fails "error()")
    assert.equal("broker.lua: T" .. place,
      fails "error(setmetatable({}, { __tostring = function() return 'T' end }))")
  end)

  it("keeps a long traceback short, and a long path whole", function()
    local _, breaks = fails("local function f() return 1 + f() end f()"):gsub("\n", "")
    assert.equal(13, breaks)
    local path = ("long/"):rep(20) .. "broker.lua"
    assert.equal(path .. ":1: no\n\t" .. path .. ":1: in main chunk", fails("error('no')", path))
    assert.equal(path .. ":1: unexpected symbol near <eof>", fails("x =", path))
  end)

  it("searches modules in the directory of the script first, and once", function()
    local function search_after(path)
      source.run("", path)
      return package.path
    end
    package.path = "x/?.lua"
    assert.equal("./?.lua;./?/init.lua;x/?.lua", search_after "broker.lua")
    assert.equal("./?.lua;./?/init.lua;x/?.lua", search_after "other.lua")
    assert.equal("a-b/?.lua;a-b/?/init.lua;./?.lua;./?/init.lua;x/?.lua", search_after "a-b/broker.lua")
    assert.equal("./?.lua;./?/init.lua;a-b/?.lua;a-b/?/init.lua;x/?.lua", search_after "broker.lua")
    assert.equal("/?.lua;/?/init.lua;./?.lua;", search_after("/broker.lua"):sub(1, 27))
  end)
end)

describe("source.read", function()
  it("answers with the text, or with the reason", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write("a\r\n\0")
    file:close()
    local text = source.read(path)
    os.remove(path)
    assert.equal("a\r\n\0", text)
    assert.same({ n = 2, nil, "cannot open " .. path .. ": No such file or directory" },
      table.pack(source.read(path)))
    assert.same({ n = 2, nil, "cannot read .: Is a directory" }, table.pack(source.read(".")))
  end)
end)
