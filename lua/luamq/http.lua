--- Requests over HTTP and HTTPS for hooks. A call suspends the hook that makes it, never the broker.
---
---     local http = require "luamq.http"
---
---     local answer, message, code = http.post("http://127.0.0.1:9000/auth", { json = { user = name } })
---     if not answer then luamq.log.error("auth service", { err = message }) end
---     if answer.status == 200 then print(answer.json.tenant) end
---
--- Each status is an answer, also 404 and 500. Without one the result is nil, a message for the log, which
--- names no more of the URL than its host, and a code: "timeout", "connection_refused", "unreachable", "dns",
--- "tls", "connection_closed", "protocol", "too_large", "redirect", "proxy", "failed". A misuse raises.
---
--- Certificates are verified. There are no cookies, no proxy and no password that is not in the options, and
--- no redirect unless `redirects` allows some.
---
--- Connections are kept and used again. At most 256 requests are under way with one host, and 1024 together;
--- one more waits for its turn, in its own `timeout`. With a service that answers in 200 ms that is 1280
--- answers a second; `http.configure` sets them.
---
--- With luamq.test nothing is sent: a fake answers.
---
---     broker:fake("http", function(request)            -- method, url, headers, body, json, form, query
---       if request.url:find "/auth$" then return { status = 200, json = { tenant = "a" } } end
---       return nil, "connection refused", "connection_refused"
---     end)
---
--- It may take time: what it waits for, such as luamq.sleep, is the virtual time of the test.

local core = require "luamq.core" -- first: the module below calls functions of it
local http_core = require "luamq.core.http"
local fakes = require "luamq.fakes"
local json = require "luamq.json"
local options_of = require "luamq.http_options"

---@class luamq.http
local http = {}

---@class luamq.http.Options
---@field headers table<string, string|number>?  a line break in one raises
---@field query table<string, any>?     added to the URL: strings, numbers, booleans, and lists of them
---@field body string?
---@field json any                      instead: a value as JSON; it sets content-type
---@field form table<string, any>?      instead: as the form of a web page; likewise
---seconds for all of it; default 4, less than `script.hook_timeout`, so that the hook is told
---@field timeout number?
---@field connect_timeout number?       seconds for the connection; default `timeout`
---@field max_size integer?             bytes of the answer's body; default 1 MiB
---that are followed, at most 20; default 0: a redirect is an answer. To another host go only GET and HEAD,
---without headers, name, password and certificate; from https to http none goes
---@field redirects integer?
---@field keep_alive boolean?           whether the connection is kept; default true
---@field username string?              for basic authentication
---@field password string?
---@field ca string?                    PEM file of trusted authorities; default the system's
---@field verify boolean?               false accepts any certificate, and is logged once; default true
---@field certificate string?           PEM file of the client's certificate
---@field key string?                   PEM file of its key
---@field unix string?                  the path of a unix socket to connect to, instead of the URL's host
---@field proxy string?                 "http://host:port", also https, socks5 and socks5h

---@class luamq.http.RequestOptions: luamq.http.Options
---@field method string?  default "GET"

---@class luamq.http.Answer
---@field status integer
---by name in any case. Of one that came several times the values are joined by ", ", those of set-cookie by
---line breaks
---@field headers table<string, string>
---@field body string
---@field url string           that answered: another one after a redirect
---the body as JSON, decoded at the first use; nil when it is none. null in it is `http.null`
---@field json any
---@field json_error string?   why it is none

---@class luamq.http.Limits
---@field max_connections_per_host integer?  1 to 65535, default 256
---@field max_connections integer?           1 to 65535, default 1024
---@field idle_timeout number?               seconds that a connection is kept, 1 to 3600, default 30

---@class luamq.http.Stats
---@field requests integer     that have ended, but for those that were cancelled
---@field failed integer       those of them that got no answer
---@field queued integer       that had to wait for a connection
---@field connections integer  that were opened
---@field active integer       requests that are under way now
---@field waiting integer      requests that wait for a connection now

