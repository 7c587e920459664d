--- The pages of the reference in lua/reference/, and the definition files that are made of tables: settings
--- and counters.
---
---     for path, text in pairs(pages.all()) do ... end
---
--- A module of lua/luamq/ whose table has the class `luamq.NAME` has a page, with its functions and the types
--- that it defines. A type of another file stands on the first page that names it.

local annotations = require "scripts.annotations"
local config = require "luamq.config"
local definitions = require "scripts.definitions"

local pages = {}

local DIRECTORY <const> = "lua/reference/"

--- Those that no module stands for, and those of several files; the others follow them.
local fixed <const> = {
  { name = "luamq", title = "luamq", module = "luamq", files = { "init", "types/objects", "sync", "scope" } },
  { name = "hooks", title = "Hooks", files = { "types/hooks" }, functions_of = "luamq.Hooks" },
  { name = "values", title = "Clients, sessions, messages, packets", files = { "types/values" } },
  { name = "settings", title = "Settings", files = { "types/settings", "rules" } },
  { name = "stats", title = "Counters", files = { "types/stats" } },
}
local more_files <const> = {
  test = { "test_client", "test_connection", "test_fakes", "types/assertions" },
  client = { "network" },
}
local roots <const> = { -- types that no function names
  hooks = { "luamq.Hooks" }, settings = { "luamq.Script" }, test = { "luassert" },
}
local basic <const> = {}
for name in ("any nil boolean integer number string table function userdata true false self"):gmatch "%a+" do
  basic[name] = true
end

-- Files --------------------------------------------------------------------------------------

