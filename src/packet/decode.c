// The decoder. A packet type is a row of `rows`: which flags of the fixed header it may have, which remaining
// lengths are possible, and a function for the body. The fixed header is judged as far as it is there, so
// that nothing is waited for that would be refused; the body is judged when it is complete, so no function
// below meets a partial one.
#include <assert.h>

#include "packet/decode_impl.h"
#include "packet/packet.h"
#include "packet/utf8.h"

#define ANY_LENGTH (PACKET_MAX_SIZE - 5)

// Topics

static inline uint64_t load_u64(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

static inline uint64_t load_u32(const uint8_t *at) {
  uint32_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

// Whether all eight bytes are U+0001..U+007F and no wildcards. Without high bits the sums have no carry, and
// the high bit of a byte of a sum is clear where that byte was zero; `#` and `+` differ in one bit, which is
// masked out.
static inline bool word_is_plain(uint64_t word) {
  const uint64_t ones = UINT64_MAX / 255, high = 0x80 * ones;
  static_assert(('#' | 0x08) == '+', "the wildcards differ in bit 3");
  uint64_t not_null = word + 0x7f * ones;
  uint64_t not_wild = ((word & ~(0x08 * ones)) ^ ('#' * ones)) + 0x7f * ones;
  return (~word & not_null & not_wild & high) == high;
}

// Whether a topic name is valid at first sight: not empty, ASCII, no U+0000, no wildcard. Reads overlap at
// the end; what is missing to a word is filled up with a plain letter.
static inline bool topic_is_plain(struct slice topic) {
  const uint8_t *at = topic.ptr;
  size_t len = topic.len;
  if (len >= 8) {
    for (size_t i = 0; i < len - 8; i += 8)
      if (!word_is_plain(load_u64(at + i))) return false;
    return word_is_plain(load_u64(at + len - 8));
  }
  if (len >= 4) return word_is_plain(load_u32(at) | load_u32(at + len - 4) << 32);
  if (!len) return false;
  return word_is_plain(UINT64_C(0x6161616161000000) | at[0] | (uint64_t)at[len / 2] << 8 |
                       (uint64_t)at[len - 1] << 16);
}

// 0, PACKET_BAD_STRING or PACKET_BAD_TOPIC.
static int check_topic(struct slice topic) {
  if (topic_is_plain(topic)) return 0;
  if (!utf8_valid(topic)) return PACKET_BAD_STRING;
  if (!topic.len || memchr(topic.ptr, '#', topic.len) || memchr(topic.ptr, '+', topic.len))
    return PACKET_BAD_TOPIC;
  return 0;
}

// A `+` is a level of its own, a `#` is one and the last.
static bool wildcards_valid(struct slice filter) {
  for (size_t i = 0; i < filter.len; i++) {
    uint8_t c = filter.ptr[i];
    if (c != '+' && c != '#') continue;
    bool last = i + 1 == filter.len;
    if (i && filter.ptr[i - 1] != '/') return false;
    if (!last && (c == '#' || filter.ptr[i + 1] != '/')) return false;
  }
  return true;
}

// 0, PACKET_BAD_STRING or PACKET_BAD_FILTER.
// The filter of a shared subscription. Its name is no level of it, and for the broker to judge [MQTT5 4.8.2].
static struct slice without_share(struct slice filter) {
  if (!slice_starts(filter, SLICE("$share/"))) return filter;
  struct slice rest = slice_from(filter, 7);
  const uint8_t *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
  return slice_from(rest, slash ? (size_t)(slash - rest.ptr) + 1 : rest.len);
}

static int check_filter(struct slice filter) {
  if (!utf8_valid(filter)) return PACKET_BAD_STRING;
  return filter.len && wildcards_valid(without_share(filter)) ? 0 : PACKET_BAD_FILTER;
}

// PUBLISH, the hot path

// Takes what stands between a PUBLISH's id and its payload. Most have no properties.
static inline int publish_properties(struct packet *p, struct slice *rest) {
  if (rest->len && !rest->ptr[0]) {
    *rest = slice_from(*rest, 1);
    return p->publish.message.topic.len ? 0 : PACKET_NO_TOPIC;
  }
  struct packet_properties *properties = &p->publish.message.properties;
  int error = decode_properties(rest, properties, PACKET_PUBLISH);
  if (error) return error;
  bool named = p->publish.message.topic.len || packet_has_property(properties, PROPERTY_TOPIC_ALIAS);
  return named ? 0 : PACKET_NO_TOPIC;
}

static inline int decode_publish(struct packet *p, uint8_t first, struct slice body, uint8_t version) {
  uint8_t qos = first >> 1 & 3;
  size_t topic_len = get_u16(body.ptr), header = 2 + topic_len + (qos ? 2 : 0);
  if (header > body.len) return PACKET_MALFORMED_LENGTH;
  struct slice topic = slice_of(body.ptr + 2, topic_len);
  int error = topic.len || version != MQTT_5 ? check_topic(topic) : 0;
  if (error) return error;
  p->type = PACKET_PUBLISH;
  p->id = qos ? get_u16(body.ptr + header - 2) : 0;
  if (qos && !p->id) return PACKET_BAD_ID;
  p->publish = (struct packet_publish){
      .message = {.topic = topic, .payload = slice_from(body, header), .qos = qos, .retain = first & 1},
      .dup = first & 8,
  };
  return version == MQTT_5 ? publish_properties(p, &p->publish.message.payload) : 0;
}

// Parts of a body: each takes its bytes off the front of `in`.

static bool take_u16(struct slice *in, uint16_t *out) {
  if (in->len < 2) return false;
  *out = get_u16(in->ptr);
  *in = slice_from(*in, 2);
  return true;
}

int decode_properties(struct slice *in, struct packet_properties *out, uint8_t packet_type) {
  uint32_t len;
  if (!packet_take_varint(in, &len) || len > in->len) return PACKET_MALFORMED_LENGTH;
  out->raw = slice_of(in->ptr, len);
  *in = slice_from(*in, len);
  return packet_check_properties(out, packet_type);
}

static bool take_binary(struct slice *in, struct slice *out) {
  if (in->len < 2) return false;
  size_t len = get_u16(in->ptr);
  if (in->len - 2 < len) return false;
  *out = slice_of(in->ptr + 2, len);
  *in = slice_from(*in, 2 + len);
  return true;
}

static int take_string(struct slice *in, struct slice *out) {
  if (!take_binary(in, out)) return PACKET_MALFORMED_LENGTH;
  return utf8_valid(*out) ? 0 : PACKET_BAD_STRING;
}

int decode_id(struct slice *in, uint16_t *out) {
  if (!take_u16(in, out)) return PACKET_MALFORMED_LENGTH;
  return *out ? 0 : PACKET_BAD_ID;
}

// CONNECT

enum { // [MQTT 3.1.2.3]
  CONNECT_RESERVED = 0x01,
  CONNECT_CLEAN_SESSION = 0x02,
  CONNECT_WILL = 0x04,
  CONNECT_WILL_QOS_SHIFT = 3,
  CONNECT_WILL_RETAIN = 0x20,
  CONNECT_PASSWORD = 0x40,
  CONNECT_USERNAME = 0x80,
};

// Name and level. `*known` tells whether the rest can be read.
static int take_protocol(struct slice *in, struct packet_connect *c, bool *known) {
  struct slice name;
  if (!take_binary(in, &name) || !in->len) return PACKET_MALFORMED_LENGTH;
  uint8_t level = in->ptr[0];
  *in = slice_from(*in, 1);
  if (slice_eq(name, SLICE("MQIsdp"))) {
    if (level != MQTT_3_1) return PACKET_BAD_PROTOCOL;
    *known = true;
  } else {
    if (!slice_eq(name, SLICE("MQTT"))) return PACKET_BAD_PROTOCOL;
    *known = level == MQTT_3_1_1 || level == MQTT_5;
    if (level == MQTT_3_1) level = 0;
  }
  c->version = level;
  return 0;
}

static int take_connect_flags(struct slice *in, struct packet_connect *c) {
  if (!in->len) return PACKET_MALFORMED_LENGTH;
  uint8_t flags = in->ptr[0];
  *in = slice_from(*in, 1);
  c->clean_session = flags & CONNECT_CLEAN_SESSION;
  c->has_will = flags & CONNECT_WILL;
  c->has_username = flags & CONNECT_USERNAME;
  c->has_password = flags & CONNECT_PASSWORD;
  c->will.qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
  c->will.retain = flags & CONNECT_WILL_RETAIN;
  if (flags & CONNECT_RESERVED) return PACKET_BAD_CONNECT_FLAGS;
  if (c->has_password && !c->has_username && c->version != MQTT_5) return PACKET_BAD_CONNECT_FLAGS;
  if (!c->has_will && (c->will.qos || c->will.retain)) return PACKET_BAD_WILL;
  return c->will.qos == 3 ? PACKET_BAD_QOS : 0;
}

static int take_will(struct slice *in, struct packet_message *will, uint8_t version) {
  if (version == MQTT_5) {
    int wrong = decode_properties(in, &will->properties, PROPERTIES_OF_WILL);
    if (wrong) return wrong;
  }
  if (!take_binary(in, &will->topic) || !take_binary(in, &will->payload)) return PACKET_MALFORMED_LENGTH;
  int error = check_topic(will->topic);
  return error == PACKET_BAD_TOPIC && version != MQTT_5 ? PACKET_BAD_WILL : error;
}

static int take_credentials(struct slice *in, struct packet_connect *c) {
  bool may_lack = c->version == MQTT_3_1; // MQTT 3.1, 3.1: the remaining length goes before the flags
  if (may_lack && !in->len) c->has_username = false;
  if (c->has_username) {
    int error = take_string(in, &c->username);
    if (error) return error;
  }
  if (may_lack && !in->len) c->has_password = false;
  if (c->has_password && !take_binary(in, &c->password)) return PACKET_MALFORMED_LENGTH;
  return 0;
}

static int decode_connect(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  struct packet_connect *c = &p->connect;
  bool known;
  int error = take_protocol(&in, c, &known);
  if (error || !known) return error;
  if ((error = take_connect_flags(&in, c))) return error;
  if (!take_u16(&in, &c->keep_alive)) return PACKET_MALFORMED_LENGTH;
  if (c->version == MQTT_5 && (error = decode_properties(&in, &c->properties, PACKET_CONNECT))) return error;
  if ((error = take_string(&in, &c->client_id))) return error;
  if (c->has_will && (error = take_will(&in, &c->will, c->version))) return error;
  if ((error = take_credentials(&in, c))) return error;
  return in.len ? PACKET_MALFORMED_LENGTH : 0;
}

// The others

static int decode_connack(struct packet *p, struct slice in, uint8_t version) {
  uint8_t flags = in.ptr[0], code = in.ptr[1];
  if (flags > (version == MQTT_3_1 ? 0 : 1) || code > CONNACK_NOT_AUTHORIZED) return PACKET_BAD_CODE;
  if (flags && code) return PACKET_BAD_CODE; // [MQTT-3.2.2-4]
  p->connack.session_present = flags;
  p->connack.code = code;
  return 0;
}

static int decode_ack(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  return decode_id(&in, &p->id);
}

static int check_options(uint8_t options, uint8_t version) {
  if (version != MQTT_5) return options > 2 ? PACKET_BAD_QOS : 0; // [MQTT-3.8.3-4]
  if ((options & SUBSCRIPTION_QOS) == 3) return PACKET_BAD_VALUE;
  if (options & 0xc0) return PACKET_BAD_OPTIONS; // [MQTT-3.8.3-5]
  bool handled = (options & SUBSCRIPTION_RETAIN_HANDLING) != SUBSCRIPTION_RETAIN_HANDLING;
  return handled ? 0 : PACKET_BAD_VALUE;
}

static int decode_subscribe(struct packet *p, struct slice in, uint8_t version) {
  int error = decode_id(&in, &p->id);
  if (!error && version == MQTT_5) error = decode_properties(&in, &p->subscribe.properties, p->type);
  if (error) return error;
  p->subscribe.list = in;
  for (struct packet_subscription s; in.len; p->subscribe.count++) {
    if (!packet_next_subscription(&in, version, &s)) return PACKET_MALFORMED_LENGTH;
    if ((error = check_filter(s.filter))) return error;
    if ((error = check_options(s.options, version))) return error;
  }
  return p->subscribe.count ? 0 : PACKET_EMPTY_LIST;
}

static int decode_unsubscribe(struct packet *p, struct slice in, uint8_t version) {
  int error = decode_id(&in, &p->id);
  if (!error && version == MQTT_5) error = decode_properties(&in, &p->unsubscribe.properties, p->type);
  if (error) return error;
  p->unsubscribe.list = in;
  for (struct slice filter; in.len; p->unsubscribe.count++) {
    if (!packet_next_filter(&in, &filter)) return PACKET_MALFORMED_LENGTH;
    if ((error = check_filter(filter))) return error;
  }
  return p->unsubscribe.count ? 0 : PACKET_EMPTY_LIST;
}

static int decode_suback(struct packet *p, struct slice in, uint8_t version) {
  (void)version;
  int error = decode_id(&in, &p->id);
  if (error) return error;
  for (size_t i = 0; i < in.len; i++)
    if (in.ptr[i] > 2 && in.ptr[i] != SUBACK_FAILURE) return PACKET_BAD_CODE; // [MQTT-3.9.3-2]
  p->suback.count = (uint32_t)in.len;
  p->suback.list = in;
  return 0;
}

static int decode_empty(struct packet *p, struct slice in, uint8_t version) {
  (void)p, (void)in, (void)version;
  return 0;
}

// The fixed header

#define NONE     (1u << 0) // flags as the set of legal values of the low four bits
#define QOS1     (1u << 2)
#define QOS1_DUP (1u << 10)

struct row {
  uint16_t flags;
  uint16_t flags_3_1; // legal in MQTT 3.1 besides
  uint32_t min, max;  // of the remaining length
  int (*body)(struct packet *p, struct slice in, uint8_t version);
};

static const struct row rows[16] = {
    [PACKET_CONNECT] = {NONE, 0, 7, ANY_LENGTH, decode_connect},
    [PACKET_CONNACK] = {NONE, 0, 2, 2, decode_connack},
    [PACKET_PUBLISH] = {0x3c3f, 0, 2, ANY_LENGTH, NULL}, // no QoS 3, no dup with QoS 0
    [PACKET_PUBACK] = {NONE, 0, 2, 2, decode_ack},
    [PACKET_PUBREC] = {NONE, 0, 2, 2, decode_ack},
    [PACKET_PUBREL] = {QOS1, QOS1_DUP, 2, 2, decode_ack},
    [PACKET_PUBCOMP] = {NONE, 0, 2, 2, decode_ack},
    [PACKET_SUBSCRIBE] = {QOS1, QOS1_DUP, 2, ANY_LENGTH, decode_subscribe},
    [PACKET_SUBACK] = {NONE, 0, 3, ANY_LENGTH, decode_suback},
    [PACKET_UNSUBSCRIBE] = {QOS1, QOS1_DUP, 2, ANY_LENGTH, decode_unsubscribe},
    [PACKET_UNSUBACK] = {NONE, 0, 2, 2, decode_ack},
    [PACKET_PINGREQ] = {NONE, 0, 0, 0, decode_empty},
    [PACKET_PINGRESP] = {NONE, 0, 0, 0, decode_empty},
    [PACKET_DISCONNECT] = {NONE, 0, 0, 0, decode_empty},
};

static const struct row rows_5[16] = {
    [PACKET_CONNECT] = {NONE, 0, 7, ANY_LENGTH, decode_connect},
    [PACKET_CONNACK] = {NONE, 0, 3, ANY_LENGTH, decode_connack_5},
    [PACKET_PUBLISH] = {0x3c3f, 0, 3, ANY_LENGTH, NULL},
    [PACKET_PUBACK] = {NONE, 0, 2, ANY_LENGTH, decode_ack_5},
    [PACKET_PUBREC] = {NONE, 0, 2, ANY_LENGTH, decode_ack_5},
    [PACKET_PUBREL] = {QOS1, 0, 2, ANY_LENGTH, decode_ack_5},
    [PACKET_PUBCOMP] = {NONE, 0, 2, ANY_LENGTH, decode_ack_5},
    [PACKET_SUBSCRIBE] = {QOS1, 0, 3, ANY_LENGTH, decode_subscribe},
    [PACKET_SUBACK] = {NONE, 0, 4, ANY_LENGTH, decode_codes_5},
    [PACKET_UNSUBSCRIBE] = {QOS1, 0, 3, ANY_LENGTH, decode_unsubscribe},
    [PACKET_UNSUBACK] = {NONE, 0, 4, ANY_LENGTH, decode_codes_5},
    [PACKET_PINGREQ] = {NONE, 0, 0, 0, decode_empty},
    [PACKET_PINGRESP] = {NONE, 0, 0, 0, decode_empty},
    [PACKET_DISCONNECT] = {NONE, 0, 0, ANY_LENGTH, decode_reason_5},
    [PACKET_AUTH] = {NONE, 0, 0, ANY_LENGTH, decode_reason_5},
};

static inline const struct row *row_of(uint8_t type, uint8_t version) {
  return version == MQTT_5 ? &rows_5[type] : &rows[type];
}

static inline int check_first(uint8_t first, uint8_t version) {
  const struct row *row = row_of(first >> 4, version);
  unsigned legal = row->flags | (version == MQTT_3_1 ? row->flags_3_1 : 0u);
  if (legal >> (first & 15) & 1) return 0;
  if (!legal) return PACKET_BAD_TYPE;
  return first >> 4 == PACKET_PUBLISH ? PACKET_BAD_QOS : PACKET_BAD_FLAGS;
}

// The length of the fixed header, 0 when it is not complete, or PACKET_MALFORMED_LENGTH.
static inline int read_header(struct slice in, uint32_t *remaining) {
  *remaining = 0;
  for (unsigned i = 1; i <= 4; i++) {
    if (i >= in.len) return 0;
    *remaining |= (in.ptr[i] & 0x7fu) << 7 * (i - 1);
    if (in.ptr[i] < 0x80) return (int)i + 1;
  }
  return PACKET_MALFORMED_LENGTH;
}

// The last of several bytes of a length must not be zero [MQTT5 1.5.5]. Before MQTT 5 it may.
static inline bool header_is_shortest(struct slice in, int header) {
  return header == 2 || in.ptr[header - 1];
}

ssize_t packet_peek_size(struct slice in) {
  uint32_t remaining;
  int header = read_header(in, &remaining);
  return header <= 0 ? header : (ssize_t)header + remaining;
}

uint8_t packet_peek_version(struct slice in) {
  uint32_t remaining;
  int header = read_header(in, &remaining);
  if (header <= 0 || in.ptr[0] >> 4 != PACKET_CONNECT) return 0;
  struct slice rest = slice_from(in, (size_t)header), name;
  return take_binary(&rest, &name) && slice_eq(name, SLICE("MQTT")) && rest.len ? rest.ptr[0] : 0;
}

ssize_t packet_decode(struct packet *p, struct slice in, uint8_t version, size_t limit) {
  assert(version >= MQTT_3_1 && version <= MQTT_5);
  if (!in.len) return 0;
  uint8_t first = in.ptr[0], type = first >> 4;
  int error = check_first(first, version);
  if (error) return error;
  uint32_t remaining;
  int header = read_header(in, &remaining);
  if (header <= 0) return header;
  if (version == MQTT_5 && !header_is_shortest(in, header)) return PACKET_MALFORMED_LENGTH;
  const struct row *row = row_of(type, version);
  if (remaining < row->min || remaining > row->max) return PACKET_MALFORMED_LENGTH;
  size_t size = (size_t)header + remaining;
  if (size > limit) return PACKET_TOO_LARGE;
  if (size > in.len) return 0;
  struct slice body = slice_of(in.ptr + header, remaining);
  if (type == PACKET_PUBLISH) {
    error = decode_publish(p, first, body, version);
  } else {
    memset(p, 0, sizeof *p);
    p->type = type;
    error = row->body(p, body, version);
    if (!error && type == PACKET_CONNECT && p->connect.version == MQTT_5 && !header_is_shortest(in, header))
      error = PACKET_MALFORMED_LENGTH;
  }
  return error ? error : (ssize_t)size;
}

// Lists

bool packet_next_filter(struct slice *rest, struct slice *out) { return take_binary(rest, out); }

bool packet_next_subscription(struct slice *rest, uint8_t version, struct packet_subscription *out) {
  (void)version; // all versions have a filter and a byte
  if (!take_binary(rest, &out->filter) || !rest->len) return false;
  out->options = rest->ptr[0];
  *rest = slice_from(*rest, 1);
  return true;
}
