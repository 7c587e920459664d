local brokers = require "spec.support.brokers"
local jwt = require "luamq.jwt"
local luamq = require "luamq"
local process = require "spec.support.process"

local crypto = luamq.crypto

-- RFC 7515, appendix A.
local rfc_claims <const> = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
  .. "LmNvbS9pc19yb290Ijp0cnVlfQ"
local rfc_secret <const> = assert(crypto.base64url_decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQ"
  .. "Lr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"))
local rfc_rsa <const> = [[
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp
oQIDAQAB
-----END PUBLIC KEY-----
]]
local rfc_p256 <const> = [[
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END PUBLIC KEY-----
]]

describe("luamq.jwt", function()
  local directory, secret
  local private, public = {}, {} -- keys by algorithm
  local pem = {}

  local function openssl(...) return process.output { "openssl", ... } end

  local function make_pair(name, ...)
    local path = directory .. "/" .. name
    process.write(path, openssl("genpkey", ...))
    pem[name] = { private = process.read(path), public = openssl("pkey", "-in", path, "-pubout") }
  end

  setup(function()
    directory = process.directory()
    make_pair("RS256", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    make_pair("ES256", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    make_pair("P-384", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
    make_pair("short", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    make_pair("Ed25519", "-algorithm", "ED25519")
    for _, name in ipairs { "RS256", "ES256" } do
      private[name], public[name] = assert(jwt.key(pem[name].private)), assert(jwt.key(pem[name].public))
    end
    secret = jwt.secret(("s"):rep(32))
    private.HS256, public.HS256 = secret, secret
  end)
  teardown(function() process.remove(directory) end)

  local algorithms <const> = { "HS256", "RS256", "ES256" }
  local now <const> = 1700000000

  --- A token of any header and claims, given as JSON.
  local function forge(header, claims, sign)
    local signed = crypto.base64url_encode(header) .. "." .. crypto.base64url_encode(claims)
    return signed .. "." .. crypto.base64url_encode(sign and sign(signed) or "")
  end

  local function hmac(key) return function(data) return crypto.hmac("sha256", key, data) end end

  local function token(claims, options)
    options = options or {}
    claims.exp = claims.exp == nil and now + 60 or claims.exp or nil
    return assert(jwt.sign(claims, { key = options.key or secret, kid = options.kid }))
  end

  local function verify(text, options)
    local all = { algorithms = algorithms, now = now }
    for name, value in pairs(options or {}) do all[name] = value end
    if not all.keys then all.key = all.key or secret end
    return jwt.verify(text, all)
  end

  local function code(text, options)
    local claims, _, why = verify(text, options)
    return claims and "fine" or why
  end

  describe("verifies the tokens of RFC 7515", function()
    local function expect_joe(text, key, algorithm)
      local claims, header = jwt.verify(text, { algorithms = { algorithm }, key = key, now = 1300819379 })
      assert.is_table(claims, header)
      assert.same({ iss = "joe", exp = 1300819380, ["http://example.com/is_root"] = true }, claims)
      assert.equal(algorithm, header.alg)
      local options = { algorithms = { algorithm }, key = key, now = 1300819380 }
      assert.equal("expired", select(3, jwt.verify(text, options)))
    end

    it("A.1, HS256", function()
      expect_joe("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." .. rfc_claims
        .. ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", jwt.secret(rfc_secret), "HS256")
    end)

    it("A.2, RS256", function()
      expect_joe("eyJhbGciOiJSUzI1NiJ9." .. rfc_claims
        .. ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOi"
        .. "Zj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
        .. "nZLgrnbyTyWzO75vRK5"
        .. "h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6B"
        .. "fI7noOPqvhJ1phCnvW"
        .. "h6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        assert(jwt.key(rfc_rsa)), "RS256")
    end)

    it("A.3, ES256", function()
      expect_joe("eyJhbGciOiJFUzI1NiJ9." .. rfc_claims
        .. ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djx"
        .. "La8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", assert(jwt.key(rfc_p256)), "ES256")
    end)

    it("but not A.5, which is not signed", function()
      assert.equal("malformed", code("eyJhbGciOiJub25lIn0." .. rfc_claims .. "."))
      assert.equal("algorithm_not_allowed", code("eyJhbGciOiJub25lIn0." .. rfc_claims .. ".AAAA"))
    end)
  end)

  it("takes what it has signed, and nothing that differs in a byte", function()
    for _, algorithm in ipairs(algorithms) do
      local text = token({ sub = "me", n = 1, list = { "a", "b" } }, { key = private[algorithm], kid = "k" })
      local claims, header = verify(text, { key = public[algorithm] })
      assert.same({ sub = "me", n = 1, list = { "a", "b" }, exp = now + 60 }, claims)
      assert.same({ alg = algorithm, typ = "JWT", kid = "k" }, header)
      for at = 1, #text do
        local other = text:sub(at, at) == "A" and "B" or "A"
        assert.not_equal("fine", code(text:sub(1, at - 1) .. other .. text:sub(at + 1),
          { key = public[algorithm] }))
        assert.not_equal("fine", code(text:sub(1, at - 1), { key = public[algorithm] }))
      end
    end
  end)

  it("makes what openssl verifies, and verifies what it makes", function()
    local signed, signature = token({ sub = "me" }, { key = private.RS256 }):match "^(.+)%.(.+)$"
    process.write(directory .. "/data", signed)
    process.write(directory .. "/signature", assert(crypto.base64url_decode(signature)))
    process.write(directory .. "/public", pem.RS256.public)
    assert.equal("Verified OK\n", openssl("dgst", "-sha256", "-verify", directory .. "/public", "-signature",
      directory .. "/signature", directory .. "/data"))
    local text = forge('{"alg":"RS256"}', '{"exp":' .. now + 1 .. "}", function(data)
      process.write(directory .. "/data", data)
      return openssl("dgst", "-sha256", "-sign", directory .. "/RS256", directory .. "/data")
    end)
    assert.equal("fine", code(text, { key = public.RS256 }))
  end)

  it("takes no other algorithm than that of the key", function()
    local claims = '{"exp":' .. now + 1 .. "}"
    for _, name in ipairs { "none", "None", "HS384", "RS384", "PS256", "ES384", "EdDSA", "hs256", "" } do
      local text = forge('{"alg":"' .. name .. '"}', claims, hmac(("s"):rep(32)))
      assert.equal("algorithm_not_allowed", code(text))
    end
    for _, header in ipairs { '{}', '{"alg":null}', '{"alg":["HS256"]}', '{"alg":1}' } do
      assert.equal("algorithm_not_allowed", code(forge(header, claims, hmac(("s"):rep(32)))))
    end
    -- a public key is what everybody has
    for _, name in ipairs { "RS256", "ES256" } do
      local text = forge('{"alg":"HS256"}', claims, hmac(pem[name].public))
      assert.equal("algorithm_not_allowed", code(text, { key = public[name] }))
      assert.equal("bad_signature", code(forge('{"alg":"' .. name .. '"}', claims, hmac(pem[name].public)),
        { key = public[name] }))
    end
    assert.equal("algorithm_not_allowed", code(token({}, { key = private.ES256 }), { key = public.RS256 }))
    assert.equal("algorithm_not_allowed", code(token({}), { algorithms = { "RS256", "ES256" } }))
  end)

  it("takes no signature of ECDSA in another form", function()
    local signed, signature = token({}, { key = private.ES256 }):match "^(.+)%.(.+)$"
    local raw = assert(crypto.base64url_decode(signature))
    assert.equal(64, #raw)
    for _, other in ipairs { raw .. "\0", "\0" .. raw, raw:sub(1, 63), ("\0"):rep(64), ("\xff"):rep(64) } do
      assert.equal("bad_signature", code(signed .. "." .. crypto.base64url_encode(other),
        { key = public.ES256 }))
    end
  end)

  it("picks the key by its id", function()
    local keys = { old = secret, new = public.RS256 }
    assert.equal("fine", code(token({}, { kid = "old" }), { keys = keys }))
    assert.equal("fine", code(token({}, { kid = "new", key = private.RS256 }), { keys = keys }))
    assert.equal("unknown_key", code(token({}, { kid = "other" }), { keys = keys }))
    assert.equal("unknown_key", code(token({}), { keys = keys }))
    assert.equal("algorithm_not_allowed", code(token({}, { kid = "new" }), { keys = keys }))
    assert.equal("unknown_key", code(forge('{"alg":"HS256","kid":1}', "{}", hmac(("s"):rep(32))),
      { keys = keys }))
  end)

  it("looks at times, with some leeway", function()
    local rows = {
      { "fine", { exp = now + 1 } },
      { "expired", { exp = now } },
      { "fine", { exp = now - 4 }, { leeway = 5 } },
      { "expired", { exp = now - 5 }, { leeway = 5 } },
      { "fine", { nbf = now } },
      { "not_yet_valid", { nbf = now + 1 } },
      { "fine", { nbf = now + 5 }, { leeway = 5 } },
      { "not_yet_valid", { iat = now + 1 } },
      { "fine", { iat = now + 1 }, { leeway = 1.5 } },
      { "fine", { iat = now - 10 }, { max_age = 10 } },
      { "expired", { iat = now - 11 }, { max_age = 10 } },
      { "missing_claim", {}, { max_age = 10 } },
      { "missing_claim", { exp = false } },
      { "fine", { exp = false }, { required = {} } },
      { "missing_claim", {}, { required = { "exp", "tenant" } } },
      { "fine", { tenant = "a" }, { required = { "exp", "tenant" } } },
    }
    for i, row in ipairs(rows) do assert.equal(row[1], code(token(row[2]), row[3]), "row " .. i) end
  end)

  it("looks at issuer, audience and subject", function()
    local rows = {
      { "fine", { iss = "a" }, { issuer = "a" } },
      { "fine", { iss = "b" }, { issuer = { "a", "b" } } },
      { "wrong_issuer", { iss = "c" }, { issuer = { "a", "b" } } },
      { "wrong_issuer", {}, { issuer = "a" } },
      { "fine", { sub = "a" }, { subject = "a" } },
      { "wrong_subject", { sub = "b" }, { subject = "a" } },
      { "wrong_subject", {}, { subject = "a" } },
      { "fine", { aud = "a" }, { audience = "a" } },
      { "fine", { aud = { "x", "a" } }, { audience = { "a", "b" } } },
      { "wrong_audience", { aud = { "x" } }, { audience = "a" } },
      { "wrong_audience", { aud = {} }, { audience = "a" } },
      { "wrong_audience", {}, { audience = "a" } },
      { "wrong_audience", { aud = "a" } },
      { "fine", { aud = "a" }, { audience = false } },
    }
    for i, row in ipairs(rows) do assert.equal(row[1], code(token(row[2]), row[3]), "row " .. i) end
  end)

  it("refuses what is no token", function()
    local sign = hmac(("s"):rep(32))
    local good = '{"alg":"HS256"}'
    local rows = {
      { "malformed", nil }, { "malformed", "" }, { "malformed", "a.b" }, { "malformed", "a.b.c.d.e" },
      { "malformed", "....." }, { "malformed", token {} .. "=" }, { "malformed", " " .. token {} },
      { "malformed", token {} .. "\n" }, { "malformed", (token {}):gsub("%.", "%%2e") },
      { "malformed", forge("[]", "{}", sign) }, { "malformed", forge("null", "{}", sign) },
      { "malformed", forge('{"alg":"HS256"', "{}", sign) },
      { "malformed", forge('{"alg":"HS256"} x', "{}", sign) },
      { "malformed", forge('{"a":"\xff","alg":"HS256"}', "{}", sign) },
      { "malformed", forge(("["):rep(40) .. ("]"):rep(40), "{}", sign) },
      { "malformed", forge(good, "[1]", sign) }, { "malformed", forge(good, "1", sign) },
      { "malformed", forge(good, '{"exp":"' .. now + 1 .. '"}', sign) },
      { "malformed", forge(good, '{"exp":1e400}', sign) }, { "malformed", forge(good, '{"exp":NaN}', sign) },
      { "malformed", forge(good, '{"exp":true}', sign) }, { "malformed", forge(good, '{"exp":{}}', sign) },
      { "malformed", forge(good, '{"exp":1,"aud":[1]}', sign) },
      { "malformed", forge(good, '{"exp":1,"iss":1}', sign) },
      { "missing_claim", forge(good, '{"exp":null}', sign) }, { "missing_claim", forge(good, "{}", sign) },
      { "unsupported", forge('{"alg":"HS256","crit":["exp"]}', "{}", sign) },
      { "unsupported", forge('{"alg":"HS256","enc":"A128GCM"}', "{}", sign) },
      { "too_large", forge(good, '{"exp":' .. now + 1 .. ',"x":"' .. ("x"):rep(6200) .. '"}', sign) },
      { "bad_signature", forge(good, '{"exp":' .. now + 1 .. "}", function() return "x" end) },
    }
    for i, row in ipairs(rows) do assert.equal(row[1], code(row[2]), "row " .. i) end
    local large = forge(good, '{"exp":' .. now + 1 .. ',"x":"' .. ("x"):rep(6200) .. '"}', sign)
    assert.equal("fine", code(large, { max_bytes = 10000 }))
  end)

  it("tells nothing of the token, nor of its key", function()
    local claims, problem = verify(token { sub = "hunter2", iss = "hunter2" }, { issuer = "x" })
    assert.is_nil(claims)
    assert.is_nil(problem:find("hunter2", 1, true))
    assert.equal("luamq.jwt.key: HS256", tostring(secret))
    for _, value in pairs(secret) do assert.is_nil(tostring(value):find("sss", 1, true)) end
  end)

  it("takes the time of the broker, which a test moves", function()
    local broker <close> = brokers.start {}
    local text = assert(jwt.sign({ exp = luamq.now() + 10 }, { key = secret }))
    local options = { algorithms = { "HS256" }, key = secret }
    assert.is_table((jwt.verify(text, options)))
    broker:advance(9)
    assert.is_table((jwt.verify(text, options)))
    broker:advance(1)
    assert.same({ nil, "the token has expired", "expired" }, { jwt.verify(text, options) })
  end)

  it("is a field of luamq too", function() assert.equal(jwt, luamq.jwt) end)

  it("reads keys and certificates, and tells why something is none", function()
    assert.same({ "RS256", true }, { private.RS256.algorithm, private.RS256.signs })
    assert.same({ "ES256", false }, { public.ES256.algorithm, public.ES256.signs })
    local certificate = openssl("req", "-x509", "-key", directory .. "/RS256", "-subj", "/CN=x")
    assert.equal("fine", code(token({}, { key = private.RS256 }), { key = assert(jwt.key(certificate)) }))
    local encrypted = openssl("pkey", "-in", directory .. "/ES256", "-aes256", "-passout", "pass:x")
    local none = "no key or certificate in PEM form, or one with a passphrase"
    local rows = { [pem.short.public] = "the RSA key has not 2048 to 8192 bits",
      [pem["P-384"].private] = "the curve of the key is not P-256",
      [pem.Ed25519.public] = "the key is neither RSA nor P-256",
      [encrypted] = none, [""] = none, ["hello"] = none, [pem.RS256.public:sub(1, 200)] = none,
      [("x"):rep(100000)] = none }
    for text, problem in pairs(rows) do
      assert.same({ nil, problem, "bad_key" }, { jwt.key(text) })
    end
  end)

  it("refuses to be misused", function()
    local text = token {}
    local rows = {
      ["luamq.jwt.secret expects a secret as a string"] = function() jwt.secret(1) end,
      ["luamq.jwt.secret expects at least 32 bytes"] = function() jwt.secret "hunter2" end,
      ["luamq.jwt.secret got a key in PEM: see luamq.jwt.key"] = function() jwt.secret(pem.RS256.public) end,
      ["luamq.jwt.key expects a key in PEM as a string"] = function() jwt.key() end,
      ["luamq.jwt.verify expects its options in a table"] = function() jwt.verify(text) end,
      ["luamq.jwt.verify needs algorithms, a list of HS256, RS256 or ES256"] =
        function() jwt.verify(text, { key = secret }) end,
      ["luamq.jwt.verify: algorithms is a list of HS256, RS256 or ES256"] =
        function() jwt.verify(text, { key = secret, algorithms = { "none" } }) end,
      ["luamq.jwt.verify needs key or keys"] = function() jwt.verify(text, { algorithms = { "HS256" } }) end,
      ["luamq.jwt.verify: key is a key of luamq.jwt.key or luamq.jwt.secret"] =
        function() jwt.verify(text, { key = pem.RS256.public, algorithms = { "RS256" } }) end,
      ["luamq.jwt.verify: keys is a table of keys by their ids"] =
        function() jwt.verify(text, { keys = { "x" }, algorithms = { "RS256" } }) end,
      ["luamq.jwt.verify: leeway is seconds, from 0 to 3600"] =
        function() jwt.verify(text, { key = secret, algorithms = { "HS256" }, leeway = 3601 }) end,
      ["luamq.jwt.verify expects its options in a table, such as { key = key }"] = function()
        jwt.verify(text, jwt.secret(("k"):rep(32)))
      end,
      ["luamq.jwt.verify has no option 'audiance'"] =
        function() jwt.verify(text, { key = secret, algorithms = { "HS256" }, audiance = "x" }) end,
      ["luamq.jwt.sign expects claims as a table with names"] =
        function() jwt.sign({ 1 }, { key = secret }) end,
      ["luamq.jwt.sign needs a key"] = function() jwt.sign({}, {}) end,
      ["luamq.jwt.sign needs a secret or a private key"] =
        function() jwt.sign({}, { key = public.RS256 }) end,
    }
    for problem, fn in pairs(rows) do
      assert.matches("^spec/jwt_spec.lua:%d+: " .. problem:gsub("%p", "%%%0") .. "$", brokers.problem(fn))
    end
    assert.matches("^spec/jwt_spec.lua:%d+: luamq.jwt.sign: claims that are no JSON: ",
      brokers.problem(function() jwt.sign({ f = print }, { key = secret }) end))
  end)
end)
