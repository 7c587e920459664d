// From CONNECT to CONNACK: who comes, whether it is let in, and with which session.
#include <stdio.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/inflight.h"

#define LEVEL_OF_BRIDGE 0x80 // a bit that some brokers set when they connect to another one

static void send_refusal(struct client *c, uint8_t reason, const struct buf *told) {
  c->shard->stats.connects_refused++;
  uint8_t code = c->version == MQTT_5 ? reason_for(PACKET_CONNACK, reason) : reason_connack_code(reason);
  client_send_telling(c, &(struct packet){.type = PACKET_CONNACK, .connack = {.code = code}}, told);
  client_flush(c);
}

static void refuse(struct client *c, const struct reply *reply) {
  send_refusal(c, reply->reason, reply->told);
  client_fail_telling(c, OPERATION_CONNECT, 0, reply);
}

void client_refuse_connect(struct client *c, uint8_t reason, const char *error) {
  struct reply reply = {.reason = reason, .by = &verdict_of_protocol};
  client_tell_decision(c, PACKET_CONNECT, 0, &reply);
  reply.error = error; // it was decided, and did not fail: the text is for the log
  refuse(c, &reply);
}

void client_close_for_stop(struct client *c) {
  if (c->state == CLIENT_CONNECTING)
    client_refuse_connect(c, REASON_SERVER_UNAVAILABLE, ERROR_CLOSING);
  else
    client_close_with(c, REASON_SERVER_SHUTTING_DOWN, ERROR_CLIENT_CLOSED);
}

void client_malformed_connect(struct client *c, struct slice in, uint8_t reason) {
  if (packet_peek_version(in) != MQTT_5) return;
  c->version = MQTT_5;
  send_refusal(c, reason, NULL);
}

// False: it is too large for the client, which is refused for it.
static bool send_connack(struct client *c, bool resumed) {
  struct buf raw = BUF_INIT;
  if (c->v5) client_5_connack(c, &raw);
  struct packet connack = {
      .type = PACKET_CONNACK,
      .connack = {.session_present = resumed, .properties = packet_properties_of(buf_slice(&raw))}};
  bool sent = client_send_telling(c, &connack, c->v5 ? client_auth_told(c->v5->auth) : NULL);
  buf_release(&raw);
  if (sent) return true;
  client_drop_will(c);
  client_refuse_connect(c, REASON_PACKET_TOO_LARGE, ERROR_ANSWER_TOO_LARGE);
  return false;
}

// They are not part of the session [MQTT5 4.9].
static void begin_quotas(struct client *c) {
  c->v5->incoming_receive_maximum = client_settings(c)->parallel_publishes;
  store_uncount_all(&c->session->incoming);
  store_uncount_all(&c->session->outgoing);
}

void client_set_up_done(struct client *c, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS) {
    client_tell_decision(c, PACKET_CONNECT, 0, reply);
    refuse(c, reply);
    return;
  }
  bool resumed = reply->resumed;
  inflight_check_keeper(c);
  // A clean start has nothing in flight.
  if (c->kept && !c->clean && !inflight_load(c, &resumed)) {
    client_refuse_connect(c, REASON_SERVER_UNAVAILABLE, ERROR_SESSION);
    return;
  }
  client_cap_keep_alive(c);
  if (c->v5) begin_quotas(c);
  if (!send_connack(c, resumed)) return;
  c->shard->stats.connects_accepted++;
  c->state = CLIENT_CONNECTED;
  c->last_packet = client_stamp(c);
  client_update_timer(c);
  client_start_resend(c);
  c->restoring = true; // until these have been sent
  client_flush(c);
}

void client_authenticated(struct client *c, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS) {
    client_set_up_done(c, reply);
    return;
  }
  // The id as sent: an assigned one is the client's, but the backend is asked for a temporary session.
  struct slice id = c->assigned_id ? slice_of(NULL, 0) : client_id(c);
  struct reply answer = {0};
  if (client_ops(c)->setup(c->shard->backend, c, id, c->clean, &answer) == BACKEND_PENDING)
    client_hold(c, PACKET_CONNACK, 0, NULL);
  else if (!client_closing(c))
    client_set_up_done(c, &answer);
  reply_release(&answer);
}

