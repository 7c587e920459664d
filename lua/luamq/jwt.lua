--- JSON Web Tokens (RFC 7519), signed by HS256, RS256 or ES256 (RFC 7515, RFC 7518). Encrypted ones are not
--- read, and `none` is no algorithm.
---
---     local jwt = require "luamq.jwt"
---     local keys = { ["2026-01"] = jwt.key(pem) }
---
---     function hooks.authenticate(client, _, password)
---       local claims, problem, code = jwt.verify(password, {
---         algorithms = { "RS256" }, keys = keys, issuer = "https://id.example.org", audience = "broker" })
---       if not claims then
---         luamq.log.info("token refused", { id = client.id, reason = problem, code = code })
---         return false
---       end
---       client.ref = { tenant = claims.tenant }
---       return true
---     end
---
--- A key has one algorithm, which its kind tells: a secret HS256, an RSA key RS256, a key on P-256 ES256. A
--- token is verified by it and nothing else, whatever its header says, so a public key is never taken for a
--- secret.

local core = require "luamq.core"
local json = require "cjson".new()

local crypto, signature = core.broker.crypto, core.signature

json.decode_max_depth(32)
json.encode_max_depth(32)
json.decode_invalid_numbers(false)
json.encode_invalid_numbers(false)

---@class luamq.jwt
local jwt = {}

local MAX_BYTES <const> = 8192  -- of a token, unless told
local SECRET_BYTES <const> = 32 -- at least, as RFC 7518 3.2 demands
local LEEWAY_MAX <const> = 3600 -- seconds

-- Keys ---------------------------------------------------------------------------------------

---A key of jwt.key or jwt.secret.
---@class luamq.jwt.Key
---@field algorithm "HS256"|"RS256"|"ES256"
---@field signs boolean  it is a secret or a private key
local Key = {}
Key.__index = Key
Key.__name = "luamq.jwt.key"
function Key.__tostring(self) return ("luamq.jwt.key: %s"):format(self.algorithm) end

-- What the keys are made of, where no script sees it.
local inside = setmetatable({}, { __mode = "k" })

local function new_key(algorithm, signs, of)
  local key = setmetatable({ algorithm = algorithm, signs = signs }, Key)
  inside[key] = { algorithm = algorithm, signs = signs, of = of }
  return key
end

--- A key for RS256 or ES256: a public key, a certificate or a private key in PEM, without a passphrase. RSA
--- has 2048 to 8192 bits, and the only curve is P-256.
---@param pem string
---@return luamq.jwt.Key? key
---@return string? problem
---@return string? code  "bad_key"
function jwt.key(pem)
  if type(pem) ~= "string" then error("luamq.jwt.key expects a key in PEM as a string", 2) end
  local key, algorithm, signs = signature.key(pem)
  if not key then return nil, algorithm, "bad_key" end
  return new_key(algorithm, signs, key)
end

--- A secret for HS256, of at least 32 bytes: random ones, not a password.
---@param bytes string
---@return luamq.jwt.Key
function jwt.secret(bytes)
  if type(bytes) ~= "string" then error("luamq.jwt.secret expects a secret as a string", 2) end
  if #bytes < SECRET_BYTES then error("luamq.jwt.secret expects at least 32 bytes", 2) end
  local is_pem = bytes:find("-----BEGIN ", 1, true)
  if is_pem then error("luamq.jwt.secret got a key in PEM: see luamq.jwt.key", 2) end
  return new_key("HS256", true, bytes)
end

local function verify_signature(key, data, given)
  if key.algorithm ~= "HS256" then return signature.verify(key.of, data, given) end
  local expected = crypto.hmac("sha256", key.of, data)
  return expected ~= nil and crypto.equal(expected, given)
end

local function make_signature(key, data)
  if key.algorithm == "HS256" then return crypto.hmac("sha256", key.of, data) end
  return signature.sign(key.of, data)
end

-- Options ------------------------------------------------------------------------------------

local algorithms <const> = { HS256 = true, RS256 = true, ES256 = true }

local function is_list_of_strings(value)
  if type(value) ~= "table" or #value == 0 then return false end
  for _, item in ipairs(value) do
    if type(item) ~= "string" then return false end
  end
  return true
end

local function is_list(value) -- which may be empty
  return type(value) == "table" and next(value) == nil or is_list_of_strings(value)
end

local function is_list_of_algorithms(value)
  if not is_list_of_strings(value) then return false end
  for _, name in ipairs(value) do
    if not algorithms[name] then return false end
  end
  return true
end

local function is_object(value)
  return type(value) == "table" and (next(value) == nil or type(next(value)) == "string")
end

local function is_text_or_list(value) return type(value) == "string" or is_list_of_strings(value) end
local function is_text(value) return type(value) == "string" end
local function is_key(value) return inside[value] ~= nil end

