// From CONNECT to CONNACK: what is refused at once, authenticate, setup.
#include <stdio.h>

#include "broker/client_impl.h"

static void refuse_connect(struct client *c, uint8_t code, const char *error) {
  c->shard->stats.connects_refused++;
  client_send(c, &(struct packet){.type = PACKET_CONNACK, .connack = {.code = code}});
  client_flush(c);
  client_fail(c, EVENT_CLIENT_ERROR, error);
}

void client_set_up_done(struct client *c, const struct reply *reply) {
  if (reply->reason != REASON_SUCCESS) {
    client_tell_decision(c, PACKET_CONNECT, reply);
    refuse_connect(c, reason_connack_code(reply->reason), client_refusal_text(reply));
    return;
  }
  c->shard->stats.connects_accepted++;
  c->state = CLIENT_CONNECTED;
  c->last_packet_ms = client_now(c);
  client_cap_keep_alive(c);
  client_update_timer(c);
  client_send(c, &(struct packet){.type = PACKET_CONNACK, .connack = {.session_present = reply->resumed}});
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
}

static bool refuse_for_limits(struct client *c) {
  struct shard *s = c->shard;
  struct reply reply = {.reason = REASON_SERVER_BUSY};
  if (s->closing) {
    refuse_connect(c, CONNACK_SERVER_UNAVAILABLE, ERROR_CLOSING);
    return true;
  }
  if (s->pressure.high) {
    s->stats.connects_refused_memory++;
    reply.error = ERROR_MEMORY_LIMIT;
  } else if (c->login == CLIENT_LOGIN_TURNED_AWAY) {
    reply = (struct reply){.reason = REASON_CONNECTION_RATE_EXCEEDED, .error = ERROR_LOGIN_TURNED_AWAY};
  } else {
    return false;
  }
  client_set_up_done(c, &reply);
  return true;
}

void client_on_connect(struct client *c, const struct packet *p) {
  const struct packet_connect *connect = &p->connect;
  if (connect->version != MQTT_3_1 && connect->version != MQTT_3_1_1) { // [MQTT-3.1.2-2]
    refuse_connect(c, CONNACK_BAD_PROTOCOL_LEVEL, "unacceptable protocol level");
    return;
  }
  c->version = connect->version;
  c->state = CLIENT_CONNECTING;
  struct slice id = connect->client_id;
  char assigned[32];
  if (!id.len) { // [MQTT-3.1.3-6..8]
    if (!connect->clean_session || connect->version == MQTT_3_1) {
      client_set_identity(c, id, connect);
      refuse_connect(c, CONNACK_IDENTIFIER_REJECTED, "client identifier rejected");
      return;
    }
    snprintf(assigned, sizeof assigned, "auto-%016llx", (unsigned long long)rand_next(&c->shard->ids));
    id = slice_str(assigned);
    c->assigned_id = true;
  }
  client_set_identity(c, id, connect);
  if (refuse_for_limits(c)) return;
  if (connect->has_will) c->will = message_new(&connect->will);
  struct credentials given = {connect->has_username, connect->has_password, connect->username,
                              connect->password};
  struct reply reply = {0};
  if (client_ops(c)->authenticate(c->shard->backend, c, &given, &reply) == BACKEND_PENDING) {
    client_hold(c, PACKET_CONNECT, 0, NULL);
    return;
  }
  client_log_in_done(c, &reply);
  if (!client_closing(c)) client_authenticated(c, &reply);
}
