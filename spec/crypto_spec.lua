local brokers = require "spec.support.brokers"
local crypto = require "luamq".crypto

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

describe("luamq.crypto", function()
  it("hashes", function()
    local digests = {
      sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d",
      sha224 = "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
      sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      sha384 = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
        .. "8086072ba1e7cc2358baeca134c825a7",
      sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        .. "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    }
    for digest, wanted in pairs(digests) do assert.equal(wanted, hex(crypto.hash(digest, "abc"))) end
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      hex(crypto.hash("sha256", "")))
  end)

  it("authenticates (RFC 4231)", function()
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      hex(crypto.hmac("sha256", "Jefe", "what do ya want for nothing?")))
    assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      hex(crypto.hmac("sha256", ("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First")))
    assert.equal("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad",
      hex(crypto.hmac("sha256", "", "")))
  end)

  it("derives keys (RFC 6070, RFC 7914)", function()
    assert.equal("4b007901b765489abead49d926f721d065a429c1",
      hex(crypto.pbkdf2("sha1", "password", "salt", 4096, 20)))
    assert.equal("56fa6aa75548099dcc37d7f03425e0c3",
      hex(crypto.pbkdf2("sha1", "pass\0word", "sa\0lt", 4096, 16)))
    assert.equal("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
      .. "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
      hex(crypto.pbkdf2("sha256", "passwd", "salt", 1, 64)))
    assert.equal(1024, #crypto.pbkdf2("sha512", "", "", 1, 1024))
  end)

  it("compares", function()
    assert.is_true(crypto.equal("", ""))
    assert.is_true(crypto.equal("a\0b", "a\0b"))
    for _, other in ipairs { "", "a", "a\0c", "b\0b", "a\0bb" } do
      assert.is_false(crypto.equal("a\0b", other))
    end
  end)

  it("gives random bytes", function()
    assert.equal(32, #crypto.random(32))
    assert.equal(65536, #crypto.random(65536))
    assert.not_equal(crypto.random(16), crypto.random(16))
  end)

  it("encodes and decodes base64 (RFC 4648)", function()
    local pairs_of = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==",
      fooba = "Zm9vYmE=", foobar = "Zm9vYmFy", ["\xfb\xff\xbf"] = "+/+/", ["\0\0\0\0"] = "AAAAAA==" }
    for bytes, text in pairs(pairs_of) do
      assert.equal(text, crypto.base64_encode(bytes))
      assert.equal(bytes, crypto.base64_decode(text))
    end
    for n = 1, 200 do
      local bytes = crypto.random(n)
      assert.equal(bytes, crypto.base64_decode(crypto.base64_encode(bytes)))
    end
  end)

  it("decodes nothing that is not base64", function()
    for _, text in ipairs { "Z", "Zg", "Zg=", "Zg==Zg==", "Zh==", "Zm9=", "====", "=m9v", "Z===", "Zm9v\n",
      "Zm 9", "Zm9-", "Zm9_", "Zm9\0", "\xff\xff\xff\xff" } do
      assert.same({ nil, "not base64" }, { crypto.base64_decode(text) }, text)
    end
  end)

  it("encodes and decodes base64url (RFC 4648)", function()
    local rows = { [""] = "", f = "Zg", fo = "Zm8", foo = "Zm9v",
      ["\xfb\xff\xfe"] = "-__-", ["\xff\xe0"] = "_-A" }
    for bytes, text in pairs(rows) do
      assert.equal(text, crypto.base64url_encode(bytes))
      assert.equal(bytes, crypto.base64url_decode(text))
    end
    for n = 1, 200 do
      local bytes = crypto.random(n)
      assert.equal(bytes, crypto.base64url_decode(crypto.base64url_encode(bytes)))
    end
    for _, text in ipairs { "Z", "Zg==", "Zm9=", "Zh", "Zm9", "Z+9v", "Z/9v", "Zm9v\n", "Zm 9", "=" } do
      assert.same({ nil, "not base64url" }, { crypto.base64url_decode(text) }, text)
    end
  end)

  it("raises when it is misused", function()
    for problem, call in pairs {
      ["unknown digest 'md5'"] = function() crypto.hash("md5", "") end,
      ["unknown digest 'SHA256'"] = function() crypto.hmac("SHA256", "", "") end,
      ["string expected, got nil"] = function() crypto.hmac("sha256", "k", nil) end,
      ["expected an integer between 1 and 1000000"] =
        function() crypto.pbkdf2("sha256", "", "", 1000001, 32) end,
      ["#4 to 'pbkdf2' (expected an integer"] = function() crypto.pbkdf2("sha256", "", "", 0, 32) end,
      ["expected an integer between 1 and 1024"] = function() crypto.pbkdf2("sha256", "", "", 1, 1025) end,
      ["expected an integer between 1 and 65536"] = function() crypto.random(0) end,
      ["string expected, got table"] = function() crypto.equal("", {}) end,
    } do
      assert.matches(problem, brokers.problem(call), 1, true)
    end
  end)
end)
