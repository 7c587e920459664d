// A client without I/O whose server is the test: what goes out and the events as lines of text, with every
// input fed whole and byte by byte.
#ifndef LUAMQ_TESTS_MQTT_CLIENT_FIXTURE_H
#define LUAMQ_TESTS_MQTT_CLIENT_FIXTURE_H

#include "client/client.h"

struct fixture {
  struct mqtt_client client;
  struct buf text; // of events and sent packets, one a line
  bool bytewise;
};

static inline void add_properties(struct fixture *f, const struct packet_properties *properties) {
  struct slice rest = properties->raw;
  for (struct packet_property p; packet_next_property(&rest, &p);) {
    buf_printf(&f->text, " %s=", packet_property_name(p.id));
    if (p.type <= PROPERTY_VARINT)
      buf_printf(&f->text, "%u", p.number);
    else
      buf_printf(&f->text, "%.*s%.*s", (int)p.name.len, (const char *)p.name.ptr, (int)p.value.len,
                 (const char *)p.value.ptr);
  }
}

static inline void add_event(struct fixture *f, const struct mqtt_client_event *e) {
  static const char *const names[] = {"connack", "suback", "unsuback",     "published", "message", "pingresp",
                                      "pubrec",  "pubrel", "disconnected", "auth",      "error"};
  buf_printf(&f->text, "%s", names[e->type]);
  if (e->id) buf_printf(&f->text, " id=%u", e->id);
  if (e->type == MQTT_CLIENT_CONNACK)
    buf_printf(&f->text, " code=%u present=%d", e->code, e->session_present);
  else if (e->code)
    buf_printf(&f->text, " code=%u", e->code);
  for (size_t i = 0; i < e->codes.len; i++)
    buf_printf(&f->text, " %u", e->codes.ptr[i]);
  if (e->type == MQTT_CLIENT_MESSAGE)
    buf_printf(&f->text, " %.*s=%.*s qos=%u%s%s", (int)e->message.topic.len,
               (const char *)e->message.topic.ptr, (int)e->message.payload.len,
               (const char *)e->message.payload.ptr, e->message.qos, e->message.retain ? " retain" : "",
               e->dup ? " dup" : "");
  add_properties(f, &e->properties);
  add_properties(f, &e->message.properties);
  if (e->error) buf_printf(&f->text, " %s", e->error);
  buf_add_byte(&f->text, '\n');
}

static inline void take_events(struct fixture *f) {
  struct mqtt_client_event e;
  while (mqtt_client_next(&f->client, &e))
    add_event(f, &e);
}

static inline void feed(struct fixture *f, struct slice bytes) {
  size_t step = f->bytewise ? 1 : bytes.len;
  for (size_t at = 0; at < bytes.len; at += step) {
    mqtt_client_feed(&f->client, slice_of(bytes.ptr + at, step));
    take_events(f);
  }
}

// From the server.
static inline void receive(struct fixture *f, const struct packet *p) {
  struct buf bytes = BUF_INIT;
  packet_encode(p, f->client.version, &bytes);
  feed(f, buf_slice(&bytes));
  buf_release(&bytes);
}

static inline void receive_ack(struct fixture *f, uint8_t type, uint16_t id) {
  receive(f, &(struct packet){.type = type, .id = id});
}

static inline void receive_connack(struct fixture *f, bool present, uint8_t code) {
  receive(f, &(struct packet){.type = PACKET_CONNACK, .connack = {.session_present = present, .code = code}});
}

static inline void receive_publish(struct fixture *f, uint16_t id, uint8_t qos, bool dup) {
  struct packet_message m = {.topic = SLICE("a"), .payload = SLICE("x"), .qos = qos};
  receive(f, &(struct packet){.type = PACKET_PUBLISH, .id = id, .publish = {.message = m, .dup = dup}});
}

// What the client has sent since the last call, in text form; a server reads it.
static inline void take_sent(struct fixture *f) {
  struct packet p;
  struct slice out = buf_slice(&f->client.out);
  while (out.len) {
    ssize_t n = packet_decode(&p, out, f->client.version, PACKET_MAX_SIZE);
    assert_true(n > 0);
    packet_format(&p, f->client.version, &f->text);
    buf_add_byte(&f->text, '\n');
    out = slice_from(out, (size_t)n);
  }
  f->client.out.len = 0;
}

// Compares what has happened since the last check.
#define expect(f, wanted)                                                                                    \
  do {                                                                                                       \
    take_sent(f);                                                                                            \
    assert_string_equal(buf_text(&(f)->text), wanted);                                                       \
    (f)->text.len = 0;                                                                                       \
  } while (0)

static inline void start(struct fixture *f, struct mqtt_client_options options, bool bytewise) {
  *f = (struct fixture){.bytewise = bytewise, .text = BUF_INIT};
  if (!options.id.len) options.id = SLICE("c");
  mqtt_client_init(&f->client, &options);
  mqtt_client_connect(&f->client);
}

static inline void start_connected(struct fixture *f, struct mqtt_client_options options, bool bytewise) {
  start(f, options, bytewise);
  receive_connack(f, false, CONNACK_ACCEPTED);
  f->text.len = f->client.out.len = 0;
}

static inline void stop(struct fixture *f) {
  mqtt_client_release(&f->client);
  buf_release(&f->text);
}

// Runs a test with whole packets and byte by byte.
#define BOTH_WAYS(name)                                                                                      \
  static void name##_in(bool bytewise);                                                                      \
  static void name(void **state) {                                                                           \
    (void)state;                                                                                             \
    name##_in(false);                                                                                        \
    name##_in(true);                                                                                         \
  }                                                                                                          \
  static void name##_in(bool bytewise)

#endif
