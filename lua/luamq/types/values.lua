---@meta luamq.types.values
--- What hooks are given: clients, sessions, messages, packets. C makes these values; a spec may use plain tables
--- with the same fields in their place.

-- Clients ------------------------------------------------------------------------------------

---A client. The same value in every hook as long as its connection lives; afterwards a snapshot:
---`id`, `username`, `remote_address`, `credentials` and `ref` stay, `closed` is true, the others are nil.
---What a CONNECT of MQTT 5 told is nil for clients of older versions.
---
---Fields that a hook may set are `ref`, `acl`, and from `read_limit` on those with a limit.
---@class luamq.Client
---@field id string  as sent, or assigned when that was empty; "" before CONNECT
---@field session luamq.Session?  nil before `setup` and after `terminate`
---@field username string?  nil when none was sent
---@field version integer  the protocol level: 3 (MQTT 3.1), 4 (3.1.1) or 5; 0 before CONNECT
---@field clean_session boolean  as CONNECT has it; in MQTT 5 Clean Start
---@field keep_alive integer  seconds, in force; 0 is off
---@field will luamq.Message?  a copy
---@field ref any  yours: whatever the script wants to keep of a client
---@field local_address string  "127.0.0.1:1883", "[::1]:1883", "unix", "memory"
---@field remote_address string  likewise
---@field transport "tcp"|"tls"|"ws"|"wss"|"unix"|"memory"
---@field credentials luamq.Credentials?  of a unix socket; nil on other transports
---@field certificate luamq.Certificate?  that the client has shown, and that is valid; a new table each time
---@field psk_identity string?  of the pre-shared key by which it has come
---@field tls_version string?  "TLSv1.3"; nil when the connection is not encrypted
---@field tls_cipher string?  "TLS_AES_256_GCM_SHA384"
---@field session_expiry_interval integer?  MQTT 5: seconds that its session is kept; 4294967295 is for ever
---@field receive_maximum integer?  MQTT 5: unacknowledged messages that it takes at once
---@field maximum_packet_size integer?  MQTT 5: bytes; nil when it takes packets of any size
---@field topic_alias_maximum integer?  MQTT 5
---@field user_properties luamq.Pairs?  MQTT 5: of its CONNECT
---@field authentication_method string?  MQTT 5
---@field closing boolean  it will be closed at the end of the turn, or is
---@field closed boolean
---@field acl luamq.Rule[]?  its own rules, asked before those of the script; can be set, and not be read
---@field read_limit integer|string  largest packet accepted, in bytes (1K to 256M); takes "256K" too
---@field maximum_keep_alive integer  seconds, 1 to 65535; setting it holds this client to it
---@field token_timeout number  seconds, 0.001 to 86400
---@field parallel_publishes integer  1 to 65535
---@field parallel_subscribes integer  1 to 65535
---@field inflight_messages integer  1 to 65535
---@field inflight_bytes integer|string  of unacknowledged messages (1K to 2G)
---@field publish_rate integer  messages a second that it may publish; 0 is no limit
---@field publish_bytes integer|string  bytes a second that it may publish; 0 is no limit
local Client = {}

---Ends the client at the end of the turn, with its will if it has one. An MQTT 5 client is told the reason, and
---the text, in DISCONNECT.
---@param reason string?  the name of a reason code; default "administrative_action"
---@param text string?
function Client:close(reason, text) end

---The process that opened the connection of a unix socket, as the system tells it. A new table each time.
---@class luamq.Credentials
---@field uid integer
---@field gid integer
---@field pid integer  0 when the process is not visible here

---The certificate of a client. The lists hold its subject alternative names, and are empty without any.
---@class luamq.Certificate
---@field subject string  "CN=meter-7,O=Example" (RFC 2253)
---@field issuer string
---@field common_name string?  of the subject
---@field serial string  hex, lower case
---@field fingerprint string  SHA-256 of the certificate, hex, lower case
---@field not_before integer  seconds since 1970
---@field not_after integer
---@field dns string[]
---@field ip string[]
---@field uri string[]
---@field email string[]

