---@meta luamq.types.objects
--- What functions of `luamq` take and return.

---@class luamq.PublishOptions
---@field qos integer?  0 (the default), 1 or 2
---@field retain boolean?  default false
---@field content_type string?
---@field response_topic string?
---@field correlation_data string?
---@field payload_format_indicator integer?  0 or 1
---@field message_expiry_interval integer?  seconds
---@field user_properties luamq.Pairs?

---@class luamq.ScopeOptions
---@field otherwise boolean?  the answer where no hook is about the topic; default true

---@class luamq.RecordOptions  what is left out is as the settings say
---@field bytes (integer|string)?  of the file; then it ends: script.record_bytes
---@field payload (integer|string)?  bytes of each payload that are kept: script.record_payload
---@field clients integer?  so many of 100, always the same ones: script.record_clients
---@field append boolean?  to a file that is there; else there must be none

-- Time and tasks -----------------------------------------------------------------------------

---@class luamq.Timer
local Timer = {}

---Takes it back.
---@return boolean cancelled  whether it was still to fire
function Timer:cancel() end

---A coroutine in the background.
---@class luamq.Task
local Task = {}

---Ends it where it waits; its variables that are to be closed are closed.
---@return boolean cancelled  whether it was waiting, and is cancelled now
function Task:cancel() end

---Whether it has ended.
---@return boolean
function Task:over() end

-- Metrics ------------------------------------------------------------------------------------

---A metric that only rises. Values of labels are strings, numbers or booleans, as many as there are labels; a
---wrong one raises.
---@class luamq.Counter
local Counter = {}

---@param ... string|number|boolean  values of the labels, and maybe how much: 0 or more, default 1
function Counter:inc(...) end

---What it has come to.
---@param ... string|number|boolean  values of the labels
---@return number
function Counter:value(...) end

---A metric that goes up and down.
---@class luamq.Gauge
local Gauge = {}

---@param ... string|number|boolean  values of the labels, and the value
function Gauge:set(...) end

---@param ... string|number|boolean  values of the labels, and maybe how much: default 1
function Gauge:inc(...) end

---@param ... string|number|boolean  values of the labels, and maybe how much: default 1
function Gauge:dec(...) end

---@param ... string|number|boolean  values of the labels
---@return number
function Gauge:value(...) end

---A metric that counts samples in buckets.
---@class luamq.Histogram
local Histogram = {}

---@param ... string|number|boolean  values of the labels, and the sample
function Histogram:observe(...) end

---@param ... string|number|boolean  values of the labels
---@return luamq.HistogramValue? value  nil: there was none
function Histogram:value(...) end

---@class luamq.HistogramValue
---@field sum number
---@field count integer
---@field buckets { le: number, count: integer }[]  how many samples were at most so large

---@class luamq.MetricOptions
---@field help string?
---@field buckets number[]?  of a histogram: rising upper bounds, 32 at most; default 0.005 to 10, for seconds

---@class luamq.Metric
---@field kind "counter"|"gauge"|"histogram"
---@field help string
---@field labels string[]
---@field series luamq.Series[]

---A series of a metric; of a histogram with the fields of luamq.HistogramValue.
---@class luamq.Series
---@field labels table<string, string>
---@field value number?

---What the calls of one hook came to. The last `le` of a histogram is math.huge.
---@class luamq.HookStats
---@field calls integer  that have ended
---@field denials integer  that refused, failures among them
---@field errors integer  that failed: raised, gave no answer or a wrong one, took too long
---@field shadow_calls integer  decisions that the shadow was asked about as well
---@field shadow_differences integer  those of them that it would have made otherwise
---@field running luamq.HistogramValue  seconds from call to answer, without what it waited
---@field waiting luamq.HistogramValue  seconds that a call waited, of those that did

-- Cryptography -------------------------------------------------------------------------------

---@alias luamq.Digest "sha1"|"sha224"|"sha256"|"sha384"|"sha512"

---Primitives of OpenSSL, for logins and signatures. They work without a broker. A misuse raises; what OpenSSL
---refuses (a digest that its configuration forbids) is nil and a message.
---@class luamq.Crypto
local crypto = {}

---@param digest luamq.Digest
---@param data string
---@return string? bytes
---@return string? message
function crypto.hash(digest, data) end

---@param digest luamq.Digest
---@param key string
---@param data string
---@return string? bytes
---@return string? message
function crypto.hmac(digest, key, data) end

---Derives bytes of a password. It blocks the broker while it runs, up to about a second: store what it derives,
---and never call it for a login.
---@param digest luamq.Digest
---@param password string
---@param salt string
---@param iterations integer  1 to 1000000
---@param length integer  1 to 1024
---@return string? bytes
---@return string? message
function crypto.pbkdf2(digest, password, salt, iterations, length) end

---Whether two strings are the same, in a time that depends on their lengths only.
---@param a string
---@param b string
---@return boolean
function crypto.equal(a, b) end

---Bytes that nobody can guess.
---@param bytes integer  how many, 1 to 65536
---@return string? bytes
---@return string? message
function crypto.random(bytes) end

---With padding, without line breaks.
---@param bytes string
---@return string
function crypto.base64_encode(bytes) end

---@param text string
---@return string? bytes
---@return string? message  "not base64" for anything else
function crypto.base64_decode(text) end

---The alphabet for URLs, without padding.
---@param bytes string
---@return string
function crypto.base64url_encode(bytes) end

---@param text string
---@return string? bytes
---@return string? message  "not base64url" for anything else
function crypto.base64url_decode(text) end

-- The log ------------------------------------------------------------------------------------

---Lines in the broker's log, with fields sorted by name (at most 64). Without a broker they go to
---standard error.
---@class luamq.Log
local log = {}

---@param text string
---@param fields table<string, any>?
function log.debug(text, fields) end

---@param text string
---@param fields table<string, any>?
function log.info(text, fields) end

---@param text string
---@param fields table<string, any>?
function log.warn(text, fields) end

---@param text string
---@param fields table<string, any>?
function log.error(text, fields) end

-- Passwords ----------------------------------------------------------------------------------

---For `credentials` only: see luamq.password_file.
---@class luamq.PasswordFile

---@class luamq.HashOptions
---@field kind "yescrypt"|"argon2id"|"pbkdf2"|nil  default "yescrypt"
---yescrypt: 1 to 8, default 5; argon2id: passes, 1 to 64, default 2; pbkdf2: iterations, 1000 to 1000000,
---default 210000
---@field cost integer?

---Hashes of passwords, made and compared in worker threads.
---@class luamq.Password
local password = {}

---A hash of a password, with a salt of its own. A password of more than 511 bytes, or with a NUL in it, has
---none.
---@param text string
---@param options luamq.HashOptions?
---@return string? hash
---@return string? message
---@return string? code  "password_not_allowed", "server_busy" or "server_unavailable"
---@async
function password.hash(text, options) end

---Whether a password is the one of a hash: of luamq.password.hash, mosquitto_passwd or crypt(3). It takes as
---long for a wrong one. False for nil, the password of a client without one; nil where it could not be found
---out, so that `not` of it refuses.
---@param text string?
---@param hash string
---@return boolean? right
---@return string? message
---@return string? code  "not_a_hash", "server_busy" or "server_unavailable"
---@async
function password.verify(text, hash) end
