// A whole broker in the test's process: memory connections, a clock that the test moves, no network and no
// waiting.
//
//   struct harness *h = harness_new(NULL);
//   struct peer *p = peer_connect(h, "id", true);          // CONNECT, and its CONNACK checked
//   peer_subscribe(p, "a/#", 1);
//   peer_send_hex(p, "30 05 00 01 61 78 79");               // raw bytes
//   struct packet got;
//   peer_expect(p, PACKET_PUBLISH, &got);                   // fails the test when something else or nothing
//                                                           // came
//   peer_expect_nothing(p);
//   harness_advance(h, 1500);                               // milliseconds, from timer to timer
//   peer_expect_closed(p);
//   harness_free(h);                                        // frees the peers too
//
// A peer speaks 3.1.1 until it sends a CONNECT of another version. The properties of MQTT 5 are text, the
// specification's names in snake case: "message_expiry_interval=60 user_property=name:value".
//
//   struct peer *p = peer_connect_5(h, "id", true, "receive_maximum=2");
//   peer_expect_properties(p, "maximum_packet_size=8388608"); // of the packet that came last
//   peer_publish_5(p, "t", "x", 0, false, "content_type=text");
//   peer_expect_disconnect(p, REASON_PROTOCOL_ERROR);         // and the end
#ifndef LUAMQ_TESTS_HARNESS_H
#define LUAMQ_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/client.h"
#include "broker/memory.h"
#include "broker/shard.h"
#include "transport/memory.h"

struct harness {
  struct loop *loop;
  struct shard *shard;
  struct backend *memory; // the memory backend, also below a decorator
  struct list peers;
  struct list texts; // what harness_properties has made
};

struct peer {
  struct list node;
  struct harness *harness;
  struct memory_peer *memory;
  uint8_t version; // enum mqtt_version
  struct buf last; // the bytes of the packet that peer_next returned
  uint16_t next_id;
};

struct harness *harness_new(const struct settings *settings); // NULL: the defaults
void harness_free(struct harness *h);
void harness_run(struct harness *h); // turns until nothing happens; no time passes
void harness_advance(struct harness *h, uint64_t ms);
// Resets all peers that are open, lets a minute pass, and expects that no client is left behind.
void harness_end_peers(struct harness *h);
struct session *harness_session(struct harness *h, const char *id); // NULL when there is none

struct peer *peer_open(struct harness *h); // a connection that has sent nothing
// The same, admitted and counted as one from 192.0.2.x.
struct peer *peer_open_from(struct harness *h, uint8_t x);
struct address peer_address(uint8_t x);
void peer_send(struct peer *p, struct slice bytes);  // and runs
void peer_send_hex(struct peer *p, const char *hex); // spaces are skipped
void peer_send_packet(struct peer *p, const struct packet *packet);
// The next packet from the broker; false when there is none. Valid until the next call for this peer.
bool peer_next(struct peer *p, struct packet *out);
void peer_expect(struct peer *p, uint8_t type, struct packet *out); // out may be NULL
void peer_expect_nothing(struct peer *p);                           // no packet, and still open
void peer_expect_closed(struct peer *p);                            // no (further) packet, and closed
bool peer_is_closed(const struct peer *p);

struct packet_connect peer_connect_defaults(const char *id, bool clean); // 3.1.1, no keep alive
uint8_t peer_connect_with(struct peer *p, const struct packet_connect *connect,
                          bool *session_present);                         // the code
struct peer *peer_connect(struct harness *h, const char *id, bool clean); // expects code 0
uint8_t peer_subscribe(struct peer *p, const char *filter, uint8_t qos);  // the return code of SUBACK
uint16_t peer_send_subscribe(struct peer *p, const char *filter, uint8_t options); // expects nothing
void peer_unsubscribe(struct peer *p, const char *filter);                         // expects UNSUBACK
// Sends a PUBLISH with a new packet id, which it returns (0 for QoS 0). Expects nothing.
uint16_t peer_publish(struct peer *p, const char *topic, const char *payload, uint8_t qos, bool retain);
void peer_send_ack(struct peer *p, uint8_t type, uint16_t id);
void peer_expect_ack(struct peer *p, uint8_t type, uint16_t id); // with any reason of success
// Expects a PUBLISH with these contents; returns its packet id. Does not acknowledge it.
uint16_t peer_expect_message(struct peer *p, const char *topic, const char *payload, uint8_t qos);
void peer_disconnect(struct peer *p); // DISCONNECT, and expects the end
void peer_drop(struct peer *p);       // resets the connection

// MQTT 5. Valid as long as the harness.
struct packet_properties harness_properties(struct harness *h, const char *text);
struct packet_connect peer_connect_5_defaults(struct harness *h, const char *id, bool clean_start,
                                              const char *properties);
struct peer *peer_connect_5(struct harness *h, const char *id, bool clean_start, const char *properties);
// The options are QoS and enum subscription_options; returns the reason code of SUBACK.
uint8_t peer_subscribe_5(struct peer *p, const char *filter, uint8_t options, const char *properties);
uint16_t peer_publish_5(struct peer *p, const char *topic, const char *payload, uint8_t qos, bool retain,
                        const char *properties);
// PUBACK, PUBREC, PUBREL, PUBCOMP, and with id 0 DISCONNECT and AUTH.
void peer_send_reason(struct peer *p, uint8_t type, uint16_t id, uint8_t reason, const char *properties);
void peer_expect_reason(struct peer *p, uint8_t type, uint16_t id, uint8_t reason);
void peer_expect_disconnect(struct peer *p, uint8_t reason); // and the end
// The packet that came last has exactly these properties, in this order.
void peer_expect_properties(struct peer *p, const char *text);

#endif
