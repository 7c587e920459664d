// Names and text forms. A packet type is a row of `rows`: its name and the function that appends its fields.
#include "packet/packet.h"
#include "packet/utf8.h"

// Strings, quoted as Go's %q

struct range {
  uint32_t first, last;
};

// What is not printable beyond ASCII: C1 controls, spaces other than U+0020, format characters, private use,
// non-characters, and the planes that hold no characters. Unassigned code points elsewhere count as
// printable.
static const struct range unprintable[] = {
    {0x80, 0xa0},       {0xad, 0xad},       {0x600, 0x605},      {0x61c, 0x61c},     {0x6dd, 0x6dd},
    {0x70f, 0x70f},     {0x890, 0x891},     {0x8e2, 0x8e2},      {0x1680, 0x1680},   {0x180e, 0x180e},
    {0x2000, 0x200f},   {0x2028, 0x202f},   {0x205f, 0x206f},    {0x3000, 0x3000},   {0xe000, 0xf8ff},
    {0xfdd0, 0xfdef},   {0xfeff, 0xfeff},   {0xfff0, 0xfffb},    {0xfffe, 0xffff},   {0x110bd, 0x110bd},
    {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},  {0x1d173, 0x1d17a}, {0x1fffe, 0x1ffff},
    {0x2fffe, 0x2ffff}, {0x323b0, 0xe00ff}, {0xe01f0, 0x10ffff},
};

static bool rune_printable(uint32_t rune) {
  for (size_t i = 0; i < sizeof unprintable / sizeof *unprintable && rune >= unprintable[i].first; i++)
    if (rune <= unprintable[i].last) return false;
  return true;
}

static void add_escaped(struct buf *out, uint32_t rune) {
  static const char letters[] = "abtnvfr"; // U+0007..U+000D
  if (rune >= 7 && rune <= 13) {
    buf_printf(out, "\\%c", letters[rune - 7]);
  } else if (rune == '"' || rune == '\\') {
    buf_printf(out, "\\%c", (int)rune);
  } else if (rune < 0x80) {
    buf_printf(out, "\\x%02x", rune);
  } else {
    buf_printf(out, rune < 0x10000 ? "\\u%04x" : "\\U%08x", rune);
  }
}

