-- Logins by SCRAM-SHA-256 (RFC 5802, RFC 7677) over the enhanced authentication of MQTT 5: the password never
-- crosses the wire, and what the broker keeps of it is of no use to who reads it. Clients name the method
-- "SCRAM-SHA-256"; who names none does not get in. examples/scram_user.lua makes entries for `users`.
local crypto = require "luamq".crypto

local method <const> = "SCRAM-SHA-256"
local iterations <const> = 4096

--- What is kept of each password: keys that were derived of it, once and elsewhere, as that takes its time.
local users = {
  user = { -- "pencil"
    salt = "W22ZaJ0SNY7soEsUEjb6gQ==", iterations = 4096,
    stored_key = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
    server_key = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
  },
}

local function hmac(key, data) return assert(crypto.hmac("sha256", key, data)) end
local function encode(bytes) return crypto.base64_encode(bytes) end

local secret <const> = assert(crypto.random(32)) -- of this run: what strangers are answered with

--- An entry that nobody has the password of: strangers are asked on like everybody, with a salt that stays.
local function nobody(name)
  local salt = hmac(secret, name):sub(1, 16)
  return { salt = encode(salt), iterations = iterations,
    stored_key = encode(hmac(secret, "stored")), server_key = encode(hmac(secret, "server")) }
end

--- Some forty random characters that may stand in a message: printable, and no comma.
local function new_nonce() return (assert(crypto.random(128)):gsub("[^!-+--~]", "")) end

local function xor(a, b)
  local bytes = { a:byte(1, -1) }
  for i, byte in ipairs(bytes) do bytes[i] = string.char(byte ~ b:byte(i)) end
  return table.concat(bytes)
end

--- "n,,n=user,r=nonce": what is answered, and what has to be kept.
local function first(message)
  local header, bare = message:match "^([ny],,)(.*)$" -- no channel binding, no other identity
  local name, nonce = (bare or ""):match "^n=([^,]+),r=([!-+--~]+)$"
  if not name or name:gsub("=2C", ""):gsub("=3D", ""):find("=", 1, true) then return nil end
  name = name:gsub("=2C", ","):gsub("=3D", "=")
  local entry = users[name] or nobody(name)
  nonce = nonce .. new_nonce()
  local answer = ("r=%s,s=%s,i=%d"):format(nonce, entry.salt, entry.iterations)
  return answer, { name = name, entry = entry, nonce = nonce, header = header, text = bare .. "," .. answer }
end

--- "c=biws,r=nonce,p=proof": the proof that the server knows the password too, if the client does.
local function final(state, message)
  local without_proof, header, nonce, proof = message:match "^(c=([^,]+),r=([^,]+)),p=([^,]+)$"
  proof = proof and crypto.base64_decode(proof)
  if not proof or #proof ~= 32 or header ~= encode(state.header) or nonce ~= state.nonce then return nil end
  local text = state.text .. "," .. without_proof
  local stored = assert(crypto.base64_decode(state.entry.stored_key))
  local key = xor(proof, hmac(stored, text))
  if not crypto.equal(assert(crypto.hash("sha256", key)), stored) or not users[state.name] then return nil end
  return "v=" .. encode(hmac(assert(crypto.base64_decode(state.entry.server_key)), text))
end

local hooks = {}

--- The exchange is kept in `client.ref`, from the first message to the last.
function hooks.auth(client, name, data)
  if name ~= method then return false, "bad_authentication_method" end
  client.ref = client.ref or {}
  local ref = client.ref
  local state = ref.scram
  ref.scram = nil
  if not state then
    local answer
    answer, ref.scram = first(data or "")
    if not answer then return false, "not_authorized", "not a first message of " .. method end
    return "continue", answer
  end
  local answer = final(state, data or "")
  if not answer then return false, "not_authorized" end
  if ref.user and ref.user ~= state.name then return false, "not_authorized", "another user" end
  ref.user = state.name
  return true, answer
end

return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = hooks,
}
