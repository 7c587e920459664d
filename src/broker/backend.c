#include "broker/backend.h"

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
