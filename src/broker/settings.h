// Settings of engine and backend with their defaults. Times are in milliseconds, sizes in bytes. A checked
// script is turned into this; tests start from settings_init.
#ifndef LUAMQ_BROKER_SETTINGS_H
#define LUAMQ_BROKER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define SETTINGS_TEXT_MAX 256 // bytes of a text, with its NUL

// Per client; a hook may give a client its own.
struct client_settings {
  uint32_t maximum_keep_alive_ms; // 0: none
  uint32_t token_timeout_ms;
  uint32_t read_limit;                                                 // largest packet accepted
  uint16_t parallel_publishes, parallel_subscribes, inflight_messages; // 1..65535
  uint32_t inflight_bytes;     // of unacknowledged messages; the last one may exceed it
  uint32_t publish_rate;       // messages a second; 0: no limit
  uint32_t publish_bytes;      // of topics and payloads a second; 0: no limit
  bool maximum_keep_alive_set; // by the script: then it caps MQTT 3.1 and 3.1.1 clients as well
};

// What happens to a message for an online session whose queue is full. An offline one drops the new message,
// but the oldest one with FULL_QUEUE_DROP_OLD.
enum full_queue {
  FULL_QUEUE_WAIT, // the publisher waits, see broker/waiting.h
  FULL_QUEUE_DROP_NEW,
  FULL_QUEUE_DROP_OLD,
  FULL_QUEUE_DISCONNECT, // the subscriber
};
int full_queue_by_name(struct slice name); // "wait", "drop_new", "drop_old", "disconnect"; -1: none of them

// All of `limits`, but where it says otherwise: 0 is no limit.
// Which member of a group of shared subscriptions gets a message, of those that have room for it.
enum shared_strategy {
  SHARED_ROUND_ROBIN,
  SHARED_RANDOM,
  SHARED_STICKY, // the same one as long as it has room
  SHARED_LEAST_INFLIGHT,
};
int shared_strategy_by_name(struct slice name); // "round_robin", ...; -1: none of them

struct settings {
  // script
  bool reauthorize; // another script decides about subscriptions that there are
  // engine
  uint32_t connect_read_limit;
  uint32_t max_write_delay_ms;
  uint32_t connect_timeout_ms;
  uint32_t handshake_timeout_ms;            // of PROXY, TLS and WebSocket together
  uint32_t close_timeout_ms;                // how long a stop waits for clients
  uint32_t workers, worker_queue;           // threads; jobs that wait for one; at least 1
  char server_reference[SETTINGS_TEXT_MAX]; // told to MQTT 5 clients that are to go elsewhere; or empty
  // backend
  uint32_t session_queue_size;
  uint32_t session_queue_bytes;
  uint32_t kill_timeout_ms;
  uint32_t full_queue_wait_ms;
  uint8_t full_queue;      // enum full_queue
  uint32_t incoming_bytes; // of unreleased incoming QoS 2 messages of a session
  bool disconnect_refused_publish;
  uint16_t topic_alias_maximum; // that an MQTT 5 client may use
  uint16_t topic_aliases;       // that are used towards one, as far as it allows
  uint8_t maximum_qos;          // that is granted, and of MQTT 5 clients' publishes
  bool check_payload_format;
  char response_information[SETTINGS_TEXT_MAX]; // for MQTT 5 clients that ask; "%c" is the client's id; or
                                                // empty
  bool retain_available;                        // to MQTT 5 clients
  bool wildcard_subscriptions, subscription_identifiers, shared_subscriptions;
  uint8_t shared_strategy;       // enum shared_strategy
  uint32_t max_sessions;         // stored ones
  uint32_t max_session_expiry_s; // of stored sessions that nobody returns to; 0: never
  uint32_t max_retained_messages;
  uint64_t max_retained_bytes;
  // limits
  uint32_t connections;                      // at least 1
  uint32_t loop_lag_ms;                      // what is shed above it
  uint32_t topic_levels;                     // of a topic that is published to or a filter; at least 1
  uint32_t topic_length;                     // likewise, in bytes
  uint32_t subscriptions;                    // of a session; at least 1
  uint32_t client_rules, client_rules_bytes; // that a client may have of its own; at least 1
  uint32_t connections_per_address, connections_per_user;
  uint32_t connect_rate, connect_rate_per_address; // a second
  uint32_t failed_logins;                          // of an address, until its logins are delayed
  uint32_t login_delay_ms, login_delay_maximum_ms;
  uint32_t password_checks; // logins that wait for one; at least 1
  uint64_t queued_bytes;    // of all queues
  uint32_t packet_time_ms;
  uint64_t unfinished_bytes; // of the packets of all clients
  uint64_t memory_limit_bytes;
  uint32_t memory_limit_percent; // of what is granted to the process; 0: memory_limit_bytes counts
  // script
  uint32_t hook_timeout_ms;       // that a hook may wait
  uint32_t max_suspended;         // hooks that may wait at once
  uint32_t max_spawned;           // coroutines of luamq.spawn
  uint32_t max_series;            // of the metrics of scripts
  uint64_t shared_bytes;          // of luamq.shared
  uint32_t hook_budget_ms;        // that a hook may run at once; 0: no limit
  uint64_t lua_memory_bytes;      // of the Lua state; 0: no limit
  char shadow[SETTINGS_TEXT_MAX]; // the script that is asked beside this one; or empty
  char record[SETTINGS_TEXT_MAX]; // the file that decisions are recorded in; or empty
  uint64_t record_bytes;          // that it may have
  uint32_t record_payload;        // bytes of a payload that are kept
  uint32_t record_clients;        // so many of 100
  // log
  uint32_t logged_refusals; // lines a second, of each kind; 0: none
  struct client_settings client;
};

void settings_init(struct settings *s); // the defaults

#endif
