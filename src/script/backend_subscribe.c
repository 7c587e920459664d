// The decorator's subscribe and unsubscribe: the hook is asked once a filter, in their order. When one of
// them has to wait the request stands on the heap, and the client is paused until the last one is decided.
#include "base/mem.h"
#include "script/decision.h"
#include "script/script_impl.h"

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

void backend_subscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
  struct script *s = script_of_backend(b);
  if (hook_defined(s, HOOK_SUBSCRIBE))
    ask_filters(&(struct asking){.script = s, .client = c, .request = request});
  else
    s->inner->ops->subscribe(s->inner, c, request);
}

void backend_unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request) {
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
