// A property is a row of `rows`: its name, its type, where it may stand, and which numbers it may have.
#include "packet/properties.h"

#include <assert.h>

#include "packet/packet.h"
#include "packet/utf8.h"

#define IN(type) (1u << (type))
#define WILL     IN(PROPERTIES_OF_WILL)
#define CONNECT  IN(PACKET_CONNECT)
#define CONNACK  IN(PACKET_CONNACK)
#define PUBLISH  IN(PACKET_PUBLISH)
#define ACKS     (IN(PACKET_PUBACK) | IN(PACKET_PUBREC) | IN(PACKET_PUBREL) | IN(PACKET_PUBCOMP))
#define LISTS    (IN(PACKET_SUBACK) | IN(PACKET_UNSUBACK))
#define LEAVE    IN(PACKET_DISCONNECT)
#define AUTH     IN(PACKET_AUTH)
#define ANY      0xffffu

static const struct row {
  const char *name;
  uint8_t type;
  bool repeats; // may be there more than once
  uint16_t where;
  uint32_t min, max; // of a number
} rows[PROPERTY_MAX + 1] = {
    [PROPERTY_PAYLOAD_FORMAT_INDICATOR] = {"payload_format_indicator", PROPERTY_BYTE, false, PUBLISH | WILL,
                                           0, 1},
    [PROPERTY_MESSAGE_EXPIRY_INTERVAL] = {"message_expiry_interval", PROPERTY_U32, false, PUBLISH | WILL, 0,
                                          UINT32_MAX},
    [PROPERTY_CONTENT_TYPE] = {"content_type", PROPERTY_STRING, false, PUBLISH | WILL, 0, 0},
    [PROPERTY_RESPONSE_TOPIC] = {"response_topic", PROPERTY_STRING, false, PUBLISH | WILL, 0, 0},
    [PROPERTY_CORRELATION_DATA] = {"correlation_data", PROPERTY_BINARY, false, PUBLISH | WILL, 0, 0},
    [PROPERTY_SUBSCRIPTION_IDENTIFIER] = {"subscription_identifier", PROPERTY_VARINT, true,
                                          PUBLISH | IN(PACKET_SUBSCRIBE), 1, 268435455},
    [PROPERTY_SESSION_EXPIRY_INTERVAL] = {"session_expiry_interval", PROPERTY_U32, false,
                                          CONNECT | CONNACK | LEAVE, 0, UINT32_MAX},
    [PROPERTY_ASSIGNED_CLIENT_IDENTIFIER] = {"assigned_client_identifier", PROPERTY_STRING, false, CONNACK, 0,
                                             0},
    [PROPERTY_SERVER_KEEP_ALIVE] = {"server_keep_alive", PROPERTY_U16, false, CONNACK, 0, UINT16_MAX},
    [PROPERTY_AUTHENTICATION_METHOD] = {"authentication_method", PROPERTY_STRING, false,
                                        CONNECT | CONNACK | AUTH, 0, 0},
    [PROPERTY_AUTHENTICATION_DATA] = {"authentication_data", PROPERTY_BINARY, false, CONNECT | CONNACK | AUTH,
                                      0, 0},
    [PROPERTY_REQUEST_PROBLEM_INFORMATION] = {"request_problem_information", PROPERTY_BYTE, false, CONNECT, 0,
                                              1},
    [PROPERTY_WILL_DELAY_INTERVAL] = {"will_delay_interval", PROPERTY_U32, false, WILL, 0, UINT32_MAX},
    [PROPERTY_REQUEST_RESPONSE_INFORMATION] = {"request_response_information", PROPERTY_BYTE, false, CONNECT,
                                               0, 1},
    [PROPERTY_RESPONSE_INFORMATION] = {"response_information", PROPERTY_STRING, false, CONNACK, 0, 0},
    [PROPERTY_SERVER_REFERENCE] = {"server_reference", PROPERTY_STRING, false, CONNACK | LEAVE, 0, 0},
    [PROPERTY_REASON_STRING] = {"reason_string", PROPERTY_STRING, false,
                                CONNACK | ACKS | LISTS | LEAVE | AUTH, 0, 0},
    [PROPERTY_RECEIVE_MAXIMUM] = {"receive_maximum", PROPERTY_U16, false, CONNECT | CONNACK, 1, UINT16_MAX},
    [PROPERTY_TOPIC_ALIAS_MAXIMUM] = {"topic_alias_maximum", PROPERTY_U16, false, CONNECT | CONNACK, 0,
                                      UINT16_MAX},
    [PROPERTY_TOPIC_ALIAS] = {"topic_alias", PROPERTY_U16, false, PUBLISH, 1, UINT16_MAX},
    [PROPERTY_MAXIMUM_QOS] = {"maximum_qos", PROPERTY_BYTE, false, CONNACK, 0, 1},
    [PROPERTY_RETAIN_AVAILABLE] = {"retain_available", PROPERTY_BYTE, false, CONNACK, 0, 1},
    [PROPERTY_USER_PROPERTY] = {"user_property", PROPERTY_PAIR, true, ANY, 0, 0},
    [PROPERTY_MAXIMUM_PACKET_SIZE] = {"maximum_packet_size", PROPERTY_U32, false, CONNECT | CONNACK, 1,
                                      UINT32_MAX},
    [PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE] = {"wildcard_subscription_available", PROPERTY_BYTE, false,
                                                  CONNACK, 0, 1},
    [PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE] = {"subscription_identifier_available", PROPERTY_BYTE, false,
                                                    CONNACK, 0, 1},
    [PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE] = {"shared_subscription_available", PROPERTY_BYTE, false,
                                                CONNACK, 0, 1},
};

