#include "cmd/format.h"

#include "packet/utf8.h"

struct message { // what is printed, and when it came
  const struct mqtt_client_event *event;
  struct timespec now;
};

static void add_hex(struct buf *out, struct slice bytes, const char *digits) {
  for (size_t i = 0; i < bytes.len; i++) {
    buf_add_byte(out, (uint8_t)digits[bytes.ptr[i] >> 4]);
    buf_add_byte(out, (uint8_t)digits[bytes.ptr[i] & 15]);
  }
}

static void add_time(struct buf *out, const char *pattern, time_t seconds) {
  struct tm tm;
  char text[128];
  if (localtime_r(&seconds, &tm)) buf_add(out, text, strftime(text, sizeof text, pattern, &tm));
}

static void add_iso_time(struct buf *out, struct timespec now) {
  add_time(out, "%Y-%m-%dT%H:%M:%S", now.tv_sec);
  buf_printf(out, ".%06ld", now.tv_nsec / 1000);
  add_time(out, "%z", now.tv_sec);
}

// A JSON string; what is not UTF-8 becomes U+FFFD.
static void add_json_string(struct buf *out, struct slice text) {
  buf_add_byte(out, '"');
  for (size_t at = 0; at < text.len;) {
    uint32_t rune = 0;
    size_t len = utf8_decode(slice_from(text, at), &rune);
    if (!len)
      buf_add_str(out, "\xef\xbf\xbd");
    else if (rune < 0x20)
      buf_printf(out, "\\u%04x", (unsigned)rune);
    else if (rune == '"' || rune == '\\')
      buf_printf(out, "\\%c", (char)rune);
    else
      buf_add(out, text.ptr + at, len);
    at += len ? len : 1;
  }
  buf_add_byte(out, '"');
}

// "content_type" as "content-type"; those that may come several times make one object.
static void add_json_name(struct buf *out, const char *name) {
  buf_add_byte(out, '"');
  for (; *name; name++)
    buf_add_byte(out, (uint8_t)(*name == '_' ? '-' : *name));
  buf_add_str(out, "\":");
}

static void add_json_user_properties(struct buf *out, struct slice rest) {
  const char *separator = "\"user-properties\":{";
  for (struct packet_property p; packet_next_property(&rest, &p);) {
    if (p.type != PROPERTY_PAIR) continue;
    buf_add_str(out, separator);
    add_json_string(out, p.name);
    buf_add_byte(out, ':');
    add_json_string(out, p.value);
    separator = ",";
  }
  buf_add_byte(out, '}');
}

static void add_json_properties(struct buf *out, const struct packet_properties *properties) {
  struct slice rest = properties->raw;
  bool told = false;
  if (!rest.len) return;
  buf_add_str(out, ",\"properties\":{");
  for (struct packet_property p; packet_next_property(&rest, &p);) {
    if (p.type == PROPERTY_PAIR) continue;
    if (told) buf_add_byte(out, ',');
    told = true;
    add_json_name(out, packet_property_name(p.id));
    if (p.type <= PROPERTY_VARINT)
      buf_printf(out, "%u", p.number);
    else
      add_json_string(out, p.value);
  }
  if (packet_has_property(properties, PROPERTY_USER_PROPERTY)) {
    if (told) buf_add_byte(out, ',');
    add_json_user_properties(out, properties->raw);
  }
  buf_add_byte(out, '}');
}

static void put_json(struct buf *out, const struct message *m) {
  const struct packet_message *message = &m->event->message;
  buf_add_str(out, "{\"tst\":\"");
  add_iso_time(out, m->now);
  buf_add_str(out, "\",\"topic\":");
  add_json_string(out, message->topic);
  buf_printf(out, ",\"qos\":%u,\"retain\":%u,\"payloadlen\":%zu", message->qos, message->retain,
             message->payload.len);
  if (m->event->id) buf_printf(out, ",\"mid\":%u", m->event->id);
  add_json_properties(out, &message->properties);
  buf_add_str(out, ",\"payload\":");
  add_json_string(out, message->payload);
  buf_add_byte(out, '}');
}

