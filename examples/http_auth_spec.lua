-- Run by `make test`, or by `busted --lua=/usr/bin/lua5.4 examples`: no network, no waiting. A function
-- answers in the place of the service.
local fakes = require "luamq.fakes"
local luamq = require "luamq"
local test = require "luamq.test"
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

describe("logins that a web service decides", function()
  local broker, asked

  --- What the service knows.
  local function service(request)
    asked[#asked + 1] = request
    local json = request.json
    if json.user == "slow" then luamq.sleep(60) end
    if json.user == "broken" then return { status = 500, body = "oops" } end
    if json.user == "strange" then return { status = 200, json = { tenant = "#" } } end
    if json.password ~= "secret" then return { status = 401 } end
    return { status = 200, json = { tenant = json.user } }
  end

  before_each(function()
    broker, asked = test.broker(here .. "/http_auth.lua"), {}
    broker:capture()
    fakes.install("http", service)
  end)
  after_each(function()
    fakes.install "http"
    broker:stop()
  end)

  local function connect(user, password)
    return broker:connect { id = "c1", username = user, password = password or "secret" }
  end

  it("lets in who may, with a tenant", function()
    local client = connect "acme"
    assert.same({ id = "c1", user = "acme", password = "secret" }, asked[1].json)
    assert.equal("http://127.0.0.1:9000/auth", asked[1].url)
    assert.equal("success", client:publish("t/acme/x", "1", 1).reason)
    assert.equal("not_authorized", client:publish("t/other/x", "1", 1).reason)
    assert.equal("success", client:subscribe("t/acme/#").reason)
    assert.equal("not_authorized", client:subscribe("t/+/x").reason)
  end)

  it("refuses who may not", function()
    local client, why = connect("acme", "guess")
    assert.is_nil(client)
    assert.equal("bad_user_name_or_password", why.reason)
    assert.is_nil(why.error)
  end)

  it("refuses everyone while the service is down, and logs why without a secret", function()
    fakes.install("http", function()
      return nil, "http://127.0.0.1:9000: connection refused", "connection_refused"
    end)
    local client, why = connect "acme"
    assert.is_nil(client)
    assert.equal("server_unavailable", why.reason)
    local lines = table.concat(broker:lines(), "\n")
    assert.matches("auth service code=connection_refused", lines, 1, true)
    assert.is_nil(lines:find("secret", 1, true))
  end)

  it("refuses what it does not understand", function()
    for _, user in ipairs { "broken", "strange" } do
      assert.equal("server_unavailable", select(2, connect(user)).reason)
    end
  end)

  it("waits for a slow service two seconds, in which others are served", function()
    local other = connect "acme"
    local slow = broker:open()
    slow:send_raw "\16\24\0\4MQTT\4\194\0\60\0\0\0\4slow\0\4xxxx"
    other:subscribe "t/acme/x"
    other:publish("t/acme/x", "hello", 1)
    assert.equal("hello", other:receive().payload)
    assert.equal("", slow:raw())
    broker:advance(1.9)
    assert.equal("", slow:raw())
    broker:advance(0.2)
    assert.equal("\32\2\0\3", slow:raw())
    assert.is_true(slow.closed)
  end)
end)
