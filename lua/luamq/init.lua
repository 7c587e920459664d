--- The module `luamq`: what a script can do with the broker that runs it.
---
--- Functions work on the broker whose hook is running, else on the one that was started last. But for
--- `match` and `log` they raise `no broker is running` where there is none, as when a script is loaded.
--- A misuse raises; what fails at run time returns nil, a message and sometimes a code.
---
---     local luamq = require "luamq"
---     luamq.every(60, function() luamq.publish("clock", os.date("!%H:%M"), { retain = true }) end)

local core = require "luamq.core"
local password = require "luamq.password"
local scope = require "luamq.scope"
local sync = require "luamq.sync"
local broker = core.broker

local luamq = {}

-- Values -------------------------------------------------------------------------------------

---A client. The same value in every hook as long as its connection lives; afterwards a snapshot:
---`id`, `username`, `remote_address`, `credentials` and `ref` stay, `closed` is true, the others are nil.
---What a CONNECT of MQTT 5 told is nil for clients of older versions.
---@class luamq.Client
---@field id string              as sent, or assigned when that was empty; "" before CONNECT
---@field session luamq.Session? nil before `setup` and after `terminate`
---@field username string?       nil when none was sent
---@field version integer        the protocol level: 3 (MQTT 3.1), 4 (3.1.1) or 5; 0 before CONNECT
---@field clean_session boolean
---@field keep_alive integer     seconds, in force; 0 is off
---@field will luamq.Message?    a copy
---@field ref any                yours: whatever the script wants to keep
---@field local_address string   "127.0.0.1:1883", "[::1]:1883", "unix", "memory"
---@field remote_address string
---@field credentials { uid: integer, gid: integer, pid: integer }?
---  The process that opened the connection of a unix socket, as the system tells it (a new table each
---  time; the pid is 0 when it is not visible here); nil on other transports.
---@field transport "tcp"|"tls"|"ws"|"wss"|"unix"|"memory"
---@field certificate luamq.Certificate?  that the client has shown, and that is valid; a new table each time
---@field psk_identity string?   of the pre-shared key by which it has come
---@field tls_version string?    "TLSv1.3"; nil when the connection is not encrypted
---@field tls_cipher string?     "TLS_AES_256_GCM_SHA384"
---@field session_expiry_interval integer?  MQTT 5: seconds that its session is kept; 4294967295 is for ever
---@field receive_maximum integer?          MQTT 5: unacknowledged messages that it takes at once
---@field maximum_packet_size integer?      MQTT 5: bytes; nil when it takes packets of any size
---@field topic_alias_maximum integer?      MQTT 5
---@field user_properties luamq.Pairs?      MQTT 5: of its CONNECT
---@field authentication_method string?     MQTT 5
---@field closing boolean        it will be closed at the end of the turn, or is
---@field closed boolean
---@field read_limit integer|string       largest packet accepted, in bytes (1K to 256M); takes "256K" too
---@field maximum_keep_alive integer      seconds, 1 to 65535; setting it holds this client to it
---@field token_timeout number            seconds, 0.001 to 86400
---@field parallel_publishes integer      1 to 65535
---@field parallel_subscribes integer     1 to 65535
---@field inflight_messages integer       1 to 65535
---@field inflight_bytes integer|string   of unacknowledged messages (1K to 2G)
---@field publish_rate integer            messages a second that it may publish; 0 is no limit
---@field publish_bytes integer|string    bytes a second that it may publish; 0 is no limit
---@field acl luamq.Rule[]?               its own rules, see luamq.Script; can be set, and not be read
---@field close fun(self: luamq.Client, reason: string?, text: string?)
---  Ends the client at the end of the turn, with its will if it has one. `reason` is the name of a
---  reason code (default "administrative_action"); an MQTT 5 client is told it, and the text, in DISCONNECT.

---The certificate of a client. The lists hold its subject alternative names, and are empty without any.
---@class luamq.Certificate
---@field subject string       "CN=meter-7,O=Example" (RFC 2253)
---@field issuer string
---@field common_name string?  of the subject
---@field serial string        hex, lower case
---@field fingerprint string   SHA-256 of the certificate, hex, lower case
---@field not_before integer   seconds since 1970
---@field not_after integer
---@field dns string[]
---@field ip string[]
---@field uri string[]
---@field email string[]

---What the broker keeps for a client id, whether or not a client is connected. It is looked up by its
---id at each use: when it has ended, fields but `id` are nil, and methods return nil and
---`missing session`. Two of the same id are equal.
---@class luamq.Session
---@field id string
---@field client luamq.Client?   nil when it is offline
---@field clean boolean          it ends with its connection
---@field queued integer         messages that wait in its queue
---@field dropped integer        messages that were not queued or delivered
---@field session_expiry_interval integer  seconds that it is kept without a client; 4294967295 is for ever
---@field subscriptions luamq.SessionSubscription[]
---@field deliver luamq.Deliver
---  Puts a message into this session's queue, as if it had subscribed with the message's QoS. It passes
---  the hook `dequeue`, not `publish`. nil and `queue full` when it was dropped.
---@field all_messages fun(self: luamq.Session): luamq.Message[]?, string?
---  What waits in its queue, the next one first, with the QoS that it is sent with. They stay valid.
---@field subscribe fun(self: luamq.Session, f: string|luamq.NewSubscription, qos: integer?): integer?, string?
---  Subscribes it, online or not, and answers the QoS that was granted; nil and the name of a reason where
---  a limit refuses. It passes neither the hook `subscribe` nor rules. Retained messages come as for a
---  SUBSCRIBE. A filter may be "$share/group/filter".
---@field unsubscribe fun(self: luamq.Session, f: string|luamq.NewSubscription): boolean?, string?
---  Whether there was such a subscription. It passes no hook.
---@field next_id fun(self: luamq.Session): integer?, string?
---  A packet id that is not in flight to the client, 1 to 65535.
---@field save_packet fun(self: luamq.Session, d: luamq.Direction, p: luamq.StoredPacket): true?, string?
---  Replaces one with the same id. A publish needs its message, with QoS 1 or 2.
---@field lookup_packet fun(self: luamq.Session, d: luamq.Direction, id: integer): luamq.StoredPacket?,string?
---@field delete_packet fun(self: luamq.Session, d: luamq.Direction, id: integer): true?, string?
---  A missing one is no error.
---@field all_packets fun(self: luamq.Session, d: luamq.Direction): luamq.StoredPacket[]?, string?
---  In the order in which they are sent again after a reconnect.