static bool byte_plain(uint8_t c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

void packet_format_string(struct slice s, struct buf *out) {
  buf_reserve(out, s.len + 2);
  buf_add_byte(out, '"');
  for (size_t at = 0; at < s.len;) {
    struct slice rest = slice_from(s, at);
    uint32_t rune;
    size_t len = utf8_decode(rest, &rune);
    if (!len) {
      buf_printf(out, "\\x%02x", rest.ptr[0]);
      len = 1;
    } else if (rune < 0x80 ? byte_plain((uint8_t)rune) : rune_printable(rune)) {
      buf_add(out, rest.ptr, len);
    } else {
      add_escaped(out, rune);
    }
    at += len;
  }
  buf_add_byte(out, '"');
}

static void add_hex(struct buf *out, struct slice s) {
  static const char digits[] = "0123456789abcdef";
  buf_reserve(out, 2 * s.len);
  for (size_t i = 0; i < s.len; i++) {
    out->ptr[out->len++] = (uint8_t)digits[s.ptr[i] >> 4];
    out->ptr[out->len++] = (uint8_t)digits[s.ptr[i] & 15];
  }
}

// Fields: ` Name=value` each

static void add_string(struct buf *out, const char *name, struct slice s) {
  buf_printf(out, " %s=", name);
  packet_format_string(s, out);
}

static void add_number(struct buf *out, const char *name, unsigned value) {
  buf_printf(out, " %s=%u", name, value);
}

static void add_bool(struct buf *out, const char *name, bool value) {
  buf_printf(out, " %s=%s", name, value ? "true" : "false");
}

static void add_separator(struct buf *out, size_t index) {
  if (index) buf_add_str(out, ", ");
}

// "content_type" as "ContentType=".
static void add_name(struct buf *out, const char *name) {
  for (bool upper = true; *name; name++) {
    if (*name == '_')
      upper = true;
    else
      buf_add_byte(out, (uint8_t)(upper ? *name - 'a' + 'A' : *name)), upper = false;
  }
  buf_add_byte(out, '=');
}

static void add_value(struct buf *out, const struct packet_property *p) {
  switch (p->type) {
  case PROPERTY_STRING: packet_format_string(p->value, out); break;
  case PROPERTY_BINARY: add_hex(out, p->value); break;
  case PROPERTY_PAIR:
    packet_format_string(p->name, out);
    buf_add_str(out, "=>");
    packet_format_string(p->value, out);
    break;
  default: buf_printf(out, "%u", p->number);
  }
}

// ` Properties=[ContentType="x", UserProperty="a"=>"b"]`, where there are any. Authentication data is secret.
static void add_properties(struct buf *out, const struct packet_properties *properties) {
  struct slice rest = properties->raw;
  struct packet_property p;
  if (!rest.len) return;
  buf_add_str(out, " Properties=[");
  for (size_t i = 0; packet_next_property(&rest, &p); i++) {
    add_separator(out, i);
    add_name(out, packet_property_name(p.id));
    if (p.id == PROPERTY_AUTHENTICATION_DATA)
      buf_add_str(out, "***");
    else
      add_value(out, &p);
  }
  buf_add_byte(out, ']');
}

void packet_format_message(const struct packet_message *m, struct buf *out) {
  buf_add_str(out, "<Message");
  add_string(out, "Topic", m->topic);
  add_number(out, "QOS", m->qos);
  add_bool(out, "Retain", m->retain);
  buf_add_str(out, " Payload=");
  add_hex(out, m->payload);
  add_properties(out, &m->properties);
  buf_add_byte(out, '>');
}

// Packets

static void add_connect(const struct packet *p, uint8_t version, struct buf *out) {
  (void)version;
  const struct packet_connect *c = &p->connect;
  add_string(out, "ClientID", c->client_id);
  add_number(out, "KeepAlive", c->keep_alive);
  add_string(out, "Username", c->has_username ? c->username : SLICE(""));
  add_string(out, "Password", c->has_password ? SLICE("***") : SLICE(""));
  add_bool(out, "CleanSession", c->clean_session);
  buf_add_str(out, " Will=");
  if (c->has_will)
    packet_format_message(&c->will, out);
  else
    buf_add_str(out, "nil");
  add_number(out, "Version", c->version);
  add_properties(out, &c->properties);
}

static void add_connack(const struct packet *p, uint8_t version, struct buf *out) {
  (void)version;
  add_bool(out, "SessionPresent", p->connack.session_present);
  add_number(out, "ReturnCode", p->connack.code);
  add_properties(out, &p->connack.properties);
}

static void add_publish(const struct packet *p, uint8_t version, struct buf *out) {
  (void)version;
  add_number(out, "ID", p->id);
  buf_add_str(out, " Message=");
  packet_format_message(&p->publish.message, out);
  add_bool(out, "Dup", p->publish.dup);
}

static void add_reason(const struct packet *p, uint8_t version, struct buf *out) {
  if (version != MQTT_5) return;
  add_number(out, "ReasonCode", p->ack.reason);
  add_properties(out, &p->ack.properties);
}

static void add_ack(const struct packet *p, uint8_t version, struct buf *out) {
  add_number(out, "ID", p->id);
  add_reason(p, version, out);
}

// What is not as in an older version.
static void add_options(struct buf *out, uint8_t options) {
  unsigned handling = (options & SUBSCRIPTION_RETAIN_HANDLING) >> SUBSCRIPTION_RETAIN_HANDLING_SHIFT;
  if (options & SUBSCRIPTION_NO_LOCAL) add_bool(out, "NoLocal", true);
  if (options & SUBSCRIPTION_RETAIN_AS_PUBLISHED) add_bool(out, "RetainAsPublished", true);
  if (handling) add_number(out, "RetainHandling", handling);
}

static void add_subscribe(const struct packet *p, uint8_t version, struct buf *out) {
  add_number(out, "ID", p->id);
  buf_add_str(out, " Subscriptions=[");
  struct slice rest = p->subscribe.list;
  struct packet_subscription s;
  for (size_t i = 0; packet_next_subscription(&rest, version, &s); i++) {
    add_separator(out, i);
    packet_format_string(s.filter, out);
    buf_printf(out, "=>%u", s.options & SUBSCRIPTION_QOS);
    add_options(out, s.options);
  }
  buf_add_byte(out, ']');
  add_properties(out, &p->subscribe.properties);
}

static void add_suback(const struct packet *p, uint8_t version, struct buf *out) {
  (void)version;
  add_number(out, "ID", p->id);
  buf_add_str(out, " ReturnCodes=[");
  for (size_t i = 0; i < p->suback.list.len; i++) {
    add_separator(out, i);
    buf_printf(out, "%u", p->suback.list.ptr[i]);
  }
  buf_add_byte(out, ']');
  add_properties(out, &p->suback.properties);
}

// Before MQTT 5 it has no codes.
static void add_unsuback(const struct packet *p, uint8_t version, struct buf *out) {
  if (version == MQTT_5)
    add_suback(p, version, out);
  else
    add_number(out, "ID", p->id);
}

static void add_unsubscribe(const struct packet *p, uint8_t version, struct buf *out) {
  (void)version;
  buf_add_str(out, " Topics=[");
  struct slice rest = p->unsubscribe.list, filter;
  for (size_t i = 0; packet_next_filter(&rest, &filter); i++) {
    add_separator(out, i);
    packet_format_string(filter, out);
  }
  buf_add_byte(out, ']');
  add_properties(out, &p->unsubscribe.properties);
}

static void add_nothing(const struct packet *p, uint8_t version, struct buf *out) {
  (void)p, (void)version, (void)out;
}

static const struct row {
  const char *name;
  void (*fields)(const struct packet *p, uint8_t version, struct buf *out);
} rows[] = {
    [PACKET_CONNECT] = {"Connect", add_connect},    [PACKET_CONNACK] = {"Connack", add_connack},
    [PACKET_PUBLISH] = {"Publish", add_publish},    [PACKET_PUBACK] = {"Puback", add_ack},
    [PACKET_PUBREC] = {"Pubrec", add_ack},          [PACKET_PUBREL] = {"Pubrel", add_ack},
    [PACKET_PUBCOMP] = {"Pubcomp", add_ack},        [PACKET_SUBSCRIBE] = {"Subscribe", add_subscribe},
    [PACKET_SUBACK] = {"Suback", add_suback},       [PACKET_UNSUBSCRIBE] = {"Unsubscribe", add_unsubscribe},
    [PACKET_UNSUBACK] = {"Unsuback", add_unsuback}, [PACKET_PINGREQ] = {"Pingreq", add_nothing},
    [PACKET_PINGRESP] = {"Pingresp", add_nothing},  [PACKET_DISCONNECT] = {"Disconnect", add_reason},
    [PACKET_AUTH] = {"Auth", add_reason},
};

static const struct row *find_row(uint8_t type) {
  static const struct row unknown = {"Unknown", add_nothing};
  return type < sizeof rows / sizeof *rows && rows[type].name ? &rows[type] : &unknown;
}

const char *packet_type_name(uint8_t type) { return find_row(type)->name; }

void packet_format(const struct packet *p, uint8_t version, struct buf *out) {
  const struct row *row = find_row(p->type);
  buf_printf(out, "<%s", row->name);
  row->fields(p, version, out);
  buf_add_byte(out, '>');
}

const char *packet_strerror(int error) {
  static const char *const texts[] = {
      [-PACKET_MALFORMED_LENGTH] = "malformed remaining length",
      [-PACKET_TOO_LARGE] = "read limit exceeded",
      [-PACKET_BAD_TYPE] = "unknown packet type",
      [-PACKET_BAD_FLAGS] = "malformed fixed header flags",
      [-PACKET_BAD_QOS] = "malformed qos",
      [-PACKET_BAD_ID] = "packet id of zero",
      [-PACKET_BAD_STRING] = "malformed utf-8 string",
      [-PACKET_BAD_TOPIC] = "malformed topic name",
      [-PACKET_BAD_FILTER] = "malformed topic filter",
      [-PACKET_BAD_PROTOCOL] = "unknown protocol name or level",
      [-PACKET_BAD_CONNECT_FLAGS] = "malformed connect flags",
      [-PACKET_BAD_WILL] = "malformed will",
      [-PACKET_EMPTY_LIST] = "no topic filters",
      [-PACKET_BAD_CODE] = "unknown return code or flags",
      [-PACKET_BAD_PROPERTY] = "malformed properties",
      [-PACKET_REPEATED_PROPERTY] = "repeated property",
      [-PACKET_BAD_VALUE] = "property or option with a value that is not allowed",
      [-PACKET_BAD_ALIAS] = "topic alias of zero",
      [-PACKET_NO_TOPIC] = "neither topic nor topic alias",
      [-PACKET_BAD_OPTIONS] = "malformed subscription options",
  };
  bool known = error < 0 && error >= PACKET_BAD_OPTIONS;
  return known ? texts[-error] : "unknown packet error";
}

uint8_t packet_error_reason(int error) {
  enum {
    MALFORMED = 0x81,
    PROTOCOL_ERROR = 0x82,
    VERSION = 0x84,
    TOPIC_FILTER = 0x8f,
    TOPIC_NAME = 0x90,
    ALIAS = 0x94,
    LARGE = 0x95
  };
  switch (error) {
  case PACKET_TOO_LARGE: return LARGE;
  case PACKET_BAD_PROTOCOL: return VERSION;
  case PACKET_BAD_ALIAS: return ALIAS;
  case PACKET_BAD_TOPIC: return TOPIC_NAME;
  case PACKET_BAD_FILTER: return TOPIC_FILTER;
  case PACKET_REPEATED_PROPERTY:
  case PACKET_BAD_VALUE:
  case PACKET_NO_TOPIC:
  case PACKET_EMPTY_LIST: return PROTOCOL_ERROR;
  default: return MALFORMED;
  }
}
