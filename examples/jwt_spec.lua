-- Run by `make test`, or by `busted --lua=/usr/bin/lua5.4 examples`: no network, no waiting. A key pair that
-- openssl makes takes the place of whoever signs the tokens.
local jwt = require "luamq.jwt"
local luamq = require "luamq"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("logins by token", function()
  local public, key

  local function openssl(arguments)
    local program <close> = assert(io.popen("openssl " .. arguments .. " 2>&1"))
    return program:read "a"
  end

  setup(function()
    local private = os.tmpname()
    public = os.tmpname()
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out " .. private)
    openssl("pkey -pubout -in " .. private .. " -out " .. public)
    local file <close> = assert(io.open(private))
    key = assert(jwt.key(file:read "a"))
    os.remove(private)
  end)
  teardown(function() os.remove(public) end)

  local function start()
    local script = assert(loadfile(here .. "/jwt.lua"))(public)
    local broker = test.broker(script, { log = { level = "info" } })
    broker:capture()
    return broker
  end

  local function token(changes)
    local claims = { iss = "id.example.org", aud = "luamq", sub = "meter-7", exp = luamq.now() + 60,
      publish = { "meters/7/#" }, subscribe = { "commands/7/#" } }
    for name, value in pairs(changes or {}) do claims[name] = value end
    return assert(jwt.sign(claims, { key = key }))
  end

  local function connect(broker, password, id)
    local client = broker:open()
    return client:connect { id = id or "meter-7", username = "token", password = password }, client
  end

  it("lets in who has a token, to what it allows", function()
    local broker <close> = start()
    local answer, client = connect(broker, token())
    assert.equal("success", answer.reason)
    assert.equal("success", client:publish("meters/7/power", "12", 1).reason)
    assert.equal("not_authorized", client:publish("meters/8/power", "12", 1).reason)
    assert.equal("success", client:subscribe("commands/7/on", 1).reason)
    assert.equal("not_authorized", client:subscribe("#", 1).reason)
  end)

  it("refuses other tokens, and logs why without them", function()
    local broker <close> = start()
    local rows = {
      malformed = "secret",
      wrong_issuer = token { iss = "example.org" },
      wrong_audience = token { aud = "another" },
      expired = token { exp = luamq.now() - 5 },
      bad_signature = token():gsub("%.[^.]*$", "." .. ("A"):rep(86)),
    }
    for code, password in pairs(rows) do
      assert.equal("not_authorized", connect(broker, password).reason)
      local lines = table.concat(broker:lines(), "\n")
      assert.matches("token refused code=" .. code, lines, 1, true)
      assert.is_nil(lines:find(password, 1, true))
    end
    assert.equal("not_authorized", connect(broker).reason)
    assert.equal("client_identifier_not_valid", connect(broker, token(), "meter-8").reason)
  end)

  it("closes a client when its token expires, and no other one", function()
    local broker <close> = start()
    local _, client = connect(broker, token())
    local _, gone = connect(broker, token { sub = "meter-8" }, "meter-8")
    gone:disconnect()
    local _, longer = connect(broker, token { sub = "meter-8", exp = luamq.now() + 100 }, "meter-8")
    broker:advance(59)
    assert.equal(2, broker:stats().clients)
    broker:advance(2)
    assert.equal(1, broker:stats().clients)
    assert.equal("maximum_connect_time", client.disconnected.reason)
    assert.equal("success", longer:publish("meters/7/x", "", 1).reason)
  end)
end)