---A subscription of a session. Options of MQTT 5 are nil where they were never used.
---@class luamq.SessionSubscription
---@field topic string
---@field qos integer                   that was granted
---@field no_local boolean?
---@field retain_as_published boolean?
---@field identifier integer?
---@field share string?                 the name of its group, of a shared one

---What session:subscribe takes: an entry of session.subscriptions, and how retained messages are handled. 0,
---the default, sends them; 1 does where the subscription is new; 2 does not, as for one that is restored.
---@class luamq.NewSubscription: luamq.SessionSubscription
---@field qos integer?              default 0
---@field retain_handling integer?

---Names and values in their order; a name may be there several times.
---@alias luamq.Pairs [string, string][]

---@alias luamq.Deliver fun(self: luamq.Session, topic: string, payload: string?,
---  options: luamq.PublishOptions?): true?, string?

---@alias luamq.Direction "incoming"|"outgoing"

---A packet in flight.
---@class luamq.StoredPacket
---@field type "publish"|"pubrel"
---@field id integer              1 to 65535
---@field message luamq.Message?  of a publish; nil when it was refused or dropped

---A message. Borrowed in hooks: read only, and a use after the hook returned raises. Properties of MQTT 5
---that it does not have are nil.
---`tostring` gives `<Message Topic="test" QOS=0 Retain=false Payload=74657374>`.
---@class luamq.Message
---@field topic string
---@field payload string
---@field qos integer     0, 1 or 2
---@field retain boolean
---@field content_type string?
---@field response_topic string?
---@field correlation_data string?              bytes
---@field payload_format_indicator integer?     1: the payload is UTF-8
---@field message_expiry_interval integer?      seconds that are left; nil in `log` but for packets
---@field user_properties luamq.Pairs?
---@field subscription_identifiers integer[]?   in `dequeue` and in packets to clients
---@field will_delay_interval integer?          of a will in a CONNECT packet; seconds

---A packet, borrowed as a message is. A field that its type does not have is nil; a password is never
---there, nor is authentication data. `tostring` gives its text form, such as `<Puback ID=1>`. The properties
---of MQTT 5 are fields under the specification's names, nil where they are absent; those that are flags are
---0 or 1.
---@class luamq.Packet
---@field type luamq.PacketType
---@field id integer?               nil where the packet has none
---@field client_id string?         connect
---@field keep_alive integer?       connect; seconds
---@field clean_session boolean?    connect
---@field username string?          connect
---@field version integer?          connect; the protocol level
---@field will luamq.Message?       connect
---@field session_present boolean?  connack
---@field return_code integer?      connack
---@field message luamq.Message?    publish
---@field dup boolean?              publish
---@field subscriptions luamq.PacketSubscription[]?  subscribe
---@field return_codes integer[]?   suback, and unsuback of MQTT 5
---@field reasons string[]?         the names of these
---@field topics string[]?          unsubscribe
---@field reason_code integer?      MQTT 5: connack, acks, disconnect, auth
---@field reason string?            MQTT 5: the name of the reason code
---@field subscription_identifier integer?            subscribe
---@field topic_alias integer?                        publish
---@field reason_string string?                       connack, acks, suback, unsuback, disconnect, auth
---@field user_properties luamq.Pairs?                all
---@field session_expiry_interval integer?            connect, connack, disconnect
---@field receive_maximum integer?                    connect, connack
---@field maximum_packet_size integer?                connect, connack
---@field topic_alias_maximum integer?                connect, connack
---@field authentication_method string?               connect, connack, auth
---@field request_problem_information integer?        connect
---@field request_response_information integer?       connect
---@field assigned_client_identifier string?          connack
---@field server_keep_alive integer?                  connack
---@field maximum_qos integer?                        connack
---@field retain_available integer?                   connack
---@field wildcard_subscription_available integer?    connack
---@field subscription_identifier_available integer?  connack
---@field shared_subscription_available integer?      connack
---@field response_information string?                connack
---@field server_reference string?                    connack, disconnect

---A filter of a SUBSCRIBE, as sent.
---@class luamq.PacketSubscription
---@field topic string
---@field qos integer
---@field no_local boolean?             MQTT 5
---@field retain_as_published boolean?  MQTT 5
---@field retain_handling integer?      MQTT 5

---@alias luamq.PacketType
---| "connect" | "connack" | "publish" | "puback" | "pubrec" | "pubrel" | "pubcomp" | "subscribe" | "suback"
---| "unsubscribe" | "unsuback" | "pingreq" | "pingresp" | "disconnect" | "auth"

---What `subscribe` answers: whether, a QoS at most the one asked for, or what to store instead.
---A filter that `subscribe` changes is to be changed by `unsubscribe` in the same way.
---@alias luamq.SubscribeAnswer boolean|integer|{ topic: string?, qos: integer? }

