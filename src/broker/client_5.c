#include "broker/client_5.h"

#include "base/mem.h"
#include "broker/client_auth.h"
#include "broker/client_impl.h"
#include "packet/utf8.h"

static uint32_t number_of(const struct packet_connect *c, enum packet_property_id id, uint32_t otherwise) {
  return packet_property_number(&c->properties, id, otherwise);
}

static uint16_t smaller(uint32_t a, uint32_t b) { return (uint16_t)(a < b ? a : b); }

static void keep_user_properties(struct client_5 *v5, const struct packet_properties *properties) {
  struct slice rest = properties->raw;
  if (!packet_has_property(properties, PROPERTY_USER_PROPERTY)) return;
  for (struct packet_property p; packet_next_property(&rest, &p);)
    if (p.id == PROPERTY_USER_PROPERTY) packet_add_pair(&v5->user_properties, p.name, p.value);
}

struct client_5 *client_5_new(const struct packet_connect *connect, const struct settings *settings) {
  struct client_5 *v5 = mem_calloc(1, sizeof *v5);
  v5->session_expiry_s = number_of(connect, PROPERTY_SESSION_EXPIRY_INTERVAL, 0);
  v5->maximum_packet_size = number_of(connect, PROPERTY_MAXIMUM_PACKET_SIZE, UINT32_MAX);
  v5->receive_maximum = (uint16_t)number_of(connect, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX);
  v5->keep_alive = connect->keep_alive;
  v5->wants_problem_information = number_of(connect, PROPERTY_REQUEST_PROBLEM_INFORMATION, 1);
  v5->wants_response_information = number_of(connect, PROPERTY_REQUEST_RESPONSE_INFORMATION, 0);
  v5->incoming.maximum = settings->topic_alias_maximum;
  v5->topic_alias_maximum = (uint16_t)number_of(connect, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
  v5->outgoing.maximum = smaller(v5->topic_alias_maximum, settings->topic_aliases);
  v5->auth = client_auth_new(connect);
  keep_user_properties(v5, &connect->properties);
  if (connect->has_will)
    v5->will_delay_s = packet_property_number(&connect->will.properties, PROPERTY_WILL_DELAY_INTERVAL, 0);
  return v5;
}

void client_5_drop_aliases(struct client_5 *v5) {
  aliases_release(&v5->incoming);
  aliases_release(&v5->outgoing);
}

void client_5_free(struct client_5 *v5) {
  if (!v5) return;
  client_5_drop_aliases(v5);
  client_auth_free(v5->auth);
  buf_release(&v5->user_properties);
  mem_free(v5);
}

// --- payloads ---

// UTF-8, in which a payload may have U+0000 [MQTT5 3.3.2.3.2].
static bool is_text(struct slice s) {
  bool valid = true;
  while (valid && s.len) {
    const uint8_t *nul = memchr(s.ptr, 0, s.len);
    size_t len = nul ? (size_t)(nul - s.ptr) : s.len;
    valid = utf8_valid(slice_of(s.ptr, len));
    s = slice_from(s, nul ? len + 1 : len);
  }
  return valid;
}

bool client_5_payload_fits(const struct message *m) {
  struct packet_properties properties = message_properties(m);
  return !packet_property_number(&properties, PROPERTY_PAYLOAD_FORMAT_INDICATOR, 0) ||
         is_text(message_payload(m));
}

// --- CONNACK ---

// The setting with the client's id in the place of "%c".
static void add_response_information(const struct client *c, struct buf *raw) {
  const char *text = c->shard->settings.response_information;
  struct buf value = BUF_INIT;
  if (!*text || !c->v5->wants_response_information) return;
  for (const char *id; (id = strstr(text, "%c")); text = id + 2) {
    buf_add_slice(&value, slice_of(text, (size_t)(id - text)));
    buf_add_slice(&value, client_id(c));
  }
  buf_add_str(&value, text);
  if (value.len <= UINT16_MAX) packet_add_value(raw, PROPERTY_RESPONSE_INFORMATION, buf_slice(&value));
  buf_release(&value);
}

void client_5_connack(const struct client *c, struct buf *raw) {
  const struct client_5 *v5 = c->v5;
  const struct client_settings *settings = client_settings(c);
  const struct settings *s = &c->shard->settings;
  if (c->session->expiry_s != v5->session_expiry_s)
    packet_add_number(raw, PROPERTY_SESSION_EXPIRY_INTERVAL, c->session->expiry_s);
  if (v5->incoming_receive_maximum < UINT16_MAX)
    packet_add_number(raw, PROPERTY_RECEIVE_MAXIMUM, v5->incoming_receive_maximum);
  if (s->maximum_qos < 2) packet_add_number(raw, PROPERTY_MAXIMUM_QOS, s->maximum_qos);
  if (!s->retain_available) packet_add_number(raw, PROPERTY_RETAIN_AVAILABLE, 0);
  packet_add_number(raw, PROPERTY_MAXIMUM_PACKET_SIZE, settings->read_limit);
  if (c->assigned_id) packet_add_value(raw, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER, client_id(c));
  if (v5->incoming.maximum) packet_add_number(raw, PROPERTY_TOPIC_ALIAS_MAXIMUM, v5->incoming.maximum);
  if (!s->wildcard_subscriptions) packet_add_number(raw, PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE, 0);
  if (!s->subscription_identifiers) packet_add_number(raw, PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 0);
  if (!s->shared_subscriptions) packet_add_number(raw, PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE, 0);
  if (v5->auth) packet_add_value(raw, PROPERTY_AUTHENTICATION_METHOD, client_auth_method(v5->auth));
  if (c->keep_alive != v5->keep_alive) packet_add_number(raw, PROPERTY_SERVER_KEEP_ALIVE, c->keep_alive);
  add_response_information(c, raw);
}

void client_5_add_reference(const struct client *c, uint8_t reason, struct buf *raw) {
  const char *reference = c->shard->settings.server_reference;
  if (!c->v5 || !*reference) return;
  if (reason == REASON_USE_ANOTHER_SERVER || reason == REASON_SERVER_MOVED)
    packet_add_value(raw, PROPERTY_SERVER_REFERENCE, slice_str(reference));
}

// --- DISCONNECT ---

uint8_t client_5_reason(const char *error) {
  static const struct {
    const char *error;
    uint8_t reason;
  } rows[] = {
      {ERROR_CLIENT_CLOSED, REASON_ADMINISTRATIVE_ACTION}, {ERROR_CLOSING, REASON_SERVER_SHUTTING_DOWN},
      {ERROR_KEEP_ALIVE, REASON_KEEP_ALIVE_TIMEOUT},       {ERROR_UNEXPECTED_PACKET, REASON_PROTOCOL_ERROR},
      {ERROR_TOKEN_TIMEOUT, REASON_QUOTA_EXCEEDED},        {ERROR_QUEUE_FULL, REASON_QUOTA_EXCEEDED},
      {ERROR_PACKET_TIMEOUT, REASON_KEEP_ALIVE_TIMEOUT},   {ERROR_NOT_AUTHORIZED, REASON_NOT_AUTHORIZED},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!strcmp(rows[i].error, error)) return rows[i].reason;
  return REASON_UNSPECIFIED_ERROR;
}
