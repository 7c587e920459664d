#include "broker/logger.h"

#include "broker/client.h"
#include "broker/shard.h"

#define RATE           10  // lines a second of one kind that clients can cause at will
#define STRANGERS_RATE 100 // lines a second about connections that nobody was let in on

uint32_t logger_mask(const struct logger *l) {
  if (log_wants(l->log, LEVEL_DEBUG)) return EVENT_ALL;
  uint32_t errors = 1u << EVENT_CLIENT_ERROR | 1u << EVENT_TRANSPORT_ERROR | 1u << EVENT_SESSION_ERROR |
                    1u << EVENT_BACKEND_ERROR;
  return log_wants(l->log, LEVEL_WARN) ? errors : 0;
}

void logger_add_client(struct log *log, const struct client *c) {
  if (!c) return;
  char remote[ADDRESS_TEXT_MAX];
  struct slice id = client_id(c), username = client_username(c);
  if (id.len) log_string(log, "id", id);
  log_string(log, "remote", slice_str(address_format(client_remote_address(c), remote)));
  if (username.ptr) log_string(log, "username", username);
}

void logger_connected(struct logger *l, const struct client *c) {
  if (!log_begin(l->log, LEVEL_INFO, SLICE("client connected"))) return;
  logger_add_client(l->log, c);
  static const char *const versions[] = {[MQTT_3_1] = "3.1", [MQTT_3_1_1] = "3.1.1", [MQTT_5] = "5"};
  log_string(l->log, "version", slice_str(versions[client_version(c)]));
  log_bool(l->log, "clean", client_clean_session(c));
  log_number(l->log, "keep_alive", client_keep_alive(c));
  log_end(l->log);
}

void logger_closed(struct logger *l, const struct client *c, const char *error) {
  if (!log_begin(l->log, LEVEL_INFO, SLICE("client closed"))) return;
  logger_add_client(l->log, c);
  log_string(l->log, "reason", slice_str(error ? error : ERROR_CLIENT_CLOSED));
  log_end(l->log);
}

void logger_arrival_failed(struct logger *l, const struct address *remote, const char *stage,
                           const char *why) {
  uint32_t missed = 0;
  char from[ADDRESS_TEXT_MAX];
  if (!log_wants(l->log, LEVEL_INFO)) return;
  if (!log_rate_allows(&l->strangers, l->clock->now_ms, STRANGERS_RATE, &missed)) return;
  log_begin(l->log, LEVEL_INFO, SLICE("connection closed"));
  log_string(l->log, "remote", slice_str(address_format(remote, from)));
  if (stage) log_string(l->log, "handshake", slice_str(stage));
  if (missed) log_number(l->log, "suppressed", missed);
  log_string(l->log, "reason", slice_str(why));
  log_end(l->log);
}

void logger_certificates_reloaded(struct logger *l, const char *url) {
  if (!log_begin(l->log, LEVEL_INFO, SLICE("certificates reloaded"))) return;
  log_string(l->log, "listener", slice_str(url));
  log_end(l->log);
}

void logger_passwords_reloaded(struct logger *l, const char *path, uint32_t users) {
  if (!log_begin(l->log, LEVEL_INFO, SLICE("password file reloaded"))) return;
  log_string(l->log, "file", slice_str(path));
  log_number(l->log, "users", users);
  log_end(l->log);
}

void logger_engine_error(struct logger *l, const char *error) {
  if (!log_begin(l->log, LEVEL_ERROR, SLICE("engine error"))) return;
  log_string(l->log, "error", slice_str(error));
  log_end(l->log);
}

static void add_message(struct log *log, const struct packet_message *m) {
  log_string(log, "topic", m->topic);
  log_number(log, "qos", m->qos);
  log_bool(log, "retain", m->retain);
  log_number(log, "bytes", (int64_t)m->payload.len);
}

static void add_packet(struct log *log, const struct packet *p) {
  log_string(log, "packet", slice_str(packet_type_name(p->type)));
  if (p->id) log_number(log, "packet_id", p->id);
  switch (p->type) {
  case PACKET_PUBLISH: add_message(log, &p->publish.message); break;
  case PACKET_CONNACK: log_number(log, "code", p->connack.code); break;
  default: break;
  }
}

static void debug_record(struct logger *l, const struct log_record *r) {
  if (!log_begin(l->log, LEVEL_DEBUG, slice_str(event_name(r->event)))) return;
  logger_add_client(l->log, r->client);
  if (r->packet) add_packet(l->log, r->packet);
  if (r->message) add_message(l->log, r->message);
  if (r->error) log_string(l->log, "error", slice_str(r->error));
  log_end(l->log);
}

static void limited(struct logger *l, const struct log_record *r, enum log_level level, struct log_rate *rate,
                    struct slice text) {
  uint32_t missed = 0;
  if (!log_wants(l->log, level) || !log_rate_allows(rate, l->clock->now_ms, RATE, &missed)) return;
  log_begin(l->log, level, text);
  logger_add_client(l->log, r->client);
  if (!r->client && r->session) log_string(l->log, "id", session_id(r->session));
  if (r->message) log_string(l->log, "topic", r->message->topic);
  if (r->error) log_string(l->log, "error", slice_str(r->error));
  if (missed) log_number(l->log, "suppressed", missed);
  log_end(l->log);
}