---What a client wants to subscribe to, borrowed as a message is.
---@class luamq.Subscription
---@field topic string                  the filter, without `$share/name/`
---@field qos integer                   as asked for
---@field share string?                 the name of a shared subscription
---@field no_local boolean?             MQTT 5
---@field retain_as_published boolean?  MQTT 5
---@field retain_handling integer?      MQTT 5: 0 send retained messages, 1 if it is new, 2 do not
---@field identifier integer?           MQTT 5

---A listener with options. Paths are relative to the script.
---@class luamq.ListenerOptions
---@field [1] string              the URL: "tls://[::]:8883", "ws://127.0.0.1/mqtt", "unix:///run/luamq.sock"
---@field backlog integer?        connections that may wait to be accepted; default engine.backlog
---@field proxy_protocol boolean? a proxy in front tells who has connected; default false
---@field trusted_proxies string[]?  addresses and networks of such proxies, and those of X-Forwarded-For
---
---Of all but unix sockets:
---@field reuse_port boolean?     other sockets of the same user may listen there too; default false
---@field dual_stack boolean?     an IPv6 address takes IPv4 connections too; default false
---@field keepalive integer?      seconds of silence before TCP probes; 0 is off, default the system's
---@field nodelay boolean?        send small packets at once; default true
---
---Of tls and wss:
---@field certificate string?     PEM file: the broker's certificate and its chain
---@field key string?             PEM file: the key of it
---@field certificates { certificate: string, key: string }[]?  further ones, which SNI picks
---@field ca string?              PEM file: the authorities of client certificates, which are then required
---@field crl string?             PEM file: client certificates that were revoked
---@field verify "required"|"optional"|nil  whether clients need a certificate of `ca`
---@field min_version "1.2"|"1.3"|nil       default "1.2"
---@field ciphers string?         of TLS 1.2, as OpenSSL writes them
---@field ciphersuites string?    of TLS 1.3
---@field session_tickets boolean?  clients may resume sessions; default true
---@field watch boolean?          read the files again when they change; default false
---
---Of ws and wss:
---@field origins string[]?       web pages that may connect: "https://app.example.org", or "*"
---@field fallback { status: integer?, type: string?, body: string? }?  to requests that are no upgrade
---
---Of unix sockets:
---@field mode string?            permissions of the socket's file; default "0660"
---@field owner string|integer?   user that the file is given to, a name or an id
---@field group string|integer?   group that the file is given to, a name or an id

---@alias luamq.LogLevel "debug"|"info"|"warn"|"error"|"off"

---What a script returns; see the settings' reference for the sections.
---@class luamq.Script
---@field listeners (string|luamq.ListenerOptions)[]  URLs, such as "tcp://127.0.0.1:1883"
---@field credentials table<string, string>?     passwords by user name
---@field anonymous boolean?                     let in clients that send neither name nor password
---@field acl luamq.Rule[]?                      who may do what
---@field engine table?
---@field backend table?
---@field limits table?
---@field script table?
---@field log { format: "text"|"json"?, level: luamq.LogLevel?, refusals: integer? }?
---@field hooks (luamq.Hooks|luamq.Hooks[])?     asked in order: the first answer that is not nil counts

---The hooks. Those that decide must answer when they are defined: no answer, a wrong one or an error
---denies, and is logged with file and line, at most ten times a second for each hook. A refusal is
---`false, reason, text`: the reason is the name of a reason code (default "not_authorized"), the text what an
---MQTT 5 client may see as reason string; or `false` and a luamq.Refusal. Of those that
---answer nothing every one in a list of tables is called, also after an error in one; but for `start`.
---
---Hooks may suspend (`luamq.sleep` and whatever waits), but for `log`, `error`, `psk`, `full_queue`, `save`.
---@class luamq.Hooks
---@field authenticate nil|fun(client: luamq.Client, username: string?, password: string?): luamq.Login
---  `true`, a refusal, or a table of client settings (`inflight_messages`, `read_limit`, ...) to let the
---  client in with. An error is "server_unavailable".
---@field auth nil|fun(client: luamq.Client, method: string, data: string?): luamq.Step, luamq.Why, string?
---  Enhanced authentication of MQTT 5: for each step of a client that named a method in CONNECT, instead of
---  `authenticate`, and again when it authenticates itself anew. `"continue", data` asks the client on;
---  `true` and maybe data lets it in; or a refusal. What is to be remembered goes into `client.ref`.
---  Without this hook no method is known ("bad_authentication_method"); with it alone nobody gets in without
---  a method. `engine.connect_timeout` bounds the exchange before CONNACK.
---@field setup luamq.SetupHook?
---  `id` as sent, maybe "". May set client settings through the client's fields; may refuse; or session
---  operations, which keep the client's packets in flight.
---@field restore nil|fun(client: luamq.Client)
---  The client is let in, and stored packets were sent again. What it delivers comes behind what is queued,
---  and nothing of that is sent before it has returned.
---@field subscribe luamq.SubscribeHook?
---  Once a filter: `true`, the QoS to grant if it is lower, or a refusal.
---@field unsubscribe luamq.UnsubscribeHook?
---  Once a filter, of a shared subscription with its name. MQTT 3.1 and 3.1.1 cannot refuse: it is logged,
---  and the subscription ends; in MQTT 5 it stays.
---@field publish nil|fun(client: luamq.Client, message: luamq.Message): luamq.Verdict, luamq.Why, string?
---  Also for wills; `client.closing` is true then. `true`, a refusal, "drop" (acknowledged, routed to
---  nobody), or a table of fields to change.
---@field dequeue nil|fun(client: luamq.Client, message: luamq.Message): luamq.Verdict
---  Once a delivery: `true`, `false` (not for this client), or a table of fields to change.
---@field full_queue nil|fun(client: luamq.Client, message: luamq.Message): luamq.FullQueue?
---  The client is online and its queue is full, also after a flush: what is to happen to the message. nil
---  and an error leave it to `backend.full_queue`.
---@field terminate nil|fun(client: luamq.Client, err: string)  it leaves its session
---@field packet nil|fun(client: luamq.Client, packet: luamq.Packet): boolean, luamq.Why, string?
---  Before a packet other than CONNECT and DISCONNECT is processed: `true`; a refusal closes the client.
---@field psk nil|fun(identity: string): string|false|nil
---  The pre-shared key of an identity as hex text (1 to 64 bytes), during the handshake of a tls or wss
---  listener; `false` or nil when it is not known. The identity is what a peer sent, whoever it is.
---@field log nil|luamq.LogHook
---  Every event, instead of the default log lines. Nothing that happens during the call is logged.
---@field error nil|fun(err: string)
---  A failed accept, certificates that cannot be loaded again, or a limit of the whole broker (connections,
---  memory, time) that is reached, or not any more.
---@field start nil|fun(broker: luamq.Broker)
---  The listeners are open, and accept clients when it has returned; an error in it fails the start.
---@field stop nil|fun(broker: luamq.Broker)   the clients have been closed; not at a reload
---@field selftest nil|fun(): boolean?, string?
---  At a reload, in the new script: nothing or `true`, or `false` and why it shall not come into force. Each
---  one in a list of tables has to be content.
---@field save nil|fun(): any
---  At a reload, in the old script: plain data (booleans, numbers, strings, and tables of these), which the
---  `start` of the new one finds in `broker.saved`. Anything else refuses the reload, as an error does.
---@field adopt nil|fun(client: luamq.Client): luamq.SessionOperations?
---  After a reload, in the new script, for each client that is connected, before its next packet and its next
---  delivery. `client.ref` has what was plain data in that of the old script.

