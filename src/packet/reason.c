#include "packet/reason.h"

#include <stdio.h>

#include "packet/packet.h"

static const struct row {
  uint8_t code;
  const char *name;
} rows[] = {
    {REASON_SUCCESS, "success"},
    {REASON_GRANTED_QOS_1, "granted_qos_1"},
    {REASON_GRANTED_QOS_2, "granted_qos_2"},
    {REASON_DISCONNECT_WITH_WILL_MESSAGE, "disconnect_with_will_message"},
    {REASON_NO_MATCHING_SUBSCRIBERS, "no_matching_subscribers"},
    {REASON_NO_SUBSCRIPTION_EXISTED, "no_subscription_existed"},
    {REASON_CONTINUE_AUTHENTICATION, "continue_authentication"},
    {REASON_RE_AUTHENTICATE, "re_authenticate"},
    {REASON_UNSPECIFIED_ERROR, "unspecified_error"},
    {REASON_MALFORMED_PACKET, "malformed_packet"},
    {REASON_PROTOCOL_ERROR, "protocol_error"},
    {REASON_IMPLEMENTATION_SPECIFIC_ERROR, "implementation_specific_error"},
    {REASON_UNSUPPORTED_PROTOCOL_VERSION, "unsupported_protocol_version"},
    {REASON_CLIENT_IDENTIFIER_NOT_VALID, "client_identifier_not_valid"},
    {REASON_BAD_USER_NAME_OR_PASSWORD, "bad_user_name_or_password"},
    {REASON_NOT_AUTHORIZED, "not_authorized"},
    {REASON_SERVER_UNAVAILABLE, "server_unavailable"},
    {REASON_SERVER_BUSY, "server_busy"},
    {REASON_BANNED, "banned"},
    {REASON_SERVER_SHUTTING_DOWN, "server_shutting_down"},
    {REASON_BAD_AUTHENTICATION_METHOD, "bad_authentication_method"},
    {REASON_KEEP_ALIVE_TIMEOUT, "keep_alive_timeout"},
    {REASON_SESSION_TAKEN_OVER, "session_taken_over"},
    {REASON_TOPIC_FILTER_INVALID, "topic_filter_invalid"},
    {REASON_TOPIC_NAME_INVALID, "topic_name_invalid"},
    {REASON_PACKET_IDENTIFIER_IN_USE, "packet_identifier_in_use"},
    {REASON_PACKET_IDENTIFIER_NOT_FOUND, "packet_identifier_not_found"},
    {REASON_RECEIVE_MAXIMUM_EXCEEDED, "receive_maximum_exceeded"},
    {REASON_TOPIC_ALIAS_INVALID, "topic_alias_invalid"},
    {REASON_PACKET_TOO_LARGE, "packet_too_large"},
    {REASON_MESSAGE_RATE_TOO_HIGH, "message_rate_too_high"},
    {REASON_QUOTA_EXCEEDED, "quota_exceeded"},
    {REASON_ADMINISTRATIVE_ACTION, "administrative_action"},
    {REASON_PAYLOAD_FORMAT_INVALID, "payload_format_invalid"},
    {REASON_RETAIN_NOT_SUPPORTED, "retain_not_supported"},
    {REASON_QOS_NOT_SUPPORTED, "qos_not_supported"},
    {REASON_USE_ANOTHER_SERVER, "use_another_server"},
    {REASON_SERVER_MOVED, "server_moved"},
    {REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "shared_subscriptions_not_supported"},
    {REASON_CONNECTION_RATE_EXCEEDED, "connection_rate_exceeded"},
    {REASON_MAXIMUM_CONNECT_TIME, "maximum_connect_time"},
    {REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "subscription_identifiers_not_supported"},
    {REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, "wildcard_subscriptions_not_supported"},
};
#define ROWS (sizeof rows / sizeof rows[0])

static const struct row *find_row(uint8_t reason) {
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i].code == reason) return &rows[i];
  return NULL;
}

const char *reason_name(uint8_t reason) {
  const struct row *row = find_row(reason);
  return row ? row->name : "unknown";
}

const char *reason_name_in(uint8_t packet_type, uint8_t reason) {
  if (reason != REASON_SUCCESS) return reason_name(reason);
  if (packet_type == PACKET_DISCONNECT) return "normal_disconnection";
  return packet_type == PACKET_SUBACK ? "granted_qos_0" : "success";
}

int reason_by_name(struct slice name) {
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i].code >= 0x80 && slice_eq(slice_str(rows[i].name), name)) return rows[i].code;
  return -1;
}

const char *reason_text(uint8_t reason, char text[REASON_TEXT_SIZE]) {
  const struct row *row = find_row(reason);
  snprintf(text, REASON_TEXT_SIZE, "reason code %u", reason);
  if (row) snprintf(text, REASON_TEXT_SIZE, "%s", row->name);
  for (char *at = text; row && *at; at++)
    if (*at == '_') *at = ' ';
  return text;
}