// --- variable byte integers ---

bool packet_take_varint(struct slice *in, uint32_t *out) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4 && i < in->len; i++) {
    value |= (in->ptr[i] & 0x7fu) << 7 * i;
    if (in->ptr[i] >= 0x80) continue;
    if (i && !in->ptr[i]) return false; // it fits into fewer [MQTT-1.5.5-1]
    *in = slice_from(*in, i + 1);
    *out = value;
    return true;
  }
  return false;
}

// --- walking ---

static bool take_number(struct slice *in, size_t size, uint32_t *out) {
  if (in->len < size) return false;
  *out = 0;
  for (size_t i = 0; i < size; i++)
    *out = *out << 8 | in->ptr[i];
  *in = slice_from(*in, size);
  return true;
}

static bool take_bytes(struct slice *in, struct slice *out) {
  uint32_t len;
  if (!take_number(in, 2, &len) || in->len < len) return false;
  *out = slice_of(in->ptr, len);
  *in = slice_from(*in, len);
  return true;
}

static bool take_value(struct slice *in, struct packet_property *out) {
  switch (out->type) {
  case PROPERTY_BYTE: return take_number(in, 1, &out->number);
  case PROPERTY_U16: return take_number(in, 2, &out->number);
  case PROPERTY_U32: return take_number(in, 4, &out->number);
  case PROPERTY_VARINT: return packet_take_varint(in, &out->number);
  case PROPERTY_PAIR: return take_bytes(in, &out->name) && take_bytes(in, &out->value);
  default: return take_bytes(in, &out->value);
  }
}

static const struct row *row_of(uint32_t id) {
  return id <= PROPERTY_MAX && rows[id].name ? &rows[id] : NULL;
}

bool packet_next_property(struct slice *rest, struct packet_property *out) {
  uint32_t id;
  *out = (struct packet_property){0};
  if (!rest->len || !packet_take_varint(rest, &id) || !row_of(id)) return false;
  out->id = (uint8_t)id;
  out->type = rows[id].type;
  return take_value(rest, out);
}

bool packet_find_property(const struct packet_properties *p, enum packet_property_id id,
                          struct packet_property *out) {
  if (!packet_has_property(p, id)) return false;
  struct slice rest = p->raw;
  while (packet_next_property(&rest, out))
    if (out->id == id) return true;
  return false;
}

uint32_t packet_property_number(const struct packet_properties *p, enum packet_property_id id,
                                uint32_t otherwise) {
  struct packet_property found;
  return packet_find_property(p, id, &found) ? found.number : otherwise;
}

struct packet_properties packet_properties_of(struct slice raw) {
  struct packet_properties p = {.raw = raw};
  for (struct packet_property q; packet_next_property(&raw, &q);)
    p.present |= UINT64_C(1) << q.id;
  return p;
}

// --- checking ---

static int check_value(const struct row *row, const struct packet_property *p) {
  switch (row->type) {
  case PROPERTY_BINARY: return 0;
  case PROPERTY_PAIR:
    return utf8_valid(p->name) && utf8_valid(p->value) ? 0 : PACKET_BAD_STRING; // [MQTT-1.5.7-1]
  case PROPERTY_STRING: return utf8_valid(p->value) ? 0 : PACKET_BAD_STRING;
  default:
    if (p->number >= row->min && p->number <= row->max) return 0;
    return p->id == PROPERTY_TOPIC_ALIAS ? PACKET_BAD_ALIAS : PACKET_BAD_VALUE;
  }
}

