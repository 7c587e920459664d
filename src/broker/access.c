#include "broker/access.h"

#include "base/mem.h"
#include "broker/client_impl.h"

struct access {
  struct rules *own;
  struct rules_view *own_view, *view; // groups of its own rules, and of those for all
  uint64_t serial;                    // shard->rules_serial of `view`
  struct pattern_values names;        // what placeholders stand for
  struct slice id, username;          // of which they are
};

void access_free(struct access *a) {
  if (!a) return;
  rules_view_free(a->own_view);
  rules_view_free(a->view);
  rules_unref(a->own);
  mem_free(a);
}

void client_set_rules(struct client *c, struct rules *own) {
  access_free(c->access);
  c->access = NULL;
  if (!own) return;
  c->access = mem_calloc(1, sizeof *c->access);
  c->access->own = own;
}

const struct rules *client_rules(const struct client *c) { return c->access ? c->access->own : NULL; }

// --- names ---

static void look_at_names(struct access *a, struct client *c) {
  a->id = client_id(c);
  a->username = client_username(c);
  a->names = (struct pattern_values){pattern_value(a->id), pattern_value(a->username)};
}

static bool are_same(struct slice a, struct slice b) { return a.ptr == b.ptr && a.len == b.len; }

// The bytes of the names move when the client gets its session and leaves it.
static struct access *access_of(struct client *c) {
  struct shard *s = c->shard;
  if (!c->access) c->access = mem_calloc(1, sizeof *c->access);
  struct access *a = c->access;
  if (!a->id.ptr || !are_same(a->id, client_id(c)) || !are_same(a->username, client_username(c)))
    look_at_names(a, c);
  struct rules_who who = {a->id, a->username};
  if (a->own && !a->own_view) a->own_view = rules_view_new(a->own, &who);
  if (s->rules && (!a->view || a->serial != s->rules_serial)) {
    rules_view_free(a->view);
    a->view = rules_view_new(s->rules, &who);
    a->serial = s->rules_serial;
  }
  return a;
}

// --- deciding ---

static bool is_checked(const struct client *c, enum rules_operation o) {
  const struct rules *all = c->shard->rules, *own = client_rules(c);
  return (all && rules_concern(all, o)) || (own && rules_concern(own, o));
}

bool access_decide(struct client *c, const struct rules_input *input, struct rules_decision *out) {
  if (!is_checked(c, input->operation)) return false;
  struct access *a = access_of(c);
  *out = (struct rules_decision){.verdict = RULES_SILENT};
  if (a->own) {
    rules_decide(a->own, a->own_view, &a->names, input, out);
    out->own = true;
  }
  if (out->verdict == RULES_SILENT && c->shard->rules)
    rules_decide(c->shard->rules, a->view, &a->names, input, out);
  return true;
}

static void tell_ruled(struct client *c, enum operation o, const struct rules_decision *d, bool lowered) {
  if (client_ops(c)->ruled) client_ops(c)->ruled(c->shard->backend, c, o, d, lowered);
}

static const struct verdict *verdict_of(const struct rules_decision *d) {
  char place[RULES_PLACE_MAX];
  struct verdict v = {.decider = DECIDER_RULE, .rule = d->number, .own = d->own};
  return verdict_new(&v, slice_str(rules_decision_place(d, place)));
}

void access_check_publish(struct client *c, const struct message *m, struct reply *reply) {
  if (!client_has_rules(c)) return;
  struct rules_input input = {
      .operation = RULES_PUBLISH, .topic = message_topic(m), .qos = m->qos, .retain = m->retain};
  struct rules_decision d;
  if (!access_decide(c, &input, &d)) return;
  tell_ruled(c, OPERATION_PUBLISH, &d, false);
  if (d.verdict == RULES_ALLOW) return;
  c->shard->stats.acl_denied_publish++;
  reply_refuse(reply, REASON_NOT_AUTHORIZED, verdict_of(&d));
}

void access_check_subscribe(struct client *c, struct subscribe_item *item) {
  struct rules_input input = {.operation = RULES_SUBSCRIBE, .topic = item->filter, .qos = item->code};
  struct rules_decision d;
  if (!access_decide(c, &input, &d)) return;
  tell_ruled(c, OPERATION_SUBSCRIBE, &d, item->code > d.qos);
  if (d.verdict == RULES_ALLOW) {
    if (item->code > d.qos) item->code = d.qos;
    return;
  }
  c->shard->stats.acl_denied_subscribe++;
  item->code = SUBACK_FAILURE;
  item->reason = REASON_NOT_AUTHORIZED;
  item->by = verdict_of(&d);
}

static void refuse_delivery(struct client *c, const struct delivery *d, const struct rules_decision *rule) {
  c->shard->stats.acl_denied_deliver++;
  if (c->session) c->session->dropped++;
  if (!shard_wants(c->shard, EVENT_BACKEND_ERROR)) return;
  struct packet_message view = delivery_view(d);
  struct reply reply = {.reason = REASON_NOT_AUTHORIZED, .by = verdict_of(rule)};
  shard_log(c->shard, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                          .client = c,
                                          .message = &view,
                                          .error = reply_text(&reply),
                                          .refusal = &reply,
                                          .operation = OPERATION_DELIVER});
  reply_release(&reply);
}

bool access_allows_delivery(struct client *c, struct delivery *d) {
  struct rules_input input = {
      .operation = RULES_DELIVER, .topic = message_topic(d->message), .qos = d->qos, .retain = d->retain};
  struct rules_decision rule;
  if (!access_decide(c, &input, &rule)) return true;
  tell_ruled(c, OPERATION_DELIVER, &rule, d->qos > rule.qos);
  if (rule.verdict == RULES_ALLOW) {
    if (d->qos > rule.qos) d->qos = rule.qos;
    return true;
  }
  refuse_delivery(c, d, &rule);
  return false;
}
