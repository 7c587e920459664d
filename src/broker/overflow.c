#include "broker/overflow.h"

#include "broker/client.h"

static void log_drop(struct shard *s, struct session *to, const struct message *m, const char *error) {
  struct packet_message view = message_view(m);
  to->dropped++;
  shard_log(s, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                   .client = to->client,
                                   .session = to,
                                   .message = &view,
                                   .error = error});
}

void overflow_drop(struct shard *s, struct session *to, struct message *m) {
  if (to->client)
    s->stats.messages_dropped_queue_full++;
  else
    s->stats.messages_dropped_offline++;
  log_drop(s, to, m, ERROR_QUEUE_FULL);
}

enum full_queue overflow_policy(struct shard *s, struct session *to, const struct message *m) {
  enum full_queue policy = (enum full_queue)s->settings.full_queue;
  struct backend *b = s->backend;
  if (to->client && b->ops->full_queue) policy = b->ops->full_queue(b, to->client, m);
  if (!to->client && policy != FULL_QUEUE_DROP_OLD) return FULL_QUEUE_DROP_NEW;
  return policy;
}

bool overflow_drop_oldest(struct shard *s, struct session *to) {
  struct delivery d;
  if (!session_pop(to, &s->pool, &d)) return false;
  s->stats.messages_dropped_old++;
  log_drop(s, to, d.message, ERROR_QUEUE_FULL);
  message_unref(d.message);
  return true;
}

void overflow_disconnect(struct shard *s, struct session *to, struct message *m) {
  overflow_drop(s, to, m);
  if (client_closing(to->client)) return;
  s->stats.clients_disconnected_queue_full++;
  client_close(to->client, ERROR_QUEUE_FULL);
}

// Whether the only message of the queue, which the caller has a reference to, left at once.
static bool is_taken(struct session *to, const struct message *m) {
  client_flush(to->client);
  const struct delivery *next = queue_peek(&to->queue);
  return !next || next->message != m; // a hook may have queued others meanwhile
}

static bool try_deliver(struct shard *s, struct session *to, struct delivery d) {
  bool replaces = s->settings.full_queue == FULL_QUEUE_DROP_OLD && overflow_drop_oldest(s, to);
  if (!replaces && (!to->client || to->queue.count)) return false;
  session_push(to, &s->pool, (struct delivery){message_ref(d.message), d.qos, d.retain, d.group});
  s->stats.messages_queued++;
  if (to->client) client_wake(to->client);
  if (replaces || is_taken(to, d.message)) return true;
  session_pop(to, &s->pool, &d);
  message_unref(d.message);
  s->stats.messages_queued--;
  return false;
}

bool overflow_deliver(struct shard *s, struct session *to, struct delivery d) {
  bool delivered = try_deliver(s, to, d);
  if (!delivered) {
    s->stats.messages_dropped_queued_bytes++;
    log_drop(s, to, d.message, ERROR_QUEUED_BYTES);
  }
  message_unref(d.message);
  return delivered;
}
