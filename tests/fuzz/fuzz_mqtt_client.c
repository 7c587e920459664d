// The client without I/O, with a server that sends whatever the input says: well-formed packets of few ids,
// and bytes. A second server that tells the truth reads what the client sends, and holds it to what it was
// told: every packet decodes, none is larger than announced, no more messages are under way than may be, no
// alias is unknown, and nothing follows a DISCONNECT. Fed whole and byte by byte all must come out the same.
#include "base/mem.h"
#include "client/client.h"
#include "fuzz.h"

#define IDS     8
#define ALIASES 3
#define STEPS   200

struct run {
  struct mqtt_client client;
  struct buf from_server; // of the step under way
  struct buf said;        // events and sent packets in text form
  bool bytewise;
  // what the server knows
  uint8_t version;
  uint32_t maximum_packet_size, receive_maximum, topic_alias_maximum;
  uint8_t *under_way; // by packet id: a PUBLISH that has come on this connection and is not done with
  uint32_t under_way_count;
  bool aliases[ALIASES + 1]; // it has a topic for these
  bool ended;                // a DISCONNECT has come
  uint32_t published, done;  // messages of QoS 1 and 2
};

// What the server hears

static void hear_publish(struct run *r, const struct packet *p) {
  const struct packet_message *m = &p->publish.message;
  uint32_t alias = packet_property_number(&m->properties, PROPERTY_TOPIC_ALIAS, 0);
  CHECK(alias <= r->topic_alias_maximum);
  CHECK(m->topic.len || r->aliases[alias]);
  if (alias) r->aliases[alias] = true;
  if (!m->qos) return;
  CHECK(!r->under_way[p->id]); // one message an id, once a connection
  r->under_way[p->id] = 1;
  r->under_way_count++;
  CHECK(r->under_way_count <= r->receive_maximum);
}

static void hear(struct run *r) {
  struct slice out = buf_slice(&r->client.out);
  while (out.len) {
    struct packet p;
    ssize_t n = packet_decode(&p, out, r->version, PACKET_MAX_SIZE);
    CHECK(n > 0);
    CHECK(p.type == PACKET_CONNECT || (size_t)n <= r->maximum_packet_size);
    CHECK(!r->ended);
    if (p.type == PACKET_PUBLISH) hear_publish(r, &p);
    if (p.type == PACKET_DISCONNECT) r->ended = true;
    packet_format(&p, r->version, &r->said);
    out = slice_from(out, (size_t)n);
  }
  r->client.out.len = 0;
}

// What the client makes of it

static void take_events(struct run *r) {
  struct mqtt_client_event e;
  while (mqtt_client_next(&r->client, &e)) {
    buf_printf(&r->said, "[%d %u %u]", e.type, e.id, e.code);
    if (e.type == MQTT_CLIENT_MESSAGE) CHECK(e.message.topic.len);
    if (e.type == MQTT_CLIENT_PUBLISHED) r->done++;
    if (e.type == MQTT_CLIENT_ERROR || e.type == MQTT_CLIENT_DISCONNECTED)
      CHECK(r->client.state == MQTT_CLIENT_ENDED);
  }
}

static void feed(struct run *r) {
  struct slice in = buf_slice(&r->from_server);
  size_t step = r->bytewise ? 1 : in.len;
  for (; in.len; in = slice_from(in, step)) {
    mqtt_client_feed(&r->client, slice_of(in.ptr, step));
    take_events(r);
  }
  hear(r);
}

// The server's packets

static void add_number(struct buf *raw, enum packet_property_id id, uint32_t number) {
  packet_add_number(raw, id, number);
}

static void say(struct run *r, const struct packet *p) {
  r->from_server.len = 0;
  packet_encode(p, r->version, &r->from_server);
  feed(r);
}