-- Sessions -----------------------------------------------------------------------------------

---What the broker keeps for a client id, whether or not a client is connected. It is looked up by its
---id at each use: when it has ended, fields but `id` are nil, and methods return nil and
---`missing session`. Two of the same id are equal.
---@class luamq.Session
---@field id string
---@field client luamq.Client?  nil when it is offline
---@field clean boolean?  it ends with its connection
---@field queued integer?  messages that wait in its queue
---@field dropped integer?  messages that were not queued or delivered
---@field session_expiry_interval integer?  seconds that it is kept without a client; 4294967295 is for ever
---@field subscriptions luamq.SessionSubscription[]?
local Session = {}

---Puts a message into this session's queue, as if it had subscribed with the message's QoS. It passes
---the hook `dequeue`, not `publish`.
---@param topic string
---@param payload string?  default ""
---@param options luamq.PublishOptions?
---@return true? done
---@return string? message  "queue full" when it was dropped
function Session:deliver(topic, payload, options) end

---What waits in its queue, the next one first, with the QoS that it is sent with. They stay valid.
---@return luamq.Message[]? messages
---@return string? message
function Session:all_messages() end

---Subscribes it, online or not. It passes neither the hook `subscribe` nor rules. Retained messages come as for a
---SUBSCRIBE. A filter may be "$share/group/filter".
---@param filter string|luamq.NewSubscription
---@param qos integer?
---@return integer? qos  that was granted
---@return string? message  the name of a reason where a limit refuses
function Session:subscribe(filter, qos) end

---Ends a subscription. It passes no hook.
---@param filter string|luamq.NewSubscription
---@return boolean? there  whether there was such a subscription
---@return string? message
function Session:unsubscribe(filter) end

---A packet id that is not in flight to the client, 1 to 65535.
---@return integer? id
---@return string? message
function Session:next_id() end

---Keeps a packet in flight, and replaces one with the same id. A publish needs its message, with QoS 1 or 2.
---@param direction luamq.Direction
---@param packet luamq.StoredPacket
---@return true? done
---@return string? message
function Session:save_packet(direction, packet) end

---@param direction luamq.Direction
---@param id integer
---@return luamq.StoredPacket? packet
---@return string? message
function Session:lookup_packet(direction, id) end

---Forgets a packet in flight. A missing one is no error.
---@param direction luamq.Direction
---@param id integer
---@return true? done
---@return string? message
function Session:delete_packet(direction, id) end

---The packets in flight, in the order in which they are sent again after a reconnect.
---@param direction luamq.Direction
---@return luamq.StoredPacket[]? packets
---@return string? message
function Session:all_packets(direction) end

---A subscription of a session. Options of MQTT 5 are nil where they were never used.
---@class luamq.SessionSubscription
---@field topic string
---@field qos integer  that was granted
---@field no_local boolean?
---@field retain_as_published boolean?
---@field identifier integer?
---@field share string?  the name of its group, of a shared one

---What session:subscribe takes: an entry of session.subscriptions, and how retained messages are handled. 0,
---the default, sends them; 1 does where the subscription is new; 2 does not, as for one that is restored.
---@class luamq.NewSubscription: luamq.SessionSubscription
---@field qos integer?  default 0
---@field retain_handling integer?

---@alias luamq.Direction "incoming"|"outgoing"

---A packet in flight.
---@class luamq.StoredPacket
---@field type "publish"|"pubrel"
---@field id integer  1 to 65535
---@field message luamq.Message?  of a publish; nil when it was refused or dropped

-- Messages -----------------------------------------------------------------------------------

---Names and values in their order; a name may be there several times.
---@alias luamq.Pairs [string, string][]

