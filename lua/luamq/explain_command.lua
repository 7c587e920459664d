--- `luamq explain`: what a script decides, and how it comes to it, in the shell.

local arguments = require "luamq.arguments"
local explain = require "luamq.explain"
local source = require "luamq.source"

local command = {}

local usage <const> = [[
usage: luamq explain [options] script.lua connect            [-- script arguments]
       luamq explain [options] script.lua publish TOPIC      [-- script arguments]
       luamq explain [options] script.lua subscribe FILTER   [-- script arguments]
       luamq explain [options] script.lua deliver TOPIC      [-- script arguments]
Tells what the script decides about a client, and each hook, rule and setting that was asked.

No listener is opened; the network is there for hooks.

exit status: 0 allowed, 1 refused, 2 the command line or the script is wrong.]]

local function read_line(file)
  local text = file:read "a" or ""
  return (text:gsub("\r?\n.*$", ""))
end

local function read_file(path, binary)
  local file, problem = io.open(path, "rb")
  if not file then return nil, "cannot open " .. problem end
  local text = binary and file:read "a" or read_line(file)
  file:close()
  if not text then return nil, "cannot read " .. path end
  return text
end

local function read_version(text)
  if text == "5" or text == "3.1.1" or text == "3.1" then return text end
  return nil, "expected 5, 3.1.1 or 3.1"
end

--- The value of a Lua expression.
local function read_ref(text)
  local chunk, problem = load("return " .. text, "=--ref", "t", {})
  if not chunk then return nil, "not a Lua expression: " .. problem end
  local done, value = pcall(chunk)
  if not done then return nil, tostring(value) end
  return { value = value }
end

---@type luamq.arguments.Row[]
local rows = {
  { name = "--client", letter = "-i", value = "ID", key = "id",
    doc = "client id (default: an assigned one)" },
  { name = "--user", letter = "-u", value = "NAME", key = "username", doc = "user name" },
  { name = "--password-file", value = "FILE", key = "password_file",
    doc = "password: the file's first line" },
  { name = "--password-stdin", key = "password_stdin", doc = "password: the first line of standard input" },
  { name = "--trust", key = "trust", doc = "let it in without asking authenticate" },
  { name = "--ref", value = "LUA", key = "ref", read = read_ref,
    doc = "the same, with this value as client.ref: '{ tenant = 1 }'" },
  { name = "--address", value = "HOST:PORT", key = "remote_address",
    doc = "where it comes from: 192.0.2.1:4567" },
  { name = "--version", letter = "-V", value = "VERSION", key = "version", read = read_version,
    doc = "of MQTT: 5 (default), 3.1.1 or 3.1" },
  { name = "--qos", letter = "-q", value = "QOS", key = "qos", read = arguments.integer(2), doc = "0 to 2" },
  { name = "--retain", letter = "-r", key = "retain", doc = "the message is to be retained" },
  { name = "--payload", letter = "-m", value = "TEXT", key = "payload",
    doc = "of the message (default empty)" },
  { name = "--payload-file", letter = "-f", value = "FILE", key = "payload_file",
    doc = "the same, from a file" },
  { name = "--json", key = "json", doc = "print the explanation as JSON" },
}

local function read_secrets(options)
  if options.password_file and options.password_stdin then return nil, "two passwords" end
  local problem
  if options.password_stdin then options.password = read_line(io.stdin) end
  if options.password_file then
    options.password, problem = read_file(options.password_file, false)
    if not options.password then return nil, problem end
  end
  if options.payload_file then
    options.payload, problem = read_file(options.payload_file, true)
    if not options.payload then return nil, problem end
  end
  return true
end

local fields <const> = {
  "id", "username", "password", "remote_address", "version", "qos", "retain", "payload",
}
local operations = { connect = true, publish = true, subscribe = true, deliver = true }

--- The request of a command line; or nil and what is wrong.
local function read_request(options, rest)
  local operation, what = rest[2], rest[3]
  if not rest[1] then return nil, "the script is missing" end
  if not operation then return nil, "what is to be explained? connect, publish, subscribe or deliver" end
  if not operations[operation] then return nil, "expected connect, publish, subscribe or deliver" end
  if operation ~= "connect" and not what then return nil, operation .. ": the topic is missing" end
  if rest[operation == "connect" and 3 or 4] then return nil, "too many arguments" end
  local done, problem = read_secrets(options)
  if not done then return nil, problem end
  local request = { [operation] = what }
  for _, name in ipairs(fields) do
    request[name] = options[name]
  end
  return request
end

local function print_json(explanation)
  local found, cjson = pcall(require, "cjson")
  if not found then
    io.stderr:write "luamq explain: --json needs the Lua module cjson (Debian's package lua-cjson)\n"
    return false
  end
  setmetatable(explanation.steps, cjson.array_mt)
  io.write(cjson.encode(explanation), "\n")
  return true
end

--- Runs the command.
---@param args string[]
---@return integer status
function command.main(args)
  local options, rest, behind = arguments.read("explain", usage, rows, args)
  if not options then return rest --[[@as integer]] end
  local request, problem = read_request(options, rest)
  if not request then return select(2, arguments.complain("explain", problem)) end
  local trusted = options.trust and { ref = nil } or nil
  if options.ref then trusted = { ref = options.ref.value } end
  local readable, unreadable = source.read(rest[1])
  if not readable then return select(2, arguments.complain("explain", unreadable)) end
  arguments.give(rest[1], behind)
  local called, explanation, wrong = pcall(explain.run, rest[1], request, trusted, behind)
  if not called or not explanation then
    io.stderr:write("luamq explain: ", tostring(called and wrong or explanation), "\n")
    return 2
  end
  if not options.json then
    io.write(explain.text(explanation))
  elseif not print_json(explanation) then
    return 2
  end
  return explanation.allowed and 0 or 1
end

return command