static bool refuse_for_limits(struct client *c) {
  static const struct verdict by_memory = {DECIDER_LIMIT, .name = "limits.memory_limit"};
  static const struct verdict by_failures = {DECIDER_LIMIT, .name = "limits.failed_logins"};
  struct shard *s = c->shard;
  struct reply reply = {.reason = REASON_SERVER_BUSY, .by = &by_memory};
  if (s->closing) {
    refuse(c, &(struct reply){.reason = REASON_SERVER_UNAVAILABLE, .error = ERROR_CLOSING});
    return true;
  }
  if (s->pressure.near) {
    s->stats.connects_refused_memory++;
    reply.error = ERROR_MEMORY_LIMIT;
  } else if (c->login == CLIENT_LOGIN_TURNED_AWAY) {
    reply = (struct reply){
        .reason = REASON_CONNECTION_RATE_EXCEEDED, .error = ERROR_LOGIN_TURNED_AWAY, .by = &by_failures};
  } else {
    return false;
  }
  client_set_up_done(c, &reply);
  return true;
}

// Whether a client without an id may have one assigned [MQTT-3.1.3-6..8]: before MQTT 5 only one that asks
// for nothing to be kept.
static bool may_be_assigned(const struct packet_connect *connect) {
  return connect->version == MQTT_5 || (connect->version == MQTT_3_1_1 && connect->clean_session);
}

// False: it was refused.
static bool identify(struct client *c, const struct packet_connect *connect) {
  struct slice id = connect->client_id;
  char assigned[32];
  if (!id.len && !may_be_assigned(connect)) {
    client_set_identity(c, id, connect);
    client_refuse_connect(c, REASON_CLIENT_IDENTIFIER_NOT_VALID, "client identifier rejected");
    return false;
  }
  if (!id.len) {
    snprintf(assigned, sizeof assigned, "auto-%016llx", (unsigned long long)rand_next(&c->shard->ids));
    id = slice_str(assigned);
    c->assigned_id = true;
  }
  client_set_identity(c, id, connect);
  return true;
}

// What the will may ask for [MQTT-3.2.2-12, -13]. False: it was refused.
static bool check_will(struct client *c, const struct packet_connect *connect) {
  const struct settings *s = &c->shard->settings;
  if (!c->v5 || !connect->has_will) return true;
  if (connect->will.qos > s->maximum_qos)
    client_refuse_connect(c, REASON_QOS_NOT_SUPPORTED, "will of a QoS that is not supported");
  else if (connect->will.retain && !s->retain_available)
    client_refuse_connect(c, REASON_RETAIN_NOT_SUPPORTED, "retained will");
  else
    return true;
  return false;
}

static bool is_known(uint8_t version) { return version >= MQTT_3_1 && version <= MQTT_5; }

void client_on_connect(struct client *c, const struct packet *p) {
  const struct packet_connect *connect = &p->connect;
  if (!is_known(connect->version)) { // [MQTT-3.1.2-2]
    bool newer = (connect->version & ~LEVEL_OF_BRIDGE) > MQTT_5;
    if (newer) c->version = MQTT_5; // so that it is told in the newest form there is
    client_refuse_connect(c, REASON_UNSUPPORTED_PROTOCOL_VERSION, "unacceptable protocol level");
    return;
  }
  c->version = connect->version;
  c->state = CLIENT_CONNECTING;
  if (c->version == MQTT_5) c->v5 = client_5_new(connect, &c->shard->settings);
  if (!identify(c, connect) || refuse_for_limits(c) || !check_will(c, connect)) return;
  if (connect->has_will) c->will = message_new(&connect->will, client_now(c));
  if (c->v5 && c->v5->auth) {
    client_auth_start(c, connect);
    return;
  }
  struct credentials given = {connect->has_username, connect->has_password, connect->username,
                              connect->password};
  struct reply reply = {0};
  if (client_ops(c)->authenticate(c->shard->backend, c, &given, &reply) == BACKEND_PENDING) {
    client_hold(c, PACKET_CONNECT, 0, NULL);
    return;
  }
  client_log_in_done(c, &reply);
  if (!client_closing(c)) client_authenticated(c, &reply);
  reply_release(&reply);
}
