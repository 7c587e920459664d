--- Follows a guide in Markdown as its reader would, and tells where what happens is not what is written.
---
---     ```lua NAME        the file NAME is written
---     ```console         commands behind `$ `, with what they print; `luamq FILE` serves until the next one
---                        does, and $PID is its process; a subscriber with `&` at the end stays
---     ```log             lines that this broker has logged, without their times
---
--- In what is printed `...` stands for anything, alone in a line for any lines. Port 1883 is another one.

local process = require "spec.support.process"

local guide = {}

local Reader = {}
Reader.__index = Reader

--- A reader with a folder of his own.
---@param path_of_program string  the folder with `luamq`
function guide.reader(path_of_program)
  return setmetatable({
    directory = process.directory(), listening = {},
    environment = {
      PATH = process.absolute(path_of_program) .. ":" .. os.getenv "PATH",
      LUA_PATH = false, LUA_CPATH = false, LUAMQ_BUILD = false,
    },
  }, Reader)
end

--- What is written as a pattern for what is printed.
local function pattern_of(lines)
  local text = "\n" .. table.concat(lines, "\n") .. "\n"
  text = text:gsub("\n%.%.%.%f[\n]", "\n\1"):gsub("\1\n", "\1"):gsub("%.%.%.", "\1")
  text = text:gsub("127%.0%.0%.1:1883", "\2"):gsub("%p", "%%%0")
  return "^" .. text:sub(2):gsub("\1", ".*"):gsub("\2", "127%%.0%%.0%%.1:%%d+") .. "$"
end

local function fail(command, expected, output)
  error(("%s: expected\n%s\ngot\n%s"):format(command, table.concat(expected, "\n"), output), 0)
end

function Reader:write(name, text)
  process.write(self.directory .. "/" .. name, (text:gsub("127%.0%.0%.1:1883", "127.0.0.1:0")))
end

function Reader:stop()
  for _, listener in ipairs(self.listening) do listener:stop() end
  self.listening = {}
  if self.broker then self.broker:stop() end
  self.broker = nil
end

function Reader:serve(command, expected)
  self:stop()
  local words = {}
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  self.broker = process.start(words, "2>&1", { directory = self.directory, environment = self.environment })
  local line = self.broker:expect "^listening"
  if not (line .. "\n"):find(pattern_of(expected)) then fail(command, expected, line) end
  self.port = line:match "%d+$"
end

--- The command as it works here.
function Reader:adapt(command)
  command = command:gsub("%$PID", self.broker and tostring(self.broker.pid) or "")
  for tool in ("mosquitto_pub mosquitto_sub luamq_pub luamq_sub"):gmatch "%S+" do
    tool = tool:gsub("luamq_", "luamq ")
    command = command:gsub("^" .. tool .. " ", tool .. " -p " .. (self.port or "") .. " ")
  end
  return command
end

--- A subscriber, which is there when this returns.
function Reader:listen(command)
  local words = { "sh", "-c", "exec stdbuf -oL " .. self:adapt(command) .. " -d" }
  local listener = process.start(words, nil, { directory = self.directory, environment = self.environment })
  listener:expect "^Subscribed"
  self.listening[#self.listening + 1] = listener
end

--- What subscribers print, as many lines as are expected.
function Reader:heard(count)
  local lines = {}
  for _, listener in ipairs(self.listening) do
    while #lines < count do
      local line = listener:line()
      if not line then break end
      if not line:find "^Client " then lines[#lines + 1] = line .. "\n" end
    end
  end
  return table.concat(lines)
end

function Reader:run(command, expected)
  local words = { "sh", "-c", self:adapt(command) }
  local _, output = process.run(words,
    { directory = self.directory, environment = self.environment, errors = true })
  if output == "" and #self.listening > 0 then output = self:heard(#expected) end
  if #expected == 0 and output == "" then return end
  if not output:find(pattern_of(expected)) then fail(command, expected, output) end
end

function Reader:command(command, expected)
  local background = command:match "^(.-) &$"
  if background then return self:listen(background) end
  if command:find "^luamq [%w_]+%.lua$" then return self:serve(command, expected) end
  self:run(command, expected)
end

function Reader:console(text)
  local command, expected
  local function finish()
    if command then self:command(command, expected) end
  end
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local next_command = line:match "^%$ (.*)$"
    if next_command then
      finish()
      command, expected = next_command, {}
    else
      expected[#expected + 1] = line
    end
  end
  finish()
end

function Reader:log(text)
  for line in (text .. "\n"):gmatch "([^\n]+)\n" do
    self.broker:expect("^%S+Z " .. pattern_of { line }:sub(2, -3) .. "$")
  end
end

--- Does what a section says. Raises where something else happens.
---@param text string
---@return integer count  of its blocks
function Reader:follow(text)
  local count = 0
  for kind, body in text:gmatch "\n```([^\n]*)\n(.-)\n```" do
    local name = kind:match "^%l+ (%S+)$"
    count = count + 1
    if name then
      self:write(name, body .. "\n")
    else
      assert(self[kind], "a block of the kind " .. kind)(self, body)
    end
  end
  return count
end

--- Ends all that was started, and removes the folder.
function Reader:leave()
  self:stop()
  process.remove(self.directory)
end

return guide
