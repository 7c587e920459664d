--- What messages say: a value as it is shown, sizes, and the name that a misspelt one was probably meant to
--- be.

local words = {}

local KIB <const>, MIB <const>, GIB <const> = 1 << 10, 1 << 20, 1 << 30

--- A value for a message: a type, or what it says when that is short and helps.
---@param value any
---@return string
function words.show(value)
  if type(value) == "number" then
    if value ~= value then return "nan" end -- its sign is noise
    return tostring(value)
  elseif type(value) == "string" then
    if #value > 40 then value = value:sub(1, 37) .. "..." end
    local special = utf8.len(value) and "[%c\\\"]" or "[%c\\\"\128-\255]"
    return '"' .. value:gsub(special, function(c) return ("\\%d"):format(c:byte()) end) .. '"'
  end
  return value == nil and "nothing" or type(value)
end

--- 262144 as "256K", for people.
---@param bytes integer
---@return string
function words.size_text(bytes)
  for _, unit in ipairs { { GIB, "G" }, { MIB, "M" }, { KIB, "K" } } do
    if bytes >= unit[1] and bytes % unit[1] == 0 then return bytes // unit[1] .. unit[2] end
  end
  return tostring(bytes)
end

--- Edits between two short words: insert, delete, replace, or swap two neighbours.
local function distance(a, b, bound)
  if math.abs(#a - #b) > bound then return bound + 1 end
  local before, previous, current = {}, {}, {}
  for j = 0, #b do current[j] = j end
  for i = 1, #a do
    before, previous, current = previous, current, before
    current[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local cost = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        cost = math.min(cost, before[j - 2] + 1)
      end
      current[j] = cost
    end
  end
  return current[#b]
end

--- The nearest of the names that are keys of the given tables, asked in order: a later table must
--- be nearer to win. The values of a table may be what to show for a name.
---@param word any
---@param ... table<string, any>
---@return string  " (did you mean 'x'?)", or "" when nothing is near
function words.suggest(word, ...)
  if type(word) ~= "string" or #word > 64 then return "" end
  local plain = word:lower():gsub("-", "_")
  local best, found = math.min(3, 1 + #word // 4) + 1, nil
  for _, names in ipairs { ... } do
    local nearest = best
    for name, shown in pairs(names) do
      local edits = distance(plain, name, nearest)
      shown = type(shown) == "string" and shown or name
      if edits < best or found and edits == best and nearest > best and shown < found then
        best, found = edits, shown
      end
    end
  end
  return found and (" (did you mean '%s'?)"):format(found) or ""
end

return words
