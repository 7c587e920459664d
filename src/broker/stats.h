// Counters and gauges of a shard, one row each: name, meaning.
#ifndef LUAMQ_BROKER_STATS_H
#define LUAMQ_BROKER_STATS_H

#include <stdint.h>

#define STATS_COUNTERS(X)                                                                                    \
  X(connections_accepted, "connections that were accepted")                                                  \
  X(connections_failed, "accepts that failed")                                                               \
  X(connections_refused, "connections closed at once because there were too many")                           \
  X(connections_shed, "connections closed at once because the loop could not keep up")                       \
  X(connections_closed, "connections that have ended")                                                       \
  X(handshakes_failed, "connections that ended in a PROXY, TLS or WebSocket handshake")                      \
  X(connects_accepted, "CONNECT packets that were let in")                                                   \
  X(connects_refused, "CONNECT packets that were refused")                                                   \
  X(connects_timed_out, "connections that did not send a CONNECT in time")                                   \
  X(keep_alives_timed_out, "clients closed because their keep alive time passed")                            \
  X(tokens_timed_out, "clients closed with `token timeout`")                                                 \
  X(kills_timed_out, "take-overs that ended with `kill timeout`")                                            \
  X(read_limits_exceeded, "clients closed because a packet was too large")                                   \
  X(malformed_packets, "clients closed because of a malformed packet")                                       \
  X(protocol_errors, "clients closed because of a packet that was not allowed")                              \
  X(sessions_refused, "stored sessions that were refused because there were too many")                       \
  X(sessions_expired, "stored sessions that ended because nobody returned to them")                          \
  X(retained_refused, "messages that were not retained because there were too many")                         \
  X(sessions_taken_over, "clients closed because another one came with their id")                            \
  X(bytes_received, "bytes read from clients")                                                               \
  X(bytes_sent, "bytes handed to transports")                                                                \
  X(packets_received, "packets decoded")                                                                     \
  X(packets_sent, "packets sent")                                                                            \
  X(messages_received, "PUBLISH packets from clients")                                                       \
  X(messages_published, "messages that were routed")                                                         \
  X(messages_shed, "QoS 0 messages dropped because the loop could not keep up")                              \
  X(messages_refused, "publishes that were refused")                                                         \
  X(subscribes_refused, "subscriptions that were refused")                                                   \
  X(messages_queued, "references put into queues of sessions")                                               \
  X(messages_sent, "PUBLISH packets to clients")                                                             \
  X(messages_dropped_queue_full, "deliveries dropped because an online session's queue was full")            \
  X(messages_dropped_offline, "deliveries dropped because an offline session's queue was full")              \
  X(messages_dropped_hook, "deliveries that a dequeue hook refused or failed to decide")                     \
  X(publishes_waited, "publishes that waited for room in another session's queue")                           \
  X(incoming_bytes_exceeded, "clients closed with too many unreleased QoS 2 bytes")                          \
  X(hook_errors, "hooks that raised, gave no answer or a wrong one")

#define STATS_GAUGES(X)                                                                                      \
  X(connections, "open connections")                                                                         \
  X(clients, "clients past CONNECT")                                                                         \
  X(sessions, "sessions, with and without a client")                                                         \
  X(subscriptions, "subscriptions of all sessions")                                                          \
  X(retained_messages, "retained messages")                                                                  \
  X(retained_bytes, "memory of the retained messages")                                                       \
  X(loop_lag_ms, "how late the loop comes to what is ready, smoothed, in milliseconds")

struct stats {
#define X(name, text) uint64_t name;
  STATS_COUNTERS(X)
  STATS_GAUGES(X)
#undef X
};

#endif
