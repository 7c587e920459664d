--- Methods that tell when they are called on something else: `db.query("...")` in the place of
--- `db:query("...")`.

local methods = {}

--- Guards all methods of a class whose name is no metamethod's. A guard ends in a tail call, so that `level`
--- of error means the same as before in a method.
---@param class table
---@param name string       what values of the class are called: "a semaphore"
---@param metatable table?  that such a value has; default: the class
function methods.guard(class, name, metatable)
  metatable = metatable or class
  local guards = {}
  for key, method in pairs(class) do
    if type(method) == "function" and key:sub(1, 2) ~= "__" then
      guards[key] = function(self, ...)
        if getmetatable(self) ~= metatable then
          local message = "bad self for '%s' (%s expected, got %s): call it with a colon"
          error(message:format(key, name, type(self)), 2)
        end
        return method(self, ...)
      end
    end
  end
  for key, guard in pairs(guards) do class[key] = guard end
end

return methods
