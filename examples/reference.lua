-- Prints every event of the broker. With examples/reference_client.lua it prints the reference run of the
-- broker model.
--
--   luamq examples/reference.lua tcp://127.0.0.1:1883
--   luamq -e 'arg = { "127.0.0.1", "1883" } dofile "examples/reference_client.lua"'
local hooks = {}

function hooks.log(event, _, packet, message, err)
  local what = err or message or packet
  print("B [" .. event .. "]" .. (what and " " .. tostring(what) or ""))
  io.stdout:flush()
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
