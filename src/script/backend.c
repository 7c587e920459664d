// The decorator: each operation asks the hook that the script defined for it, and forwards to the memory
// backend. Without a hook it is a call of the memory backend, and Lua is never entered.
#include "base/mem.h"
#include "script/decision.h"
#include "script/host.h"
#include "script/keeper.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "script/shadow.h"

#define REFUSED_A_FLUSH 1000 // deliveries that a hook refuses in one turn

static struct backend *inner(struct backend *b) { return script_of_backend(b)->inner; }

static void to_reply(const struct hook_call *call, struct reply *reply) {
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

// --- dequeue ---

struct held_delivery { // that a hook has been asked about, and that the client has not taken yet
  struct delivery original;
  struct message *changed; // by the answer; or NULL
  bool answered;
};

static void drop_delivery(struct script *s, struct client *c, struct delivery *d) {
  s->shard->stats.messages_dropped_hook++;
  if (client_session(c)) client_session(c)->dropped++;
  message_unref(d->message);
}

static void release_held(struct client *c) {
  struct held_delivery **held = client_object_held(c);
  if ((*held)->changed) message_unref((*held)->changed);
  mem_free(*held);
  *held = NULL;
}

// It has not been delivered, so it is the next again.
static void put_back_held(struct script *s, struct client *c) {
  if (!client_script(c) || !*client_object_held(c)) return;
  struct delivery original = (*client_object_held(c))->original;
  if (client_session(c))
    session_push_front(client_session(c), &s->shard->pool, original);
  else
    message_unref(original.message);
  release_held(c);
}

static void change_delivery(struct delivery *d, struct message *changed) {
  if (!changed) return;
  if (changed->qos < d->qos) d->qos = changed->qos;
  d->retain = changed->retain;
  replace(&d->message, changed);
}

static void take_held(struct client *c, struct delivery *d) {
  struct held_delivery *held = *client_object_held(c);
  *d = held->original;
  change_delivery(d, held->changed);
  held->changed = NULL;
  release_held(c);
}

static void delivery_refused(const struct hook_call *call) {
  struct reply reply = {0};
  to_reply(call, &reply);
  shard_log(call->script->shard, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                                     .client = call->client,
                                                     .message = call->message,
                                                     .error = reply_text(&reply),
                                                     .refusal = &reply,
                                                     .operation = OPERATION_DELIVER});
  reply_release(&reply);
}

static void decided_delivery(const struct hook_call *call);

static void dequeue_done(struct hook_call *call) {
  struct client *c = call->client;
  struct script *s = call->script;
  struct held_delivery *held = *client_object_held(c);
  held->answered = true;
  decided_delivery(call);
  held->changed = call->answer.message;
  if (client_closing(c)) {
    told_free(call->answer.told);
    put_back_held(s, c);
    return;
  }
  if (!call->answer.allowed) {
    delivery_refused(call);
    drop_delivery(s, c, &held->original);
    release_held(c);
  }
  client_wake(c);
}

enum asked { ASKED_GIVE, ASKED_DROP, ASKED_WAIT };

static void decided_delivery(const struct hook_call *call) {
  struct host *h = call->script->host;
  if (!is_observed(h)) return;
  struct reply reply = {0};
  to_reply(call, &reply);
  reply.told = NULL; // the answer's
  observe_decision(h, &(struct decision){.operation = OPERATION_DELIVER,
                                         .client = call->client,
                                         .message = call->message,
                                         .asked = call->stored,
                                         .reply = &reply,
                                         .changed = call->answer.message});
  reply_release(&reply);
}

static enum asked ask_dequeue(struct script *s, struct client *c, struct delivery *d) {
  struct packet_message view = delivery_view(d);
  struct hook_call call = {.script = s,
                           .hook = HOOK_DEQUEUE,
                           .client = c,
                           .message = &view,
                           .stored = d->message,
                           .done = dequeue_done};
  hook_run(&call);
  if (call.suspended) {
    struct held_delivery *held = *client_object_held(c) = mem_calloc(1, sizeof *held);
    held->original = *d;
    return ASKED_WAIT;
  }
  decided_delivery(&call);
  if (!call.answer.allowed) {
    delivery_refused(&call);
    return ASKED_DROP;
  }
  change_delivery(d, call.answer.message);
  return ASKED_GIVE;
}

static bool dequeue(struct backend *b, struct client *c, struct delivery *d) {
  struct script *s = script_of_backend(b);
  if (client_script(c) && *client_object_held(c)) {
    if (!(*client_object_held(c))->answered) return false;
    take_held(c, d);
    return true;
  }
  if (!hook_defined(s, HOOK_DEQUEUE)) return s->inner->ops->dequeue(s->inner, c, d);
  for (int refused = 0; refused < REFUSED_A_FLUSH; refused++) {
    if (!s->inner->ops->dequeue(s->inner, c, d)) return false;
    switch (ask_dequeue(s, c, d)) {
    case ASKED_GIVE: return true;
    case ASKED_WAIT: return false;
    case ASKED_DROP: drop_delivery(s, c, d);
    }
  }
  client_wake(c); // the rest in the next turn
  return false;
}

