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

static const char *const shared[] = {"$share/g/a",   "$share/g/#", "$share/h/a/#", "$share/g/a/b",
                                     "$share/h/a/b", "$share/g/+", "$share/h/b",   "$share/g//",
                                     "$share/g",     "$share//a",  "$share/+/a",   "$share/g/",
                                     "$share/i/a/b", "$share/i/b", "$share/h/#",   "$share"};

static struct slice topic_of(uint8_t byte) { return slice_str(topics[byte & 15]); }

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

static struct packet_message will_of(uint8_t flags, uint8_t times, struct buf *raw) {
  static const uint32_t delays[] = {1, 30, 4000, 10000000};
  packet_add_number(raw, PROPERTY_WILL_DELAY_INTERVAL, delays[times >> 2 & 3]);
  if (times & 16) packet_add_number(raw, PROPERTY_MESSAGE_EXPIRY_INTERVAL, 20);
  return (struct packet_message){.topic = topic_of(times >> 5),
                                 .payload = SLICE("will"),
                                 .qos = flags >> 5 & 1,
                                 .retain = flags >> 6 & 1,
                                 .properties = packet_properties_of(buf_slice(raw))};
}

static void add_connect_limits(uint8_t byte, struct buf *raw) {
  static const uint16_t receive[] = {1, 2, 5, 65535}, aliases[] = {0, 1, 2, 10};
  static const uint32_t sizes[] = {20, 40, 100, 20000};
  packet_add_number(raw, PROPERTY_RECEIVE_MAXIMUM, receive[byte & 3]);
  packet_add_number(raw, PROPERTY_MAXIMUM_PACKET_SIZE, sizes[byte >> 2 & 3]);
  packet_add_number(raw, PROPERTY_TOPIC_ALIAS_MAXIMUM, aliases[byte >> 4 & 3]);
  packet_add_number(raw, PROPERTY_REQUEST_RESPONSE_INFORMATION, byte >> 6 & 1);
  packet_add_number(raw, PROPERTY_REQUEST_PROBLEM_INFORMATION, byte >> 7);
}