--- Lua files of a folder that are not made.
local function files_of(folder, made)
  local list = {}
  local pipe <close> = assert(io.popen("ls " .. folder))
  for path in pipe:lines() do
    if path:find "%.lua$" and not made[folder .. path] then list[#list + 1] = folder .. path end
  end
  return list
end

local function name_of(path) return path:match "^lua/luamq/(.-)%.lua$" end

---@class pages.Index
---@field files table<string, table>  as annotations.read has them, by names such as "types/hooks"
---@field types table<string, table>  classes and aliases by name; each has the name of its `file`

--- All annotations of the tree. Raises for a type that is defined twice.
---@param made table<string, string>  definition files by path, in the place of those of the tree
---@return pages.Index
local function read_all(made)
  local index = { files = {}, types = {} }
  local list = files_of("lua/luamq/", made)
  table.move(files_of("lua/luamq/types/", made), 1, 100, #list + 1, list)
  for path in pairs(made) do list[#list + 1] = path end
  for _, path in ipairs(list) do
    local file = annotations.read(path, made[path])
    index.files[name_of(path)] = file
    for _, item in ipairs(file.items) do
      if item.kind == "class" or item.kind == "alias" then
        local old = index.types[item.name]
        if old then
          error(("%s:%d: %s is defined in %s too"):format(path, item.line, item.name, old.file), 0)
        end
        item.file = name_of(path)
        index.types[item.name] = item
      end
    end
  end
  return index
end

--- Functions and values of an owner in a file, in order, with the sections that they stand in.
local function members(index, names, owner)
  local list = {}
  for _, name in ipairs(names) do
    local section
    for _, item in ipairs(index.files[name].items) do
      if item.kind == "section" then section = item.name end
      if item.owner == owner and not item.private and not item.name:find "^__" then
        list[#list + 1] = { item = item, section = section }
      end
    end
  end
  return list
end

-- Types that a type names --------------------------------------------------------------------

local function each_type(item, visit)
  local function visit_all(text)
    if not text or text == "" or text == "..." then return end
    for _, name in ipairs(annotations.type(text).names) do visit(name) end
  end
  visit_all(item.type)
  for _, parent in ipairs(item.parents or {}) do visit_all(parent) end
  for _, list in ipairs { item.fields or {}, item.params or {}, item.returns or {}, item.choices or {} } do
    for _, one in ipairs(list) do
      if not one.private then visit_all(one.type) end
    end
  end
end

pages.each_type = each_type

--- Whether a name needs no definition: of Lua, or of a number.
---@param name string
---@return boolean
function pages.is_basic(name) return basic[name] or tonumber(name) ~= nil end

local function add_type(index, page, name, seen)
  local type = index.types[name]
  if not type or seen[name] then return end
  seen[name] = true
  local at_home = index.home[type.file]
  if not type.page then
    type.page = at_home or page
    if name ~= type.page.class then table.insert(type.page.types, type) end
  end
  local function visit(other) add_type(index, page, other, seen) end
  each_type(type, visit)
  for _, member in ipairs(members(index, { type.file }, name)) do each_type(member.item, visit) end
end

--- The function of an item: its own annotations, or those of the alias that is its type.
local function function_of(index, item)
  local alias = item.type and index.types[item.type]
  if item.kind == "function" then return item end
  return alias and alias.fn
end

-- The list of pages --------------------------------------------------------------------------

local function all_pages(index)
  local list, home = {}, {}
  local function add(page)
    page.types = {}
    list[#list + 1] = page
    for _, name in ipairs(page.files) do home[name] = page end
  end
  for _, page in ipairs(fixed) do
    local copy = {}
    for key, value in pairs(page) do copy[key] = value end
    copy.class = copy.module
    add(copy)
  end
  local names = {}
  for name in pairs(index.files) do
    local type = index.types["luamq." .. name]
    if type and type.kind == "class" and type.file == name then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local class = "luamq." .. name
    local files = table.move(more_files[name] or {}, 1, 100, 2, { name })
    add { name = name, title = class, module = class, class = class, files = files }
  end
  index.home = home
  return list
end

--- Finds the page of each type, in the order of the files.
local function place_types(index, list)
  for _, page in ipairs(list) do
    local seen = {}
    local function visit(name) add_type(index, page, name, seen) end
    for _, name in ipairs(roots[page.name] or {}) do visit(name) end
    if page.class then visit(page.class) end
    for _, member in ipairs(members(index, page.files, page.class)) do
      each_type(function_of(index, member.item) or member.item, visit)
    end
  end
  local function before(page)
    local rank = {}
    for i, name in ipairs(page.files) do rank[name] = i end
    return function(a, b)
      local one, other = rank[a.file] or 99, rank[b.file] or 99
      if one ~= other then return one < other end
      if a.file ~= b.file then return a.file < b.file end
      return a.line < b.line
    end
  end
  for _, page in ipairs(list) do table.sort(page.types, before(page)) end
end

-- Text ---------------------------------------------------------------------------------------

--- As a heading's anchor is made of its text.
---@param heading string
---@return string
function pages.slug(heading) return (heading:lower():gsub("[^%w _-]", ""):gsub(" ", "-")) end

local Writer = {}
Writer.__index = Writer

local function writer(index, page)
  return setmetatable({ index = index, page = page, lines = {}, slugs = {} }, Writer)
end

function Writer:add(...)
  for _, line in ipairs { ... } do self.lines[#self.lines + 1] = line end
end

function Writer:heading(level, text) self:add(("#"):rep(level) .. " " .. text, "") end

--- A paragraph of the comment's own lines.
function Writer:text(lines)
  if #lines == 0 then return end
  for _, line in ipairs(lines) do self:add(line) end
  if lines[#lines] ~= "" then self:add "" end
end

local function code(text) return text == "" and "" or "`" .. text .. "`" end

--- A type, whose names are links.
function Writer:type(text)
  local parts, at = {}, 1
  while true do
    local from, to = text:find("luamq%.[%w_.]+", at)
    local name = from and text:sub(from, to)
    if not from then break end
    local type = self.index.types[name]
    if type and type.page then
      local path = type.page == self.page and "" or type.page.name .. ".md"
      local anchor = "#" .. pages.slug(definitions.sections[name] or name)
      if name == type.page.class or name == type.page.functions_of then anchor = path == "" and "#" or "" end
      parts[#parts + 1] = code(text:sub(at, from - 1)) .. ("[`%s`](%s%s)"):format(name, path, anchor)
    else
      parts[#parts + 1] = code(text:sub(at, to))
    end
    at = to + 1
  end
  parts[#parts + 1] = code(text:sub(at))
  return table.concat(parts)
end

local function sentence(text)
  if type(text) == "table" then text = table.concat(text, " ") end
  return text
end

local function with_text(head, text)
  text = sentence(text)
  return text ~= "" and head .. ": " .. text or head
end

--- "name(a, b) --> c, d".
local function signature(called, fn)
  local params, returns = {}, {}
  for _, param in ipairs(fn.params) do
    if param.name ~= "self" then params[#params + 1] = param.name end
  end
  for i, one in ipairs(fn.returns) do returns[i] = one.name or one.type:gsub("%?$", "") end
  local text = ("    %s(%s)"):format(called, table.concat(params, ", "))
  return #returns > 0 and text .. " --> " .. table.concat(returns, ", ") or text
end

--- `suspends` is said of a function that may wait.
function Writer:fn(level, called, fn, text, suspends)
  self:heading(level, called)
  self:add(signature(called, fn), "")
  self:text(text)
  if fn.async then self:add(suspends, "") end
  local told = false
  for _, param in ipairs(fn.params) do
    if param.name ~= "self" then
      self:add("- " .. with_text(("`%s` %s"):format(param.name, self:type(param.type)), param.text))
      told = true
    end
  end
  for _, one in ipairs(fn.returns) do
    local name = one.name and one.name ~= "..." and code(one.name) .. " " or ""
    self:add("- answers " .. with_text(name .. self:type(one.type), one.text))
    told = true
  end
  if told then self:add "" end
end

function Writer:suspends()
  return ("[Suspends](%s#luamqsleep) the hook that calls it."):format(
    self.page.name == "luamq" and "" or "luamq.md")
end

function Writer:member(level, called, item)
  local fn = function_of(self.index, item)
  if fn then return self:fn(level, called, fn, item.text, self:suspends()) end
  self:heading(level, called)
  self:add(self:type(item.type or "any"), "")
  self:text(item.text)
end

-- Types --------------------------------------------------------------------------------------

local function cell(text) return (text:gsub("|", "\\|")) end

function Writer:fields(fields)
  local rows = {}
  for _, field in ipairs(fields) do
    if not field.private then
      rows[#rows + 1] = ("| `%s` | %s | %s |"):format(field.name, cell(self:type(field.type)),
        cell(sentence(field.text)))
    end
  end
  if #rows == 0 then return end
  self:add("| Field | Type | Meaning |", "|---|---|---|")
  self:add(table.unpack(rows))
  self:add ""
end

function Writer:choices(choices)
  local texts, words = false, {}
  for i, choice in ipairs(choices) do
    words[i] = code(choice.type)
    texts = texts or choice.text ~= ""
  end
  if not texts then return self:add(table.concat(words, ", "), "") end
  for i, choice in ipairs(choices) do self:add("- " .. with_text(words[i], choice.text)) end
  self:add ""
end

function Writer:alias(type)
  self:text(type.text)
  if #type.choices > 0 then return self:choices(type.choices) end
  self:add(self:type(type.type), "")
end

--- How a method is called: `client:close`, by the name of the variable that has the class.
local function called(item)
  local first = item.params and item.params[1]
  local is_method = item.method or first and first.name == "self"
  return item.variable:lower() .. (is_method and ":" or ".") .. item.name
end

function Writer:class(level, type)
  self:text(type.text)
  if #type.parents > 0 then
    local parents = {}
    for i, parent in ipairs(type.parents) do parents[i] = self:type(parent) end
    self:add("With all fields of " .. table.concat(parents, ", ") .. ".", "")
  end
  self:fields(type.fields)
  for _, member in ipairs(members(self.index, { type.file }, type.name)) do
    if member.item.documented then self:member(level + 1, called(member.item), member.item) end
  end
end

function Writer:types(page)
  local started = false
  for _, type in ipairs(page.types) do
    if not definitions.sections[type.name] and type.name ~= page.functions_of then
      if not started then self:heading(2, "Types") end
      started = true
      self:heading(3, type.name == "luassert" and "Assertions" or type.name)
      if type.kind == "alias" then self:alias(type) else self:class(3, type) end
    end
  end
end

function Writer:settings()
  local settings, options = config.reference():match "^(.-\n)\n(.*)$"
  self:heading(2, "All settings")
  self:add(settings)
  self:heading(2, "Options of listeners")
  self:add(options)
end

-- Pages --------------------------------------------------------------------------------------

function Writer:module_functions(page)
  local section, started
  for _, member in ipairs(members(self.index, page.files, page.class)) do
    if not started or member.section and member.section ~= section then
      section, started = member.section, true
      self:heading(2, section or "Functions")
    end
    self:member(3, page.module .. "." .. member.item.name, member.item)
  end
end

--- Functions that are fields of a class.
function Writer:fields_as_functions(page)
  self:heading(2, "Functions")
  for _, field in ipairs(self.index.types[page.functions_of].fields) do
    self:fn(3, "hooks." .. field.name, field.fn, field.text, "May suspend.")
  end
end

local notice <const> = "<!-- Made of the annotations in lua/luamq/ by `make reference`. -->"

local function render(index, page)
  local w = writer(index, page)
  w:add(notice, "")
  w:heading(1, page.title)
  w:add("[Reference](README.md)", "")
  w:text(index.files[page.files[1]].head)
  if page.name == "settings" then
    w:settings()
  elseif page.functions_of then
    w:fields_as_functions(page)
  elseif page.class then
    local class = index.types[page.class]
    w:text(class.text)
    w:fields(class.fields)
    w:module_functions(page)
  end
  w:types(page)
  while w.lines[#w.lines] == "" do w.lines[#w.lines] = nil end
  return table.concat(w.lines, "\n") .. "\n"
end

--- The first sentence of what a page begins with.
local function summary(index, page)
  local paragraph = {}
  for _, line in ipairs(index.files[page.files[1]].head) do
    if line == "" then break end
    paragraph[#paragraph + 1] = line
  end
  local text = table.concat(paragraph, " ")
  return text:match "^(.-%.)%s" or text
end

local function contents(index, list)
  local lines = {
    notice, "", "# Reference", "",
    "What a script can use, as its editor shows it: the same annotations are in the modules and in",
    "[lua/luamq/types](../luamq/types), which are installed with them.", "",
  }
  for _, page in ipairs(list) do
    lines[#lines + 1] = ("- [%s](%s.md): %s"):format(page.title, page.name, summary(index, page))
  end
  return table.concat(lines, "\n") .. "\n"
end

--- All annotations, where each type that a script meets has its `page`, and the pages.
---@return pages.Index index
---@return table[] list
---@return table<string, string> made  definition files by path
function pages.index()
  local made = definitions.all()
  local index = read_all(made)
  local list = all_pages(index)
  place_types(index, list)
  return index, list, made
end

--- All files that are made, by path.
---@return table<string, string>
function pages.all()
  local index, list, made = pages.index()
  for _, page in ipairs(list) do made[DIRECTORY .. page.name .. ".md"] = render(index, page) end
  made[DIRECTORY .. "README.md"] = contents(index, list)
  return made
end

return pages
