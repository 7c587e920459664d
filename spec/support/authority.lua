--- An authority and the certificates that it signs, made by openssl in a directory of their own.
---
---     local files <close> = authority.new()
---     files:issue("server", "DNS:localhost,IP:127.0.0.1")
---     files:path "server.pem"     -- and server.key, ca.pem, ca.key

local process = require "spec.support.process"

local authority = {}

---@class spec.Authority
---@field directory string
local Authority = {}
Authority.__index = Authority

local function new_key(directory, name, request, subject)
  return {
    "openssl", "req", request, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-subj", subject, "-keyout", ("%s/%s.key"):format(directory, name),
  }
end

--- A new one, in a new temporary directory that goes with it.
---@return spec.Authority
function authority.new()
  local self = setmetatable({ directory = process.directory() }, Authority)
  local words = new_key(self.directory, "ca", "-x509", "/CN=the authority")
  table.move({ "-days", "2", "-out", self:path "ca.pem" }, 1, 4, #words + 1, words)
  process.output(words)
  return self
end

---@param name string
---@return string
function Authority:path(name) return self.directory .. "/" .. name end

--- Makes NAME.key and NAME.pem, with the subject /O=Example/CN=NAME.
---@param name string
---@param names string?  subject alternative names: "DNS:localhost,IP:127.0.0.1"
function Authority:issue(name, names)
  local request = self:path(name .. ".request")
  local words = new_key(self.directory, name, "-new", "/O=Example/CN=" .. name)
  table.move({ "-out", request }, 1, 2, #words + 1, words)
  if names then table.move({ "-addext", "subjectAltName=" .. names }, 1, 2, #words + 1, words) end
  process.output(words)
  process.output { "openssl", "x509", "-req", "-in", request, "-CA", self:path "ca.pem", "-CAkey",
    self:path "ca.key", "-CAcreateserial", "-days", "1", "-copy_extensions", "copy", "-out",
    self:path(name .. ".pem") }
end

function Authority:remove() process.remove(self.directory) end

Authority.__close = Authority.remove

return authority