--- What JSON's null is in `json`, on both ways.
http.null = json.null

--- A text as it stands in a URL: all but letters, digits and `-._~` as %XX.
---@type fun(text: string): string
http.escape = options_of.escape

-- Answers ------------------------------------------------------------------------------------

local header_meta = {
  __index = function(headers, name)
    return type(name) == "string" and rawget(headers, name:lower()) or nil
  end,
}

--- The lines of a header as a table by lower-case names.
local function read_head(head)
  local headers = {}
  for name, value in head:gmatch "([^:%s]+)[ \t]*:[ \t]*([^\r\n]*)" do
    name, value = name:lower(), value:gsub("[ \t]+$", "")
    local old = headers[name]
    headers[name] = old and old .. (name == "set-cookie" and "\n" or ", ") .. value or value
  end
  return setmetatable(headers, header_meta)
end

local answer_meta = { __name = "luamq.http.answer" }

--- `json` and `json_error` are fields from their first use on.
function answer_meta.__index(answer, name)
  if name ~= "json" and name ~= "json_error" or rawget(answer, "decoded") then return nil end
  rawset(answer, "decoded", true)
  answer.json, answer.json_error = json.decode(answer.body)
  return rawget(answer, name)
end

local function new_answer(status, headers, body, url)
  return setmetatable({ status = status, headers = headers, body = body, url = url }, answer_meta)
end

-- Sending ------------------------------------------------------------------------------------

--- What a fake gets: nothing of it is the module's own.
local function shown_to_fake(request)
  local headers = setmetatable({}, header_meta)
  for name, value in pairs(request.headers) do headers[name] = value end
  return {
    method = request.method, url = request.url, headers = headers, body = request.body, json = request.json,
    form = request.form, query = request.query, username = request.username, password = request.password,
    unix = request.unix, timeout = request.timeout,
  }
end

--- The answer of a fake as one of a server.
local function ask_fake(fake, request, timeout_ms)
  local url = request.url
  local in_time, given, message, code = fakes.ask(fake, timeout_ms / 1000, shown_to_fake(request))
  if not in_time then return nil, request.origin .. ": no answer in time", "timeout" end
  if given == nil then return nil, message or "the fake for http gives no answer", code or "failed" end
  if type(given) ~= "table" then error("the fake for http must answer a table, got " .. type(given), 0) end
  local headers = setmetatable({}, header_meta)
  for name, value in pairs(given.headers or {}) do headers[name:lower()] = tostring(value) end
  local body = given.body
  if given.json ~= nil then
    body = assert(json.encode(given.json))
    headers["content-type"] = headers["content-type"] or "application/json"
  end
  return new_answer(given.status or 200, headers, body or "", url)
end

