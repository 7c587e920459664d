// SUBSCRIBE and UNSUBSCRIBE, and their answers.
#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/share.h"

#define FILTERS_MIN 1000 // that a packet may have in any case

// --- what is asked for ---

// A shared subscription is a name and a filter; one that is malformed stays the text that it is, refused.
static void take_share_off(struct subscribe_item *item) {
  struct slice name, filter;
  if (!share_parse(item->filter, &name, &filter)) return;
  if (!share_valid(name, filter)) {
    item->reason = REASON_TOPIC_FILTER_INVALID; // [MQTT5-4.8.2-1, -2]
    item->by = &verdict_of_protocol;
    return;
  }
  item->share = name;
  item->filter = filter;
}

// Whether settings make available what the filter needs.
static uint8_t check_available(const struct client *c, bool shared, struct slice filter) {
  const struct settings *s = &c->shard->settings;
  if (shared && !s->shared_subscriptions) return REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
  if (!s->wildcard_subscriptions && topic_has_wildcard(filter))
    return REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
  return REASON_SUCCESS;
}

// Of older versions, which were not told.
static void refuse_unavailable(const struct client *c, struct subscribe_item *item) {
  static const struct verdict by_shared = {DECIDER_LIMIT, .name = "backend.shared_subscriptions"};
  static const struct verdict by_wildcard = {DECIDER_LIMIT, .name = "backend.wildcard_subscriptions"};
  item->reason = check_available(c, item->share.len, item->filter);
  if (item->reason)
    item->by = item->reason == REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED ? &by_shared : &by_wildcard;
}

// What ends the connection of an MQTT 5 client, before anything is done: it was told what is not available
// [MQTT5 3.2.2.3.11 to 3.2.2.3.13].
static uint8_t what_is_wrong(const struct client *c, const struct packet_list *list, uint32_t identifier) {
  if (!c->v5) return REASON_SUCCESS;
  if (identifier && !c->shard->settings.subscription_identifiers)
    return REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED;
  struct slice rest = list->list, name, filter;
  for (struct packet_subscription entry; packet_next_subscription(&rest, MQTT_5, &entry);) {
    bool shared = share_parse(entry.filter, &name, &filter);
    uint8_t reason = check_available(c, shared, shared ? filter : entry.filter);
    if (reason != REASON_SUCCESS) return reason;
    if (shared && entry.options & SUBSCRIPTION_NO_LOCAL) return REASON_PROTOCOL_ERROR; // [MQTT5-3.8.3-4]
  }
  return REASON_SUCCESS;
}

// A packet with more filters than a session may have would only take the turn's time from others: megabytes
// of them are seconds of hooks.
static bool has_too_many(struct client *c, const struct packet_list *list) {
  uint32_t most = c->shard->settings.subscriptions;
  if (list->count <= (most > FILTERS_MIN ? most : FILTERS_MIN)) return false;
  c->shard->stats.subscribes_refused += list->count;
  client_fail_with(c, EVENT_CLIENT_ERROR, REASON_QUOTA_EXCEEDED, "too many filters in one packet");
  return true;
}

// --- requests ---

// One allocation: the request, its items, and a copy of the filters that they point into.
static struct subscribe_request *request_new(const struct packet *p, uint32_t count, struct slice list) {
  size_t head = sizeof(struct subscribe_request) + count * sizeof(struct subscribe_item);
  struct subscribe_request *request = mem_alloc(head + list.len);
  uint8_t *copy = (uint8_t *)request + head;
  memcpy(copy, list.ptr, list.len);
  request->id = p->id;
  request->count = 0;
  return request;
}

static struct slice request_copy(const struct subscribe_request *request, uint32_t count, size_t len) {
  return slice_of((const uint8_t *)request + sizeof *request + count * sizeof request->list[0], len);
}

void client_on_subscribe(struct client *c, const struct packet *p) {
  const struct packet_list *list = &p->subscribe;
  if (has_too_many(c, list)) return;
  uint32_t identifier = packet_property_number(&list->properties, PROPERTY_SUBSCRIPTION_IDENTIFIER, 0);
  uint8_t reason = what_is_wrong(c, list, identifier);
  if (reason != REASON_SUCCESS) {
    c->shard->stats.protocol_errors++;
    client_fail_with(c, EVENT_CLIENT_ERROR, reason, ERROR_PROTOCOL);
    return;
  }
  struct subscribe_request *request = request_new(p, list->count, list->list);
  struct slice rest = request_copy(request, list->count, list->list.len);
  struct packet_subscription entry;
  while (packet_next_subscription(&rest, c->version, &entry)) {
    uint8_t qos = entry.options & SUBSCRIPTION_QOS;
    struct subscribe_item *item = &request->list[request->count++];
    *item = (struct subscribe_item){.filter = entry.filter,
                                    .asked = entry.filter,
                                    .qos = qos,
                                    .code = qos,
                                    .options = entry.options & (uint8_t)~SUBSCRIPTION_QOS};
    take_share_off(item);
    if (!item->reason) refuse_unavailable(c, item);
    if (item->reason) item->code = SUBACK_FAILURE;
  }
  request->identifier = identifier;
  c->subscribes++;
  client_ops(c)->subscribe(c->shard->backend, c, request);
}

