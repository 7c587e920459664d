--- Names and addresses of hosts. A call suspends the hook that makes it, never the broker: the system looks
--- it up, with its file of hosts and its name servers, in a thread beside the loop.
---
---     local dns = require "luamq.dns"
---
---     local addresses, message, code = dns.lookup("auth.example.com")
---     if addresses and addresses[1] == client.remote_address:match "^(.*):%d+$" then ... end
---
--- Codes of failures: "not_found", "try_again" (no name server answers), "busy" (thousands of look-ups
--- wait), "failed". Sixteen are under way at once. `script.hook_timeout` bounds how long a hook waits; the
--- system's own limits are in resolv.conf(5). Nothing is kept: that is for a name server of this machine.
---
--- With luamq.test nothing is looked up: a fake answers.
---
---     broker:fake("dns", function(request)              -- name and family, or address
---       if request.name == "auth.example.com" then return { "192.0.2.1" } end
---       return nil, "the name is not known", "not_found"
---     end)

require "luamq.core" -- first: the module below calls functions of it
local dns_core = require "luamq.core.dns"
local fakes = require "luamq.fakes"
local words = require "luamq.words"

---@class luamq.dns
local dns = {}

local families = { a = true, aaaa = true, any = true }
local longest <const> = 3600 -- seconds that a fake may take: a hook's own time is over long before

--- What the fake answers: a value, or nil, a message and a code.
local function ask(fake, request)
  local _, answer, message, code = fakes.ask(fake, longest, request)
  if answer == nil then return nil, message or "the fake for dns gives no answer", code or "failed" end
  return answer
end

--- The addresses of a host, in the order in which the system would try them.
---@param name string  an address is its own answer
---@param family "a"|"aaaa"|"any"|nil  only those of IPv4, or of IPv6; default "any"
---@return string[]? addresses  at least one
---@return string? message
---@return string? code
---@async
function dns.lookup(name, family)
  if type(name) ~= "string" then error("dns.lookup expects a name, got " .. type(name), 2) end
  if family == nil then family = "any" end
  if not families[family] then
    error('dns.lookup: the family is "a", "aaaa" or "any", got ' .. words.show(family), 2)
  end
  local fake = fakes.find "dns"
  if fake then return ask(fake, { name = name, family = family }) end
  return dns_core.lookup(name, family)
end

--- The name of an address.
---@param address string  of IPv4 or IPv6, without a port
---@return string? name
---@return string? message
---@return string? code
---@async
function dns.reverse(address)
  if type(address) ~= "string" then error("dns.reverse expects an address, got " .. type(address), 2) end
  local fake = fakes.find "dns"
  if fake then return ask(fake, { address = address }) end
  return dns_core.reverse(address)
end

return dns