static bool is_topic(struct slice s) { // [MQTT-3.3.2-14]
  return s.len && !memchr(s.ptr, '#', s.len) && !memchr(s.ptr, '+', s.len);
}

// A subscription identifier stands once in a SUBSCRIBE, but several times in a PUBLISH.
static bool may_repeat(const struct row *row, uint32_t id, uint8_t packet_type) {
  return row->repeats && (id != PROPERTY_SUBSCRIPTION_IDENTIFIER || packet_type == PACKET_PUBLISH);
}

int packet_check_properties(struct packet_properties *p, uint8_t packet_type) {
  struct slice rest = p->raw;
  p->present = 0;
  while (rest.len) {
    struct packet_property q;
    if (!packet_next_property(&rest, &q)) return PACKET_BAD_PROPERTY;
    const struct row *row = &rows[q.id];
    if (!(row->where >> packet_type & 1)) return PACKET_BAD_PROPERTY;
    if (packet_has_property(p, q.id) && !may_repeat(row, q.id, packet_type)) return PACKET_REPEATED_PROPERTY;
    p->present |= UINT64_C(1) << q.id;
    int error = check_value(row, &q);
    if (error) return error;
    if (q.id == PROPERTY_RESPONSE_TOPIC && !is_topic(q.value)) return PACKET_BAD_VALUE;
  }
  bool data = packet_has_property(p, PROPERTY_AUTHENTICATION_DATA);
  return data && !packet_has_property(p, PROPERTY_AUTHENTICATION_METHOD) ? PACKET_BAD_VALUE : 0;
}

// --- building ---

static uint8_t *reserve(struct buf *raw, enum packet_property_id id, size_t size) {
  assert(row_of(id));
  buf_reserve(raw, 1 + size);
  raw->ptr[raw->len++] = (uint8_t)id;
  return raw->ptr + raw->len;
}

void packet_add_number(struct buf *raw, enum packet_property_id id, uint32_t number) {
  uint8_t type = rows[id].type;
  assert(type <= PROPERTY_VARINT);
  uint8_t *at = reserve(raw, id, 4);
  if (type == PROPERTY_VARINT) {
    raw->len = (size_t)(packet_put_varint(at, number) - raw->ptr);
    return;
  }
  size_t size = type == PROPERTY_BYTE ? 1 : type == PROPERTY_U16 ? 2 : 4;
  for (size_t i = 0; i < size; i++)
    at[i] = (uint8_t)(number >> 8 * (size - 1 - i));
  raw->len += size;
}

static void add_bytes(struct buf *raw, struct slice s) {
  assert(s.len <= UINT16_MAX);
  uint8_t len[2] = {(uint8_t)(s.len >> 8), (uint8_t)s.len};
  buf_add(raw, len, sizeof len);
  buf_add_slice(raw, s);
}

void packet_add_value(struct buf *raw, enum packet_property_id id, struct slice value) {
  assert(rows[id].type == PROPERTY_STRING || rows[id].type == PROPERTY_BINARY);
  reserve(raw, id, 2 + value.len);
  add_bytes(raw, value);
}

void packet_add_pair(struct buf *raw, struct slice name, struct slice value) {
  reserve(raw, PROPERTY_USER_PROPERTY, 4 + name.len + value.len);
  add_bytes(raw, name);
  add_bytes(raw, value);
}

// --- names ---

const char *packet_property_name(uint8_t id) { return row_of(id) ? rows[id].name : NULL; }

int packet_property_by_name(struct slice name) {
  for (int id = 1; id <= PROPERTY_MAX; id++)
    if (rows[id].name && slice_eq(name, slice_str(rows[id].name))) return id;
  return 0;
}

enum packet_property_type packet_property_type(uint8_t id) {
  assert(row_of(id));
  return rows[id].type;
}

bool packet_may_have_property(uint8_t packet_type, uint8_t id) {
  const struct row *row = row_of(id);
  return row && row->where >> packet_type & 1;
}

void packet_property_range(uint8_t id, uint32_t *min, uint32_t *max) {
  assert(row_of(id) && rows[id].type <= PROPERTY_VARINT);
  *min = rows[id].min;
  *max = rows[id].max;
}