void client_on_unsubscribe(struct client *c, const struct packet *p) {
  const struct packet_list *list = &p->unsubscribe;
  if (has_too_many(c, list)) return;
  struct subscribe_request *request = request_new(p, list->count, list->list);
  struct slice rest = request_copy(request, list->count, list->list.len), filter;
  while (packet_next_filter(&rest, &filter)) {
    struct subscribe_item *item = &request->list[request->count++];
    *item = (struct subscribe_item){.filter = filter};
    take_share_off(item);
  }
  c->subscribes++;
  client_ops(c)->unsubscribe(c->shard->backend, c, request);
}

// --- answers ---

// What the first refusal of the list tells.
static const struct buf *list_told(const struct subscribe_request *request) {
  for (uint32_t i = 0; i < request->count; i++)
    if (request->list[i].told) return request->list[i].told;
  return NULL;
}

static void list_answered(struct client *c, struct subscribe_request *request, struct packet *p) {
  c->subscribes--;
  if (c->state == CLIENT_CONNECTED) {
    if (client_send_telling(c, p, list_told(request)))
      client_continue(c);
    else // there is no shorter one
      client_fail_with(c, EVENT_CLIENT_ERROR, REASON_PACKET_TOO_LARGE, ERROR_ANSWER_TOO_LARGE);
  }
  subscribe_request_free(request);
}

static void item_refused(struct client *c, enum operation o, uint16_t id, const struct subscribe_item *item) {
  struct reply reply = {.reason = item->reason ? item->reason : REASON_NOT_AUTHORIZED,
                        .error = item->error,
                        .told = item->told,
                        .by = item->by};
  shard_log(c->shard, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                          .client = c,
                                          .error = reply_text(&reply),
                                          .refusal = &reply,
                                          .operation = (uint8_t)o,
                                          .qos = item->qos,
                                          .filter = item->filter});
  client_tell_decision(c, o == OPERATION_SUBSCRIBE ? PACKET_SUBSCRIBE : PACKET_UNSUBSCRIBE, id, &reply);
}

// Before MQTT 5 every refusal is the same.
static uint8_t suback_code(const struct client *c, const struct subscribe_item *item) {
  if (item->code != SUBACK_FAILURE || c->version != MQTT_5) return item->code;
  return reason_for(PACKET_SUBACK, item->reason ? item->reason : REASON_NOT_AUTHORIZED);
}

void client_subscribed(struct client *c, struct subscribe_request *request) {
  uint8_t *codes = mem_alloc(request->count);
  for (uint32_t i = 0; i < request->count; i++) {
    const struct subscribe_item *item = &request->list[i];
    codes[i] = suback_code(c, item);
    if (client_ops(c)->subscribed) client_ops(c)->subscribed(c->shard->backend, c, item, request->identifier);
    if (item->code != SUBACK_FAILURE) continue;
    c->shard->stats.subscribes_refused++;
    item_refused(c, OPERATION_SUBSCRIBE, request->id, item);
  }
  list_answered(
      c, request,
      &(struct packet){.type = PACKET_SUBACK,
                       .id = request->id,
                       .suback = {.count = request->count, .list = slice_of(codes, request->count)}});
  mem_free(codes);
}

void client_unsubscribed(struct client *c, struct subscribe_request *request) {
  uint8_t *codes = mem_alloc(request->count);
  for (uint32_t i = 0; i < request->count; i++) {
    const struct subscribe_item *item = &request->list[i];
    codes[i] = item->reason ? reason_for(PACKET_UNSUBACK, item->reason) : item->code;
    if (item->reason) item_refused(c, OPERATION_UNSUBSCRIBE, request->id, item);
  }
  list_answered(
      c, request,
      &(struct packet){.type = PACKET_UNSUBACK,
                       .id = request->id,
                       .unsuback = {.count = request->count, .list = slice_of(codes, request->count)}});
  mem_free(codes);
}
