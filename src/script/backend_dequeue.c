// The decorator's dequeue: once a delivery. One that a hook is asked about, and that waits for the answer, is
// held beside the client's queue: nothing behind it is delivered, and it goes back to the front when the
// client ends.
#include "base/mem.h"
#include "script/observe.h"
#include "script/script_impl.h"

#define REFUSED_A_FLUSH 1000 // deliveries that a hook refuses in one turn

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
void backend_put_back(struct script *s, struct client *c) {
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
  message_unref(d->message);
  d->message = changed;
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
  backend_reply(call, &reply);
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
    backend_put_back(s, c);
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
  backend_reply(call, &reply);
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

bool backend_dequeue(struct backend *b, struct client *c, struct delivery *d) {
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
