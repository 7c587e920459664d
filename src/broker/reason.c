#include "broker/reason.h"

#include "packet/packet.h"

uint8_t reason_for(uint8_t packet_type, uint8_t reason) {
  if (packet_may_have_reason(packet_type, reason)) return reason;
  uint8_t nearest;
  switch (reason) {
  case REASON_BANNED:
  case REASON_BAD_USER_NAME_OR_PASSWORD:
  case REASON_BAD_AUTHENTICATION_METHOD: nearest = REASON_NOT_AUTHORIZED; break;
  case REASON_SERVER_BUSY:
  case REASON_SERVER_UNAVAILABLE:
  case REASON_MESSAGE_RATE_TOO_HIGH:
  case REASON_CONNECTION_RATE_EXCEEDED: nearest = REASON_QUOTA_EXCEEDED; break;
  default: nearest = REASON_UNSPECIFIED_ERROR;
  }
  return packet_may_have_reason(packet_type, nearest) ? nearest : REASON_UNSPECIFIED_ERROR;
}

uint8_t reason_connack_code(uint8_t reason) {
  switch (reason) {
  case REASON_SUCCESS: return CONNACK_ACCEPTED;
  case REASON_UNSUPPORTED_PROTOCOL_VERSION: return CONNACK_BAD_PROTOCOL_LEVEL;
  case REASON_CLIENT_IDENTIFIER_NOT_VALID: return CONNACK_IDENTIFIER_REJECTED;
  case REASON_BAD_USER_NAME_OR_PASSWORD: return CONNACK_BAD_CREDENTIALS;
  case REASON_UNSPECIFIED_ERROR:
  case REASON_IMPLEMENTATION_SPECIFIC_ERROR:
  case REASON_SERVER_UNAVAILABLE:
  case REASON_SERVER_BUSY:
  case REASON_SERVER_SHUTTING_DOWN:
  case REASON_QUOTA_EXCEEDED:
  case REASON_USE_ANOTHER_SERVER:
  case REASON_SERVER_MOVED:
  case REASON_CONNECTION_RATE_EXCEEDED: return CONNACK_SERVER_UNAVAILABLE;
  default: return CONNACK_NOT_AUTHORIZED;
  }
}