// What it announces is in force before the client answers.
static void say_connack(struct run *r, uint8_t choice) {
  struct buf raw = BUF_INIT;
  bool of_5 = r->version == MQTT_5 && r->client.state == MQTT_CLIENT_CONNECTING;
  if (of_5) {
    r->receive_maximum = 1 + (choice & 3);
    r->topic_alias_maximum = choice >> 2 & 3;
    r->maximum_packet_size = choice & 16 ? 20 : PACKET_MAX_SIZE;
    add_number(&raw, PROPERTY_RECEIVE_MAXIMUM, r->receive_maximum);
    add_number(&raw, PROPERTY_TOPIC_ALIAS_MAXIMUM, r->topic_alias_maximum);
    if (choice & 16) add_number(&raw, PROPERTY_MAXIMUM_PACKET_SIZE, r->maximum_packet_size);
  }
  struct packet_connack body = {.session_present = choice & 32,
                                .code = choice & 32        ? 0
                                        : choice >> 6 == 3 ? CONNACK_NOT_AUTHORIZED
                                                           : 0,
                                .properties = packet_properties_of(buf_slice(&raw))};
  if (body.code && r->version == MQTT_5) body.code = REASON_NOT_AUTHORIZED;
  say(r, &(struct packet){.type = PACKET_CONNACK, .connack = body});
  buf_release(&raw);
}

static void set_under_way(struct run *r, uint16_t id, bool on) {
  r->under_way_count += (uint32_t)on - r->under_way[id];
  r->under_way[id] = on;
}

// PUBACK, PUBREC and PUBCOMP may end a message, and make room before the client uses it. Whether they do is
// the client's to say: it knows which of them it waits for.
static void say_ack(struct run *r, uint8_t type, uint16_t id, bool refuses) {
  uint8_t reason = refuses && r->version == MQTT_5 && type != PACKET_PUBCOMP ? REASON_QUOTA_EXCEEDED : 0;
  if (reason && type == PACKET_PUBREL) reason = REASON_PACKET_IDENTIFIER_NOT_FOUND;
  bool known = r->under_way[id], may_end = type != PACKET_PUBREL && (type != PACKET_PUBREC || reason);
  uint32_t done = r->done;
  if (known && may_end) set_under_way(r, id, false);
  say(r, &(struct packet){.type = type, .id = id, .ack = {.reason = reason}});
  if (known && r->done == done) set_under_way(r, id, true);
}

static void say_publish(struct run *r, uint8_t choice, uint16_t id) {
  struct buf raw = BUF_INIT;
  if (r->version == MQTT_5 && choice & 4) add_number(&raw, PROPERTY_TOPIC_ALIAS, 1 + (choice >> 3 & 3));
  struct packet_message m = {.topic = raw.len && choice & 32 ? SLICE("") : SLICE("topic"),
                             .payload = SLICE("x"),
                             .properties = packet_properties_of(buf_slice(&raw)),
                             .qos = choice % 3};
  say(r, &(struct packet){.type = PACKET_PUBLISH, .id = m.qos ? id : 0, .publish = {.message = m}});
  buf_release(&raw);
}

static void say_codes(struct run *r, uint8_t type, uint16_t id, uint8_t choice) {
  struct packet_list body = {.count = 1 + (choice & 1), .list = slice_of("\0\0", 1 + (choice & 1))};
  if (type == PACKET_UNSUBACK && r->version != MQTT_5) body = (struct packet_list){0};
  say(r, &(struct packet){.type = type, .id = id, .suback = body});
}

static void say_bytes(struct run *r, struct slice bytes) {
  r->from_server.len = 0;
  buf_add_slice(&r->from_server, bytes);
  feed(r);
}

// The client's calls

static void publish(struct run *r, uint8_t choice) {
  static const char *const topics[] = {"a", "topic", "another/topic", "a/topic/that/is/long"};
  struct packet_message m = {
      .topic = slice_str(topics[choice & 3]), .payload = SLICE("x"), .qos = choice >> 2 & 3};
  if (m.qos == 3) m.qos = 1;
  bool refused = mqtt_client_refuses(&r->client, &m) != NULL;
  if (r->client.inflight >= IDS - 2) return; // few ids
  uint16_t id = mqtt_client_publish(&r->client, &m);
  CHECK(!id == (refused || !m.qos));
  r->published += id != 0;
  hear(r);
}

