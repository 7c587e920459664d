// The decorator: each operation asks the hook that the script defined for it, and forwards to the memory
// backend. Without a hook it is a call of the memory backend, and Lua is never entered.
#include "script/decision.h"
#include "script/keeper.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "script/shadow.h"

static struct backend *inner(struct backend *b) { return script_of_backend(b)->inner; }

void backend_reply(const struct hook_call *call, struct reply *reply) {
  const struct answer *answer = &call->answer;
  reply->reason = answer->allowed ? REASON_SUCCESS : answer->reason;
  reply->error = answer->failed;
  if (answer->told) reply_tell(reply, answer->told);
  if (!answer->allowed && !answer->continues) reply->by = decision_verdict(call);
}

// Gives the client the answer that it waits for.
static void resume(const struct hook_call *call, struct reply *reply) {
  client_resume(call->client, reply);
  reply_release(reply);
}

static void replace(struct message **m, struct message *changed) {
  message_unref(*m);
  *m = changed;
}

// --- authenticate, setup, restore, terminate ---

static void authenticate_answered(struct hook_call *call, struct reply *reply) {
  if (call->answer.allowed && call->answer.has_settings)
    client_change_settings(call->client, &call->answer.settings);
  if (call->answer.rules) client_set_rules(call->client, call->answer.rules);
  backend_reply(call, reply);
  observe_authenticate(call->script, call->client, reply);
}

static void authenticate_done(struct hook_call *call) {
  struct reply reply = {0};
  authenticate_answered(call, &reply);
  resume(call, &reply);
}

static enum backend_status check_credentials(struct script *s, struct client *c,
                                             const struct credentials *given, struct reply *reply) {
  enum backend_status status = s->inner->ops->authenticate(s->inner, c, given, reply);
  if (status == BACKEND_DONE) observe_credentials(s, c, reply);
  return status;
}

static void password_checked(struct backend *b, struct client *c, const struct reply *reply) {
  observe_credentials(script_of_backend(b), c, reply);
}

static enum backend_status authenticate(struct backend *b, struct client *c, const struct credentials *given,
                                        struct reply *reply) {
  struct script *s = script_of_backend(b);
  if (s->host->shadow) shadow_login(s->host->shadow, c, given);
  if (!hook_defined(s, HOOK_AUTHENTICATE)) return check_credentials(s, c, given, reply);
  struct hook_call call = {
      .script = s, .hook = HOOK_AUTHENTICATE, .client = c, .given = given, .done = authenticate_done};
  hook_run(&call);
  if (call.suspended) return BACKEND_PENDING;
  authenticate_answered(&call, reply);
  return BACKEND_DONE;
}

static void auth_answered(const struct hook_call *call, struct reply *reply) {
  backend_reply(call, reply);
  if (call->answer.continues)
    reply->reason = REASON_CONTINUE_AUTHENTICATION;
  else
    observe_authenticate(call->script, call->client, reply);
}

static void auth_done(struct hook_call *call) {
  struct reply reply = {0};
  auth_answered(call, &reply);
  resume(call, &reply);
}

// What `auth` lets in is not asked for a password.
static enum backend_status auth(struct backend *b, struct client *c, const struct auth_step *step,
                                struct reply *reply) {
  struct hook_call call = {
      .script = script_of_backend(b), .hook = HOOK_AUTH, .client = c, .step = step, .done = auth_done};
  hook_run(&call);
  if (call.suspended) return BACKEND_PENDING;
  auth_answered(&call, reply);
  return BACKEND_DONE;
}

static enum backend_status setup_answered(struct hook_call *call, struct slice id, struct reply *reply) {
  struct script *s = call->script;
  if (!call->answer.allowed) {
    backend_reply(call, reply);
    observe_login(s, call->client, reply);
    return BACKEND_DONE;
  }
  observe_login(s, call->client, reply);
  keeper_install(call);
  if (client_closing(call->client)) { // by the hook: it gets no session
    *reply = (struct reply){.reason = REASON_NOT_AUTHORIZED};
    return BACKEND_DONE;
  }
  return s->inner->ops->setup(s->inner, call->client, id, call->clean, reply);
}

