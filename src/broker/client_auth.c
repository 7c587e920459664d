#include "broker/client_auth.h"

#include "base/mem.h"
#include "broker/client_impl.h"

struct client_auth {
  struct buf method;
  struct buf told; // with the success, until CONNACK is sent
  bool awaits;     // AUTH 0x18 from the client
};

struct client_auth *client_auth_new(const struct packet_connect *connect) {
  struct packet_property method;
  if (!packet_find_property(&connect->properties, PROPERTY_AUTHENTICATION_METHOD, &method)) return NULL;
  struct client_auth *auth = mem_calloc(1, sizeof *auth);
  buf_add_slice(&auth->method, method.value);
  return auth;
}

void client_auth_free(struct client_auth *auth) {
  if (!auth) return;
  buf_release(&auth->method);
  buf_release(&auth->told);
  mem_free(auth);
}

struct slice client_auth_method(const struct client_auth *auth) {
  return buf_slice(&auth->method);
}
bool client_auth_awaits(const struct client_auth *auth) { return auth && auth->awaits; }
const struct buf *client_auth_told(const struct client_auth *auth) { return auth ? &auth->told : NULL; }

static void send_auth(struct client *c, uint8_t reason, const struct buf *told) {
  struct buf raw = BUF_INIT;
  packet_add_value(&raw, PROPERTY_AUTHENTICATION_METHOD, client_auth_method(c->v5->auth));
  struct packet p = {.type = PACKET_AUTH,
                     .ack = {.reason = reason, .properties = packet_properties_of(buf_slice(&raw))}};
  client_send_telling(c, &p, told);
  buf_release(&raw);
}

// Before CONNACK. The backend may take its time for the session, so what the client is told is kept.
static void decided_connect(struct client *c, const struct reply *reply) {
  struct client_auth *auth = c->v5->auth;
  client_log_in_done(c, reply);
  if (client_closing(c)) return;
  if (reply->told && reply->reason == REASON_SUCCESS) buf_add_slice(&auth->told, buf_slice(reply->told));
  client_authenticated(c, reply);
}

static void decided_again(struct client *c, const struct reply *reply) {
  if (reply->reason == REASON_SUCCESS) {
    send_auth(c, REASON_SUCCESS, reply->told);
    return;
  }
  c->shard->stats.reauthentications_failed++;
  client_tell_decision(c, PACKET_AUTH, 0, reply);
  client_fail_telling(c, OPERATION_AUTH, 0, reply);
}

void client_auth_answered(struct client *c, const struct reply *reply) {
  bool continues = reply->reason == REASON_CONTINUE_AUTHENTICATION && !client_closing(c);
  c->v5->auth->awaits = continues;
  if (continues) {
    send_auth(c, REASON_CONTINUE_AUTHENTICATION, reply->told);
    client_update_timer(c);
  } else if (c->state == CLIENT_CONNECTED) {
    decided_again(c, reply);
  } else {
    decided_connect(c, reply);
  }
}

static void ask(struct client *c, const struct packet_properties *properties) {
  struct packet_property data = {0};
  struct auth_step step = {.method = client_auth_method(c->v5->auth)};
  step.has_data = packet_find_property(properties, PROPERTY_AUTHENTICATION_DATA, &data);
  if (step.has_data) step.data = data.value;
  struct reply reply = {0};
  if (client_ops(c)->auth(c->shard->backend, c, &step, &reply) == BACKEND_PENDING)
    client_hold(c, PACKET_AUTH, 0, NULL);
  else
    client_auth_answered(c, &reply);
  reply_release(&reply);
}

void client_auth_start(struct client *c, const struct packet_connect *connect) {
  if (client_ops(c)->auth)
    ask(c, &connect->properties);
  else
    client_refuse_connect(c, REASON_BAD_AUTHENTICATION_METHOD, "unknown authentication method");
}

// The method of CONNECT [MQTT5-4.12.0-5, -7], and the reason that goes with where the exchange is
// [MQTT5-4.12.0-3, 4.12.1-1].
static bool is_in_order(const struct client_auth *auth, const struct packet_ack *p) {
  struct packet_property method;
  if (!packet_find_property(&p->properties, PROPERTY_AUTHENTICATION_METHOD, &method)) return false;
  return slice_eq(method.value, client_auth_method(auth)) &&
         p->reason == (auth->awaits ? REASON_CONTINUE_AUTHENTICATION : REASON_RE_AUTHENTICATE);
}

void client_on_auth(struct client *c, const struct packet *p) {
  struct client_auth *auth = c->v5->auth;
  if (!auth || !is_in_order(auth, &p->ack)) {
    c->shard->stats.protocol_errors++;
    client_violated(c, EVENT_CLIENT_ERROR, REASON_PROTOCOL_ERROR, ERROR_PROTOCOL);
    return;
  }
  auth->awaits = false;
  ask(c, &p->ack.properties);
}