static void connect(struct run *r) {
  uint32_t before = r->client.inflight;
  mqtt_client_connect(&r->client);
  r->published -= before - r->client.inflight; // a clean start forgets them
  memset(r->under_way, 0, PACKET_ID_MAX + 1);
  r->under_way_count = 0;
  memset(r->aliases, 0, sizeof r->aliases);
  r->receive_maximum = UINT16_MAX;
  r->maximum_packet_size = PACKET_MAX_SIZE;
  r->topic_alias_maximum = 0;
  r->ended = false;
  hear(r);
}

static void call(struct run *r, uint8_t choice) {
  struct mqtt_client *c = &r->client;
  if (choice % 8 == 0) connect(r);
  if (c->state != MQTT_CLIENT_CONNECTED) return;
  switch (choice % 8) {
  case 1: mqtt_client_ping(c); break;
  case 2: mqtt_client_subscribe(c, &(struct packet_subscription){SLICE("a/+"), 1}, 1, NULL); break;
  case 3: mqtt_client_unsubscribe(c, &SLICE("a/that/is/very/long"), 1, NULL); break;
  case 4:
    if (choice & 128) mqtt_client_disconnect(c, REASON_SUCCESS, NULL);
    break;
  default: publish(r, choice >> 3);
  }
  hear(r);
}

static void answer(struct run *r, struct slice *in, uint8_t choice) {
  static const uint8_t acks[] = {PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBREL, PACKET_PUBCOMP};
  uint8_t more = fuzz_byte(in);
  uint16_t id = (uint16_t)(1 + more % IDS);
  switch (choice % 8) {
  case 0: say_connack(r, more); break;
  case 1:
  case 2: say_ack(r, acks[more >> 6], id, more & 32); break;
  case 3: say_publish(r, choice >> 3, id); break;
  case 4: say_codes(r, PACKET_SUBACK, id, choice >> 3); break;
  case 5: say_codes(r, PACKET_UNSUBACK, id, choice >> 3); break;
  case 6: say_bytes(r, fuzz_take(in, more % 16)); break;
  default:
    if (r->version == MQTT_5 && more & 1) say(r, &(struct packet){.type = PACKET_DISCONNECT});
  }
}

static struct buf run(struct slice in, bool bytewise) {
  uint8_t first = fuzz_byte(&in);
  struct buf raw = BUF_INIT;
  struct run r = {.bytewise = bytewise, .version = first & 3 ? MQTT_5 : MQTT_3_1_1};
  r.under_way = mem_calloc(1, PACKET_ID_MAX + 1);
  struct mqtt_client_options options = {
      .version = r.version, .clean_session = first & 4, .topic_aliases = first >> 3 & 3, .id = SLICE("c")};
  if (r.version == MQTT_5 && first & 32) add_number(&raw, PROPERTY_TOPIC_ALIAS_MAXIMUM, 2);
  if (r.version == MQTT_5 && first & 64) add_number(&raw, PROPERTY_RECEIVE_MAXIMUM, 2);
  options.properties = packet_properties_of(buf_slice(&raw));
  mqtt_client_init(&r.client, &options);
  buf_release(&raw);
  connect(&r);
  for (int step = 0; in.len && step < STEPS; step++) {
    uint8_t choice = fuzz_byte(&in);
    if (choice & 1)
      call(&r, choice >> 1);
    else
      answer(&r, &in, choice >> 1);
    CHECK(r.client.inflight == r.published - r.done);
    CHECK(r.client.under_way <= r.client.inflight);
  }
  mqtt_client_release(&r.client);
  mem_free(r.under_way);
  buf_release(&r.from_server);
  return r.said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buf whole = run(slice_of(data, size), false), dripped = run(slice_of(data, size), true);
  CHECK(slice_eq(buf_slice(&whole), buf_slice(&dripped)));
  buf_release(&whole);
  buf_release(&dripped);
  return 0;
}
