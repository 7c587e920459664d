// Settings of engine and backend with their defaults. Times are in milliseconds, sizes in bytes. A checked
// script is turned into this; tests start from settings_init.
#ifndef LUAMQ_BROKER_SETTINGS_H
#define LUAMQ_BROKER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

// Per client; a hook may give a client its own.
struct client_settings {
  uint32_t maximum_keep_alive_ms; // 0: none
  uint32_t token_timeout_ms;
  uint32_t read_limit;                                                 // largest packet accepted
  uint16_t parallel_publishes, parallel_subscribes, inflight_messages; // 1..65535
  bool maximum_keep_alive_set; // by the script: then it caps MQTT 3.1 and 3.1.1 clients as well
};

struct settings {
  // engine
  uint32_t connect_read_limit;
  uint32_t max_write_delay_ms;
  uint32_t connect_timeout_ms;
  uint32_t handshake_timeout_ms; // of PROXY, TLS and WebSocket together
  uint32_t close_timeout_ms;     // how long a stop waits for clients
  // backend
  uint32_t session_queue_size;
  uint32_t session_queue_bytes;
  uint32_t kill_timeout_ms;
  uint32_t full_queue_wait_ms;
  uint32_t incoming_bytes; // of unreleased incoming QoS 2 messages of a session
  bool disconnect_refused_publish;
  uint32_t max_sessions;         // stored ones
  uint32_t max_session_expiry_s; // of stored sessions that nobody returns to; 0: never
  uint32_t max_retained_messages;
  uint64_t max_retained_bytes;
  // limits
  uint32_t connections;
  uint32_t loop_lag_ms;   // what is shed above it; 0: nothing ever
  uint32_t topic_levels;  // of a topic that is published to or a filter
  uint32_t subscriptions; // of a session
  struct client_settings client;
};

void settings_init(struct settings *s); // the defaults

#endif
