--- What a script can set, as data: sections, keys, defaults, limits, and the words that are known.
---
--- Everything else reads these tables: the check of a script, its dump, and the reference. A new
--- setting is one more row. luamq.values reads what a script wrote, luamq.listeners has the options of
--- listeners.

local settings = {}

---@class luamq.Setting
---@field name string
---@field type string      a kind of luamq.values, or "list" or "table"
---@field default any       already normalized: a size is a number of bytes; nil for an option without one
---@field inherits string?  of a listener's option: the setting whose value is the default
---@field unit string?      what a number counts
---@field minimum number?
---@field maximum number?
---@field whole boolean?    seconds without a fraction
---@field values string[]?  the words of an enum
---@field of luamq.Setting?    of a list: what each item is
---@field keys luamq.Setting[]?  of a table: its fields
---@field needed boolean?   of a field: there is no such table without it
---@field range string?     what its value may be, for people, where the type does not tell
---@field doc string        its meaning, in one line

---@class luamq.Section
---@field name string
---@field doc string
---@field keys luamq.Setting[]

-- The sections of a checked configuration, to be kept like the rows below.

---@class luamq.Config.Engine
---@field read_limit integer          bytes
---@field connect_read_limit integer  bytes
---@field max_write_delay number      seconds
---@field connect_timeout number      seconds
---@field handshake_timeout number    seconds
---@field backlog integer
---@field close_timeout number        seconds
---@field workers integer
---@field worker_queue integer
---@field server_reference string

---@class luamq.Config.Backend
---@field session_queue_size integer
---@field session_queue_bytes integer     bytes
---@field kill_timeout number             seconds
---@field maximum_keep_alive integer      seconds
---@field maximum_keep_alive_set boolean  whether the script sets it
---@field parallel_publishes integer
---@field parallel_subscribes integer
---@field inflight_messages integer
---@field token_timeout number            seconds
---@field full_queue "wait"|"drop_new"|"drop_old"|"disconnect"
---@field full_queue_wait number          seconds
---@field inflight_bytes integer          bytes
---@field publish_rate integer            messages a second; 0 is no limit
---@field publish_bytes integer           bytes a second; 0 is no limit
---@field incoming_bytes integer          bytes
---@field max_sessions integer
---@field max_session_expiry number       seconds; 0 is for ever
---@field max_retained_messages integer
---@field max_retained_bytes integer      bytes
---@field refused_publish "acknowledge"|"disconnect"
---@field maximum_qos integer
---@field retain_available boolean
---@field wildcard_subscriptions boolean
---@field subscription_identifiers boolean
---@field shared_subscriptions boolean
---@field shared_strategy "round_robin"|"random"|"sticky"|"least_inflight"
---@field topic_alias_maximum integer
---@field topic_aliases integer
---@field check_payload_format boolean
---@field response_information string

---@class luamq.Config.Limits  0 is no limit where a setting takes it
---@field connections integer
---@field loop_lag number                   seconds
---@field topic_levels integer
---@field topic_length integer              bytes
---@field subscriptions integer
---@field client_rules integer
---@field client_rules_bytes integer        bytes
---@field connections_per_address integer
---@field connections_per_user integer
---@field connect_rate integer              a second
---@field connect_rate_per_address integer  a second
---@field failed_logins integer
---@field login_delay number                seconds
---@field login_delay_maximum number        seconds
---@field password_checks integer
---@field packet_time number                seconds
---@field unfinished_bytes integer          bytes
---@field queued_bytes integer              bytes
---@field memory_limit integer|string       bytes, or "80%"

---@class luamq.Config.Script
---@field hook_budget number    seconds; 0 is no limit
---@field hook_timeout number   seconds
---@field lua_memory integer    bytes; 0 is no limit
---@field max_suspended integer
---@field max_spawned integer
---@field reauthorize boolean
---@field max_series integer
---@field shared_bytes integer  bytes
---@field shadow string          a path, or ""
---@field record string          a path, or ""
---@field record_bytes integer   bytes
---@field record_payload integer bytes
---@field record_clients integer of 100

---@class luamq.Config.Log
---@field format "text"|"json"
---@field level "debug"|"info"|"warn"|"error"|"off"
---@field refusals integer  lines a second

local KIB <const>, MIB <const>, GIB <const> = 1 << 10, 1 << 20, 1 << 30

