#include "harness.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/mem.h"

struct text {
  struct list node;
  struct buf raw;
};

struct harness *harness_new(const struct settings *settings) {
  struct settings defaults;
  settings_init(&defaults);
  struct harness *h = mem_calloc(1, sizeof *h);
  list_init(&h->peers);
  list_init(&h->texts);
  h->loop = loop_new_virtual(1000000);
  h->shard = shard_new(h->loop, settings ? settings : &defaults, 42);
  h->memory = memory_backend_new(h->shard);
  shard_set_backend(h->shard, h->memory);
  return h;
}

static void peer_free(struct peer *p) {
  list_remove(&p->node);
  memory_peer_free(p->memory);
  buf_release(&p->last);
  mem_free(p);
}

void harness_free(struct harness *h) {
  shard_free(h->shard);
  while (!list_empty(&h->peers))
    peer_free(container_of(h->peers.next, struct peer, node));
  while (!list_empty(&h->texts)) {
    struct text *text = container_of(h->texts.next, struct text, node);
    list_remove(&text->node);
    buf_release(&text->raw);
    mem_free(text);
  }
  loop_free(h->loop);
  mem_free(h);
}

void harness_run(struct harness *h) {
  for (int i = 0; i < 100000; i++)
    if (!shard_turn(h->shard, false)) return;
  fail_msg("the broker does not come to rest");
}

void harness_advance(struct harness *h, uint64_t ms) {
  harness_run(h);
  uint64_t end = h->loop->clock.now_ms + ms;
  while (h->loop->clock.now_ms < end) {
    uint64_t next = timers_next(&h->loop->timers);
    if (next > end) next = end;
    clock_advance(&h->loop->clock, next > h->loop->clock.now_ms ? next - h->loop->clock.now_ms : 1);
    harness_run(h);
  }
}

void harness_end_peers(struct harness *h) {
  const struct stats *stats = &h->shard->stats;
  list_each(node, &h->peers) {
    struct peer *p = container_of(node, struct peer, node);
    if (!peer_is_closed(p)) memory_reset(p->memory);
  }
  harness_advance(h, 60000);
  assert_int_equal(stats->clients, 0);
  assert_int_equal(stats->connections, 0);
  assert_int_equal(stats->connections_accepted, stats->connections_closed);
  assert_true(list_empty(&h->shard->clients));
}

struct session *harness_session(struct harness *h, const char *id) {
  return memory_session(h->memory, slice_str(id));
}

static struct peer *open_as(struct harness *h, const struct address *remote) {
  struct peer *p = mem_calloc(1, sizeof *p);
  p->harness = h;
  p->version = MQTT_3_1_1;
  list_append(&h->peers, &p->node);
  shard_connect_from(h->shard, memory_open(h->loop, &p->memory), remote);
  harness_run(h);
  return p;
}

struct peer *peer_open(struct harness *h) {
  return open_as(h, &(struct address){0});
}

struct address peer_address(uint8_t x) {
  return (struct address){.family = AF_INET, .port = 1, .ip = {192, 0, 2, x}};
}

struct peer *peer_open_from(struct harness *h, uint8_t x) {
  struct address remote = peer_address(x);
  assert_null(peers_admit(h->shard->peers, &remote));
  return open_as(h, &remote);
}

void peer_send(struct peer *p, struct slice bytes) {
  memory_send(p->memory, bytes);
  harness_run(p->harness);
}

void peer_send_hex(struct peer *p, const char *hex) {
  struct buf b = BUF_INIT;
  for (; *hex; hex++) {
    if (isspace((unsigned char)*hex)) continue;
    char digits[3] = {hex[0], hex[1], 0};
    buf_add_byte(&b, (uint8_t)strtoul(digits, NULL, 16));
    hex++;
  }
  peer_send(p, buf_slice(&b));
  buf_release(&b);
}

void peer_send_packet(struct peer *p, const struct packet *packet) {
  struct buf b = BUF_INIT;
  if (packet->type == PACKET_CONNECT) p->version = packet->connect.version;
  packet_encode(packet, p->version, &b);
  peer_send(p, buf_slice(&b));
  buf_release(&b);
}

bool peer_next(struct peer *p, struct packet *out) {
  harness_run(p->harness);
  struct slice got = memory_received(p->memory);
  ssize_t n = packet_decode(out, got, p->version, PACKET_MAX_SIZE);
  if (n < 0) fail_msg("the broker sent a malformed packet: %s", packet_strerror((int)n));
  if (n == 0) {
    if (got.len) fail_msg("the broker sent an unfinished packet of %zu bytes", got.len);
    return false;
  }
  p->last.len = 0;
  buf_add(&p->last, got.ptr, (size_t)n);
  memory_consume(p->memory, (size_t)n);
  return packet_decode(out, buf_slice(&p->last), p->version, PACKET_MAX_SIZE) > 0;
}

