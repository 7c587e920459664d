local crypto = require "luamq".crypto
local packets = require "spec.support.packets"
local process = require "spec.support.process"
local test = require "luamq.test"

local path <const>, method <const> = "examples/scram.lua", "SCRAM-SHA-256"

local function properties(data) return { authentication_method = method, authentication_data = data } end
local function answer(data) return packets.auth(0x18, properties(data)) end
local function connect_packet(data)
  return packets.connect_packet { id = "c", properties = properties(data) }
end

--- The answer of a client to what the server asked; and what the server has to prove afterwards.
local function proof(password, bare, question)
  local nonce, salt, iterations = question:match "^r=([^,]+),s=([^,]+),i=(%d+)$"
  local salted = crypto.pbkdf2("sha256", password, crypto.base64_decode(salt), tonumber(iterations), 32)
  local key = crypto.hmac("sha256", salted, "Client Key")
  local without = "c=biws,r=" .. nonce
  local text = table.concat({ bare, question, without }, ",")
  local signature = crypto.hmac("sha256", crypto.hash("sha256", key), text)
  local bytes = {}
  for i = 1, #key do bytes[i] = string.char(key:byte(i) ~ signature:byte(i)) end
  return without .. ",p=" .. crypto.base64_encode(table.concat(bytes)),
    "v=" .. crypto.base64_encode(crypto.hmac("sha256", crypto.hmac("sha256", salted, "Server Key"), text))
end

--- One exchange that begins with the packet that `first` makes; the packet that ends it.
local function login(peer, first, name, password)
  local bare = "n=" .. name .. ",r=mynonce"
  local question = peer:ask(first("n,," .. bare))
  if question.type ~= "auth" then return question end
  local data, wanted = proof(password, bare, question.properties.authentication_data)
  local last = peer:ask(answer(data))
  if last.reason_code == 0 then assert.equal(wanted, last.properties.authentication_data) end
  return last
end

local function again(data) return packets.auth(0x19, properties(data)) end

describe("scram.lua", function()
  local broker
  before_each(function() broker = test.broker(path) end)
  after_each(function() broker:stop() end)

  it("says what RFC 7677 says", function()
    local random = crypto.random
    finally(function() crypto.random = random end)
    crypto.random = function() return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" end
    local peer = packets.open(broker)
    local question = peer:ask(connect_packet "n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert.equal("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      question.properties.authentication_data)
    local connack = peer:ask(answer("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
      .. "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
    assert.equal("connack 0", connack.type .. " " .. connack.reason_code)
    assert.equal("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", connack.properties.authentication_data)
  end)

  it("lets in by the password, and again", function()
    local peer = packets.open(broker)
    local connack = login(peer, connect_packet, "user", "pencil")
    assert.equal("connack 0", connack.type .. " " .. connack.reason_code)
    for _ = 1, 2 do
      local last = login(peer, again, "user", "pencil")
      assert.equal("auth 0", last.type .. " " .. last.reason_code)
    end
    assert.same({ user = "user" }, broker:client "c".ref)
  end)

  it("refuses a wrong password and a stranger alike", function()
    for name, password in pairs { user = "pen", stranger = "pencil" } do
      local peer = packets.open(broker)
      local connack = login(peer, connect_packet, name, password)
      assert.equal("connack 135", connack.type .. " " .. connack.reason_code)
      assert.same({}, connack.properties)
      assert.is_true(peer.client.closed)
    end
  end)

  it("asks a stranger with the same salt each time", function()
    local salts = {}
    for i = 1, 3 do
      local peer = packets.open(broker)
      local question = peer:ask(connect_packet(("n,,n=%s,r=x"):format(i == 3 and "another" or "stranger")))
      salts[i] = question.properties.authentication_data:match ",s=([^,]+),i=4096$"
      assert.equal(16, #crypto.base64_decode(salts[i]))
    end
    assert.equal(salts[1], salts[2])
    assert.not_equal(salts[1], salts[3])
  end)

  it("ends a client that cannot authenticate itself again", function()
    local peer = packets.open(broker)
    login(peer, connect_packet, "user", "pencil")
    local last = login(peer, again, "user", "pen")
    assert.equal("disconnect 135", last.type .. " " .. last.reason_code)
    assert.is_true(peer.client.closed)
  end)

  it("refuses other methods, and who names none", function()
    local properties_of_plain = { authentication_method = "PLAIN", authentication_data = "\0user\0pencil" }
    assert.equal(0x8c, packets.connect(broker, { properties = properties_of_plain }).connack.reason_code)
    local connack = packets.connect(broker, { username = "user", password = "pencil" }).connack
    assert.equal(0x87, connack.reason_code)
    assert.equal("not_authorized", select(2, broker:connect { version = 4 }).reason)
  end)

  it("refuses first messages that are none", function()
    for _, data in ipairs { "", "n,,", "n,,n=user", "n,,n=,r=x", "n,,r=x,n=user", "p=tls-unique,,n=user,r=x",
      "n,a=admin,n=user,r=x", "n,,m=x,n=user,r=x", "n,,n=us=er,r=x", "n,,n=user,r=x y", "n,,n=user,r=x,y" } do
      local peer = packets.open(broker)
      assert.equal(0x87, peer:ask(connect_packet(data)).reason_code, data)
    end
  end)

  it("refuses final messages that are none, or of another exchange", function()
    local bare = "n=user,r=mynonce"
    for _, change in ipairs {
      function() return "" end,
      function(data) return (data:gsub("^c=biws", "c=eSws")) end,
      function(data) return (data:gsub("r=mynonce", "r=othernonce")) end,
      function(data) return (data:gsub(",p=.*", "")) end,
      function(data) return (data:gsub(",p=.*", ",p=")) end,
      function(data) return (data:gsub(",p=.*", ",p=AAAA")) end,
      function(data) return data .. "=" end,
      function(data) return data .. ",x=y" end,
    } do
      local peer = packets.open(broker)
      local question = peer:ask(connect_packet("n,," .. bare)).properties.authentication_data
      assert.equal(0x87, peer:ask(answer(change((proof("pencil", bare, question))))).reason_code)
    end
  end)

  it("is understood by another implementation, over a real connection", function()
    local served <close> = process.broker { path, "tcp://127.0.0.1:0" }
    local words = { "/usr/bin/python3", "spec/support/scram_client.py", tostring(served.port) }
    local function run(name, password)
      words[4], words[5] = name, password
      return process.run(words, { errors = true })
    end
    assert.same({ 0, "0\n0\n" }, { run("user", "pencil") })
    assert.same({ 0, "135\n" }, { run("user", "pen") })
    assert.same({ 0, "135\n" }, { run("stranger", "pencil") })
  end)
end)

describe("scram_user.lua", function()
  it("makes an entry of a password", function()
    local make = " -e 'dofile \"examples/scram_user.lua\"'"
    local pipe = assert(io.popen("printf pencil | " .. process.luamq .. make))
    local entry = load("return { " .. pipe:read "a" .. " }")()[1]
    assert.is_true(pipe:close())
    local salted = crypto.pbkdf2("sha256", "pencil", crypto.base64_decode(entry.salt), entry.iterations, 32)
    assert.equal(entry.server_key, crypto.base64_encode(crypto.hmac("sha256", salted, "Server Key")))
    local key = crypto.hmac("sha256", salted, "Client Key")
    assert.equal(entry.stored_key, crypto.base64_encode(crypto.hash("sha256", key)))
  end)
end)
