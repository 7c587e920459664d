local brokers = require "spec.support.brokers"
local json = require "spec.support.json"

local logged, place, start = brokers.logged, brokers.place, brokers.start

--- The last line without its level.
local function last(broker)
  local lines = logged(broker)
  return (lines[#lines] or ""):gsub("^%l+ ", "")
end

describe("a refusal is logged with who decided", function()
  local info = { log = { level = "info" } }

  it("a login: by credentials, and by the hooks that may refuse it", function()
    local broker <close> = start(nil, { credentials = { ann = "right" }, log = info.log })
    assert.is_nil((broker:connect { id = "c", username = "ann", password = "wrong" }))
    assert.equal('client refused id=c remote=memory username=ann reason="not authorized" by=credentials',
      last(broker))
    for _, hook in ipairs { "authenticate", "setup" } do
      local function refuse() return false, "banned", "go away" end
      local hooked <close> = start({ [hook] = refuse }, info)
      assert.is_nil((hooked:connect { id = "c", username = "ann", password = "hush" }))
      assert.equal(("client refused id=c remote=memory username=ann reason=banned by=hook hook=%s place=%s "
        .. 'reason_string="go away"'):format(hook, place(refuse)), last(hooked))
    end
  end)

  it("a publish and a subscription: what was asked for, in MQTT 3.1.1 with the text as well", function()
    local function refuse() return false, "quota_exceeded", "enough" end
    local hooks = { publish = refuse, subscribe = refuse, dequeue = refuse, unsubscribe = refuse }
    local broker <close> = start(hooks, info)
    for _, version in ipairs { "3.1.1", "5" } do
      local client = broker:connect { id = "c", username = "u", version = version }
      local tail = "by=hook hook=%s place=" .. place(refuse) .. " reason_string=enough"
      client:publish("a/b", "a secret", 1, true)
      assert.equal("publish refused id=c remote=memory username=u topic=a/b qos=1 retain=true "
        .. "reason=quota_exceeded " .. tail:format "publish", last(broker))
      client:subscribe("a/#", 2)
      assert.equal("subscribe refused id=c remote=memory username=u filter=a/# qos=2 reason=quota_exceeded "
        .. tail:format "subscribe", last(broker))
      assert.is_true(broker:session("c"):deliver("d", "a secret", { qos = 1 }))
      broker:run()
      assert.equal("delivery refused id=c remote=memory username=u topic=d qos=1 retain=false "
        .. "reason=quota_exceeded " .. tail:format "dequeue", last(broker))
      client:unsubscribe "a/#"
      local done = version == "5" and "" or ", and done as MQTT 3.1.1 demands"
      assert.equal("unsubscribe refused" .. done .. " id=c remote=memory username=u filter=a/# "
        .. "reason=quota_exceeded " .. tail:format "unsubscribe", last(broker))
    end
  end)

  it("of several functions the one that answered", function()
    local function pass() end
    local function refuse() return false end
    local broker <close> = start({ { publish = pass }, { publish = refuse }, { publish = pass } }, info)
    broker:connect { id = "c" }:publish("t", "", 1)
    assert.matches("place=" .. place(refuse), last(broker), 1, true)
  end)

  it("one that failed: with the error, and its own line as before", function()
    local function fail() error "it broke" end
    local function wrong() return "perhaps" end
    local function none() end
    for problem, hook in pairs {
      ["hook error"] = fail, ["hook gave a wrong answer"] = wrong, ["hook gave no answer"] = none,
    } do
      local broker <close> = start({ publish = hook }, info)
      broker:connect { id = "c" }:publish("t", "", 1)
      local lines = logged(broker)
      assert.matches("^error ", lines[#lines - 1])
      local reason = hook == fail and "implementation_specific_error" or "not_authorized"
      assert.equal(("info publish refused id=c remote=memory topic=t qos=1 retain=false reason=%s by=hook "
        .. 'hook=publish place=%s error="%s"'):format(reason, place(hook), problem), lines[#lines])
    end
  end)

  it("by MQTT and by settings", function()
    local broker <close> = start({}, { log = info.log, backend = { shared_subscriptions = false } })
    local client = broker:connect { id = "c", version = "3.1.1" }
    client:publish("$SYS/x", "", 1)
    assert.matches("reason=not_authorized by=protocol$", last(broker))
    client:subscribe "$share/g/t"
    assert.matches("filter=t qos=0 reason=shared_subscriptions_not_supported by=limit "
      .. "limit=backend.shared_subscriptions", last(broker), 1, true)
  end)

  it("of another packet: which one it was", function()
    local function refuse(_, packet) return packet.type ~= "pingreq", "message_rate_too_high" end
    local broker <close> = start({ packet = refuse }, info)
    local client = broker:connect { id = "c" }
    client:send_raw "\xc0\0"
    assert.same({
      "info packet refused id=c remote=memory packet=Pingreq reason=message_rate_too_high by=hook "
        .. "hook=packet place=" .. place(refuse),
      "info client closed id=c remote=memory reason=message_rate_too_high",
    }, { table.unpack(logged(broker), 2) })
  end)

  it("as fields of JSON", function()
    local function refuse() return false, { reason = "banned", reason_string = "no" } end
    local broker <close> = start({ publish = refuse }, { log = { level = "info", format = "json" } })
    broker:capture()
    broker:connect { id = "c" }:publish("t", "", 1)
    local lines = broker:lines()
    local record = json.read(lines[#lines])
    record.time = nil
    assert.same({ level = "info", text = "publish refused", id = "c", remote = "memory", topic = "t", qos = 1,
      retain = false, reason = "banned", by = "hook", hook = "publish", place = place(refuse),
      reason_string = "no" }, record)
  end)

  it("at most log.refusals times a second for each kind, and counts the others", function()
    local refuse = function() return false end
    local broker <close> = start({ publish = refuse, subscribe = refuse },
      { log = { level = "info", refusals = 3 } })
    local client = broker:connect { id = "c" }
    logged(broker)
    for _ = 1, 10 do client:publish("t", "", 1) end
    client:subscribe "t"
    assert.equal(4, #logged(broker))
    assert.equal(7, broker:stats().refusals_not_logged)
    broker:advance(1)
    client:publish("t", "", 1)
    assert.matches("suppressed=7$", last(broker))
  end)
end)

describe("the hook log", function()
  it("is told of a refusal by whom and why, and of nothing else", function()
    local function refuse() return false, "quota_exceeded", "enough" end
    local seen, others = {}, 0
    local broker <close> = start {
      publish = refuse, subscribe = refuse,
      log = function(event, _, _, message, err, ...)
        local refused = ...
        if refused then
          seen[#seen + 1] = { event = event, err = err, topic = message and message.topic, refused = refused }
        else
          others = others + select("#", ...)
        end
      end,
    }
    local client = broker:connect { id = "c" }
    client:publish("t", "", 1)
    client:subscribe("a/#", 2)
    assert.same({
      { event = "backend error", err = "quota_exceeded", topic = "t", refused = { operation = "publish",
        reason = "quota_exceeded", reason_string = "enough", by = "hook", hook = "publish",
        place = place(refuse) } },
      { event = "backend error", err = "quota_exceeded", refused = { operation = "subscribe", filter = "a/#",
        qos = 2, reason = "quota_exceeded", reason_string = "enough", by = "hook", hook = "subscribe",
        place = place(refuse) } },
    }, seen)
    assert.equal(0, others)
  end)
end)