// --- properties ---

static void add_property(struct buf *raw, struct slice name, struct slice value) {
  int id = packet_property_by_name(name);
  if (!id) fail_msg("no property: %.*s", (int)name.len, (const char *)name.ptr);
  const uint8_t *colon = value.len ? memchr(value.ptr, ':', value.len) : NULL;
  switch (packet_property_type((uint8_t)id)) {
  case PROPERTY_PAIR:
    assert_non_null(colon);
    size_t len = (size_t)(colon - value.ptr);
    packet_add_pair(raw, slice_of(value.ptr, len), slice_from(value, len + 1));
    break;
  case PROPERTY_STRING:
  case PROPERTY_BINARY: packet_add_value(raw, (enum packet_property_id)id, value); break;
  default:
    packet_add_number(raw, (enum packet_property_id)id, (uint32_t)strtoul((const char *)value.ptr, NULL, 10));
  }
}

struct packet_properties harness_properties(struct harness *h, const char *text) {
  if (!*text) return (struct packet_properties){0};
  struct text *made = mem_calloc(1, sizeof *made);
  list_append(&h->texts, &made->node);
  while (*text) {
    size_t name = strcspn(text, "= "), end = strcspn(text, " ");
    assert_int_equal(text[name], '=');
    add_property(&made->raw, slice_of(text, name), slice_of(text + name + 1, end - name - 1));
    text += end + (text[end] == ' ');
  }
  return packet_properties_of(buf_slice(&made->raw));
}

static struct packet_properties properties_of(const struct packet *p) {
  switch (p->type) {
  case PACKET_CONNACK: return p->connack.properties;
  case PACKET_PUBLISH: return p->publish.message.properties;
  case PACKET_SUBACK:
  case PACKET_UNSUBACK: return p->suback.properties;
  default: return p->ack.properties;
  }
}

static void fail_with(struct peer *p, const char *wanted, const struct packet *got) {
  struct buf text = BUF_INIT;
  if (got)
    packet_format(got, p->version, &text);
  else
    buf_add_str(&text, peer_is_closed(p) ? "nothing: the connection is closed" : "nothing");
  fail_msg("expected %s, got %s", wanted, buf_text(&text));
}

void peer_expect(struct peer *p, uint8_t type, struct packet *out) {
  struct packet packet;
  bool any = peer_next(p, &packet);
  if (!any || packet.type != type) fail_with(p, packet_type_name(type), any ? &packet : NULL);
  if (out) *out = packet;
}

void peer_expect_properties(struct peer *p, const char *text) {
  struct packet last;
  assert_true(packet_decode(&last, buf_slice(&p->last), p->version, PACKET_MAX_SIZE) > 0);
  struct slice wanted = harness_properties(p->harness, text).raw;
  if (!slice_eq(properties_of(&last).raw, wanted)) fail_with(p, *text ? text : "no properties", &last);
}

void peer_expect_nothing(struct peer *p) {
  struct packet packet;
  if (peer_next(p, &packet)) fail_with(p, "nothing", &packet);
  if (peer_is_closed(p)) fail_msg("expected nothing, but the broker closed the connection");
}

void peer_expect_closed(struct peer *p) {
  struct packet packet;
  if (peer_next(p, &packet)) fail_with(p, "the end of the connection", &packet);
  if (!peer_is_closed(p)) fail_msg("expected the broker to close the connection");
}

bool peer_is_closed(const struct peer *p) { return memory_closed(p->memory); }

struct packet_connect peer_connect_defaults(const char *id, bool clean) {
  return (struct packet_connect){.version = MQTT_3_1_1, .clean_session = clean, .client_id = slice_str(id)};
}

uint8_t peer_connect_with(struct peer *p, const struct packet_connect *connect, bool *session_present) {
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = *connect});
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  if (session_present) *session_present = got.connack.session_present;
  return got.connack.code;
}

struct packet_connect peer_connect_5_defaults(struct harness *h, const char *id, bool clean_start,
                                              const char *properties) {
  struct packet_connect connect = peer_connect_defaults(id, clean_start);
  connect.version = MQTT_5;
  connect.properties = harness_properties(h, properties);
  return connect;
}

static struct peer *let_in(struct harness *h, const struct packet_connect *connect) {
  struct peer *p = peer_open(h);
  assert_int_equal(peer_connect_with(p, connect, NULL), 0);
  return p;
}

struct peer *peer_connect(struct harness *h, const char *id, bool clean) {
  struct packet_connect connect = peer_connect_defaults(id, clean);
  return let_in(h, &connect);
}

