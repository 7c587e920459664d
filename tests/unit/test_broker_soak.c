// Clients that do random things, and a naive model that knows what each of them has to get.
//
// Everything happens at once in a harness, so the model knows when a message is routed: with a PUBLISH of QoS
// 0 and 1, with the first PUBREL of QoS 2. With large queues each session then owes its client exactly these
// messages, in this order; with small ones (loose) some are dropped, and only order and duplicates are
// checked.
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "harness.h"

enum { CLIENTS = 6, TOPICS = 4, MESSAGES = 2000, FLIGHT = 64, STEPS = 4000, IDS = 65536 };

struct message_info {
  uint8_t publisher, topic, qos;
  bool routed;
};

struct owed { // a message, as one session is to get it
  uint16_t message;
  uint8_t qos;
  uint32_t epoch; // the connection in which it was routed; QoS 0 is lost with it
  uint32_t received;
};

struct actor {
  char id[16];
  struct peer *peer; // NULL: offline
  struct buf in;     // received, not decoded
  uint32_t epoch;
  bool clean, exists;  // the session
  int granted[TOPICS]; // -1: none
  struct owed owed[MESSAGES];
  uint32_t owed_count, next; // all of QoS 1 and 2 before `next` have been received
  uint16_t *in_flight;       // id -> index in owed + 1, until acknowledged
  bool *received_ids;        // of QoS 2, until PUBREL
  struct packet_ack_due {
    uint8_t type;
    uint16_t id;
  } due[FLIGHT * 4]; // acknowledgements that it has not sent
  uint32_t due_count;
  uint16_t unreleased[FLIGHT], unrecorded[FLIGHT]; // QoS 2 messages it sent: PUBREC has come; has not
  uint32_t unreleased_count, unrecorded_count;
  uint32_t last_of[CLIENTS][TOPICS][3]; // the last message of each publisher, topic and QoS
};

struct soak {
  struct harness *h;
  struct rand rand;
  bool loose;
  struct actor actors[CLIENTS];
  struct message_info messages[MESSAGES];
  uint16_t message_count; // message n has packet id n
  uint32_t came;
};

static uint32_t below(struct soak *s, uint32_t n) { return (uint32_t)(rand_next(&s->rand) >> 32) % n; }

static struct slice topic_of(int i) {
  static const char *const topics[TOPICS] = {"t/0", "t/1", "t/2", "t/3"};
  return slice_str(topics[i]);
}

static void forget_session(struct actor *a) {
  a->exists = false;
  a->owed_count = a->next = 0;
  a->unreleased_count = a->unrecorded_count = 0;
  memset(a->in_flight, 0, IDS * sizeof *a->in_flight);
  memset(a->received_ids, 0, IDS * sizeof *a->received_ids);
  memset(a->last_of, 0, sizeof a->last_of);
  for (int i = 0; i < TOPICS; i++)
    a->granted[i] = -1;
}

static void route(struct soak *s, uint16_t message) {
  struct message_info *m = &s->messages[message];
  if (m->routed) return;
  m->routed = true;
  for (int i = 0; i < CLIENTS; i++) {
    struct actor *a = &s->actors[i];
    if (!a->exists || a->granted[m->topic] < 0) continue;
    uint8_t qos = m->qos < a->granted[m->topic] ? m->qos : (uint8_t)a->granted[m->topic];
    if (!a->peer && !qos) continue;
    a->owed[a->owed_count++] = (struct owed){.message = message, .qos = qos, .epoch = a->epoch};
  }
}

// --- what an actor gets ---

static void add_due(struct actor *a, uint8_t type, uint16_t id) {
  for (uint32_t i = 0; i < a->due_count; i++)
    if (a->due[i].id == id && a->due[i].type == type) return;
  assert_true(a->due_count < FLIGHT * 4);
  a->due[a->due_count++] = (struct packet_ack_due){type, id};
}

static uint32_t find_owed(const struct actor *a, uint16_t message) {
  uint32_t i = 0;
  while (i < a->owed_count && a->owed[i].message != message)
    i++;
  return i;
}

