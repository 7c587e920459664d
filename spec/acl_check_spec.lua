local config = require "luamq.config"

describe("the check of an acl", function()
  --- The message for a script whose acl has these lines, the first of them on line 3.
  local function message(lines)
    local text = "return {\n  listeners = { 'tcp://127.0.0.1' }, acl = {\n" .. lines .. "\n} }"
    return select(2, config.check(assert(load(text, "@broker.lua"))(), "broker.lua", text))
  end

  for rule, problem in pairs {
    ['{ alow = "all" }'] = ".alow: unknown field of a rule (did you mean 'allow'?)",
    ['{ allow = "publish", username = "x" }'] = ".username: unknown field of a rule (did you mean 'user'?)",
    ['{ allow = "publish", clientid = "x" }'] = ".clientid: unknown field of a rule (did you mean 'client'?)",
    ['{ topic = "a" }'] = ': neither allow nor deny, expected one of them, such as allow = "publish"',
    ['{ allow = "publish", deny = "publish" }'] = ": both allow and deny, expected one of them",
    ['{ allow = "write" }'] = [[.allow: unknown operation "write" (did you mean 'publish'?)]],
    ['{ allow = "readwrite" }'] = [[.allow: unknown operation "readwrite" (did you mean 'all'?)]],
    ['{ deny = { "publish", "delvier" } }'] =
      [[.deny[2]: unknown operation "delvier" (did you mean 'deliver'?)]],
    ['{ deny = { "publish", "all" } }'] = ".deny[2]: 'all' stands alone: it is all of them",
    ['{ allow = {} }'] = ".allow: empty, expected a string, or a list of them",
    ['{ allow = true }'] = '.allow: expected "publish", "subscribe", "deliver" or "all", got boolean',
    ['{ allow = "all", user = true }'] = ".user: expected a name, or false for those that send none",
    ['{ allow = "all", user = 7 }'] = ".user: expected a name, got 7",
    ['{ allow = "all", client = false }'] = ".client: expected a name, got boolean",
    ['{ allow = "all", client = "a*b" }'] =
      ".client: a * stands at the end only, for all that begin with what is before it",
    ['{ allow = "all", topic = "a+" }'] = '.topic: a wildcard has its level to itself, not so in "a+"',
    ['{ allow = "all", topic = "a/#/b" }'] = ".topic: a # stands at the end only",
    ['{ allow = "all", topic = "" }'] = ".topic: empty, expected a topic filter",
    ['{ allow = "all", topic = { "a", "b%i" } }'] =
      ".topic[2]: unknown placeholder '%i': there are %u (user name), %c (client id) and %% (a percent sign)",
    ['{ allow = "all", topic = "100%" }'] =
      ".topic: unknown placeholder '%': there are %u (user name), %c (client id) and %% (a percent sign)",
    ['{ allow = "all", topic = ("a/"):rep(128) }'] = ".topic: 129 levels, and 128 are the most",
    ['{ allow = "all", topic = "$share/g/a" }'] =
      ".topic: a shared subscription is checked by its filter, without $share and the name",
    ['{ allow = "all", eq = "#" }'] =
      ".eq: only for subscribe: it tells one filter from those that have as much in them",
    ['{ allow = "subscribe", eq = "#", topic = "#" }'] = ".eq: beside topic, expected one of them",
    ['{ allow = "all", retain = true }'] = ".retain: not for subscribe, which has no such flag: "
      .. 'the rule has to be about "publish", "deliver" or both',
    ['{ allow = "publish", qos = 3 }'] = ".qos: expected 0, 1 or 2, got 3",
    ['{ allow = "publish", retain = 1 }'] = ".retain: expected true or false, got 1",
    ['{ allow = "publish", "x" }'] = "[1]: fields of a rule have the form name = value",
    ['"all"'] = ': expected a rule such as { allow = "publish", topic = "a/#" }, got "all"',
  } do
    it("refuses " .. rule, function()
      local expected = "broker.lua:4: acl[2]" .. problem
      local text = message('    { allow = "publish" },\n    ' .. rule .. ",")
      assert.truthy(("\n" .. text .. "\n"):find("\n" .. expected .. "\n", 1, true), text)
    end)
  end

  it("refuses deliver rules by which nothing would be delivered", function()
    assert.equal('broker.lua:4: acl[3]: denies "deliver", and no rule allows it: nothing would be delivered '
      .. 'to anybody; end the list with { allow = "deliver" }', message [[
      { allow = { "publish", "subscribe" } }, { deny = "all", topic = "x" },
      { deny = { "publish", "deliver" }, topic = "y" } ]])
    assert.is_nil(message '{ deny = "deliver", topic = "y" }, { allow = "all", user = "a" }')
  end)

  it("refuses what is no list", function()
    local listeners = { "tcp://127.0.0.1" }
    local _, text = config.check({ listeners = listeners, acl = "x" }, "broker.lua", "\nreturn { acl = 'x' }")
    assert.equal('broker.lua:2: acl: expected a list of rules, got "x"', text)
    _, text = config.check { listeners = listeners, acl = { allow = "all" } }
    assert.equal("acl.allow: expected a list of rules: put this one in braces", text)
  end)

  it("is shown by --dump, as a script would have it", function()
    local rules = {
      { allow = "all", user = "admin" },
      { deny = { "publish", "deliver" }, user = { "a\nb", "c*", false }, retain = false },
      { allow = "subscribe", client = "x", topic = { "t/%u/#", "u" }, qos = 1 },
      { deny = "subscribe", eq = "#" },
    }
    local checked = assert(config.check { listeners = { "tcp://127.0.0.1" }, acl = rules })
    local dumped = assert(load(config.dump(checked)))()
    rules[2].user[1] = "a\nb"
    assert.same(rules, dumped.acl)
    assert.same(checked.rules, assert(config.check(dumped)).rules)
  end)
end)
