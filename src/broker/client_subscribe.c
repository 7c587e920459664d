// SUBSCRIBE and UNSUBSCRIBE, with copies of their filters, and their answers.
#include "base/mem.h"
#include "broker/client_impl.h"

static void list_answered(struct client *c, struct subscribe_request *request, struct packet *p) {
  c->subscribes--;
  if (c->state == CLIENT_CONNECTED) {
    client_send(c, p);
    client_continue(c);
  }
  subscribe_request_free(request);
}

static void subscribe_refused(struct client *c, const struct subscribe_item *item) {
  struct reply reply = {.reason = item->reason ? item->reason : REASON_NOT_AUTHORIZED, .error = item->error};
  c->shard->stats.subscribes_refused++;
  shard_log(c->shard, (struct log_record){.event = EVENT_BACKEND_ERROR,
                                          .client = c,
                                          .filter = item->filter,
                                          .error = client_refusal_text(&reply)});
  client_tell_decision(c, PACKET_SUBSCRIBE, &reply);
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
    if (item->code == SUBACK_FAILURE) subscribe_refused(c, item);
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
    if (item->reason)
      client_tell_decision(c, PACKET_UNSUBSCRIBE,
                           &(struct reply){.reason = item->reason, .error = item->error});
  }
  list_answered(
      c, request,
      &(struct packet){.type = PACKET_UNSUBACK,
                       .id = request->id,
                       .unsuback = {.count = request->count, .list = slice_of(codes, request->count)}});
  mem_free(codes);
}

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
  struct subscribe_request *request = request_new(p, list->count, list->list);
  struct slice rest = request_copy(request, list->count, list->list.len);
  struct packet_subscription entry;
  while (packet_next_subscription(&rest, c->version, &entry)) {
    uint8_t qos = entry.options & SUBSCRIPTION_QOS;
    request->list[request->count++] =
        (struct subscribe_item){.filter = entry.filter,
                                .qos = qos,
                                .code = qos,
                                .options = entry.options & (uint8_t)~SUBSCRIPTION_QOS};
  }
  request->identifier = packet_property_number(&list->properties, PROPERTY_SUBSCRIPTION_IDENTIFIER, 0);
  c->subscribes++;
  client_ops(c)->subscribe(c->shard->backend, c, request);
}

void client_on_unsubscribe(struct client *c, const struct packet *p) {
  const struct packet_list *list = &p->unsubscribe;
  struct subscribe_request *request = request_new(p, list->count, list->list);
  struct slice rest = request_copy(request, list->count, list->list.len), filter;
  while (packet_next_filter(&rest, &filter))
    request->list[request->count++] = (struct subscribe_item){.filter = filter};
  c->subscribes++;
  client_ops(c)->unsubscribe(c->shard->backend, c, request);
}