--- The sections, in the order in which they are printed.
---@type luamq.Section[]
settings.sections = {
  { name = "engine", doc = "connections and sockets", keys = {
    { name = "read_limit", type = "size", default = 8 * MIB, unit = "bytes",
      minimum = KIB, maximum = 256 * MIB,
      doc = "largest packet accepted from a client" },
    { name = "connect_read_limit", type = "size", default = 384 * KIB, unit = "bytes",
      minimum = KIB, maximum = 256 * MIB,
      doc = "largest packet accepted before a client is let in" },
    { name = "max_write_delay", type = "seconds", default = 0, unit = "seconds",
      minimum = 0, maximum = 10,
      doc = "longest time a written packet may wait to be sent together with others" },
    { name = "connect_timeout", type = "seconds", default = 10, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "time a new connection has to send its first packet" },
    { name = "handshake_timeout", type = "seconds", default = 10, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "time that a PROXY header and the handshakes of TLS and WebSocket may take together" },
    { name = "backlog", type = "integer", default = 1024, unit = "connections",
      minimum = 1, maximum = 65535,
      doc = "connections that may wait to be accepted, for each listener that does not say otherwise" },
    { name = "close_timeout", type = "seconds", default = 5, unit = "seconds",
      minimum = 0, maximum = 3600,
      doc = "how long a stop waits for the clients to close" },
    { name = "workers", type = "integer", default = 2, unit = "threads", minimum = 1, maximum = 256,
      doc = "worker threads at most, for what takes long: passwords, databases in files; there is none "
        .. "before the first job" },
    { name = "worker_queue", type = "integer", default = 4096, unit = "jobs", minimum = 1, maximum = 1000000,
      doc = "that may wait for a worker thread; whoever asks for one more is told that the broker is busy" },
    { name = "server_reference", type = "string", default = "", unit = "bytes",
      minimum = 0, maximum = 255,
      doc = "what MQTT 5 clients are told that a hook sends away with `use_another_server` or "
        .. "`server_moved`, such as `b.example.org:8883`" },
  } },
  { name = "backend", doc = "sessions, queues and clients", keys = {
    { name = "session_queue_size", type = "integer", default = 100, unit = "messages",
      minimum = 1, maximum = 10000000,
      doc = "messages that may wait in the queue of a session" },
    { name = "session_queue_bytes", type = "size", default = 64 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "memory of the messages in the queue of a session; with more it is full" },
    { name = "kill_timeout", type = "seconds", default = 5, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "how long a new client waits for the old one with its id to close" },
    { name = "maximum_keep_alive", type = "seconds", default = 300, unit = "seconds", whole = true,
      minimum = 1, maximum = 65535,
      doc = "a missing or higher keep alive is set to it; MQTT 3.1 and 3.1.1 clients are held to it "
        .. "only when a script sets it" },
    { name = "parallel_publishes", type = "integer", default = 100, unit = "packets",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged QoS 1 and 2 publishes accepted from a client" },
    { name = "parallel_subscribes", type = "integer", default = 10, unit = "packets",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged subscribes and unsubscribes accepted from a client" },
    { name = "inflight_messages", type = "integer", default = 10, unit = "messages",
      minimum = 1, maximum = 65535,
      doc = "unacknowledged messages sent to a client" },
    { name = "inflight_bytes", type = "size", default = 16 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "of unacknowledged messages sent to a client; the last one may exceed it" },
    { name = "publish_rate", type = "integer", default = 0, unit = "messages a second",
      minimum = 0, maximum = 100000000,
      doc = "that a client may publish, a second's worth at once; with more it is not read for a while; "
        .. "0 is no limit" },
    { name = "publish_bytes", type = "size", default = 0, unit = "bytes a second",
      minimum = 0, maximum = 2 * 1024 * MIB,
      doc = "of topics and payloads that a client may publish, likewise; 0 is no limit" },
    { name = "token_timeout", type = "seconds", default = 30, unit = "seconds",
      minimum = 0.001, maximum = 86400,
      doc = "how long a client may be at one of its limits before it is closed" },
    { name = "full_queue", type = "enum", default = "wait",
      values = { "wait", "drop_new", "drop_old", "disconnect" },
      doc = "what happens when the queue of an online subscriber is full: the publisher waits, the new or "
        .. "the oldest message is dropped, or the subscriber disconnected; an offline one drops the new "
        .. "message, with `drop_old` the oldest" },
    { name = "full_queue_wait", type = "seconds", default = 0.1, unit = "seconds",
      minimum = 0, maximum = 86400,
      doc = "how long a publisher waits for room in the queue of an online subscriber" },
    { name = "incoming_bytes", type = "size", default = 64 * MIB, unit = "bytes",
      minimum = KIB, maximum = 2 * 1024 * MIB,
      doc = "QoS 2 messages that a client may leave unreleased; with more it is closed" },
    { name = "max_sessions", type = "integer", default = 1000000, unit = "sessions",
      minimum = 1, maximum = 100000000,
      doc = "stored sessions; a client that asks for one more is refused" },
    { name = "max_session_expiry", type = "seconds", default = 30 * 24 * 3600, unit = "seconds",
      minimum = 0, maximum = 10 * 365 * 24 * 3600,
      doc = "how long a stored session waits for its client to return; 0 is for ever" },
    { name = "max_retained_messages", type = "integer", default = 1000000, unit = "messages",
      minimum = 0, maximum = 100000000,
      doc = "retained messages; one more is routed, and not retained" },
    { name = "max_retained_bytes", type = "size", default = 1024 * MIB, unit = "bytes",
      minimum = 0, maximum = 1024 * 1024 * MIB,
      doc = "memory of all retained messages" },
    { name = "refused_publish", type = "enum", default = "acknowledge",
      values = { "acknowledge", "disconnect" },
      doc = "what an MQTT 3.1 or 3.1.1 client sees when its publish is refused" },
    { name = "maximum_qos", type = "integer", default = 2, minimum = 0, maximum = 2,
      doc = "highest QoS that is granted to a subscription, and that an MQTT 5 client may publish with" },
    { name = "retain_available", type = "boolean", default = true,
      doc = "whether MQTT 5 clients may publish retained messages" },
    { name = "wildcard_subscriptions", type = "boolean", default = true,
      doc = "whether filters with wildcards are allowed" },
    { name = "subscription_identifiers", type = "boolean", default = true,
      doc = "whether MQTT 5 clients may give their subscriptions a number" },
    { name = "shared_subscriptions", type = "boolean", default = true,
      doc = "whether `$share/group/filter` is allowed, in all versions of MQTT" },
    { name = "shared_strategy", type = "enum", default = "round_robin",
      values = { "round_robin", "random", "sticky", "least_inflight" },
      doc = "which member of a group gets a message, of those that have room for it: the next, any, the one "
        .. "before, or the one with the fewest messages in flight and in its queue" },
    { name = "topic_alias_maximum", type = "integer", default = 32, unit = "aliases",
      minimum = 0, maximum = 65535,
      doc = "topic aliases that an MQTT 5 client may use" },
    { name = "topic_aliases", type = "integer", default = 32, unit = "aliases",
      minimum = 0, maximum = 65535,
      doc = "topic aliases that are used towards an MQTT 5 client, as far as it allows" },
    { name = "check_payload_format", type = "boolean", default = false,
      doc = "whether a payload that MQTT 5 calls UTF-8 is checked, and refused where it is not" },
    { name = "response_information", type = "string", default = "", unit = "bytes",
      minimum = 0, maximum = 255,
      doc = "what MQTT 5 clients are told that ask for it, to make response topics of; `%c` is the id of "
        .. "the client" },
  } },
  { name = "limits", doc = "what clients may ask for", keys = {
    { name = "connections", type = "integer", default = 100000, unit = "connections",
      minimum = 1, maximum = 10000000,
      doc = "open connections; a further one is closed at once" },
    { name = "loop_lag", type = "seconds", default = 0.5, unit = "seconds", minimum = 0, maximum = 60,
      doc = "how late the loop may come to what is ready before new connections are closed at once; at "
        .. "twice of it QoS 0 messages are dropped as well; 0 sheds nothing" },
    { name = "topic_levels", type = "integer", default = 128, unit = "levels",
      minimum = 1, maximum = 65536,
      doc = "of a topic that is published to or a filter; one with more is refused" },
    { name = "topic_length", type = "integer", default = 4096, unit = "bytes",
      minimum = 1, maximum = 65535,
      doc = "of a topic that is published to or a filter; a longer one is refused" },
    { name = "subscriptions", type = "integer", default = 10000, unit = "subscriptions",
      minimum = 1, maximum = 10000000,
      doc = "of a session; further ones are refused, and a packet with more filters, and more than 1000, "
        .. "ends its connection" },
    { name = "client_rules", type = "integer", default = 200, unit = "rules",
      minimum = 1, maximum = 1000000,
      doc = "that `authenticate` may answer for one client as its `acl`, where each entry of a rule's lists "
        .. "counts; with more it is not let in" },
    { name = "client_rules_bytes", type = "size", default = 32 * KIB, unit = "bytes",
      minimum = KIB, maximum = 1024 * MIB,
      doc = "of the names and filters in such rules, and 16 for each" },
    { name = "connections_per_address", type = "integer", default = 20000, unit = "connections",
      minimum = 0, maximum = 10000000,
      doc = "of an IPv4 address or an IPv6 network of 64 bits; a further one is closed at once; "
        .. "0 is no limit" },
    { name = "connections_per_user", type = "integer", default = 0, unit = "clients",
      minimum = 0, maximum = 10000000,
      doc = "that are logged in with a user name; a further one is refused; 0 is no limit" },
    { name = "connect_rate", type = "integer", default = 5000, unit = "connections a second",
      minimum = 0, maximum = 10000000,
      doc = "that are accepted in total; further ones wait in the backlog; 0 is no limit" },
    { name = "connect_rate_per_address", type = "integer", default = 1000, unit = "connections a second",
      minimum = 0, maximum = 10000000,
      doc = "of an address, with bursts of two seconds' worth; further ones are closed at once; "
        .. "0 is no limit" },
    { name = "failed_logins", type = "integer", default = 10, unit = "logins",
      minimum = 0, maximum = 1000000,
      doc = "of an address that may fail before its next ones are delayed; 0 never delays" },
    { name = "login_delay", type = "seconds", default = 1, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "how long after a failed login the next one of the address waits; doubles with each failure" },
    { name = "login_delay_maximum", type = "seconds", default = 60, unit = "seconds",
      minimum = 0.001, maximum = 3600,
      doc = "the longest such delay; a login that has waited so long is refused" },
    { name = "password_checks", type = "integer", default = 2000, unit = "logins",
      minimum = 1, maximum = 1000000,
      doc = "that may wait for the check of their password against a password file; a further one is refused "
        .. "with `server_busy`" },
    { name = "packet_time", type = "seconds", default = 60, unit = "seconds",
      minimum = 0, maximum = 86400,
      doc = "that a packet may take from its first byte to its last, beside a second for each 16 KiB of it; "
        .. "0 is no limit" },
    { name = "unfinished_bytes", type = "size", default = 128 * MIB, unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the packets of all clients that are not complete yet; with more, the clients with the "
        .. "largest are closed; 0 is no limit" },
    { name = "queued_bytes", type = "size", default = GIB, unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the messages in all queues; with more, what cannot be sent at once is dropped; as "
        .. "much may be unreleased of QoS 2, then a client that adds to it is closed; 0 is no limit" },
    { name = "memory_limit", type = "share", default = "80%", unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the process, or its share of what the machine or control group grants; near it, "
        .. "nothing that stays is taken on, and above it no messages; 0 is no limit" },
  } },
  { name = "script", doc = "what hooks may use", keys = {
    { name = "hook_budget", type = "seconds", default = 0.05, unit = "seconds", minimum = 0, maximum = 60,
      doc = "processor time that a hook may run at once before it is stopped and denied; `start`, `stop`, "
        .. "`selftest` and `save` have ten times as much; 0 is no limit" },
    { name = "lua_memory", type = "size", default = 256 * MIB, unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of the Lua state, above which a hook gets no more of it and is denied; 0 is no limit" },
    { name = "hook_timeout", type = "seconds", default = 5, unit = "seconds",
      minimum = 0.001, maximum = 86400,
      doc = "that a hook may wait, all of its waits together; with more it is denied; timers and coroutines "
        .. "of `luamq.spawn` may wait as long as they like" },
    { name = "max_suspended", type = "integer", default = 10000, unit = "hooks",
      minimum = 1, maximum = 10000000,
      doc = "that may wait at once; those beyond begin to wait when another one goes on, and their clients "
        .. "are not read meanwhile" },
    { name = "max_spawned", type = "integer", default = 10000, unit = "coroutines",
      minimum = 0, maximum = 10000000,
      doc = "of `luamq.spawn` that may be under way; a further one is refused" },
    { name = "max_series", type = "integer", default = 10000, unit = "series",
      minimum = 0, maximum = 10000000,
      doc = "of the metrics of scripts, all together; samples of further ones go to the series `(other)`" },
    { name = "shared_bytes", type = "size", default = 64 * MIB, unit = "bytes",
      minimum = 0, maximum = 1024 * GIB,
      doc = "memory of `luamq.shared`" },
    { name = "reauthorize", type = "boolean", default = false,
      doc = "after a reload the new script decides about subscriptions that there are; those that it refuses "
        .. "end" },
    { name = "shadow", type = "path", default = "",
      doc = "a script that is asked beside this one, whose answers are compared and have no effect" },
    { name = "record", type = "string", default = "", unit = "bytes", minimum = 0, maximum = 255,
      doc = "a file to which decisions are appended from the start on, for `luamq replay`; see "
        .. "`luamq.record`" },
    { name = "record_bytes", type = "size", default = GIB, unit = "bytes",
      minimum = KIB, maximum = 1024 * GIB,
      doc = "that a record of decisions may have; then it ends" },
    { name = "record_payload", type = "size", default = 4 * KIB, unit = "bytes",
      minimum = 0, maximum = 256 * MIB,
      doc = "of a payload that are in a record of decisions" },
    { name = "record_clients", type = "integer", default = 100, unit = "of 100 clients",
      minimum = 1, maximum = 100,
      doc = "whose decisions are recorded, always of the same ones" },
  } },
  { name = "log", doc = "what the broker writes about itself", keys = {
    { name = "format", type = "enum", default = "text", values = { "text", "json" },
      doc = "how a line is written" },
    { name = "level", type = "enum", default = "info",
      values = { "debug", "info", "warn", "error", "off" },
      doc = "the least important lines that are written" },
    { name = "refusals", type = "integer", default = 10, unit = "lines a second",
      minimum = 0, maximum = 100000,
      doc = "about what was refused, for each kind of it (publish, subscribe, ...); 0 tells none" },
  } },
}

--- What stands beside the sections at the top level, for people: `kind` says what to write.
settings.top = {
  { name = "listeners", kind = "list of URLs",
    doc = "the addresses to accept clients on, such as `\"tcp://127.0.0.1:1883\"`; one with options is a "
      .. "table, such as `{ \"unix:///run/luamq.sock\", mode = \"0600\" }`" },
  { name = "credentials", kind = "table, or `luamq.password_file`",
    doc = "passwords by user name, or the path of a file that `luamq passwd` writes, such as "
      .. "`luamq.password_file \"users\"`; with it every client needs one of them" },
  { name = "anonymous", default = "false", kind = "boolean",
    doc = "let in clients that send neither name nor password" },
  { name = "acl", kind = "list of rules",
    doc = "who may publish, subscribe and be delivered what: the first rule that applies decides, and behind "
      .. "the last one everything is denied" },
  { name = "hooks", kind = "table, or list of tables",
    doc = "the functions that decide, by name" },
}

--- Hooks that a script may define.
settings.hooks = {
  "authenticate", "auth", "setup", "restore", "subscribe", "unsubscribe", "publish", "dequeue", "terminate",
  "packet", "full_queue", "psk", "log", "error", "start", "stop",
  "selftest", "save", "adopt",
}

local function set(...)
  local result = {}
  for _, word in ipairs { ... } do result[word] = true end
  return result
end

--- Words that are known, but have no effect in this version.
settings.later = {
  top = set("storage", "metrics", "cluster"),
  script = set(),
  hooks = set(),
}

---@type table<string, table<string, luamq.Setting>> settings by section and name
settings.index = {}

---@type table<string, string> all settings as "section.name", for a name that stands in the wrong place
settings.elsewhere = {}

for _, section in ipairs(settings.sections) do
  settings.index[section.name] = {}
  for _, setting in ipairs(section.keys) do
    settings.index[section.name][setting.name] = setting
    settings.elsewhere[setting.name] = section.name .. "." .. setting.name
  end
end

return settings
