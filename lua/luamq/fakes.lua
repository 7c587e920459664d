--- Answers that a test puts in the place of a network: what `broker:fake` of luamq.test installs, and the
--- modules that would use a network ask for.
---
---     local fake = fakes.find("http")
---     if fake then return fake(request) end

local fakes = {}

local installed = {}

--- Installs a fake, or removes it.
---@param name "http"|"dns"|"redis"|"postgres"
---@param fake function?  gets what the module would have sent, and returns what it would have answered
function fakes.install(name, fake) installed[name] = fake end

--- The fake that answers in the place of a network; nil: there is none.
---@param name "http"|"dns"|"redis"|"postgres"
---@return function?
function fakes.find(name) return installed[name] end

return fakes
