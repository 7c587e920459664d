// Reason codes on their way to a peer: a packet, and MQTT 3.1 and 3.1.1, get the nearest one that they have.
#ifndef LUAMQ_BROKER_REASON_H
#define LUAMQ_BROKER_REASON_H

#include <stdint.h>

#include "packet/reason.h"

// The nearest reason code that a packet of MQTT 5 may have (PACKET_PUBACK, PACKET_SUBACK, ...).
uint8_t reason_for(uint8_t packet_type, uint8_t reason);
// The nearest CONNACK return code of MQTT 3.1 and 3.1.1: 1 to 5 for a refusal, 0 for success.
uint8_t reason_connack_code(uint8_t reason);

#endif
