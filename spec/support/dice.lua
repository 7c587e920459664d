--- Dice that fall in the same way for the same seed.
---
---     local roll = dice(seed)
---     roll(6)                      -- 1 to 6

---@param seed integer
---@return fun(bound: integer): integer
return function(seed)
  local state = seed * 0x9e3779b97f4a7c15 | 1
  return function(bound)
    state = state ~ (state << 13)
    state = state ~ (state >> 7)
    state = state ~ (state << 17)
    return (state >> 11) % bound + 1
  end
end