---@alias luamq.SetupHook fun(client: luamq.Client, id: string, clean: boolean):
---  boolean|luamq.SessionOperations|nil, luamq.Why, string?

---What keeps the packets in flight of one client: methods of a table that `setup` or `adopt` answers. None of
---them can suspend. One that raises, or answers wrongly, closes the client with `session error`; nothing is
---sent or published that was not saved.
---@class luamq.SessionOperations
---@field next_id fun(self: table): integer  that is not in flight to the client, 1 to 65535
---@field save_packet fun(self: table, d: luamq.Direction, p: luamq.StoredPacket): boolean?, string?
---  Before a message is sent to the client, PUBREL after PUBREC, and PUBREC after a QoS 2 PUBLISH. Replaces
---  the one with the same id. `false` and a text: it could not be saved.
---@field lookup_packet fun(self: table, d: luamq.Direction, id: integer): luamq.StoredPacket?
---@field delete_packet fun(self: table, d: luamq.Direction, id: integer): boolean?, string?
---  PUBACK and PUBCOMP, and PUBREL before the message is published. A missing one is no error.
---@field all_packets fun(self: table, d: luamq.Direction): luamq.StoredPacket[]
---  Before CONNACK, unless the start is clean; in the order in which they are to be sent again. Where there are
---  some, CONNACK says that there was a session.

---What a refusal tells, in the place of a reason and a text. An MQTT 5 client gets reason string and user
---properties unless it asked for no problem information or takes no packets that large; of the filters of a
---SUBSCRIBE those of the first that is refused.
---@class luamq.Refusal
---@field reason string?                default "not_authorized"
---@field reason_string string?
---@field user_properties luamq.Pairs?

---@alias luamq.Why string|luamq.Refusal|nil
---@alias luamq.Step boolean|"continue"
---@alias luamq.SubscribeHook fun(client: luamq.Client, subscription: luamq.Subscription):
---  luamq.SubscribeAnswer, luamq.Why, string?
---@alias luamq.UnsubscribeHook fun(client: luamq.Client, filter: string, share: string?):
---  boolean|{ topic: string }, luamq.Why, string?
---@alias luamq.Login boolean|luamq.LoginSettings, luamq.Why, string?

---What a client is let in with: rules of its own, and settings in the place of those of the script.
---@class luamq.LoginSettings
---@field acl luamq.Rule[]?  asked before those of the script, see luamq.Script
---@field read_limit (integer|string)?
---@field maximum_keep_alive integer?
---@field token_timeout number?
---@field parallel_publishes integer?
---@field parallel_subscribes integer?
---@field inflight_messages integer?
---@field inflight_bytes (integer|string)?
---@field publish_rate integer?
---@field publish_bytes (integer|string)?

---@alias luamq.FullQueue "wait"|"drop_new"|"drop_old"|"disconnect"
---@alias luamq.Verdict boolean|"drop"|luamq.Change

---Fields of a message to change; checked like a packet from a client. What is not named stays, and a
---property that is `false` is taken away. Clients of MQTT 3.1 and 3.1.1 are sent no properties.
---@class luamq.Change
---@field topic string?
---@field payload string?
---@field qos integer?     in `dequeue` it can only be lowered
---@field retain boolean?
---@field content_type (string|false)?
---@field response_topic (string|false)?
---@field correlation_data (string|false)?
---@field payload_format_indicator (integer|false)?  0 or 1
---@field message_expiry_interval (integer|false)?   seconds, from now on
---@field user_properties (luamq.Pairs|false)?  replaces the list
---@field add_user_properties luamq.Pairs?      appended

---@alias luamq.LogHook fun(event: string, client: luamq.Client?, packet: luamq.Packet?,
---  message: luamq.Message?, err: string?, refused: luamq.Refused?)