static void setup_done(struct hook_call *call) {
  struct reply reply = {0};
  // As it was asked for: a temporary session when the id was assigned.
  struct slice id = call->data ? client_id(call->client) : slice_of(NULL, 0);
  if (setup_answered(call, id, &reply) == BACKEND_DONE) resume(call, &reply);
}

static enum backend_status setup(struct backend *b, struct client *c, struct slice id, bool clean,
                                 struct reply *reply) {
  struct script *s = script_of_backend(b);
  if (!hook_defined(s, HOOK_SETUP)) {
    observe_login(s, c, reply);
    return s->inner->ops->setup(s->inner, c, id, clean, reply);
  }
  struct hook_call call = {.script = s,
                           .hook = HOOK_SETUP,
                           .client = c,
                           .id = id,
                           .clean = clean,
                           .data = id.len ? c : NULL, // whether there is an id
                           .done = setup_done};
  hook_run(&call);
  return call.suspended ? BACKEND_PENDING : setup_answered(&call, id, reply);
}

static void expire(struct backend *b, struct client *c, uint32_t expiry_s) {
  inner(b)->ops->expire(inner(b), c, expiry_s);
}

static enum backend_status restored(struct script *s, struct client *c) {
  if (!hook_defined(s, HOOK_LOG)) logger_connected(&s->logger, c);
  return s->inner->ops->restore(s->inner, c);
}

static void restore_done(struct hook_call *call) {
  struct client *c = call->client;
  if (!client_session(c) || restored(call->script, c) == BACKEND_DONE) client_restored(c);
}

static enum backend_status restore(struct backend *b, struct client *c) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_RESTORE)) {
    struct hook_call call = {.script = s, .hook = HOOK_RESTORE, .client = c, .done = restore_done};
    hook_run(&call);
    if (call.suspended) return BACKEND_PENDING;
  }
  return restored(s, c);
}

static void nothing(struct hook_call *call) { (void)call; }

static void terminate(struct backend *b, struct client *c, const char *error) {
  struct script *s = script_of_backend(b);
  hook_cancel_client(s, c); // the last flush may have asked about one more delivery
  backend_put_back(s, c);
  if (hook_defined(s, HOOK_TERMINATE)) { // it may take its time, but the session does not wait for it
    struct hook_call call = {
        .script = s, .hook = HOOK_TERMINATE, .client = c, .error = error, .done = nothing};
    hook_run(&call);
  }
  if (!hook_defined(s, HOOK_LOG)) logger_closed(&s->logger, c, error);
  s->inner->ops->terminate(s->inner, c, error);
}

static void cancel(struct backend *b, struct client *c) {
  hook_cancel_client(script_of_backend(b), c);
  if (inner(b)->ops->cancel) inner(b)->ops->cancel(inner(b), c);
}

// --- accept, publish ---

static enum backend_status accept_answered(const struct hook_call *call, struct message **m,
                                           struct reply *reply) {
  struct script *s = call->script;
  backend_reply(call, reply);
  reply->drop = call->answer.drop;
  if (!call->answer.allowed || reply->drop) return BACKEND_DONE;
  if (call->answer.message) replace(m, call->answer.message);
  return s->inner->ops->accept(s->inner, call->client, m, reply);
}

static void accept_done(struct hook_call *call) {
  struct reply reply = {0};
  struct message *m = message_ref((struct message *)(uintptr_t)call->stored);
  accept_answered(call, &m, &reply);
  observe_publish(call->script, call->client, call->stored, m, &reply);
  if (m == call->stored)
    message_unref(m);
  else
    reply.message = m;
  resume(call, &reply);
}

static enum backend_status ask_publish(struct script *s, struct client *c, struct message **m,
                                       struct reply *reply) {
  struct packet_message view = message_view(*m);
  struct hook_call call = {
      .script = s, .hook = HOOK_PUBLISH, .client = c, .message = &view, .stored = *m, .done = accept_done};
  hook_run(&call);
  if (call.suspended) return BACKEND_PENDING;
  if (!is_observed(s->host)) return accept_answered(&call, m, reply);
  struct message *asked = message_ref(*m);
  enum backend_status status = accept_answered(&call, m, reply);
  observe_publish(s, c, asked, *m, reply);
  message_unref(asked);
  return status;
}

