// The decorator: each operation asks the hook that the script defined for it, and forwards to the memory
// backend. Without a hook it is a call of the memory backend, and Lua is never entered.
#include "script/script_impl.h"

#define REFUSALS_A_SECOND 10   // of unsubscribe, that are logged
#define REFUSED_A_FLUSH   1000 // deliveries that a hook refuses in one turn

static struct backend *inner(struct backend *b) { return script_of_backend(b)->inner; }

static void to_reply(const struct answer *answer, struct reply *reply) {
  reply->reason = answer->allowed ? REASON_SUCCESS : answer->reason;
  reply->error = answer->failed;
  if (answer->told) reply_tell(reply, answer->told);
}

// --- authenticate, setup, restore, terminate ---

static enum backend_status authenticate(struct backend *b, struct client *c, const struct credentials *given,
                                        struct reply *reply) {
  struct script *s = script_of_backend(b);
  if (!hook_defined(s, HOOK_AUTHENTICATE)) return s->inner->ops->authenticate(s->inner, c, given, reply);
  struct hook_call call = {.script = s, .hook = HOOK_AUTHENTICATE, .client = c, .given = given};
  hook_run(&call);
  if (call.answer.allowed && call.answer.has_settings) client_change_settings(c, &call.answer.settings);
  to_reply(&call.answer, reply);
  return BACKEND_DONE;
}

// What `auth` lets in is not asked for a password.
static enum backend_status auth(struct backend *b, struct client *c, const struct auth_step *step,
                                struct reply *reply) {
  struct hook_call call = {.script = script_of_backend(b), .hook = HOOK_AUTH, .client = c, .step = step};
  hook_run(&call);
  to_reply(&call.answer, reply);
  if (call.answer.continues) reply->reason = REASON_CONTINUE_AUTHENTICATION;
  return BACKEND_DONE;
}

static enum backend_status setup(struct backend *b, struct client *c, struct slice id, bool clean,
                                 struct reply *reply) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_SETUP)) {
    struct hook_call call = {.script = s, .hook = HOOK_SETUP, .client = c, .id = id, .clean = clean};
    if (!hook_run(&call)) {
      to_reply(&call.answer, reply);
      return BACKEND_DONE;
    }
    if (client_closing(c)) { // by the hook: it gets no session
      *reply = (struct reply){.reason = REASON_NOT_AUTHORIZED};
      return BACKEND_DONE;
    }
  }
  return s->inner->ops->setup(s->inner, c, id, clean, reply);
}

static void expire(struct backend *b, struct client *c, uint32_t expiry_s) {
  inner(b)->ops->expire(inner(b), c, expiry_s);
}

static void restore(struct backend *b, struct client *c) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_RESTORE)) {
    struct hook_call call = {.script = s, .hook = HOOK_RESTORE, .client = c};
    hook_run(&call);
  }
  if (!hook_defined(s, HOOK_LOG)) logger_connected(&s->logger, c);
  s->inner->ops->restore(s->inner, c);
}

static void terminate(struct backend *b, struct client *c, const char *error) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_TERMINATE)) {
    struct hook_call call = {.script = s, .hook = HOOK_TERMINATE, .client = c, .error = error};
    hook_run(&call);
  }
  if (!hook_defined(s, HOOK_LOG)) logger_closed(&s->logger, c, error);
  s->inner->ops->terminate(s->inner, c, error);
}

// --- subscribe, unsubscribe: once a filter ---

static void ask_subscribe(struct script *s, struct client *c, struct subscribe_item *item,
                          uint32_t identifier) {
  struct hook_call call = {
      .script = s, .hook = HOOK_SUBSCRIBE, .client = c, .item = item, .identifier = identifier};
  if (hook_run(&call)) {
    item->code = call.answer.qos;
    return;
  }
  item->code = SUBACK_FAILURE;
  item->reason = call.answer.reason;
  item->error = call.answer.failed;
  item->told = call.answer.told;
}

static void subscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_SUBSCRIBE))
    for (uint32_t i = 0; i < request->count; i++)
      if (request->list[i].code != SUBACK_FAILURE)
        ask_subscribe(s, c, &request->list[i], request->identifier);
  s->inner->ops->subscribe(s->inner, c, request);
}

// MQTT 3.1.1 cannot say no to an UNSUBSCRIBE: it is logged, and the subscription ends.
static void ask_unsubscribe(struct script *s, struct client *c, struct subscribe_item *item) {
  struct hook_call call = {.script = s, .hook = HOOK_UNSUBSCRIBE, .client = c, .item = item};
  if (hook_run(&call)) return;
  item->reason = call.answer.reason;
  item->error = call.answer.failed;
  item->told = call.answer.told;
  if (item->error || client_version(c) == MQTT_5) return; // it has been logged, or the client is told
  uint32_t missed = 0;
  if (!log_rate_allows(&s->refused, s->loop->clock.now_ms, REFUSALS_A_SECOND, &missed)) return;
  if (!log_begin(&s->log, LEVEL_INFO, SLICE("unsubscribe refused, and done as MQTT 3.1.1 demands"))) return;
  logger_add_client(&s->log, c);
  log_string(&s->log, "filter", item->filter);
  log_string(&s->log, "reason", slice_str(reason_name(call.answer.reason)));
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

static void unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_UNSUBSCRIBE))
    for (uint32_t i = 0; i < request->count; i++)
      ask_unsubscribe(s, c, &request->list[i]);
  s->inner->ops->unsubscribe(s->inner, c, request);
}

// --- accept, publish, dequeue ---