---What was refused, and by whom: of the events `backend error` and `client error`, and nil for others.
---@class luamq.Refused
---@field operation "connect"|"auth"|"subscribe"|"unsubscribe"|"publish"|"deliver"|"packet"
---@field reason string   the name of the reason
---@field by "hook"|"rule"|"credentials"|"limit"|"protocol"|nil  who decided
---@field hook string?    the name of the hook
---@field rule integer?   the number of the rule in its list
---@field limit string?   the setting: "limits.subscriptions"
---@field place string?   of the hook's function or the rule: "broker.lua:12"
---@field reason_string string?  what the refusal says
---@field error string?   what failed, when it was not decided
---@field filter string?  of a subscription, without `$share/name/`
---@field qos integer?    that was asked for, of a subscription

---@class luamq.Broker
---@field listeners string[]  URLs with the bound addresses
---@field saved any           in `start` after a reload: what the script before has answered to `save`

---Counters since the start and, last, gauges.
---@class luamq.Stats
---@field connections_accepted integer  connections that were accepted
---@field connections_failed integer  accepts that failed
---@field connections_refused integer  connections closed at once because there were too many
---@field connections_refused_address integer  connections closed at once because their address had too many
---@field connections_refused_rate integer  connections closed at once because their address came too often
---@field connections_refused_memory integer  connections closed at once because of the memory limit
---@field accepts_paused integer  times that nobody was accepted for a moment because of the connect rate
---@field connections_shed integer  connections closed at once because the loop could not keep up
---@field connections_closed integer  connections that have ended
---@field tls_handshakes integer  connections that arrived by TLS
---@field tls_handshakes_failed integer  handshakes of TLS that failed, or took too long
---@field tls_reloads integer  listeners that loaded their certificates again
---@field tls_reload_failures integer  listeners that could not, and go on with those they have
---@field handshakes_failed integer  connections that ended in a PROXY, TLS or WebSocket handshake
---@field websocket_upgrades integer  connections that became WebSockets
---@field websocket_refused integer  handshakes of WebSocket that failed: no upgrade, refused, or late
---@field connects_accepted integer  CONNECT packets that were let in
---@field connects_refused integer  CONNECT packets that were refused
---@field connects_refused_user integer  CONNECT packets refused because their user had too many clients
---@field connects_refused_memory integer  CONNECT packets refused because of the memory limit
---@field reauthentications_failed integer  clients closed because they could not authenticate again
---@field connects_timed_out integer  connections that did not send a CONNECT in time
---@field logins_failed integer  CONNECT packets with a wrong name or password
---@field logins_held integer  CONNECT packets that had to wait for failed logins of their address
---@field logins_turned_away integer  CONNECT packets that waited in vain and were refused
---@field logins_refused_busy integer  CONNECT packets refused because too many passwords were to be checked
---@field password_checks integer  passwords that worker threads have been given to check, of a password file
---@field password_reloads integer  times that a password file was read again
---@field password_reload_failures integer  times that it could not, and its users stayed those of before
---@field jobs_submitted integer  jobs that worker threads were given
---@field jobs_refused integer  jobs that they were not because too many waited
---@field packets_timed_out integer  clients closed with `packet timeout`
---@field keep_alives_timed_out integer  clients closed because their keep alive time passed
---@field tokens_timed_out integer  clients closed with `token timeout`
---@field kills_timed_out integer  take-overs that ended with `kill timeout`
---@field read_limits_exceeded integer  clients closed because a packet was too large
---@field malformed_packets integer  clients closed because of a malformed packet
---@field protocol_errors integer  clients closed because of a packet that was not allowed
---@field sessions_refused integer  stored sessions that were refused because there were too many
---@field sessions_expired integer  stored sessions that ended because nobody returned to them
---@field session_errors integer  clients closed because operations of their session failed in the script
---@field retained_refused integer  messages that were not retained because there were too many
---@field sessions_taken_over integer  clients closed because another one came with their id
---@field memory_limit_near integer  times that the memory came near its limit
---@field memory_limit_reached integer  times that the memory limit was reached
---@field bytes_received integer  bytes read from clients
---@field bytes_sent integer  bytes handed to transports
---@field packets_received integer  packets decoded
---@field packets_sent integer  packets sent
---@field messages_received integer  PUBLISH packets from clients
---@field messages_published integer  messages that were routed
---@field messages_shed integer  QoS 0 messages dropped because the loop could not keep up
---@field messages_refused integer  publishes that were refused
---@field publishes_throttled integer  times that a client was not read because of its publish rate
---@field publishes_held_memory integer  times that a publisher was not read because of the memory limit
---@field messages_refused_peer integer  QoS 2 messages that MQTT 5 subscribers refused
---@field messages_expired integer  deliveries and retained messages dropped because their time was over
---@field messages_dropped_size integer  deliveries larger than what their MQTT 5 receiver takes
---@field subscribes_refused integer  subscriptions that were refused
---@field messages_queued integer  references put into queues of sessions
---@field messages_redispatched integer  messages of shared subscriptions that went on to another member
---@field messages_sent integer  PUBLISH packets to clients
---@field inflight_bytes_reached integer  times that a client had too many bytes in flight to be sent more
---@field messages_dropped_queue_full integer  deliveries dropped because an online session's queue was full
---@field messages_dropped_old integer  deliveries dropped from a full queue to make room for a newer one
---@field messages_dropped_queued_bytes integer  deliveries dropped because all queues held too many bytes
---@field messages_dropped_memory integer  QoS 0 publishes dropped because of the memory limit
---@field messages_dropped_offline integer  deliveries dropped because an offline session's queue was full
---@field acl_denied_publish integer  publishes that rules refused
---@field acl_denied_subscribe integer  subscriptions that rules refused
---@field acl_denied_deliver integer  deliveries that rules kept from a subscriber
---@field client_rules_refused integer  lists of rules for one client that were too long or wrong
---@field messages_dropped_hook integer  deliveries that a dequeue hook refused or failed to decide
---@field publishes_waited integer  publishes that waited for room in another session's queue
---@field clients_disconnected_queue_full integer  clients closed because their queue was full
---@field incoming_bytes_exceeded integer  clients closed with too many unreleased QoS 2 bytes
---@field unfinished_bytes_exceeded integer  clients closed because unfinished packets took too many bytes
---@field refusals_not_logged integer  refusals without a line: more than `log.refusals` a second
---@field records integer  decisions that were recorded
---@field shadow_calls integer  decisions that the shadow was asked about as well
---@field shadow_differences integer  decisions that the shadow would have made otherwise
---@field shadow_errors integer  decisions that failed in the shadow
---@field records_dropped integer  decisions that were not, because the disk did not keep up
---@field hook_errors integer  hooks that raised, gave no answer or a wrong one
---@field hook_timeouts integer  hooks that waited longer than script.hook_timeout
---@field hooks_cancelled integer  hooks that waited when their client had gone
---@field hooks_queued integer  times that a hook waited for another one, because of script.max_suspended
---@field reloads integer  times that another script came into force
---@field reloads_failed integer  times that it could not, and the one before stayed
---@field subscriptions_revoked integer  subscriptions that were refused after a reload, and ended
---@field spawns_refused integer  coroutines of luamq.spawn refused because of script.max_spawned
---@field hook_budget_exceeded integer  hooks that were stopped because they ran too long
---@field hook_memory_exceeded integer  hooks during which Lua was refused memory
---@field connections integer  open connections
---@field clients integer  clients past CONNECT
---@field sessions integer  sessions, with and without a client
---@field subscriptions integer  subscriptions of all sessions
---@field retained_messages integer  retained messages
---@field retained_bytes integer  memory of the retained messages
---@field wills_waiting integer  wills that wait for their delay or the end of their session
---@field loop_lag_ms integer  how late the loop comes to what is ready, smoothed, in milliseconds
---@field queued_bytes integer  memory of the messages in queues, each once, and of the queues
---@field unfinished_bytes integer  memory of the packets that are not complete yet
---@field addresses integer  remote addresses of which something is known
---@field logins_waiting integer  CONNECT packets that wait for failed logins of their address
---@field shared_refused integer  values that luamq.shared had no room for: script.shared_bytes
---@field series_refused integer  samples of metrics of scripts that went to `(other)`: script.max_series
---@field hooks_suspended integer  hooks, timers and coroutines of luamq.spawn that wait for something
---@field series integer  series of the metrics of scripts
---@field shared_bytes integer  memory of luamq.shared
---@field password_checks_waiting integer  logins that wait for the check of their password
---@field jobs_waiting integer  jobs that wait for a worker thread
---@field worker_threads integer  worker threads
---@field memory_bytes integer  resident memory of the process
---@field memory_limit_bytes integer  the memory limit; 0 is none
---@field lua_memory_bytes integer  memory of the Lua state
---@field lua_memory_limit_bytes integer  the most that hooks may make of it; 0 is no limit
---@field hooks table<string, luamq.HookStats>  by the name of the hook; also `timer` when one has fired

