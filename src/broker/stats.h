// Counters and gauges of a shard, one row each: name, meaning.
#ifndef LUAMQ_BROKER_STATS_H
#define LUAMQ_BROKER_STATS_H

#include <stdint.h>

#define STATS_COUNTERS(X)                                                                                    \
  X(connections_accepted, "connections that were accepted")                                                  \
  X(connections_failed, "accepts that failed")                                                               \
  X(connections_refused, "connections closed at once because there were too many")                           \
  X(connections_refused_address, "connections closed at once because their address had too many")            \
  X(connections_refused_rate, "connections closed at once because their address came too often")             \
  X(connections_refused_memory, "connections closed at once because of the memory limit")                    \
  X(accepts_paused, "times that nobody was accepted for a moment because of the connect rate")               \
  X(connections_shed, "connections closed at once because the loop could not keep up")                       \
  X(tls_handshakes, "connections that arrived by TLS")                                                       \
  X(tls_handshakes_failed, "handshakes of TLS that failed, or took too long")                                \
  X(tls_reloads, "listeners that loaded their certificates again")                                           \
  X(tls_reload_failures, "listeners that could not, and go on with those they have")                         \
  X(connections_closed, "connections that have ended")                                                       \
  X(handshakes_failed, "connections that ended in a PROXY, TLS or WebSocket handshake")                      \
  X(websocket_upgrades, "connections that became WebSockets")                                                \
  X(websocket_refused, "connections that ended in a WebSocket handshake: no upgrade, refused, or late")      \
  X(connects_accepted, "CONNECT packets that were let in")                                                   \
  X(connects_refused, "CONNECT packets that were refused")                                                   \
  X(connects_refused_user, "CONNECT packets refused because their user had too many clients")                \
  X(connects_refused_memory, "CONNECT packets refused because of the memory limit")                          \
  X(reauthentications_failed, "clients closed because they could not authenticate again")                    \
  X(connects_timed_out, "connections that did not send a CONNECT in time")                                   \
  X(logins_failed, "CONNECT packets with a wrong name or password")                                          \
  X(logins_held, "CONNECT packets that had to wait for failed logins of their address")                      \
  X(logins_turned_away, "CONNECT packets that waited in vain and were refused")                              \
  X(logins_refused_busy, "CONNECT packets refused because too many passwords were to be checked")            \
  X(password_checks, "passwords that worker threads have been given to check, of a password file")           \
  X(password_reloads, "times that a password file was read again")                                           \
  X(password_reload_failures, "times that it could not, and its users stayed those of before")               \
  X(jobs_submitted, "jobs that worker threads were given")                                                   \
  X(jobs_refused, "jobs that they were not because too many waited")                                         \
  X(packets_timed_out, "clients closed with `packet timeout`")                                               \
  X(keep_alives_timed_out, "clients closed because their keep alive time passed")                            \
  X(tokens_timed_out, "clients closed with `token timeout`")                                                 \
  X(kills_timed_out, "take-overs that ended with `kill timeout`")                                            \
  X(read_limits_exceeded, "clients closed because a packet was too large")                                   \
  X(malformed_packets, "clients closed because of a malformed packet")                                       \
  X(protocol_errors, "clients closed because of a packet that was not allowed")                              \
  X(sessions_refused, "stored sessions that were refused because there were too many")                       \
  X(sessions_expired, "stored sessions that ended because nobody returned to them")                          \
  X(session_errors, "clients closed because operations of their session failed in the script")               \
  X(retained_refused, "messages that were not retained because there were too many")                         \
  X(sessions_taken_over, "clients closed because another one came with their id")                            \
  X(memory_limit_near, "times that the memory came near its limit")                                          \
  X(memory_limit_reached, "times that the memory limit was reached")                                         \
  X(bytes_received, "bytes read from clients")                                                               \
  X(bytes_sent, "bytes handed to transports")                                                                \
  X(packets_received, "packets decoded")                                                                     \
  X(packets_sent, "packets sent")                                                                            \
  X(messages_received, "PUBLISH packets from clients")                                                       \
  X(messages_published, "messages that were routed")                                                         \
  X(messages_shed, "QoS 0 messages dropped because the loop could not keep up")                              \
  X(messages_refused, "publishes that were refused")                                                         \
  X(publishes_throttled, "times that a client was not read because of its publish rate")                     \
  X(publishes_held_memory, "times that a publisher was not read because of the memory limit")                \
  X(messages_refused_peer, "QoS 2 messages that MQTT 5 subscribers refused")                                 \
  X(messages_expired, "deliveries and retained messages dropped because their time was over")                \
  X(messages_dropped_size, "deliveries larger than what their MQTT 5 receiver takes")                        \
  X(subscribes_refused, "subscriptions that were refused")                                                   \
  X(messages_queued, "references put into queues of sessions")                                               \
  X(messages_redispatched, "messages of shared subscriptions that went on to another member")                \
  X(messages_sent, "PUBLISH packets to clients")                                                             \
  X(inflight_bytes_reached, "times that a client had too many bytes in flight to be sent more")              \
  X(messages_dropped_queue_full, "deliveries dropped because an online session's queue was full")            \
  X(messages_dropped_old, "deliveries dropped from a full queue to make room for a newer one")               \
  X(messages_dropped_queued_bytes, "deliveries dropped because all queues held too many bytes")              \
  X(messages_dropped_memory, "QoS 0 publishes dropped because of the memory limit")                          \
  X(messages_dropped_offline, "deliveries dropped because an offline session's queue was full")              \
  X(acl_denied_publish, "publishes that rules refused")                                                      \
  X(acl_denied_subscribe, "subscriptions that rules refused")                                                \
  X(acl_denied_deliver, "deliveries that rules kept from a subscriber")                                      \
  X(client_rules_refused, "lists of rules for one client that were too long or wrong")                       \
  X(messages_dropped_hook, "deliveries that a dequeue hook refused or failed to decide")                     \
  X(publishes_waited, "publishes that waited for room in another session's queue")                           \
  X(clients_disconnected_queue_full, "clients closed because their queue was full")                          \
  X(incoming_bytes_exceeded, "clients closed with too many unreleased QoS 2 bytes")                          \
  X(unfinished_bytes_exceeded, "clients closed because unfinished packets took too many bytes")              \
  X(refusals_not_logged, "refusals without a line: more than `log.refusals` a second")                       \
  X(records, "decisions that were recorded")                                                                 \
  X(shadow_calls, "decisions that the shadow was asked about as well")                                       \
  X(shadow_differences, "decisions that the shadow would have made otherwise")                               \
  X(shadow_errors, "decisions that failed in the shadow")                                                    \
  X(records_dropped, "decisions that were not, because the disk did not keep up")                            \
  X(hook_errors, "hooks that raised, gave no answer or a wrong one")                                         \
  X(hook_timeouts, "hooks that waited longer than script.hook_timeout")                                      \
  X(hook_budget_exceeded, "hooks that were stopped because they ran too long")                               \
  X(hook_memory_exceeded, "hooks during which Lua was refused memory")                                       \
  X(hooks_cancelled, "hooks that waited when their client had gone")                                         \
  X(hooks_queued, "times that a hook waited for another one, because of script.max_suspended")               \
  X(spawns_refused, "coroutines of luamq.spawn refused because of script.max_spawned")                       \
  X(series_refused, "samples of metrics of scripts that went to `(other)`, because of script.max_series")    \
  X(shared_refused, "values that luamq.shared had no room for: script.shared_bytes")                         \
  X(reloads, "times that another script came into force")                                                    \
  X(reloads_failed, "times that it could not, and the one before stayed")                                    \
  X(subscriptions_revoked, "subscriptions that were refused after a reload, and ended")