---A message. Borrowed in hooks: read only, and a use after the hook returned raises. Properties of MQTT 5
---that it does not have are nil.
---`tostring` gives `<Message Topic="test" QOS=0 Retain=false Payload=74657374>`.
---@class luamq.Message
---@field topic string
---@field payload string
---@field qos integer  0, 1 or 2
---@field retain boolean
---@field content_type string?
---@field response_topic string?
---@field correlation_data string?  bytes
---@field payload_format_indicator integer?  1: the payload is UTF-8
---@field message_expiry_interval integer?  seconds that are left; nil in `log` but for packets
---@field user_properties luamq.Pairs?
---@field subscription_identifiers integer[]?  in `dequeue` and in packets to clients
---@field will_delay_interval integer?  of a will in a CONNECT packet; seconds

---What a client wants to subscribe to, borrowed as a message is.
---@class luamq.Subscription
---@field topic string  the filter, without `$share/name/`
---@field qos integer  as asked for
---@field share string?  the name of a shared subscription
---@field no_local boolean?  MQTT 5
---@field retain_as_published boolean?  MQTT 5
---@field retain_handling integer?  MQTT 5: 0 send retained messages, 1 if it is new, 2 do not
---@field identifier integer?  MQTT 5

-- Packets ------------------------------------------------------------------------------------

---A packet, borrowed as a message is. A field that its type does not have is nil; a password is never
---there, nor is authentication data. `tostring` gives its text form, such as `<Puback ID=1>`. The properties
---of MQTT 5 are fields under the specification's names, nil where they are absent; those that are flags are
---0 or 1.
---@class luamq.Packet
---@field type luamq.PacketType
---@field id integer?  nil where the packet has none
---@field client_id string?  connect
---@field keep_alive integer?  connect; seconds
---@field clean_session boolean?  connect
---@field username string?  connect
---@field version integer?  connect; the protocol level
---@field will luamq.Message?  connect
---@field session_present boolean?  connack
---@field return_code integer?  connack
---@field message luamq.Message?  publish
---@field dup boolean?  publish
---@field subscriptions luamq.PacketSubscription[]?  subscribe
---@field return_codes integer[]?  suback, and unsuback of MQTT 5
---@field reasons string[]?  the names of these
---@field topics string[]?  unsubscribe
---@field reason_code integer?  MQTT 5: connack, acks, disconnect, auth
---@field reason string?  MQTT 5: the name of the reason code
---@field subscription_identifier integer?  subscribe
---@field topic_alias integer?  publish
---@field content_type string?  publish
---@field response_topic string?  publish
---@field correlation_data string?  publish; bytes
---@field payload_format_indicator integer?  publish
---@field message_expiry_interval integer?  publish; seconds
---@field reason_string string?  connack, acks, suback, unsuback, disconnect, auth
---@field user_properties luamq.Pairs?  all
---@field session_expiry_interval integer?  connect, connack, disconnect
---@field receive_maximum integer?  connect, connack
---@field maximum_packet_size integer?  connect, connack
---@field topic_alias_maximum integer?  connect, connack
---@field authentication_method string?  connect, connack, auth
---@field request_problem_information integer?  connect
---@field request_response_information integer?  connect
---@field assigned_client_identifier string?  connack
---@field server_keep_alive integer?  connack
---@field maximum_qos integer?  connack
---@field retain_available integer?  connack
---@field wildcard_subscription_available integer?  connack
---@field subscription_identifier_available integer?  connack
---@field shared_subscription_available integer?  connack
---@field response_information string?  connack
---@field server_reference string?  connack, disconnect

---A filter of a SUBSCRIBE, as sent.
---@class luamq.PacketSubscription
---@field topic string
---@field qos integer
---@field no_local boolean?  MQTT 5
---@field retain_as_published boolean?  MQTT 5
---@field retain_handling integer?  MQTT 5

---@alias luamq.PacketType
---| "connect"
---| "connack"
---| "publish"
---| "puback"
---| "pubrec"
---| "pubrel"
---| "pubcomp"
---| "subscribe"
---| "suback"
---| "unsubscribe"
---| "unsuback"
---| "pingreq"
---| "pingresp"
---| "disconnect"
---| "auth"