---What the calls of one hook came to. The last `le` of a histogram is math.huge.
---@class luamq.HookStats
---@field calls integer    that have ended
---@field denials integer  that refused, failures among them
---@field errors integer   that failed: raised, gave no answer or a wrong one, took too long
---@field shadow_calls integer        decisions that the shadow was asked about as well
---@field shadow_differences integer  those of them that it would have made otherwise
---@field running luamq.HistogramValue  seconds from call to answer, without what it waited
---@field waiting luamq.HistogramValue  seconds that a call waited, of those that did

---@class luamq.Timer
---@field cancel fun(self: luamq.Timer): boolean  whether it was still to fire

---@class luamq.PublishOptions
---@field qos integer?     0 (the default), 1 or 2
---@field retain boolean?  default false
---@field content_type string?
---@field response_topic string?
---@field correlation_data string?
---@field payload_format_indicator integer?  0 or 1
---@field message_expiry_interval integer?   seconds
---@field user_properties luamq.Pairs?

-- Topics and messages ------------------------------------------------------------------------

--- Whether a topic filter covers a topic. Given a filter as the topic, whether it covers all that this
--- one matches: `t/+` does not cover `t/#`. What is not valid matches nothing. Works without a broker.
---@type fun(filter: string, topic: string): boolean
luamq.match = broker.match

--- Publishes a message from the broker itself. It is retained and routed at once, passes the hook
--- `dequeue` but not `publish`, and never waits for room. May be called in hooks.
--- Returns nil, a message and "topic_name_invalid" for a topic that cannot be published to.
---@type fun(topic: string, payload: string?, options: luamq.PublishOptions?): true?, string?, string?
luamq.publish = broker.publish

--- The retained messages whose topics match a filter, in no particular order, as a list of plain tables
--- with the fields of a message. Raises when the filter is not valid.
---@type fun(filter: string): luamq.Message[]
luamq.retained = broker.retained

---@class luamq.ScopeOptions
---@field otherwise boolean?  the answer where no hook is about the topic; default true

--- A hook that is asked about some topics only: C looks first, and enters Lua for nothing else.
---
---     hooks.publish = luamq.on_topics({ "cmd/#" }, function(client, message)
---       return client.ref.is_operator
---     end)
---
--- For `publish`, `dequeue`, `subscribe` and `unsubscribe`; the last two are about a filter when there may be
--- a topic that both match. Elsewhere it is as if this hook were not there: in a list of tables the others
--- are asked, and where none of them is about the topic either, the message or filter is allowed, or denied
--- when one has the option `otherwise = false`. Can be called like `fn`. Raises for what is no filter.
---@type fun(filters: string|string[], fn: function, options: luamq.ScopeOptions?): luamq.Scope
luamq.on_topics = scope.new