// All before it have come, but for QoS 0 that was lost with its connection.
static void check_order(struct soak *s, struct actor *a, uint32_t at) {
  const struct owed *o = &a->owed[at];
  const struct message_info *m = &s->messages[o->message];
  uint32_t *last = &a->last_of[m->publisher][m->topic][m->qos];
  assert_true(o->message > *last || m->qos == 2); // of QoS 2 the PUBRELs decide
  *last = o->message;
  if (s->loose) return;
  for (; a->next < at; a->next++) {
    const struct owed *before = &a->owed[a->next];
    assert_true(before->received || (!before->qos && before->epoch != a->epoch));
  }
  a->next = at + 1;
}

static void got_publish(struct soak *s, struct actor *a, const struct packet *p) {
  const struct packet_message *m = &p->publish.message;
  char text[16] = "";
  assert_true(m->payload.len < sizeof text);
  memcpy(text, m->payload.ptr, m->payload.len);
  uint16_t message = (uint16_t)atoi(text);
  assert_true(slice_eq(m->topic, topic_of(s->messages[message].topic)));
  assert_true(s->messages[message].routed);
  uint32_t at = find_owed(a, message);
  if (s->loose && at == a->owed_count) // its publisher had to wait: it was routed after a new subscription
    a->owed[a->owed_count++] = (struct owed){.message = message, .qos = m->qos, .epoch = a->epoch};
  assert_true(at < a->owed_count);
  struct owed *o = &a->owed[at];
  assert_true(m->qos == o->qos || s->loose);
  assert_false(m->retain);
  if (m->qos) {
    uint16_t known = a->in_flight[p->id];
    if (!p->publish.dup) assert_int_equal(known, 0); // an id is not used again while it is in flight
    if (known) assert_int_equal(known, at + 1);
    a->in_flight[p->id] = (uint16_t)(at + 1);
  }
  if (o->received) assert_true(p->publish.dup);
  bool again = m->qos == 2 && a->received_ids[p->id];
  if (m->qos == 2) a->received_ids[p->id] = true;
  if (!o->received) check_order(s, a, at);
  if (!again) o->received++;
  s->came++;
  if (m->qos != 1) assert_int_equal(o->received, 1);
  if (m->qos) add_due(a, m->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, p->id);
}

static bool take(uint16_t *list, uint32_t *count, uint16_t id) {
  for (uint32_t i = 0; i < *count; i++) {
    if (list[i] != id) continue;
    list[i] = list[--*count];
    return true;
  }
  return false;
}

static void got_packet(struct soak *s, struct actor *a, const struct packet *p) {
  switch (p->type) {
  case PACKET_PUBLISH: got_publish(s, a, p); break;
  case PACKET_PUBREL:
    a->received_ids[p->id] = false;
    add_due(a, PACKET_PUBCOMP, p->id);
    break;
  case PACKET_PUBREC:
    if (take(a->unrecorded, &a->unrecorded_count, p->id)) a->unreleased[a->unreleased_count++] = p->id;
    break;
  case PACKET_PUBCOMP: take(a->unreleased, &a->unreleased_count, p->id); break;
  case PACKET_PUBACK:
  case PACKET_SUBACK:
  case PACKET_UNSUBACK:
  case PACKET_PINGRESP: break;
  default: fail_msg("unexpected %s", packet_type_name(p->type));
  }
}

// Takes at most `packets` from what has come.
static bool receive(struct soak *s, struct actor *a, uint32_t packets) {
  harness_run(s->h);
  struct slice got = memory_received(a->peer->memory);
  buf_add_slice(&a->in, got);
  memory_consume(a->peer->memory, got.len);
  bool any = got.len > 0;
  while (packets-- && a->due_count < FLIGHT * 4 - 1) {
    struct packet p;
    ssize_t n = packet_decode(&p, buf_slice(&a->in), MQTT_3_1_1, PACKET_MAX_SIZE);
    assert_true(n >= 0);
    if (!n) break;
    got_packet(s, a, &p);
    buf_consume(&a->in, (size_t)n);
    any = true;
  }
  harness_run(s->h);
  return any;
}

// --- what an actor does ---

static void acknowledge(struct actor *a, uint32_t i) {
  struct packet_ack_due due = a->due[i];
  a->due[i] = a->due[--a->due_count];
  if (due.type != PACKET_PUBREC) a->in_flight[due.id] = 0;
  peer_send_ack(a->peer, due.type, due.id);
}

