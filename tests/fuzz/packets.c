#include "packets.h"

#include "fuzz.h"

#define PAYLOAD_LARGE 17000u // more than a flush copies; up to four times as much

static const char *const topics[] = {"a",      "a/b",   "a/b/c",    "$SYS/x", "/",   "b",
                                     "$x",     "a//c",  "a/b/d",    "c",      "c/d", "a/b/c/d/e/f/g/h",
                                     "//////", "$x/y/", "\xc2\x80", "b/b"};

static const char *const filters[] = {"#",   "a/#",  "+",      "a/+",   "a",
                                      "a/b", "b",    "$SYS/#", "+/+/c", "/",
                                      "$x",  "a//c", "$x/#",   "+/+",   "a/b/+/d/e/f/g/h",
                                      "c/#"};

static struct slice topic_of(uint8_t byte) { return slice_str(topics[byte & 15]); }

static struct slice filter_of(uint8_t byte) { return slice_str(filters[byte & 15]); }

static uint16_t id_of(uint8_t byte) { // some of them share a slot of a small table
  static const uint16_t ids[] = {1, 2, 3, 9, 17, 10, 33, 65535};
  return ids[byte & 7];
}

static struct packet connect_of(struct slice *in) {
  static const char *const ids[] = {"x", "y", "z", ""};
  uint8_t flags = fuzz_byte(in);
  struct packet p = {.type = PACKET_CONNECT};
  p.connect = (struct packet_connect){.version = flags & 0x40 ? MQTT_3_1 : MQTT_3_1_1,
                                      .clean_session = flags & 4,
                                      .keep_alive = flags & 8 ? 2 : 0,
                                      .client_id = slice_str(ids[flags & 3]),
                                      .has_will = flags & 16};
  if (flags & 16)
    p.connect.will = (struct packet_message){
        .topic = topic_of(flags >> 5), .payload = SLICE("will"), .qos = flags >> 6 & 1, .retain = flags >> 7};
  return p;
}

void fuzz_connect(struct slice *in, struct buf *out) {
  struct packet p = connect_of(in);
  packet_encode(&p, p.connect.version, out);
}

void fuzz_login(struct slice *in, struct buf *out) {
  static const char *const words[] = {"u", "p", "", "up"};
  uint8_t byte = fuzz_byte(in);
  struct packet p = connect_of(in);
  p.connect.has_username = true;
  p.connect.username = slice_str(words[byte & 3]);
  p.connect.has_password = !(byte & 16);
  if (p.connect.has_password) p.connect.password = slice_str(words[byte >> 2 & 3]);
  packet_encode(&p, p.connect.version, out);
}

struct packet_message fuzz_message(struct slice *in) {
  static const uint8_t payload[PAYLOAD_LARGE * 4];
  uint8_t flags = fuzz_byte(in), size = fuzz_byte(in), qos = flags >> 4 & 3;
  size_t len = size & 31 ? (size & 31) - 1u : PAYLOAD_LARGE + size * 200u;
  return (struct packet_message){.topic = topic_of((flags & 7) | (flags >> 3 & 8)),
                                 .payload = slice_of(payload, len),
                                 .qos = qos == 3 ? 2 : qos,
                                 .retain = flags >> 3 & 1};
}

void fuzz_publish(struct slice *in, struct buf *out) {
  uint8_t flags = in->len ? in->ptr[0] : 0, size = in->len > 1 ? in->ptr[1] : 0;
  struct packet p = {.type = PACKET_PUBLISH, .publish.message = fuzz_message(in)};
  p.publish.dup = flags >> 7 && p.publish.message.qos;
  if (p.publish.message.qos) p.id = id_of(size >> 5);
  packet_encode(&p, MQTT_3_1_1, out);
}

static void put_list(struct slice *in, uint8_t type, struct buf *out) {
  struct buf list = BUF_INIT;
  uint8_t count = 1 + (fuzz_byte(in) & 3);
  for (int n = 0; n < count; n++) {
    uint8_t byte = fuzz_byte(in);
    if (type == PACKET_SUBSCRIBE)
      packet_add_subscription(&list, filter_of(byte >> 2), byte % 3);
    else
      packet_add_filter(&list, filter_of(byte >> 2));
  }
  struct packet p = {.type = type, .id = 1 + count};
  p.subscribe = (struct packet_list){.count = count, .list = buf_slice(&list)};
  packet_encode(&p, MQTT_3_1_1, out);
  buf_release(&list);
}

void fuzz_subscribe(struct slice *in, struct buf *out) { put_list(in, PACKET_SUBSCRIBE, out); }

void fuzz_unsubscribe(struct slice *in, struct buf *out) { put_list(in, PACKET_UNSUBSCRIBE, out); }

void fuzz_ack(struct slice *in, struct buf *out) {
  uint8_t byte = fuzz_byte(in), type = PACKET_PUBACK + (byte & 3), id = 1 + (byte >> 2 & 15);
  struct packet p = {.type = type, .id = type == PACKET_PUBREL ? id_of(byte >> 2) : id};
  packet_encode(&p, MQTT_3_1_1, out);
}

void fuzz_empty(uint8_t type, struct buf *out) {
  packet_encode(&(struct packet){.type = type}, MQTT_3_1_1, out);
}