local function is_table_of_keys(value)
  if type(value) ~= "table" or getmetatable(value) == Key then return false end
  for id, key in pairs(value) do
    if type(id) ~= "string" or not is_key(key) then return false end
  end
  return true
end

local function is_between(least, most)
  return function(value) return type(value) == "number" and value >= least and value <= most end
end

--- What an option may be, for people too.
local verify_options <const> = {
  algorithms = { is_list_of_algorithms, "a list of HS256, RS256 or ES256" },
  key = { is_key, "a key of luamq.jwt.key or luamq.jwt.secret" },
  keys = { is_table_of_keys, "a table of keys by their ids" },
  issuer = { is_text_or_list, "a string, or a list of them" },
  audience = { function(value) return value == false or is_text_or_list(value) end,
    "a string, a list of them, or false" },
  subject = { is_text_or_list, "a string, or a list of them" },
  required = { is_list, "a list of names of claims" },
  leeway = { is_between(0, LEEWAY_MAX), "seconds, from 0 to 3600" },
  max_age = { is_between(0, math.huge), "seconds" },
  max_bytes = { is_between(1, 1 << 20), "bytes, from 1 to 1048576" },
  now = { is_between(0, math.huge), "seconds since 1970" },
}

local sign_options <const> = {
  key = { is_key, "a key of luamq.jwt.key or luamq.jwt.secret" },
  kid = { is_text, "a string" },
  type = { is_text, "a string" },
}

--- What is wrong with options, or nil.
local function options_problem(options, known)
  if type(options) ~= "table" then return " expects its options in a table" end
  if inside[options] then return " expects its options in a table, such as { key = key }" end
  for option, value in pairs(options) do
    local row = known[option]
    if not row then return (" has no option '%s'"):format(tostring(option)) end
    if not row[1](value) then return (": %s is %s"):format(option, row[2]) end
  end
  return nil
end

local function verify_problem(options)
  local problem = options_problem(options, verify_options)
  if problem then return problem end
  if not options.algorithms then return " needs algorithms, " .. verify_options.algorithms[2] end
  if (options.key == nil) == (options.keys == nil) then return " needs key or keys" end
  return nil
end

local function sign_problem(claims, options)
  if not is_object(claims) then return " expects claims as a table with names" end
  local problem = options_problem(options, sign_options)
  if problem then return problem end
  if not options.key then return " needs a key" end
  return not inside[options.key].signs and " needs a secret or a private key" or nil
end

-- Reading ------------------------------------------------------------------------------------

--- A part of a token that is a JSON object; a member that is null counts as not there.
local function read_object(part)
  local text = crypto.base64url_decode(part)
  if not text or not text:find "^%s*{" or not utf8.len(text) then return nil end
  local fine, value = pcall(json.decode, text)
  if not fine or not is_object(value) then return nil end
  for name, member in pairs(value) do
    if member == json.null then value[name] = nil end
  end
  return value
end

local function pick_key(header, options)
  if options.key then return inside[options.key] end
  return type(header.kid) == "string" and inside[options.keys[header.kid]] or nil
end

--- Whether one of the wanted values is one of those that are there; each may be a single one.
local function any_is_in(wanted, there)
  for _, one in ipairs(type(wanted) == "table" and wanted or { wanted }) do
    for _, other in ipairs(type(there) == "table" and there or { there }) do
      if one == other then return true end
    end
  end
  return false
end

local function is_time(value) return math.type(value) ~= nil and value == value and math.abs(value) < 1e15 end

-- The kinds of registered claims (RFC 7519 4.1).
local claim_kinds <const> = { exp = is_time, nbf = is_time, iat = is_time, iss = is_text, sub = is_text,
  aud = function(value) return is_text(value) or is_list(value) end }

local function check_kinds(claims, required)
  for name, is_kind in pairs(claim_kinds) do
    if claims[name] ~= nil and not is_kind(claims[name]) then
      return ("the claim %s is not what it should be"):format(name), "malformed"
    end
  end
  for _, name in ipairs(required) do
    if claims[name] == nil then return ("the claim %s is missing"):format(name), "missing_claim" end
  end
end

local function check_times(claims, options)
  local now, leeway = options.now or core.broker.now(), options.leeway or 0
  if claims.exp and now >= claims.exp + leeway then return "the token has expired", "expired" end
  if claims.nbf and now < claims.nbf - leeway then return "the token is not valid yet", "not_yet_valid" end
  local is_early = claims.iat and now < claims.iat - leeway
  if is_early then return "the token was issued in the future", "not_yet_valid" end
  if not options.max_age then return end
  if not claims.iat then return "the claim iat is missing", "missing_claim" end
  if now > claims.iat + options.max_age + leeway then return "the token is too old", "expired" end
end