static void publish(struct soak *s, int publisher) {
  struct actor *a = &s->actors[publisher];
  if (s->message_count + 1 >= MESSAGES) return;
  struct message_info m = {
      .publisher = (uint8_t)publisher, .topic = (uint8_t)below(s, TOPICS), .qos = (uint8_t)below(s, 3)};
  if (m.qos == 2 && a->unrecorded_count + a->unreleased_count >= FLIGHT) return;
  uint16_t number = ++s->message_count;
  s->messages[number] = m;
  char text[16];
  snprintf(text, sizeof text, "%u", number);
  struct packet_message message = {.topic = topic_of(m.topic), .payload = slice_str(text), .qos = m.qos};
  if (m.qos == 2) a->unrecorded[a->unrecorded_count++] = number;
  if (m.qos < 2) route(s, number);
  peer_send_packet(
      a->peer,
      &(struct packet){.type = PACKET_PUBLISH, .id = m.qos ? number : 0, .publish = {.message = message}});
}

static void release(struct soak *s, struct actor *a, uint32_t i) {
  route(s, a->unreleased[i]);
  peer_send_ack(a->peer, PACKET_PUBREL, a->unreleased[i]);
}

static void resend_unrecorded(struct soak *s, struct actor *a) {
  for (uint32_t i = 0; i < a->unrecorded_count; i++) {
    uint16_t number = a->unrecorded[i];
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    struct packet_message message = {
        .topic = topic_of(s->messages[number].topic), .payload = slice_str(text), .qos = 2};
    peer_send_packet(
        a->peer,
        &(struct packet){.type = PACKET_PUBLISH, .id = number, .publish = {.message = message, .dup = true}});
  }
  for (uint32_t i = 0; i < a->unreleased_count; i++)
    release(s, a, i);
}

static void subscribe(struct soak *s, struct actor *a, bool on) {
  int topic = (int)below(s, TOPICS);
  uint8_t qos = (uint8_t)below(s, 3);
  struct buf list = BUF_INIT;
  struct packet p = {.type = on ? PACKET_SUBSCRIBE : PACKET_UNSUBSCRIBE, .id = 1};
  if (on)
    packet_add_subscription(&list, topic_of(topic), qos);
  else
    packet_add_filter(&list, topic_of(topic));
  p.subscribe = (struct packet_list){.count = 1, .list = buf_slice(&list)};
  a->granted[topic] = on ? qos : -1;
  peer_send_packet(a->peer, &p);
  buf_release(&list);
}

static void gone(struct actor *a) {
  a->peer = NULL;
  a->in.len = 0;
  a->due_count = 0;
  a->epoch++;
  if (a->clean) forget_session(a);
}

static void leave(struct soak *s, struct actor *a) {
  struct peer *p = a->peer;
  switch (below(s, 3)) {
  case 0: peer_drop(p); break;
  case 1:
    memory_shutdown(p->memory);
    harness_run(s->h);
    break;
  default: peer_send_hex(p, "e0 00"); break;
  }
  gone(a);
}

// Also while it is connected: a take-over.
static void join(struct soak *s, struct actor *a, bool clean) {
  struct peer *p = peer_open(s->h);
  struct packet_connect connect = peer_connect_defaults(a->id, clean);
  bool present;
  assert_int_equal(peer_connect_with(p, &connect, &present), 0);
  if (a->peer) gone(a);
  assert_int_equal(present, !clean && a->exists);
  if (!present) forget_session(a);
  a->peer = p;
  a->clean = clean;
  a->exists = true;
  if (below(s, 2)) memory_set_window(p->memory, 1 + below(s, 500));
  resend_unrecorded(s, a);
}

static void step(struct soak *s) {
  int i = (int)below(s, CLIENTS);
  struct actor *a = &s->actors[i];
  uint32_t what = below(s, 100);
  if (what < 3 || !a->peer) {
    if (what < 20) join(s, a, i == 0 || below(s, 20) == 0);
    return;
  }
  assert_false(peer_is_closed(a->peer));
  if (what < 6)
    leave(s, a);
  else if (what < 10)
    subscribe(s, a, below(s, 4) > 0);
  else if (what < 40)
    publish(s, i);
  else if (what < 65)
    receive(s, a, 1 + below(s, 20));
  else if (what < 88 && a->due_count)
    acknowledge(a, below(s, a->due_count));
  else if (what < 96 && a->unreleased_count)
    release(s, a, below(s, a->unreleased_count));
  else if (what < 97)
    peer_send_hex(a->peer, "c0 00");
  else if (what < 98)
    memory_set_window(a->peer->memory, below(s, 2) ? SIZE_MAX : 1 + below(s, 200));
  else
    harness_advance(s->h, 1 + below(s, 300));
}

