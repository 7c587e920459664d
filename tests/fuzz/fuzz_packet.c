// Any bytes, decoded as a stream of packets in each version. What decodes must encode, decode again to the
// same, and be the same bytes where there is only one way to write it; a prefix of it must be partial; what
// is refused must not have been accepted as a prefix; the ways to encode that are made for speed must write
// the same bytes. And the whole input is a string, is it UTF-8?, and the properties of an MQTT 5 packet: a
// second, naive reader says the same of them.
#include "base/mem.h"
#include "fuzz.h"
#include "naive_properties.h"
#include "packet/packet.h"
#include "packet/utf8.h"

#define PREFIXES_MAX 64 // from either end

static ssize_t decode_copy(struct slice in, uint8_t version) {
  struct packet p;
  uint8_t *copy = mem_dup(in.ptr, in.len);
  ssize_t n = packet_decode(&p, slice_of(copy, in.len), version, PACKET_MAX_SIZE);
  mem_free(copy);
  return n;
}

static void check_prefixes(struct slice in, ssize_t whole, uint8_t version) {
  size_t end = whole > 0 ? (size_t)whole : in.len;
  for (size_t len = 0; len < end; len++) {
    if (len == PREFIXES_MAX && end > 2 * PREFIXES_MAX) len = end - PREFIXES_MAX;
    ssize_t n = decode_copy(slice_of(in.ptr, len), version);
    CHECK(n == 0 || (n < 0 && n == whole));
  }
}

static void check_size(struct slice in, size_t size, uint8_t version) {
  struct packet p;
  CHECK(packet_peek_size(in) == (ssize_t)size);
  CHECK(packet_decode(&p, in, version, size) == (ssize_t)size);
  CHECK(packet_decode(&p, in, version, size - 1) == PACKET_TOO_LARGE);
}

// --- what is made for speed ---

static void check_ack(const struct packet *p, uint8_t version, struct slice encoded) {
  uint8_t ack[4];
  if (version == MQTT_5 && encoded.len > sizeof ack) return; // it has a reason
  CHECK(slice_eq(slice_of(ack, packet_put_ack(ack, p->type, p->id)), encoded));
}

static void check_publish(const struct packet *p, uint8_t version, struct slice encoded) {
  const struct packet_message *m = &p->publish.message;
  struct slice properties = m->properties.raw;
  struct buf out = BUF_INIT;
  buf_reserve(&out, PACKET_PUBLISH_HEADER_MAX + m->topic.len);
  out.len = packet_put_publish(out.ptr, packet_publish_flags(m->qos, m->retain, p->publish.dup), p->id,
                               m->topic, properties.len, m->payload.len, version);
  CHECK(out.len <= PACKET_PUBLISH_HEADER_MAX + m->topic.len);
  CHECK(packet_publish_size(m->qos, m->topic.len, properties.len, m->payload.len, version) == encoded.len);
  buf_add_slice(&out, properties);
  buf_add_slice(&out, m->payload);
  CHECK(slice_eq(buf_slice(&out), encoded));
  buf_release(&out);
}

static void check_subscriptions(const struct packet_list *list, uint8_t version) {
  struct slice rest = list->list;
  struct packet_subscription entry;
  struct buf again = BUF_INIT;
  uint32_t count = 0;
  for (; packet_next_subscription(&rest, version, &entry); count++)
    packet_add_subscription(&again, entry.filter, entry.options);
  CHECK(count == list->count && slice_eq(buf_slice(&again), list->list));
  buf_release(&again);
}

static void check_filters(const struct packet_list *list) {
  struct slice rest = list->list, filter;
  struct buf again = BUF_INIT;
  uint32_t count = 0;
  for (; packet_next_filter(&rest, &filter); count++)
    packet_add_filter(&again, filter);
  CHECK(count == list->count && slice_eq(buf_slice(&again), list->list));
  buf_release(&again);
}

static void check_by_type(const struct packet *p, uint8_t version, struct slice encoded) {
  switch (p->type) {
  case PACKET_PUBLISH: check_publish(p, version, encoded); break;
  case PACKET_PUBACK:
  case PACKET_PUBREC:
  case PACKET_PUBREL:
  case PACKET_PUBCOMP: check_ack(p, version, encoded); break;
  case PACKET_UNSUBACK:
    if (version != MQTT_5) check_ack(p, version, encoded);
    break;
  case PACKET_SUBSCRIBE: check_subscriptions(&p->subscribe, version); break;
  case PACKET_UNSUBSCRIBE: check_filters(&p->unsubscribe); break;
  }
}

// --- properties ---

// What stands in front of `rest` is taken off, and put in the same form behind `again`.
static bool copy_property(struct slice *rest, struct buf *again) {
  struct packet_property p;
  if (!packet_next_property(rest, &p)) return false;
  if (p.type == PROPERTY_PAIR)
    packet_add_pair(again, p.name, p.value);
  else if (p.type == PROPERTY_STRING || p.type == PROPERTY_BINARY)
    packet_add_value(again, p.id, p.value);
  else
    packet_add_number(again, p.id, p.number);
  return true;
}

// Found one by one, they are the same bytes; each that is marked as present is found, and no other.
static void check_right_properties(const struct packet_properties *p) {
  struct buf again = BUF_INIT;
  struct slice rest = p->raw;
  while (copy_property(&rest, &again))
    continue;
  CHECK(slice_eq(buf_slice(&again), p->raw));
  CHECK(packet_properties_of(p->raw).present == p->present);
  for (uint8_t id = 0; id < 64; id++) {
    struct packet_property found;
    CHECK(packet_find_property(p, id, &found) == packet_has_property(p, id));
  }
  buf_release(&again);
}