local function header_lines(headers)
  local lines = { "expect:" } -- libcurl would wait for an answer to it before a large body
  if not headers["content-type"] then lines[2] = "content-type:" end
  if not headers["user-agent"] then lines[#lines + 1] = "user-agent: luamq/" .. core.version end
  for name, value in pairs(headers) do
    lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
  end
  return lines
end

--- Sends it, without redirects, in what is left of its time.
local function send(request, timeout_ms)
  local fake = fakes.find "http"
  if fake then return ask_fake(fake, request, timeout_ms) end
  local whole = {}
  for name, value in pairs(request) do whole[name] = value end
  whole.headers, whole.timeout_ms = header_lines(request.headers), timeout_ms
  whole.tls = request.scheme == "https"
  local status, head, body = http_core.request(whole)
  if not status then return nil, head, body end
  return new_answer(status, read_head(head), body, request.url)
end

-- Redirects ----------------------------------------------------------------------------------

local is_redirect = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- Headers that tell nothing of who asks.
local harmless = { accept = true, ["accept-language"] = true, ["user-agent"] = true }

local function refuse(origin, problem) return nil, origin .. ": " .. problem, "redirect" end

--- Takes away what is meant for the host that was asked, and for no other.
local function forget_secrets(request)
  for name in pairs(request.headers) do
    if not harmless[name] then request.headers[name] = nil end
  end
  request.username, request.password, request.certificate, request.key_file = nil, nil, nil, nil
end

--- As browsers do: all but 307 and 308 become a GET.
local function change_method(request, status)
  if status == 307 or status == 308 or request.method == "GET" or request.method == "HEAD" then return end
  request.method, request.body, request.json, request.form = "GET", nil, nil, nil
  request.headers["content-type"] = nil
end

--- Makes the request the one that the answer asks for.
local function follow(request, answer)
  local origin, scheme = request.origin, request.scheme
  local aimed, problem = options_of.aim(request, answer.headers.location, request.url)
  if not aimed then return refuse(origin, "a redirect to what is no place: " .. problem) end
  change_method(request, answer.status)
  if request.origin == origin then return true end
  if scheme == "https" and request.scheme == "http" then
    return refuse(origin, "a redirect from https to http")
  end
  if request.unix then return refuse(origin, "a redirect to another host over the same unix socket") end
  if request.body then return refuse(origin, "a redirect to another host, with a body") end
  forget_secrets(request)
  return true
end

local warned = false

local function warn_unverified(request)
  if warned or request.verify or request.scheme ~= "https" then return end
  warned = true
  core.broker.log.warn("http: a certificate is not verified", { host = request.origin })
end

local seen_queued, told_ms = 0, 0

--- Tells once a second that requests had to wait for a connection.
local function tell_queued(now_ms)
  local queued = http_core.queued()
  if queued == seen_queued or now_ms < told_ms + 1000 then return end
  core.broker.log.warn("http: requests had to wait for a connection", { requests = queued - seen_queued })
  seen_queued, told_ms = queued, now_ms
end

--- Sends it, and follows redirects as far as it wants.
local function run(request)
  warn_unverified(request)
  local now_ms = http_core.check()
  local end_ms = now_ms + math.ceil(request.timeout * 1000)
  tell_queued(now_ms)
  for left = request.redirects, 0, -1 do
    local remaining_ms = end_ms - http_core.check()
    if remaining_ms < 1 then return nil, request.origin .. ": no answer in time", "timeout" end
    local answer, message, code = send(request, remaining_ms)
    if not answer then return nil, message, code end
    local again = is_redirect[answer.status] and answer.headers.location
    if not again or request.redirects == 0 then return answer end
    if left == 0 then return refuse(request.origin, "too many redirects") end
    local followed, problem, problem_code = follow(request, answer)
    if not followed then return nil, problem, problem_code end
  end
end

-- The functions ------------------------------------------------------------------------------

---@alias luamq.http.Send async fun(url: string, options: luamq.http.Options?): answer: luamq.http.Answer?, message: string?, code: string?
---@alias luamq.http.SendAny async fun(url: string, options: luamq.http.RequestOptions?): answer: luamq.http.Answer?, message: string?, code: string?

local function sender(method)
  return function(url, options) return run(options_of.request(url, options, method, 2)) end
end

--- Sends a request with the method that is among the options, and waits for the answer. The URL begins with
--- http:// or https:// and names no user.
---@type luamq.http.SendAny
http.request = sender(nil)

---@type luamq.http.Send
http.get = sender "GET"

---@type luamq.http.Send
http.head = sender "HEAD"

---@type luamq.http.Send
http.post = sender "POST"

---@type luamq.http.Send
http.put = sender "PUT"

---@type luamq.http.Send
http.patch = sender "PATCH"

---@type luamq.http.Send
http.delete = sender "DELETE"

-- Connections --------------------------------------------------------------------------------

--- Sets limits of all requests of this script. A host's own limit that is lower is yours to know.
---@param limits luamq.http.Limits
function http.configure(limits)
  http_core.limits(options_of.limits(limits, 2))
end

--- What this script's requests have done.
---@return luamq.http.Stats
function http.stats() return http_core.counts() end

return http