// Who decided, in the record under way.
static void add_verdict(struct log *log, const struct verdict *by) {
  char text[RULES_TEXT_MAX];
  if (!by) return;
  const char *decider = decider_name((enum decider)by->decider);
  log_string(log, "by", slice_str(decider));
  if (by->decider == DECIDER_RULE)
    log_string(log, "acl", slice_str(verdict_rule_text(by, text)));
  else if (by->name)
    log_string(log, decider, slice_str(by->name));
  if (by->place) log_string(log, "place", slice_str(by->place));
}

void logger_revoked(struct logger *l, const struct client *c, const struct subscribe_item *item) {
  if (!log_begin(l->log, LEVEL_WARN, SLICE("subscription revoked"))) return;
  logger_add_client(l->log, c);
  log_string(l->log, "filter", item->filter);
  if (item->share.len) log_string(l->log, "share", item->share);
  log_string(l->log, "reason", slice_str(item->error ? item->error : reason_name(item->reason)));
  add_verdict(l->log, item->by);
  log_end(l->log);
}

static void add_asked(struct log *log, const struct log_record *r) {
  if (r->packet_type) log_string(log, "packet", slice_str(packet_type_name(r->packet_type)));
  if (r->message) {
    log_string(log, "topic", r->message->topic);
    log_number(log, "qos", r->message->qos);
    log_bool(log, "retain", r->message->retain);
  } else if (r->filter.len) {
    log_string(log, "filter", r->filter);
    if (r->operation == OPERATION_SUBSCRIBE) log_number(log, "qos", r->qos);
  }
}

// A login has always been told with the text that the client's end has.
static void add_reason(struct log *log, const struct log_record *r) {
  const struct reply *refusal = r->refusal;
  struct slice text = reply_reason_string(refusal);
  bool is_login = r->operation == OPERATION_CONNECT;
  log_string(log, "reason", slice_str(is_login ? r->error : reason_name(refusal->reason)));
  add_verdict(log, refusal->by);
  if (text.len) log_string(log, "reason_string", text);
  if (refusal->error && !is_login) log_string(log, "error", slice_str(refusal->error));
}

static struct slice refusal_text(const struct log_record *r) {
  static const char *const texts[OPERATION_COUNT] = {
      [OPERATION_CONNECT] = "client refused",      [OPERATION_AUTH] = "authentication refused",
      [OPERATION_SUBSCRIBE] = "subscribe refused", [OPERATION_UNSUBSCRIBE] = "unsubscribe refused",
      [OPERATION_PUBLISH] = "publish refused",     [OPERATION_DELIVER] = "delivery refused",
      [OPERATION_PACKET] = "packet refused",
  };
  if (r->operation == OPERATION_UNSUBSCRIBE && client_version(r->client) != MQTT_5)
    return SLICE("unsubscribe refused, and done as MQTT 3.1.1 demands");
  return slice_str(texts[r->operation]);
}

static void refused(struct logger *l, const struct log_record *r) {
  uint32_t missed = 0;
  if (!log_wants(l->log, LEVEL_INFO)) return;
  if (!log_rate_allows(&l->refused[r->operation], l->clock->now_ms, l->refusals, &missed)) {
    l->stats->refusals_not_logged++;
    return;
  }
  log_begin(l->log, LEVEL_INFO, refusal_text(r));
  logger_add_client(l->log, r->client);
  add_asked(l->log, r);
  add_reason(l->log, r);
  if (missed) log_number(l->log, "suppressed", missed);
  log_end(l->log);
}

// Why a connection ended that nobody was let in on.
static void refusal(struct logger *l, const struct log_record *r, struct slice text) {
  uint32_t missed = 0;
  if (client_session(r->client) || !log_wants(l->log, LEVEL_INFO)) return; // "client closed" tells it
  if (!log_rate_allows(&l->strangers, l->clock->now_ms, STRANGERS_RATE, &missed)) return;
  log_begin(l->log, LEVEL_INFO, text);
  logger_add_client(l->log, r->client);
  if (missed) log_number(l->log, "suppressed", missed);
  log_string(l->log, "reason", slice_str(r->error));
  log_end(l->log);
}

static bool is_one_of(const char *error, const char *const *list) {
  while (error && *list && strcmp(error, *list) != 0)
    list++;
  return error && *list;
}

static bool tells_drop(const struct log_record *r) {
  static const char *const errors[] = {ERROR_QUEUE_FULL, ERROR_QUEUED_BYTES, ERROR_MEMORY_LIMIT, NULL};
  return r->event == EVENT_BACKEND_ERROR && r->message && is_one_of(r->error, errors);
}

// Of a client that goes on, but has to wait.
static bool tells_hold(const struct log_record *r) {
  static const char *const errors[] = {ERROR_PUBLISH_RATE, ERROR_MEMORY_HELD, ERROR_LOGIN_HELD,
                                       ERROR_INFLIGHT_BYTES, NULL};
  return r->event == EVENT_CLIENT_ERROR && is_one_of(r->error, errors);
}

void logger_record(struct logger *l, const struct log_record *r) {
  debug_record(l, r);
  if (r->refusal)
    refused(l, r);
  else if (tells_drop(r))
    limited(l, r, LEVEL_WARN, &l->drops, SLICE("message dropped"));
  else if (tells_hold(r))
    limited(l, r, LEVEL_INFO, &l->held, SLICE("client held back"));
  else if (r->event == EVENT_SESSION_ERROR)
    limited(l, r, LEVEL_INFO, &l->errors, slice_str(event_name(r->event)));
  else if (r->event == EVENT_CLIENT_ERROR && r->client && r->error)
    refusal(l, r, SLICE("client refused"));
  else if (r->event == EVENT_TRANSPORT_ERROR && r->client && r->error)
    refusal(l, r, SLICE("connection closed"));
}
