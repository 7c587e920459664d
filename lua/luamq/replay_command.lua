--- `luamq replay`: which decisions of a record another script would change, in the shell.

local arguments = require "luamq.arguments"
local replay = require "luamq.replay"

local command = {}

local usage <const> = [[
usage: luamq replay [options] RECORD candidate.lua [-- script arguments]
Runs what a record of decisions (luamq.record, script.record) holds through another script, in the time of the
record and without a network, and lists each decision that would change.

exit status: 0 none would change, 1 some would, 2 the command line, the record or the script is wrong.]]

---@type luamq.arguments.Row[]
local rows = { { name = "--json", key = "json", doc = "print the report as JSON" } }

--- Runs the command.
---@param args string[]
---@return integer status
function command.main(args)
  local options, rest, behind = arguments.read("replay", usage, rows, args)
  if not options then return rest --[[@as integer]] end
  local record, script = rest[1], rest[2]
  if not script or rest[3] then
    return select(2, arguments.complain("replay", "expected a record and a script"))
  end
  arguments.give(script, behind)
  local report, problem = replay.run(record, script, behind)
  if not report then
    io.stderr:write("luamq replay: ", problem, "\n")
    return 2
  end
  if options.json then
    local json = require "cjson"
    setmetatable(report.changes, json.array_mt)
    io.write(json.encode(report), "\n")
  else
    io.write(replay.text(report, record))
  end
  return #report.changes > 0 and 1 or 0
end

return command
