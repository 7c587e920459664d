#include "broker/backend.h"

#include "base/mem.h"

const char *event_name(enum log_event e) {
  static const char *const names[EVENT_COUNT] = {
      [EVENT_NEW_CONNECTION] = "new connection",
      [EVENT_PACKET_RECEIVED] = "packet received",
      [EVENT_MESSAGE_PUBLISHED] = "message published",
      [EVENT_MESSAGE_ACKNOWLEDGED] = "message acknowledged",
      [EVENT_MESSAGE_DEQUEUED] = "message dequeued",
      [EVENT_MESSAGE_FORWARDED] = "message forwarded",
      [EVENT_PACKET_SENT] = "packet sent",
      [EVENT_CLIENT_DISCONNECTED] = "client disconnected",
      [EVENT_TRANSPORT_ERROR] = "transport error",
      [EVENT_SESSION_ERROR] = "session error",
      [EVENT_BACKEND_ERROR] = "backend error",
      [EVENT_CLIENT_ERROR] = "client error",
      [EVENT_LOST_CONNECTION] = "lost connection",
  };
  return names[e];
}

struct buf *told_new(void) {
  return mem_calloc(1, sizeof(struct buf));
}

void told_free(struct buf *told) {
  if (!told) return;
  buf_release(told);
  mem_free(told);
}

void reply_tell(struct reply *reply, struct buf *told) {
  told_free(reply->told);
  reply->told = told;
}

const char *reply_text(const struct reply *reply) {
  if (reply->error) return reply->error;
  return reply->reason == REASON_NOT_AUTHORIZED ? ERROR_NOT_AUTHORIZED : reason_name(reply->reason);
}

struct slice reply_reason_string(const struct reply *reply) {
  struct packet_property text;
  if (!reply->told) return (struct slice){0};
  struct packet_properties told = packet_properties_of(buf_slice(reply->told));
  return packet_find_property(&told, PROPERTY_REASON_STRING, &text) ? text.value : (struct slice){0};
}

static void drop_filter(struct subscribe_item *item) {
  if (item->owned) mem_free((void *)(uintptr_t)item->filter.ptr);
  item->owned = false;
}

void subscribe_item_set_filter(struct subscribe_item *item, struct slice filter) {
  void *copy = mem_dup(filter.ptr, filter.len);
  drop_filter(item);
  item->filter = slice_of(copy, filter.len);
  item->owned = true;
}

void subscribe_request_free(struct subscribe_request *request) {
  for (uint32_t i = 0; i < request->count; i++) {
    drop_filter(&request->list[i]);
    told_free(request->list[i].told);
    verdict_free(request->list[i].by);
  }
  mem_free(request);
}