struct peer *peer_connect_5(struct harness *h, const char *id, bool clean_start, const char *properties) {
  struct packet_connect connect = peer_connect_5_defaults(h, id, clean_start, properties);
  return let_in(h, &connect);
}

static uint16_t new_id(struct peer *p) {
  if (++p->next_id == 0) p->next_id = 1;
  return p->next_id;
}

uint8_t peer_subscribe(struct peer *p, const char *filter, uint8_t qos) {
  return peer_subscribe_5(p, filter, qos, "");
}

static uint16_t send_subscribe(struct peer *p, const char *filter, uint8_t options, const char *properties) {
  struct buf list = BUF_INIT;
  packet_add_subscription(&list, slice_str(filter), options);
  uint16_t id = new_id(p);
  struct packet_list subscribe = {
      .count = 1, .list = buf_slice(&list), .properties = harness_properties(p->harness, properties)};
  peer_send_packet(p, &(struct packet){.type = PACKET_SUBSCRIBE, .id = id, .subscribe = subscribe});
  buf_release(&list);
  return id;
}

uint16_t peer_send_subscribe(struct peer *p, const char *filter, uint8_t options) {
  return send_subscribe(p, filter, options, "");
}

uint8_t peer_subscribe_5(struct peer *p, const char *filter, uint8_t options, const char *properties) {
  uint16_t id = send_subscribe(p, filter, options, properties);
  struct packet got;
  peer_expect(p, PACKET_SUBACK, &got);
  assert_int_equal(got.id, id);
  assert_int_equal(got.suback.count, 1);
  return got.suback.list.ptr[0];
}

void peer_unsubscribe(struct peer *p, const char *filter) {
  struct buf list = BUF_INIT;
  packet_add_filter(&list, slice_str(filter));
  uint16_t id = new_id(p);
  peer_send_packet(p, &(struct packet){.type = PACKET_UNSUBSCRIBE,
                                       .id = id,
                                       .unsubscribe = {.count = 1, .list = buf_slice(&list)}});
  buf_release(&list);
  peer_expect_ack(p, PACKET_UNSUBACK, id);
}

uint16_t peer_publish(struct peer *p, const char *topic, const char *payload, uint8_t qos, bool retain) {
  return peer_publish_5(p, topic, payload, qos, retain, "");
}

uint16_t peer_publish_5(struct peer *p, const char *topic, const char *payload, uint8_t qos, bool retain,
                        const char *properties) {
  uint16_t id = qos ? new_id(p) : 0;
  struct packet_message message = {.topic = slice_str(topic),
                                   .payload = slice_str(payload),
                                   .properties = harness_properties(p->harness, properties),
                                   .qos = qos,
                                   .retain = retain};
  peer_send_packet(p, &(struct packet){.type = PACKET_PUBLISH, .id = id, .publish = {.message = message}});
  return id;
}

void peer_send_ack(struct peer *p, uint8_t type, uint16_t id) {
  peer_send_packet(p, &(struct packet){.type = type, .id = id});
}

void peer_send_reason(struct peer *p, uint8_t type, uint16_t id, uint8_t reason, const char *properties) {
  struct packet_ack ack = {.reason = reason, .properties = harness_properties(p->harness, properties)};
  peer_send_packet(p, &(struct packet){.type = type, .id = id, .ack = ack});
}

void peer_expect_ack(struct peer *p, uint8_t type, uint16_t id) {
  struct packet got;
  peer_expect(p, type, &got);
  bool refused = type != PACKET_UNSUBACK && got.ack.reason >= REASON_UNSPECIFIED_ERROR;
  if (got.id != id || refused) fail_with(p, "another id or reason", &got);
}

void peer_expect_reason(struct peer *p, uint8_t type, uint16_t id, uint8_t reason) {
  struct packet got;
  peer_expect(p, type, &got);
  if (got.id != id || got.ack.reason != reason) fail_with(p, reason_name(reason), &got);
}

void peer_expect_disconnect(struct peer *p, uint8_t reason) {
  peer_expect_reason(p, PACKET_DISCONNECT, 0, reason);
  peer_expect_closed(p);
}

uint16_t peer_expect_message(struct peer *p, const char *topic, const char *payload, uint8_t qos) {
  struct packet got;
  peer_expect(p, PACKET_PUBLISH, &got);
  const struct packet_message *m = &got.publish.message;
  if (!slice_eq(m->topic, slice_str(topic)) || !slice_eq(m->payload, slice_str(payload)) || m->qos != qos)
    fail_with(p, topic, &got);
  return got.id;
}

void peer_disconnect(struct peer *p) {
  peer_send_packet(p, &(struct packet){.type = PACKET_DISCONNECT});
  peer_expect_closed(p);
}

void peer_drop(struct peer *p) {
  memory_reset(p->memory);
  harness_run(p->harness);
}