#define STATS_GAUGES(X)                                                                                      \
  X(connections, "open connections")                                                                         \
  X(clients, "clients past CONNECT")                                                                         \
  X(sessions, "sessions, with and without a client")                                                         \
  X(subscriptions, "subscriptions of all sessions")                                                          \
  X(retained_messages, "retained messages")                                                                  \
  X(retained_bytes, "memory of the retained messages")                                                       \
  X(wills_waiting, "wills that wait for their delay or the end of their session")                            \
  X(loop_lag_ms, "how late the loop comes to what is ready, smoothed, in milliseconds")                      \
  X(queued_bytes, "memory of the messages in queues, each once, and of the queues")                          \
  X(unfinished_bytes, "memory of the packets that are not complete yet")                                     \
  X(addresses, "remote addresses of which something is known")                                               \
  X(logins_waiting, "CONNECT packets that wait for failed logins of their address")                          \
  X(hooks_suspended, "hooks, timers and coroutines of luamq.spawn that wait for something")                  \
  X(series, "series of the metrics of scripts")                                                              \
  X(shared_bytes, "memory of luamq.shared")                                                                  \
  X(password_checks_waiting, "logins that wait for the check of their password")                             \
  X(jobs_waiting, "jobs that wait for a worker thread")                                                      \
  X(worker_threads, "worker threads")                                                                        \
  X(memory_bytes, "resident memory of the process")                                                          \
  X(memory_limit_bytes, "the memory limit; 0 is none")                                                       \
  X(lua_memory_bytes, "memory of the Lua state")                                                             \
  X(lua_memory_limit_bytes, "the most that hooks may make of it; 0 is no limit")

struct stats {
#define X(name, text) uint64_t name;
  STATS_COUNTERS(X)
  STATS_GAUGES(X)
#undef X
};

#endif