static void check_properties(struct slice in) {
  for (uint8_t type = 0; type < 16; type++) {
    if (naive_place(type) == ' ') continue;
    struct packet_properties p = {.raw = in};
    int error = packet_check_properties(&p, type);
    CHECK(error == naive_check_properties(in, type));
    if (!error) check_right_properties(&p);
  }
}

static void check_of(const struct packet_properties *p, uint8_t type) {
  CHECK(naive_check_properties(p->raw, type) == 0);
  check_right_properties(p);
}

static void check_packet_properties(const struct packet *p) {
  switch (p->type) {
  case PACKET_CONNECT:
    check_of(&p->connect.properties, PACKET_CONNECT);
    check_of(&p->connect.will.properties, PROPERTIES_OF_WILL);
    break;
  case PACKET_CONNACK: check_of(&p->connack.properties, p->type); break;
  case PACKET_PUBLISH: check_of(&p->publish.message.properties, p->type); break;
  case PACKET_SUBSCRIBE:
  case PACKET_SUBACK:
  case PACKET_UNSUBSCRIBE:
  case PACKET_UNSUBACK: check_of(&p->subscribe.properties, p->type); break;
  case PACKET_PINGREQ:
  case PACKET_PINGRESP: break;
  default: check_of(&p->ack.properties, p->type);
  }
}

// --- there and back ---

static uint8_t version_of(const struct packet *p, uint8_t version) {
  return p->type == PACKET_CONNECT ? p->connect.version : version;
}

static bool can_encode(const struct packet *p, uint8_t version) {
  return version_of(p, version) >= MQTT_3_1 && version_of(p, version) <= MQTT_5;
}

// Bytes that may be left out. Before MQTT 5 the remaining length may be written in more bytes than it needs.
// In MQTT 5 a reason of success and no properties may be told or not.
static size_t spare_bytes(const struct packet *p, uint8_t version) {
  if (version_of(p, version) != MQTT_5) return 3;
  bool ends_early = (p->type >= PACKET_PUBACK && p->type <= PACKET_PUBCOMP) || p->type >= PACKET_DISCONNECT;
  return ends_early && !p->ack.properties.raw.len ? 2 : 0;
}

// Only 3.1 leaves anything else open.
static void check_same_bytes(const struct packet *p, struct slice in, struct slice encoded, uint8_t version) {
  if (version_of(p, version) == MQTT_3_1) return;
  CHECK(in.len - encoded.len <= spare_bytes(p, version));
  if (in.len == encoded.len) CHECK(slice_eq(in, encoded));
}

static void check_round_trip(const struct packet *p, struct slice in, uint8_t version) {
  struct buf bytes = BUF_INIT, again = BUF_INIT, text = BUF_INIT, text_again = BUF_INIT;
  struct packet decoded;
  packet_encode(p, version, &bytes);
  CHECK(bytes.len <= in.len);
  check_same_bytes(p, in, buf_slice(&bytes), version);
  CHECK(packet_decode(&decoded, buf_slice(&bytes), version, PACKET_MAX_SIZE) == (ssize_t)bytes.len);
  check_by_type(p, version, buf_slice(&bytes));
  packet_format(p, version, &text);
  packet_format(&decoded, version, &text_again);
  CHECK(slice_eq(buf_slice(&text), buf_slice(&text_again)));
  packet_encode(&decoded, version, &again);
  CHECK(slice_eq(buf_slice(&bytes), buf_slice(&again)));
  buf_release(&bytes);
  buf_release(&again);
  buf_release(&text);
  buf_release(&text_again);
}

static size_t put_utf8(uint32_t rune, uint8_t out[4]) {
  static const uint32_t ends[] = {0x80, 0x800, 0x10000, 0x110000};
  size_t len = 0;
  while (len < 4 && rune >= ends[len])
    len++;
  if (len == 4) return 0;
  for (size_t i = len; i > 0; i--, rune >>= 6)
    out[i] = 0x80 | (rune & 0x3f);
  out[0] = (uint8_t)(len ? 0xff00 >> (len + 1) | rune : rune);
  return len + 1;
}

// Whether each code point, written in the one form that it has, is the same bytes.
static bool naive_utf8(struct slice s) {
  while (s.len) {
    uint8_t lead = s.ptr[0], form[4];
    size_t len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (s.len < len) return false;
    uint32_t rune = len == 1 ? lead : lead & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
      rune = rune << 6 | (s.ptr[i] & 0x3f);
    if (!rune || (rune >= 0xd800 && rune <= 0xdfff)) return false;
    if (put_utf8(rune, form) != len || memcmp(form, s.ptr, len) != 0) return false;
    s = slice_from(s, len);
  }
  return true;
}

static void check_text(struct slice in) {
  CHECK(utf8_valid(in) == naive_utf8(in));
  struct buf text = BUF_INIT;
  packet_format_string(in, &text);
  CHECK(text.len >= in.len + 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"');
  buf_release(&text);
}

static void check_stream(struct slice in, uint8_t version) {
  struct packet p;
  ssize_t n;
  while ((n = packet_decode(&p, in, version, PACKET_MAX_SIZE)) > 0) {
    struct slice first = slice_of(in.ptr, (size_t)n);
    CHECK(first.len <= in.len);
    check_prefixes(in, n, version);
    check_size(in, first.len, version);
    if (version_of(&p, version) == MQTT_5) check_packet_properties(&p);
    if (can_encode(&p, version)) check_round_trip(&p, first, version);
    in = slice_from(in, first.len);
  }
  check_prefixes(in, n, version);
  CHECK(packet_strerror((int)n));
  CHECK(!n || packet_error_reason((int)n) >= 0x80);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check_text(slice_of(data, size));
  check_properties(slice_of(data, size));
  for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++)
    check_stream(slice_of(data, size), version);
  return 0;
}