static void replace(struct message **m, struct message *changed) {
  message_unref(*m);
  *m = changed;
}

static enum backend_status accept_message(struct backend *b, struct client *c, struct message **m,
                                          struct reply *reply) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_PUBLISH)) {
    struct packet_message view = message_view(*m);
    struct hook_call call = {.script = s, .hook = HOOK_PUBLISH, .client = c, .message = &view, .stored = *m};
    bool allowed = hook_run(&call);
    to_reply(&call.answer, reply);
    reply->drop = call.answer.drop;
    if (!allowed || reply->drop) return BACKEND_DONE;
    if (call.answer.message) replace(m, call.answer.message);
  }
  return s->inner->ops->accept(s->inner, c, m, reply);
}

static void publish(struct backend *b, struct message *m, struct ack ack) {
  inner(b)->ops->publish(inner(b), m, ack);
}

static void drop_delivery(struct script *s, struct client *c, struct delivery *d) {
  s->shard->stats.messages_dropped_hook++;
  if (client_session(c)) client_session(c)->dropped++;
  message_unref(d->message);
}

// Whether the client gets it.
static bool ask_dequeue(struct script *s, struct client *c, struct delivery *d) {
  struct packet_message view = delivery_view(d);
  struct hook_call call = {
      .script = s, .hook = HOOK_DEQUEUE, .client = c, .message = &view, .stored = d->message};
  if (!hook_run(&call)) {
    told_free(call.answer.told);
    return false;
  }
  struct message *changed = call.answer.message;
  if (changed) {
    if (changed->qos < d->qos) d->qos = changed->qos;
    d->retain = changed->retain;
    replace(&d->message, changed);
  }
  return true;
}

static bool dequeue(struct backend *b, struct client *c, struct delivery *d) {
  struct script *s = script_of_backend(b);
  if (!hook_defined(s, HOOK_DEQUEUE)) return s->inner->ops->dequeue(s->inner, c, d);
  for (int refused = 0; refused < REFUSED_A_FLUSH; refused++) {
    if (!s->inner->ops->dequeue(s->inner, c, d)) return false;
    if (ask_dequeue(s, c, d)) return true;
    drop_delivery(s, c, d);
  }
  client_wake(c); // the rest in the next turn
  return false;
}

// --- packet, log, errors ---

static enum backend_status packet(struct backend *b, struct client *c, const struct packet *p,
                                  struct reply *reply) {
  struct script *s = script_of_backend(b);
  struct hook_call call = {
      .script = s, .hook = HOOK_PACKET, .client = c, .packet = p, .version = client_version(c)};
  hook_run(&call);
  to_reply(&call.answer, reply);
  return BACKEND_DONE;
}

// What happens while a log hook runs is not logged: it would never end.
static void log_event(struct backend *b, const struct log_record *record) {
  struct script *s = script_of_backend(b);
  if (!hook_defined(s, HOOK_LOG)) {
    logger_record(&s->logger, record);
    return;
  }
  if (s->in_log) return;
  struct hook_call call = {.script = s,
                           .hook = HOOK_LOG,
                           .event = record->event,
                           .client = record->client,
                           .packet = record->packet,
                           .version = record->version,
                           .message = record->message,
                           .error = record->error};
  s->in_log = true;
  hook_run(&call);
  s->in_log = false;
}

static enum full_queue full_queue(struct backend *b, struct client *c, const struct message *m) {
  struct script *s = script_of_backend(b);
  struct packet_message view = message_view(m);
  struct hook_call call = {.script = s, .hook = HOOK_FULL_QUEUE, .client = c, .message = &view, .stored = m};
  hook_run(&call);
  return call.answer.has_policy ? call.answer.policy : (enum full_queue)s->settings.full_queue;
}

static void engine_error(struct backend *b, const char *error) {
  struct script *s = script_of_backend(b);
  if (!hook_defined(s, HOOK_ERROR)) {
    logger_engine_error(&s->logger, error);
    return;
  }
  struct hook_call call = {.script = s, .hook = HOOK_ERROR, .error = error};
  hook_run(&call);
}

static void arrival_failed(struct backend *b, const struct address *remote, const char *stage,
                           const char *why) {
  logger_arrival_failed(&script_of_backend(b)->logger, remote, stage, why);
}

static void certificates_reloaded(struct backend *b, const char *url) {
  logger_certificates_reloaded(&script_of_backend(b)->logger, url);
}

static void free_backend(struct backend *b) { // the script goes with script_free
  struct script *s = script_of_backend(b);
  s->inner->ops->free(s->inner);
  s->inner = NULL;
}

void script_backend_init(struct script *s) {
  s->ops = (struct backend_ops){.authenticate = authenticate,
                                .setup = setup,
                                .restore = restore,
                                .expire = expire,
                                .subscribe = subscribe,
                                .unsubscribe = unsubscribe,
                                .accept = accept_message,
                                .publish = publish,
                                .dequeue = dequeue,
                                .terminate = terminate,
                                .log = log_event,
                                .packet = hook_defined(s, HOOK_PACKET) ? packet : NULL,
                                .auth = hook_defined(s, HOOK_AUTH) ? auth : NULL,
                                .full_queue = hook_defined(s, HOOK_FULL_QUEUE) ? full_queue : NULL,
                                .engine_error = engine_error,
                                .arrival_failed = arrival_failed,
                                .certificates_reloaded = certificates_reloaded,
                                .free = free_backend};
  s->backend = (struct backend){.ops = &s->ops, .shard = s->shard};
  s->shard->log_mask = hook_defined(s, HOOK_LOG) ? EVENT_ALL : logger_mask(&s->logger);
}
