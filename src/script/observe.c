#include "script/observe.h"

#include "script/decision.h"
#include "script/host.h"
#include "script/script_impl.h"

void observe(struct host *h, struct observer *o) { list_append(&h->observers, &o->node); }

void observe_end(struct observer *o) {
  if (o->node.next) list_remove(&o->node);
}

static enum operation operation_of(enum hook h) {
  static const uint8_t operations[HOOK_COUNT] = {
      [HOOK_AUTHENTICATE] = OPERATION_CONNECT,    [HOOK_AUTH] = OPERATION_CONNECT,
      [HOOK_SETUP] = OPERATION_CONNECT,           [HOOK_SUBSCRIBE] = OPERATION_SUBSCRIBE,
      [HOOK_UNSUBSCRIBE] = OPERATION_UNSUBSCRIBE, [HOOK_PUBLISH] = OPERATION_PUBLISH,
      [HOOK_DEQUEUE] = OPERATION_DELIVER,         [HOOK_PACKET] = OPERATION_PACKET,
  };
  return (enum operation)operations[h];
}

static bool is_renamed(const struct hook_call *call) {
  return call->answer.allowed && call->item && call->item->owned;
}

static bool is_change(const struct hook_call *call) {
  const struct answer *a = &call->answer;
  if (!a->allowed) return false;
  bool lowered = call->hook == HOOK_SUBSCRIBE && a->qos < call->item->qos;
  return a->message || a->has_settings || lowered || is_renamed(call);
}

static void tell(struct script *s, const struct observation *what) {
  list_each(node, &s->host->observers) {
    struct observer *o = container_of(node, struct observer, node);
    if (o->seen) o->seen(o, what);
  }
}

// Nothing takes time where time is virtual.
static uint64_t running_us(const struct hook_call *call) {
  if (call->script->loop->clock.is_virtual) return 0;
  return (uint64_t)((double)call->ticks * call->script->home->clock.ticks.seconds * 1e6);
}

void observe_hook(const struct hook_call *call, uint64_t waited_ms) {
  const struct answer *a = &call->answer;
  enum operation operation = operation_of(call->hook);
  if (operation == OPERATION_NONE) return;
  char place[PLACE_MAX];
  decision_place(call, place);
  struct verdict by = {.decider = DECIDER_HOOK, .name = hook_name(call->hook), .place = place};
  struct reply reply = {.reason = a->allowed ? REASON_SUCCESS : a->reason,
                        .drop = a->drop,
                        .error = a->failed,
                        .told = a->told};
  if (a->continues) reply.reason = REASON_CONTINUE_AUTHENTICATION;
  tell(call->script,
       &(struct observation){.operation = operation,
                             .client = call->client,
                             .call = call,
                             .by = &by,
                             .reply = &reply,
                             .changed = is_change(call),
                             .became = a->allowed ? a->message : NULL,
                             .filter = is_renamed(call) ? call->item->filter : slice_of(NULL, 0),
                             .running_us = running_us(call),
                             .waiting_us = waited_ms * 1000});
}

void observe_decision(struct host *h, const struct decision *d) {
  list_each(node, &h->observers) {
    struct observer *o = container_of(node, struct observer, node);
    if (o->decided) o->decided(o, d);
  }
}

void observe_login(struct script *s, struct client *c, const struct reply *reply) {
  if (!is_observed(s->host)) return;
  observe_decision(s->host, &(struct decision){.operation = OPERATION_CONNECT, .client = c, .reply = reply});
}

void observe_authenticate(struct script *s, struct client *c, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS) observe_login(s, c, reply);
}

// What a limit refused is told as such.
static bool is_by_credentials(const struct reply *reply) {
  return !reply->by || reply->by->decider == DECIDER_CREDENTIALS;
}

void observe_credentials(struct script *s, struct client *c, const struct reply *reply) {
  if (!is_observed(s->host)) return;
  struct observation what = {
      .operation = OPERATION_CONNECT, .client = c, .by = &verdict_of_credentials, .reply = reply};
  if (is_by_credentials(reply)) tell(s, &what);
  observe_authenticate(s, c, reply);
}

void observe_publish(struct script *s, struct client *c, const struct message *asked,
                     const struct message *now, const struct reply *reply) {
  if (!is_observed(s->host)) return;
  struct packet_message view = message_view(asked);
  observe_decision(s->host, &(struct decision){.operation = OPERATION_PUBLISH,
                                               .client = c,
                                               .message = &view,
                                               .asked = asked,
                                               .reply = reply,
                                               .changed = now == asked ? NULL : now});
}

void observe_subscription(struct backend *b, struct client *c, const struct subscribe_item *item,
                          uint32_t identifier) {
  struct host *h = script_of_backend(b)->host;
  if (!is_observed(h)) return;
  struct reply reply = {.error = item->error, .told = item->told, .by = item->by};
  if (item->code == SUBACK_FAILURE) reply.reason = item->reason ? item->reason : REASON_NOT_AUTHORIZED;
  observe_decision(h, &(struct decision){.operation = OPERATION_SUBSCRIBE,
                                         .client = c,
                                         .item = item,
                                         .identifier = identifier,
                                         .reply = &reply});
}

void observe_rules(struct backend *b, struct client *c, enum operation o, const struct rules_decision *d,
                   bool lowered) {
  struct script *s = script_of_backend(b);
  if (!is_observed(s->host)) return;
  char place[RULES_PLACE_MAX];
  bool allowed = d->verdict == RULES_ALLOW;
  struct verdict by = {
      .decider = DECIDER_RULE, .rule = d->number, .own = d->own, .place = rules_decision_place(d, place)};
  struct reply reply = {.reason = allowed ? REASON_SUCCESS : REASON_NOT_AUTHORIZED};
  tell(s, &(struct observation){
              .operation = o, .client = c, .by = &by, .reply = &reply, .changed = allowed && lowered});
}