void fuzz_connect_5(struct slice *in, struct buf *out) {
  static const char *const ids[] = {"x", "y", "z", ""};
  static const uint32_t expiries[] = {0, 2, 3000, UINT32_MAX};
  struct buf raw = BUF_INIT, of_will = BUF_INIT;
  uint8_t flags = fuzz_byte(in), times = fuzz_byte(in);
  packet_add_number(&raw, PROPERTY_SESSION_EXPIRY_INTERVAL, expiries[times & 3]);
  if (flags >> 7) add_connect_limits(fuzz_byte(in), &raw);
  struct packet p = {.type = PACKET_CONNECT};
  p.connect = (struct packet_connect){.version = MQTT_5,
                                      .clean_session = flags & 4,
                                      .keep_alive = flags & 8 ? 2 : 0,
                                      .client_id = slice_str(ids[flags & 3]),
                                      .has_will = flags & 16,
                                      .properties = packet_properties_of(buf_slice(&raw))};
  if (flags & 16) p.connect.will = will_of(flags, times, &of_will);
  packet_encode(&p, MQTT_5, out);
  buf_release(&raw);
  buf_release(&of_will);
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

static void add_publish_properties(struct slice *in, struct buf *raw) {
  uint8_t byte = fuzz_byte(in);
  if (byte & 3) packet_add_number(raw, PROPERTY_TOPIC_ALIAS, byte & 3);
  if (byte & 4) packet_add_number(raw, PROPERTY_MESSAGE_EXPIRY_INTERVAL, byte >> 5);
  if (byte & 8) packet_add_number(raw, PROPERTY_PAYLOAD_FORMAT_INDICATOR, byte >> 7);
  if (byte & 16) packet_add_pair(raw, SLICE("a"), SLICE("b"));
}

void fuzz_publish(struct slice *in, uint8_t version, struct buf *out) {
  uint8_t flags = in->len ? in->ptr[0] : 0, size = in->len > 1 ? in->ptr[1] : 0;
  struct buf raw = BUF_INIT;
  struct packet p = {.type = PACKET_PUBLISH, .publish.message = fuzz_message(in)};
  p.publish.dup = flags >> 7 && p.publish.message.qos;
  if (p.publish.message.qos) p.id = id_of(size >> 5);
  if (version == MQTT_5) add_publish_properties(in, &raw);
  p.publish.message.properties = packet_properties_of(buf_slice(&raw));
  packet_encode(&p, version, out);
  buf_release(&raw);
}

static uint8_t options_of(struct slice *in) {
  static const uint8_t handling[] = {0, 0x10, 0x20, 0};
  uint8_t byte = fuzz_byte(in);
  return (byte & (SUBSCRIPTION_NO_LOCAL | SUBSCRIPTION_RETAIN_AS_PUBLISHED)) | handling[byte >> 4 & 3];
}

static void put_list(struct slice *in, const char *const filters_of[16], uint8_t type, uint8_t version,
                     struct buf *out) {
  struct buf list = BUF_INIT, raw = BUF_INIT;
  uint8_t head = fuzz_byte(in), count = 1 + (head & 3);
  for (int n = 0; n < count; n++) {
    uint8_t byte = fuzz_byte(in);
    struct slice filter = slice_str(filters_of[byte >> 2 & 15]);
    if (type == PACKET_SUBSCRIBE)
      packet_add_subscription(&list, filter, byte % 3 | (version == MQTT_5 ? options_of(in) : 0));
    else
      packet_add_filter(&list, filter);
  }
  if (type == PACKET_SUBSCRIBE && head >> 4) packet_add_number(&raw, PROPERTY_SUBSCRIPTION_IDENTIFIER, head);
  struct packet p = {.type = type, .id = 1 + count};
  p.subscribe = (struct packet_list){
      .count = count, .list = buf_slice(&list), .properties = packet_properties_of(buf_slice(&raw))};
  packet_encode(&p, version, out);
  buf_release(&list);
  buf_release(&raw);
}

void fuzz_subscribe(struct slice *in, uint8_t version, struct buf *out) {
  put_list(in, filters, PACKET_SUBSCRIBE, version, out);
}

void fuzz_unsubscribe(struct slice *in, uint8_t version, struct buf *out) {
  put_list(in, filters, PACKET_UNSUBSCRIBE, version, out);
}

void fuzz_share(struct slice *in, uint8_t version, struct buf *out) {
  put_list(in, shared, PACKET_SUBSCRIBE, version, out);
}

void fuzz_unshare(struct slice *in, uint8_t version, struct buf *out) {
  put_list(in, shared, PACKET_UNSUBSCRIBE, version, out);
}

static uint8_t reason_of(struct slice *in) {
  static const uint8_t reasons[] = {0, 0, 0, 0x80, 0x87, 0x97, 0x10, 0x92};
  return reasons[fuzz_byte(in) & 7];
}

void fuzz_ack(struct slice *in, uint8_t version, struct buf *out) {
  uint8_t byte = fuzz_byte(in), type = PACKET_PUBACK + (byte & 3), id = 1 + (byte >> 2 & 15);
  struct packet p = {.type = type, .id = type == PACKET_PUBREL ? id_of(byte >> 2) : id};
  if (version == MQTT_5) p.ack.reason = reason_of(in);
  if (!packet_may_have_reason(type, p.ack.reason)) p.ack.reason = 0;
  packet_encode(&p, version, out);
}

void fuzz_disconnect(struct slice *in, uint8_t version, struct buf *out) {
  struct buf raw = BUF_INIT;
  struct packet p = {.type = PACKET_DISCONNECT};
  uint8_t byte = version == MQTT_5 ? fuzz_byte(in) : 0;
  if (byte & 1) p.ack.reason = 4; // with the will
  if (byte & 2) packet_add_number(&raw, PROPERTY_SESSION_EXPIRY_INTERVAL, byte >> 4);
  p.ack.properties = packet_properties_of(buf_slice(&raw));
  packet_encode(&p, version, out);
  buf_release(&raw);
}

void fuzz_auth(struct slice *in, struct buf *out) {
  static const uint8_t reasons[] = {0x00, 0x18, 0x19, 0x18};
  struct buf raw = BUF_INIT;
  struct packet p = {.type = PACKET_AUTH};
  uint8_t byte = fuzz_byte(in);
  p.ack.reason = reasons[byte & 3];
  if (byte & 12) packet_add_value(&raw, PROPERTY_AUTHENTICATION_METHOD, byte & 4 ? SLICE("m") : SLICE("n"));
  if (byte & 12 && byte & 16)
    packet_add_value(&raw, PROPERTY_AUTHENTICATION_DATA, byte & 32 ? SLICE("d") : SLICE(""));
  p.ack.properties = packet_properties_of(buf_slice(&raw));
  packet_encode(&p, MQTT_5, out);
  buf_release(&raw);
}

void fuzz_ping(struct buf *out) { packet_encode(&(struct packet){.type = PACKET_PINGREQ}, MQTT_3_1_1, out); }