static enum backend_status accept_message(struct backend *b, struct client *c, struct message **m,
                                          struct reply *reply) {
  struct script *s = script_of_backend(b);
  bool asks = hook_defined(s, HOOK_PUBLISH);
  if (!asks && !is_observed(s->host)) return s->inner->ops->accept(s->inner, c, m, reply); // the quick way
  if (asks) return ask_publish(s, c, m, reply);
  enum backend_status status = s->inner->ops->accept(s->inner, c, m, reply);
  observe_publish(s, c, *m, *m, reply);
  return status;
}

static void publish(struct backend *b, struct message *m, struct ack ack) {
  inner(b)->ops->publish(inner(b), m, ack);
}

// --- adopt ---

static void told(struct script *s, struct client *c) {
  if (s->settings.reauthorize)
    reauthorize(s, c);
  else
    client_adopted(c);
}

static void adopt_done(struct hook_call *call) {
  keeper_install(call);
  told(call->script, call->client);
}

static void adopt(struct backend *b, struct client *c, bool from_before) {
  struct script *s = script_of_backend(b);
  if (from_before) {
    client_object_hand_over(s, c);
    struct hook_call call = {.script = s, .hook = HOOK_ADOPT, .client = c, .done = adopt_done};
    if (hook_defined(s, HOOK_ADOPT)) {
      hook_run(&call);
      if (!call.suspended) adopt_done(&call);
      return;
    }
  }
  told(s, c);
}

// --- packet, log, errors ---

static void packet_done(struct hook_call *call) {
  struct reply reply = {0};
  backend_reply(call, &reply);
  resume(call, &reply);
}

static enum backend_status packet(struct backend *b, struct client *c, const struct packet *p,
                                  struct slice raw, struct reply *reply) {
  struct hook_call call = {.script = script_of_backend(b),
                           .hook = HOOK_PACKET,
                           .client = c,
                           .packet = p,
                           .raw = raw,
                           .version = client_version(c),
                           .done = packet_done};
  hook_run(&call);
  if (call.suspended) return BACKEND_PENDING;
  backend_reply(&call, reply);
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
                           .error = record->error,
                           .refused = record->refusal ? record : NULL};
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

static void passwords_reloaded(struct backend *b, const char *path, uint32_t users) {
  logger_passwords_reloaded(&script_of_backend(b)->logger, path, users);
}

static void free_backend(struct backend *b) { // the script goes with the host
  inner(b)->ops->free(inner(b));
}

void script_backend_init(struct script *s) {
  bool adopts = hook_defined(s, HOOK_ADOPT) || s->settings.reauthorize;
  s->ops = (struct backend_ops){.authenticate = authenticate,
                                .setup = setup,
                                .restore = restore,
                                .expire = expire,
                                .subscribe = backend_subscribe,
                                .subscribed = observe_subscription,
                                .ruled = observe_rules,
                                .password_checked = password_checked,
                                .unsubscribe = backend_unsubscribe,
                                .accept = accept_message,
                                .publish = publish,
                                .dequeue = backend_dequeue,
                                .cancel = cancel,
                                .terminate = terminate,
                                .log = log_event,
                                .packet = hook_defined(s, HOOK_PACKET) ? packet : NULL,
                                .auth = hook_defined(s, HOOK_AUTH) ? auth : NULL,
                                .full_queue = hook_defined(s, HOOK_FULL_QUEUE) ? full_queue : NULL,
                                .adopt = adopts ? adopt : NULL,
                                .keeper = &keeper_ops,
                                .engine_error = engine_error,
                                .arrival_failed = arrival_failed,
                                .certificates_reloaded = certificates_reloaded,
                                .passwords_reloaded = passwords_reloaded,
                                .free = free_backend};
  s->backend = (struct backend){.ops = &s->ops, .shard = s->shard};
}
