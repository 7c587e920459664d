local guide = require "spec.support.guide"
local process = require "spec.support.process"

local text = process.read "examples/README.md"

describe("the guide of the examples", function()
  local reader

  setup(function() reader = guide.reader(process.build) end)
  teardown(function() reader:leave() end)

  for title, section in text:gsub("\n## ", "\0"):gmatch "%z([^\n]+)([^%z]*)" do
    if title:find "^%d+%. " then
      it("does what it says: " .. title, function()
        local count = reader:follow(section)
        assert.is_true(count > 0 or section:find "```" == nil)
      end)
    end
  end
end)

describe("the list of the examples", function()
  it("has each one", function()
    local files = process.output { "find", "examples", "-maxdepth", "1", "-name", "*.lua" }
    for name in files:gmatch "examples/([^\n]+)" do
      if not name:find "_spec" then assert.truthy(text:find("](" .. name .. ")", 1, true), name) end
    end
  end)

  it("has links to what is there", function()
    local count = 0
    for target in text:gmatch "%]%(([^)#]+)%)" do
      if not target:find "^https?:" then
        assert.is_true(os.rename("examples/" .. target, "examples/" .. target) == true, target)
        count = count + 1
      end
    end
    assert.is_true(count >= 25)
  end)
end)
