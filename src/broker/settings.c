#include "broker/settings.h"

#include "transport/workers.h"

static int find(const char *const names[], int count, struct slice name) {
  for (int i = 0; i < count; i++)
    if (slice_eq(slice_str(names[i]), name)) return i;
  return -1;
}

int full_queue_by_name(struct slice name) {
  static const char *const names[] = {"wait", "drop_new", "drop_old", "disconnect"};
  return find(names, sizeof names / sizeof *names, name);
}

int shared_strategy_by_name(struct slice name) {
  static const char *const names[] = {"round_robin", "random", "sticky", "least_inflight"};
  return find(names, sizeof names / sizeof *names, name);
}

void settings_init(struct settings *s) {
  *s = (struct settings){
      .connect_read_limit = 384 * 1024,
      .max_write_delay_ms = 0,
      .connect_timeout_ms = 10000,
      .handshake_timeout_ms = 10000,
      .close_timeout_ms = 5000,
      .workers = WORKERS_THREADS,
      .worker_queue = WORKERS_QUEUE,
      .session_queue_size = 100,
      .session_queue_bytes = 64 * 1024 * 1024,
      .kill_timeout_ms = 5000,
      .full_queue_wait_ms = 100,
      .incoming_bytes = 64 * 1024 * 1024,
      .disconnect_refused_publish = false,
      .logged_refusals = 10,
      .record_bytes = UINT64_C(1) << 30,
      .record_payload = 4096,
      .record_clients = 100,
      .topic_alias_maximum = 32,
      .topic_aliases = 32,
      .maximum_qos = 2,
      .retain_available = true,
      .wildcard_subscriptions = true,
      .subscription_identifiers = true,
      .shared_subscriptions = true,
      .max_sessions = 1000000,
      .max_session_expiry_s = 30 * 24 * 60 * 60,
      .max_retained_messages = 1000000,
      .max_retained_bytes = UINT64_C(1) << 30,
      .connections = 100000,
      .loop_lag_ms = 500,
      .topic_levels = 128,
      .topic_length = 4096,
      .subscriptions = 10000,
      .client_rules = 200,
      .client_rules_bytes = 32 * 1024,
      .connections_per_address = 20000,
      .connect_rate = 5000,
      .connect_rate_per_address = 1000,
      .failed_logins = 10,
      .login_delay_ms = 1000,
      .login_delay_maximum_ms = 60000,
      .password_checks = 2000,
      .queued_bytes = UINT64_C(1) << 30,
      .packet_time_ms = 60000,
      .unfinished_bytes = 128 * 1024 * 1024,
      .memory_limit_percent = 80,
      .hook_timeout_ms = 5000,
      .max_suspended = 10000,
      .max_spawned = 10000,
      .max_series = 10000,
      .shared_bytes = 64 * 1024 * 1024,
      .hook_budget_ms = 50,
      .lua_memory_bytes = 256 * 1024 * 1024,
      .client = {.maximum_keep_alive_ms = 300000,
                 .maximum_keep_alive_set = false,
                 .token_timeout_ms = 30000,
                 .read_limit = 8 * 1024 * 1024,
                 .parallel_publishes = 100,
                 .parallel_subscribes = 10,
                 .inflight_messages = 10,
                 .inflight_bytes = 16 * 1024 * 1024},
  };
}