// --- authenticate, setup, restore, terminate ---

static void authenticate_answered(struct hook_call *call, struct reply *reply) {
  if (call->answer.allowed && call->answer.has_settings)
    client_change_settings(call->client, &call->answer.settings);
  if (call->answer.rules) client_set_rules(call->client, call->answer.rules);
  to_reply(call, reply);
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
  to_reply(call, reply);
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
    to_reply(call, reply);
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
  put_back_held(s, c);
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

// --- subscribe, unsubscribe: once a filter ---

struct asking { // about the filters of a packet; on the heap once one of them has to wait
  struct script *script;
  struct client *client;
  struct subscribe_request *request;
  uint32_t at; // the filter that is asked about
  bool unsubscribe;
  void (*then)(struct script *s, struct client *c, struct subscribe_request *request); // NULL: as it was sent
};

static void refuse_item(const struct hook_call *call) {
  struct subscribe_item *item = call->item;
  item->reason = call->answer.reason;
  item->error = call->answer.failed;
  item->told = call->answer.told;
  item->by = decision_verdict(call);
}

static void subscribe_answered(struct hook_call *call) {
  call->item->code = call->answer.allowed ? call->answer.qos : SUBACK_FAILURE;
  if (!call->answer.allowed) refuse_item(call);
}

static void unsubscribe_answered(struct hook_call *call) {
  if (!call->answer.allowed) refuse_item(call);
}

static void take_answer(const struct asking *a, struct hook_call *call) {
  if (a->unsubscribe)
    unsubscribe_answered(call);
  else
    subscribe_answered(call);
}

static void filter_done(struct hook_call *call);

// Asks about the filters that are left. False: one of them waits, and `a` has been kept.
static bool ask_rest(struct asking *a, bool kept) {
  for (; a->at < a->request->count; a->at++) {
    struct subscribe_item *item = &a->request->list[a->at];
    if (!a->unsubscribe && item->code == SUBACK_FAILURE) continue;
    struct hook_call call = {.script = a->script,
                             .hook = a->unsubscribe ? HOOK_UNSUBSCRIBE : HOOK_SUBSCRIBE,
                             .client = a->client,
                             .item = item,
                             .identifier = a->request->identifier,
                             .done = filter_done};
    hook_run(&call);
    if (call.suspended) {
      hook_keep(&call, kept ? a : memcpy(mem_alloc(sizeof *a), a, sizeof *a));
      return false;
    }
    take_answer(a, &call);
  }
  return true;
}

static void all_asked(const struct asking *a) {
  struct backend *b = a->script->inner;
  if (a->then)
    a->then(a->script, a->client, a->request);
  else if (a->unsubscribe)
    b->ops->unsubscribe(b, a->client, a->request);
  else
    b->ops->subscribe(b, a->client, a->request);
}

static void filter_done(struct hook_call *call) {
  struct asking *a = call->data;
  take_answer(a, call);
  a->at++;
  if (client_closing(a->client) && !a->then) { // nothing of it is to stay
    subscribe_request_free(a->request);
  } else {
    if (!ask_rest(a, true)) return;
    all_asked(a);
  }
  client_unpause(a->client);
  mem_free(a);
}

static void ask_filters(struct asking *a) {
  if (ask_rest(a, false))
    all_asked(a);
  else
    client_pause(a->client);
}

static void subscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_SUBSCRIBE))
    ask_filters(&(struct asking){.script = s, .client = c, .request = request});
  else
    s->inner->ops->subscribe(s->inner, c, request);
}

static void unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_UNSUBSCRIBE))
    ask_filters(&(struct asking){.script = s, .client = c, .request = request, .unsubscribe = true});
  else
    s->inner->ops->unsubscribe(s->inner, c, request);
}

void backend_ask_subscribe(struct script *s, struct client *c, struct subscribe_request *request,
                           void (*then)(struct script *s, struct client *c,
                                        struct subscribe_request *request)) {
  struct asking a = {.script = s, .client = c, .request = request, .then = then};
  if (hook_defined(s, HOOK_SUBSCRIBE))
    ask_filters(&a);
  else
    all_asked(&a);
}

// --- accept, publish ---

static enum backend_status accept_answered(const struct hook_call *call, struct message **m,
                                           struct reply *reply) {
  struct script *s = call->script;
  to_reply(call, reply);
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
  to_reply(call, &reply);
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
  to_reply(&call, reply);
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
                                .subscribe = subscribe,
                                .subscribed = observe_subscription,
                                .ruled = observe_rules,
                                .password_checked = password_checked,
                                .unsubscribe = unsubscribe,
                                .accept = accept_message,
                                .publish = publish,
                                .dequeue = dequeue,
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
