-- Reads a password from standard input and writes what examples/scram.lua keeps of it:
--
--   printf pencil | luamq -e 'dofile "examples/scram_user.lua"'
local crypto = require "luamq".crypto

local iterations <const> = 4096 -- more make a stolen entry harder to guess, and logins slower for clients

local password = assert(io.read "a"):gsub("\r?\n$", "")
local salt = assert(crypto.random(16))
local salted = assert(crypto.pbkdf2("sha256", password, salt, iterations, 32))
local stored_key = crypto.hash("sha256", crypto.hmac("sha256", salted, "Client Key"))
print(("{ salt = %q, iterations = %d,\n  stored_key = %q,\n  server_key = %q },"):format(
  crypto.base64_encode(salt), iterations, crypto.base64_encode(stored_key),
  crypto.base64_encode(crypto.hmac("sha256", salted, "Server Key"))))