static void put_topic(struct buf *out, const struct message *m) {
  buf_add_slice(out, m->event->message.topic);
}
static void put_payload(struct buf *out, const struct message *m) {
  buf_add_slice(out, m->event->message.payload);
}
static void put_hex(struct buf *out, const struct message *m) {
  add_hex(out, m->event->message.payload, "0123456789abcdef");
}
static void put_upper_hex(struct buf *out, const struct message *m) {
  add_hex(out, m->event->message.payload, "0123456789ABCDEF");
}
static void put_length(struct buf *out, const struct message *m) {
  buf_printf(out, "%zu", m->event->message.payload.len);
}
static void put_qos(struct buf *out, const struct message *m) {
  buf_printf(out, "%u", m->event->message.qos);
}
static void put_retain(struct buf *out, const struct message *m) {
  buf_printf(out, "%u", m->event->message.retain);
}
static void put_dup(struct buf *out, const struct message *m) { buf_printf(out, "%u", m->event->dup); }
static void put_id(struct buf *out, const struct message *m) { buf_printf(out, "%u", m->event->id); }
static void put_iso_time(struct buf *out, const struct message *m) { add_iso_time(out, m->now); }
static void put_unix_time(struct buf *out, const struct message *m) {
  buf_printf(out, "%lld.%09ld", (long long)m->now.tv_sec, m->now.tv_nsec);
}
static void put_percent(struct buf *out, const struct message *m) {
  (void)m;
  buf_add_byte(out, '%');
}

// All properties with the id, separated by spaces.
static void put_property(struct buf *out, const struct message *m, enum packet_property_id id) {
  struct slice rest = m->event->message.properties.raw;
  const char *separator = "";
  for (struct packet_property p; packet_next_property(&rest, &p);) {
    if (p.id != id) continue;
    buf_add_str(out, separator);
    separator = " ";
    if (p.type <= PROPERTY_VARINT) buf_printf(out, "%u", p.number);
    buf_add_slice(out, p.name);
    if (p.type == PROPERTY_PAIR) buf_add_byte(out, ':');
    buf_add_slice(out, p.value);
  }
}

static void put_alias(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_TOPIC_ALIAS);
}
static void put_content_type(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_CONTENT_TYPE);
}
static void put_correlation_data(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_CORRELATION_DATA);
}
static void put_expiry(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_MESSAGE_EXPIRY_INTERVAL);
}
static void put_payload_format(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_PAYLOAD_FORMAT_INDICATOR);
}
static void put_user_properties(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_USER_PROPERTY);
}
static void put_response_topic(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_RESPONSE_TOPIC);
}
static void put_subscription_ids(struct buf *out, const struct message *m) {
  put_property(out, m, PROPERTY_SUBSCRIPTION_IDENTIFIER);
}

static const struct {
  char letter;
  void (*put)(struct buf *out, const struct message *m);
} fields[] = {
    {'t', put_topic},
    {'p', put_payload},
    {'x', put_hex},
    {'X', put_upper_hex},
    {'l', put_length},
    {'q', put_qos},
    {'r', put_retain},
    {'d', put_dup},
    {'m', put_id},
    {'I', put_iso_time},
    {'U', put_unix_time},
    {'j', put_json},
    {'%', put_percent},
    {'A', put_alias},
    {'C', put_content_type},
    {'D', put_correlation_data},
    {'E', put_expiry},
    {'F', put_payload_format},
    {'P', put_user_properties},
    {'R', put_response_topic},
    {'S', put_subscription_ids},
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

static size_t find_field(char letter) {
  size_t i = 0;
  while (i < FIELD_COUNT && fields[i].letter != letter)
    i++;
  return i;
}

static const char escape_letters[] = "\\0aenrtv", escape_values[] = "\\\0\a\033\n\r\t\v";
static const char time_letters[] = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"; // what strftime knows

static bool add_at(struct buf *out, char letter, struct timespec now) {
  if (letter == '@') buf_add_byte(out, '@');
  if (letter == 'N') buf_printf(out, "%09ld", now.tv_nsec);
  if (letter == '@' || letter == 'N') return true;
  if (!letter || !strchr(time_letters, letter)) return false;
  add_time(out, (char[]){'%', letter, 0}, now.tv_sec);
  return true;
}

static bool add_escape(struct buf *out, char letter) {
  const char *found = letter ? strchr(escape_letters, letter) : NULL;
  if (found) buf_add_byte(out, (uint8_t)escape_values[found - escape_letters]);
  return found != NULL;
}

// Walks the format; without a message it tells whether the format is valid.
static bool walk(struct buf *out, const char *format, const struct message *m) {
  struct timespec now = m ? m->now : (struct timespec){0};
  for (const char *at = format; *at; at++) {
    size_t field;
    switch (*at) {
    case '%':
      field = find_field(*++at);
      if (field == FIELD_COUNT) return false;
      if (m) fields[field].put(out, m);
      break;
    case '@':
      if (!add_at(out, *++at, now)) return false;
      break;
    case '\\':
      if (!add_escape(out, *++at)) return false;
      break;
    default: buf_add_byte(out, (uint8_t)*at);
    }
  }
  return true;
}

bool format_valid(const char *format) {
  struct buf out = BUF_INIT;
  bool valid = walk(&out, format, NULL);
  buf_release(&out);
  return valid;
}

void format_message(struct buf *out, const char *format, const struct mqtt_client_event *m,
                    struct timespec now) {
  walk(out, format, &(struct message){.event = m, .now = now});
}