-- Clients and sessions -----------------------------------------------------------------------

--- All clients that are connected and have a session, as a list in no particular order.
---@type fun(): luamq.Client[]
luamq.clients = broker.clients

--- The connected client of this id, or nil.
---@type fun(id: string): luamq.Client?
luamq.client = broker.client

--- The session of this client id; nil and `missing session` when there is none.
---@type fun(id: string): luamq.Session?, string?
luamq.session = broker.session

--- Makes a stored session that nobody is connected to, such as one from a database; in `setup` its client
--- resumes it then. It is kept so many seconds from now on, 1 to 4294967295, which is for ever and the default,
--- and at most `backend.max_session_expiry`. nil and a text when there is one of this id, or too many are
--- stored.
---@type fun(id: string, expiry: integer?): luamq.Session?, string?
luamq.create_session = broker.create_session

-- Cryptography -------------------------------------------------------------------------------

--- Primitives of OpenSSL, for logins and signatures. A digest is "sha1", "sha224", "sha256", "sha384" or
--- "sha512". They work without a broker. A misuse raises; what OpenSSL refuses (a digest that its
--- configuration forbids) is nil and a message.
---@class luamq.Crypto
---@field hash fun(digest: luamq.Digest, data: string): string?, string?
---@field hmac fun(digest: luamq.Digest, key: string, data: string): string?, string?
---@field pbkdf2 luamq.Pbkdf2
---  Derives `length` bytes (1 to 1024) of a password, in 1 to 1000000 iterations. It blocks the broker while
---  it runs, up to about a second: store what it derives, and never call it for a login.
---@field equal fun(a: string, b: string): boolean  compares in a time that depends on the lengths only
---@field random fun(bytes: integer): string?, string?  1 to 65536 bytes that nobody can guess
---@field base64_encode fun(bytes: string): string  with padding, without line breaks
---@field base64_decode fun(text: string): string?, string?  nil and "not base64" for anything else
---@field base64url_encode fun(bytes: string): string  the alphabet for URLs, without padding
---@field base64url_decode fun(text: string): string?, string?  nil and "not base64url" for anything else
---@alias luamq.Digest "sha1"|"sha224"|"sha256"|"sha384"|"sha512"
---@alias luamq.Pbkdf2 fun(digest: luamq.Digest, password: string, salt: string, iterations: integer,
---  length: integer): string?, string?
luamq.crypto = broker.crypto

-- Passwords ----------------------------------------------------------------------------------

---For `credentials` only: see luamq.password_file.
---@class luamq.PasswordFile

--- Hashes of passwords, made and compared in worker threads: both suspend the hook.
---@class luamq.Password
---@field hash fun(password: string, options: luamq.HashOptions?): string?, string?, string?
---  nil, a message and a code where there is none
---@field verify fun(password: string?, hash: string): boolean?, string?, string?
---  nil, a message and a code where it could not be found out, so that `not` of it refuses
luamq.password = { hash = password.hash, verify = password.verify }

--- The users of a file, for `credentials`. It has a line `name:hash` for each, as `luamq passwd` writes it;
--- the path is relative to the script. The file is looked at once a second, and read again when it has
--- changed: whoever is no longer in it stays connected, and does not get in again.
---@type fun(path: string): luamq.PasswordFile
luamq.password_file = password.file

-- Records ------------------------------------------------------------------------------------

---@class luamq.RecordOptions  what is left out is as the settings say
---@field bytes (integer|string)?    of the file; then it ends: script.record_bytes
---@field payload (integer|string)?  bytes of each payload that are kept: script.record_payload
---@field clients integer?           so many of 100, always the same ones: script.record_clients
---@field append boolean?            to a file that is there; else there must be none

local record_settings <const> = {
  bytes = "record_bytes", payload = "record_payload", clients = "record_clients",
}

--- Writes what clients ask for and what is answered to a file, which `luamq replay` tries on another script.
--- Passwords are never in it; payloads are, and nobody but the broker's user may read the file. Nothing waits
--- for the disk: what it cannot take is dropped and counted. With nil the record ends, and the number of its
--- lines is returned.
---@param path string?
---@param options luamq.RecordOptions?
---@return boolean|integer|nil done
---@return string? message
function luamq.record(path, options)
  if path ~= nil and type(path) ~= "string" then error("record expects the path of a file, or nil", 2) end
  if options ~= nil and type(options) ~= "table" then error("record expects a table of options", 2) end
  local values, settings = require "luamq.values", require "luamq.settings".index.script
  local given = {}
  for name, value in pairs(options or {}) do
    local setting, problem = record_settings[name], nil
    if setting then
      given[name], problem = values.read(settings[setting], value)
    elseif name ~= "append" then
      problem = "unknown option"
    end
    if problem then error(("record: %s: %s"):format(tostring(name), problem), 2) end
  end
  local append = options and options.append or false
  return broker.record(path, given.bytes, given.payload, given.clients, append)
end

-- The broker ---------------------------------------------------------------------------------

--- All counters and gauges by name, such as `messages_published` and `connections`: a new table.
---@type fun(): luamq.Stats
luamq.stats = broker.stats

--- The time in seconds since 1970, by the broker's clock: in luamq.test it begins at 2026-01-01, and moves
--- only when the test moves it. Works without a broker.
---@type fun(): number
luamq.now = broker.now

--- Stops the broker in order: it accepts nobody any more, and clients have `timeout` seconds (0 to 3600,
--- default `engine.close_timeout`) to be sent what is on its way. Returns at once.
---@type fun(timeout: number?)
luamq.stop = broker.stop