--- Who a token is from, about and for. One for somebody is refused by who does not say that it is he (RFC
--- 7519 4.1.3).
local function check_parties(claims, options)
  if options.issuer and not any_is_in(options.issuer, claims.iss) then
    return "the token is from another issuer", "wrong_issuer"
  end
  if options.subject and not any_is_in(options.subject, claims.sub) then
    return "the token is about another subject", "wrong_subject"
  end
  local for_all = options.audience == false or options.audience == nil and claims.aud == nil
  if not for_all and not any_is_in(options.audience or {}, claims.aud) then
    return "the token is for another audience", "wrong_audience"
  end
end

local function check_claims(claims, options)
  for _, check in ipairs { check_times, check_parties } do
    local problem, code = check(claims, options)
    if problem then return problem, code end
  end
end

---@class luamq.jwt.VerifyOptions
---@field algorithms ("HS256"|"RS256"|"ES256")[]  those that are accepted
---@field key luamq.jwt.Key?                       for all tokens; or
---@field keys table<string, luamq.jwt.Key>?       by the `kid` of the header, which then is needed
---@field issuer string|string[]|nil               what `iss` has to be: one of these
---what `aud` has to be or hold: one of these; false: anything. Without it a token with an audience is
---refused
---@field audience string|string[]|false|nil
---@field subject string|string[]|nil              what `sub` has to be: one of these
---@field required string[]?                       claims that have to be there, default { "exp" }
---@field leeway number?                           seconds that clocks may differ, default 0
---@field max_age number?                          seconds since `iat`
---@field max_bytes integer?                       of a token, default 8192
---@field now number?                              seconds since 1970, default luamq.now()

---@alias luamq.jwt.Code
---| "malformed"
---| "too_large"
---| "unsupported"
---| "algorithm_not_allowed"
---| "unknown_key"
---| "bad_signature"
---| "missing_claim"
---| "expired"
---| "not_yet_valid"
---| "wrong_issuer"
---| "wrong_audience"
---| "wrong_subject"

--- The claims of a token that is right in every way, and its header; or nil, what is wrong, and a code for
--- it. The text has nothing of the token in it. A token that is no string, such as the password of a client
--- without one, is malformed.
---@param token string?
---@param options luamq.jwt.VerifyOptions
---@return table<string, any>? claims
---@return string|table<string, any> problem  or the header
---@return luamq.jwt.Code? code
function jwt.verify(token, options)
  local misuse = verify_problem(options)
  if misuse then error("luamq.jwt.verify" .. misuse, 2) end
  if type(token) ~= "string" then return nil, "there is no token", "malformed" end
  if #token > (options.max_bytes or MAX_BYTES) then return nil, "the token is too large", "too_large" end
  local signed, first, second, third = token:match "^(([%w_-]+)%.([%w_-]+))%.([%w_-]+)$"
  local header = signed and read_object(first)
  if not header then return nil, "not a signed token", "malformed" end
  if header.crit ~= nil or header.enc ~= nil then
    return nil, "the token asks for something that is not known", "unsupported"
  end
  local key = pick_key(header, options)
  if not key then return nil, "no key has the id that the token names", "unknown_key" end
  if header.alg ~= key.algorithm or not any_is_in(options.algorithms, key.algorithm) then
    return nil, "the algorithm of the token is not the one of its key, or not allowed",
      "algorithm_not_allowed"
  end
  local given = crypto.base64url_decode(third)
  if not given or not verify_signature(key, signed, given) then
    return nil, "the signature is wrong", "bad_signature"
  end
  local claims = read_object(second)
  if not claims then return nil, "the claims are not a JSON object", "malformed" end
  local problem, code = check_kinds(claims, options.required or { "exp" })
  if not problem then problem, code = check_claims(claims, options) end
  if problem then return nil, problem, code end
  return claims, header
end

-- Making -------------------------------------------------------------------------------------

---@class luamq.jwt.SignOptions
---@field key luamq.jwt.Key  a secret or a private key
---@field kid string?        its id, for the header
---@field type string?       of the header, default "JWT"

--- A token with these claims, signed by the key. RS256 takes a millisecond or two, in which the broker does
--- nothing else.
---@param claims table<string, any>  times are seconds since 1970
---@param options luamq.jwt.SignOptions
---@return string? token
---@return string? problem
---@return string? code  "server_unavailable"
function jwt.sign(claims, options)
  local misuse = sign_problem(claims, options)
  if misuse then error("luamq.jwt.sign" .. misuse, 2) end
  local fine, text = pcall(json.encode, claims)
  if not fine then error("luamq.jwt.sign: claims that are no JSON: " .. tostring(text), 2) end
  local key = inside[options.key]
  local header = { alg = key.algorithm, typ = options.type or "JWT", kid = options.kid }
  local signed = crypto.base64url_encode(json.encode(header)) .. "." .. crypto.base64url_encode(text)
  local made = make_signature(key, signed)
  if not made then return nil, "OpenSSL makes no signature", "server_unavailable" end
  return signed .. "." .. crypto.base64url_encode(made)
end

return jwt