// Everybody comes back, takes and acknowledges all there is.
static void settle(struct soak *s) {
  for (int i = 0; i < CLIENTS; i++) {
    struct actor *a = &s->actors[i];
    if (!a->peer) join(s, a, a->clean);
    memory_set_window(a->peer->memory, SIZE_MAX);
  }
  for (bool any = true; any;) {
    any = false;
    harness_advance(s->h, 200);
    for (int i = 0; i < CLIENTS; i++) {
      struct actor *a = &s->actors[i];
      any |= receive(s, a, UINT32_MAX);
      while (a->due_count) {
        acknowledge(a, 0);
        any = true;
      }
      for (uint32_t n = a->unreleased_count; n; n--) {
        release(s, a, n - 1);
        any = true;
      }
    }
  }
}

static void check_all_came(struct soak *s, const struct actor *a) {
  const struct session *session = harness_session(s->h, a->id);
  assert_int_equal(session->queue.count, 0);
  assert_int_equal(session->outgoing.count, 0);
  assert_int_equal(session->incoming.count, 0);
  assert_int_equal(session->incoming_bytes, 0);
  assert_int_equal(session->outgoing_bytes, 0);
  assert_true(list_empty((struct list *)(uintptr_t)&session->waiting));
  if (s->loose) return;
  assert_int_equal(session->dropped, 0);
  for (uint32_t i = 0; i < a->owed_count; i++) {
    const struct owed *o = &a->owed[i];
    assert_true(o->received || (!o->qos && o->epoch != a->epoch));
  }
}

static void run(uint64_t seed, bool loose) {
  struct soak *s = mem_calloc(1, sizeof *s);
  struct settings settings;
  settings_init(&settings);
  settings.session_queue_size = loose ? 5 : MESSAGES;
  settings.client.token_timeout_ms = UINT32_MAX / 2;
  settings.client.inflight_messages = (uint16_t)(1 + seed % 7);
  settings.client.inflight_bytes = seed % 2 ? 100 : 1 << 20; // a message or two
  if (loose) settings.full_queue = (uint8_t)(seed % FULL_QUEUE_DISCONNECT);
  s->h = harness_new(&settings);
  s->loose = loose;
  rand_init(&s->rand, seed);
  for (int i = 0; i < CLIENTS; i++) {
    struct actor *a = &s->actors[i];
    snprintf(a->id, sizeof a->id, "c%d", i);
    a->in_flight = mem_calloc(IDS, sizeof *a->in_flight);
    a->received_ids = mem_calloc(IDS, sizeof *a->received_ids);
    forget_session(a);
  }
  for (int i = 0; i < STEPS; i++)
    step(s);
  settle(s);
  for (int i = 0; i < CLIENTS; i++)
    check_all_came(s, &s->actors[i]);
  assert_int_equal(shard_stats(s->h->shard)->queued_bytes, 0);
  for (int i = 0; i < CLIENTS; i++) {
    leave(s, &s->actors[i]);
    buf_release(&s->actors[i].in);
    mem_free(s->actors[i].in_flight);
    mem_free(s->actors[i].received_ids);
  }
  harness_advance(s->h, 10000); // those that linger
  assert_int_equal(s->h->shard->stats.clients, 0);
  assert_int_equal(s->h->shard->stats.connections, 0);
  assert_true(s->came > (loose ? 100u : 500u)); // enough has happened
  if (!loose) {
    assert_int_equal(s->h->shard->stats.messages_dropped_queue_full, 0);
    assert_int_equal(s->h->shard->stats.messages_dropped_offline, 0);
  }
  harness_free(s->h);
  mem_free(s);
}

static void nothing_is_lost_doubled_or_out_of_order(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 30; seed++)
    run(seed, false);
}

static void with_small_queues_nothing_is_doubled_and_all_comes_to_rest(void **state) {
  (void)state;
  for (uint64_t seed = 101; seed <= 130; seed++)
    run(seed, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_is_lost_doubled_or_out_of_order),
      cmocka_unit_test(with_small_queues_nothing_is_doubled_and_all_comes_to_rest),
  };
  return cmocka_run_group_tests_name("broker soak", tests, NULL, NULL);
}