--- Loads the script again, as SIGHUP does, and waits for the outcome. Whoever called goes on in the old
--- script, which ends with the last of its hooks; a timer and a coroutine of luamq.spawn end with success.
---@type fun(): true?, string?  nil and why: everything stays as it is
luamq.reload = broker.reload

--- Calls `fn` once, in `seconds` (0 to 1e9). An error in it is logged. Ends with the broker.
---@type fun(seconds: number, fn: fun()): luamq.Timer
luamq.after = broker.after

--- Calls `fn` every `seconds` (0.001 to 1e9). Turns that were missed are left out.
---@type fun(seconds: number, fn: fun()): luamq.Timer
luamq.every = broker.every

-- Metrics and values -------------------------------------------------------------------------

--- A metric of the script, with up to 8 labels: each combination of their values is a series. It goes on
--- after a reload, and works without a broker. Values of labels are strings, numbers or booleans, as many as
--- there are labels; a wrong one raises. Beyond `script.max_series` samples go to the series `(other)`. One
--- of the same name with other labels, other buckets or of another kind takes its place and begins anew.
---
---     local denied = luamq.counter("acl_denied_total", { "operation" }, "publishes that were denied")
---     denied:inc("publish")
---@class luamq.Counter
---@field inc fun(self: luamq.Counter, ...)  values of the labels, and maybe how much (0 or more; default 1)
---@field value fun(self: luamq.Counter, ...): number

---@class luamq.Gauge
---@field set fun(self: luamq.Gauge, ...)  values of the labels, and the value
---@field inc fun(self: luamq.Gauge, ...)  values of the labels, and maybe how much (default 1)
---@field dec fun(self: luamq.Gauge, ...)
---@field value fun(self: luamq.Gauge, ...): number

---@class luamq.Histogram
---@field observe fun(self: luamq.Histogram, ...)  values of the labels, and the sample
---@field value fun(self: luamq.Histogram, ...): luamq.HistogramValue?  nil: there was none

---@class luamq.HistogramValue
---@field sum number
---@field count integer
---@field buckets { le: number, count: integer }[]  how many samples were at most so large

---@class luamq.MetricOptions
---@field help string?
---@field buckets number[]?  of a histogram: rising upper bounds, 32 at most; default 0.005 to 10, for seconds

--- Only rises. Raises for what is no name; `options` may be the help text.
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Counter
luamq.counter = broker.metrics.counter

--- Goes up and down.
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Gauge
luamq.gauge = broker.metrics.gauge

--- Counts samples in buckets.
---@type fun(name: string, labels: string[]?, options: string|luamq.MetricOptions|nil): luamq.Histogram
luamq.histogram = broker.metrics.histogram

---@class luamq.Metric
---@field kind "counter"|"gauge"|"histogram"
---@field help string
---@field labels string[]
---@field series luamq.Series[]

---@class luamq.Series  of a histogram with the fields of luamq.HistogramValue
---@field labels table<string, string>
---@field value number?

--- All metrics of scripts by name, as a new table.
---@type fun(): table<string, luamq.Metric>
luamq.metrics = broker.metrics.all

--- Values by name that a reload leaves as they are: plain data (booleans, numbers, strings, tables of these),
--- stored as a copy and read as a copy: `luamq.shared.list = list` to change one. `pairs` goes over all.
--- Raises for what is no plain data, and for more than `script.shared_bytes` in all.
---@type table<string, any>
luamq.shared = broker.shared

-- Waiting ------------------------------------------------------------------------------------

--- Suspends the hook, timer or coroutine that calls it; everybody else goes on. While a hook of a client
--- waits, its packets wait in order and its socket is not read. Raises where it cannot: in `log`, `error`,
--- `psk` and `full_queue`, in coroutines of the script's own, and below C functions such as `table.sort`.
--- When the client goes, its hooks that wait are cancelled (but not `publish`): their variables that are to
--- be closed are closed, and the call never returns. `script.hook_timeout` bounds the time that one waits.
---@type fun(seconds: number)  0 to 1e9
luamq.sleep = broker.sleep

--- A coroutine in the background.
---@class luamq.Task
---@field cancel fun(self: luamq.Task): boolean  whether it was waiting, and is cancelled now
---@field over fun(self: luamq.Task): boolean

--- Runs `fn` in a coroutine of its own, until it waits for the first time; then the call returns, and the
--- coroutine goes on by itself. An error in it is logged. It ends with the broker. Returns nil, a message and
--- "quota_exceeded" beyond `script.max_spawned`.
---@param fn function
---@param ... any  its arguments
---@return luamq.Task? task
---@return string? message
---@return string? code
function luamq.spawn(fn, ...)
  if type(fn) ~= "function" then error("luamq.spawn expects a function", 2) end
  if select("#", ...) == 0 then return broker.spawn(fn) end
  local arguments = table.pack(...)
  return broker.spawn(function() return fn(table.unpack(arguments, 1, arguments.n)) end)
end

luamq.semaphore = sync.semaphore
luamq.channel = sync.channel

--- Lines in the broker's log, with fields sorted by name (at most 64). Without a broker they go to
--- standard error.
---@class luamq.Log
---@field debug fun(text: string, fields: table<string, any>?)
---@field info fun(text: string, fields: table<string, any>?)
---@field warn fun(text: string, fields: table<string, any>?)
---@field error fun(text: string, fields: table<string, any>?)
luamq.log = broker.log

---@type string
luamq.version = core.version

-- Modules with libraries that only some scripts need: loaded when they are used.
local modules = { dns = true, http = true, jwt = true }

setmetatable(luamq, {
  __index = function(_, name)
    if modules[name] then return require("luamq." .. name) end
  end,
})

return luamq
