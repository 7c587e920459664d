#include "cmd/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "packet/utf8.h"
#include "topic/topic.h"

#define CONNECT_TIMEOUT_MS 30000

int tool_error(const struct tool *t, const char *format, ...) {
  if (t->options.quiet) return 1;
  va_list args;
  va_start(args, format);
  fprintf(stderr, "luamq %s: ", t->name);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  return 1;
}

static void trace(void *arg, bool sent, const struct packet *p) {
  const struct tool *t = arg;
  struct buf text = BUF_INIT;
  packet_format(p, t->options.version, &text);
  fprintf(stderr, "%s %s\n", sent ? "sent" : "received", buf_text(&text));
  buf_release(&text);
}

static bool text_valid(const char *text) {
  return !text || (strlen(text) <= TOPIC_MAX && utf8_valid(slice_str(text)));
}

// TLS is used when it is told whom to trust, or in a URL.
static int check_transport(struct tool *t) {
  struct tool_options *o = &t->options;
  const struct tls_client_options *tls = &o->tls;
  if (tls->ca_file || tls->ca_path || tls->system_cas || o->psk) o->use_tls = true;
  const char *stray = tls->certificate    ? "--cert"
                      : tls->key          ? "--key"
                      : tls->psk_identity ? "--psk-identity"
                      : tls->min_version  ? "--tls-version"
                      : tls->alpn         ? "--tls-alpn"
                      : tls->insecure     ? "--insecure"
                                          : NULL;
  if (stray && !o->use_tls)
    return tool_error(t, "%s is for TLS: --cafile, --capath, --tls-use-os-certs, --psk or an mqtts:// URL",
                      stray);
  if (o->websocket_path && !o->websocket) return tool_error(t, "--ws-path is for --ws or a ws:// URL");
  if (o->websocket_path && !ws_client_path_valid(o->websocket_path))
    return tool_error(t, "--ws-path: expected a path that begins with '/'");
  if (o->unix_path && o->use_tls) return tool_error(t, "--unix and TLS exclude each other");
  if (o->unix_path && o->websocket) return tool_error(t, "--unix and --ws exclude each other");
  static const uint16_t usual_ports[2][2] = {{1883, 80}, {8883, 443}};
  if (!o->port) o->port = usual_ports[o->use_tls][o->websocket];
  return 0;
}

// What is of MQTT 5 makes it MQTT 5 where no version was told.
static int check_version(struct tool *t) {
  struct tool_options *o = &t->options;
  const char *of_5 = o->properties.given      ? "-D"
                     : o->has_session_expiry  ? "-x"
                     : o->retain_as_published ? "--retain-as-published"
                                              : NULL;
  if (!o->version) o->version = of_5 ? MQTT_5 : MQTT_3_1_1;
  return of_5 && o->version != MQTT_5 ? tool_error(t, "%s is for MQTT 5 (-V mqttv5)", of_5) : 0;
}

static int check_properties(struct tool *t) {
  struct tool_options *o = &t->options;
  struct buf *connect = &o->properties.raw[PROPERTY_OF_CONNECT];
  struct packet_properties p = property_options_of(&o->properties, PROPERTY_OF_CONNECT);
  bool has_expiry = packet_has_property(&p, PROPERTY_SESSION_EXPIRY_INTERVAL);
  if (has_expiry && o->has_session_expiry)
    return tool_error(t, "-x and -D connect session-expiry-interval exclude each other");
  if (o->has_session_expiry)
    packet_add_number(connect, PROPERTY_SESSION_EXPIRY_INTERVAL, o->session_expiry_s);
  else if (o->version == MQTT_5 && o->keep_session && !has_expiry)
    packet_add_number(connect, PROPERTY_SESSION_EXPIRY_INTERVAL, UINT32_MAX);
  for (int i = 0; i < PROPERTY_COMMANDS; i++)
    t->properties[i] = property_options_of(&o->properties, i);
  if (packet_check_properties(&t->properties[PROPERTY_OF_CONNECT], PACKET_CONNECT))
    return tool_error(t, "-D connect: authentication-data needs an authentication-method");
  if (t->properties[PROPERTY_OF_WILL].raw.len && !o->will_topic)
    return tool_error(t, "-D will: a will needs a topic (--will-topic)");
  return 0;
}

static int check(struct tool *t) {
  struct tool_options *o = &t->options;
  if (check_version(t) || check_properties(t)) return 1;
  if (o->host && o->unix_path) return tool_error(t, "--unix and a host exclude each other");
  if (!o->host) o->host = "localhost";
  if (check_transport(t)) return 1;
  if (o->id && o->id_prefix) return tool_error(t, "-i and -I exclude each other");
  if (!text_valid(o->id) || !text_valid(o->id_prefix))
    return tool_error(t, "the client id is not valid UTF-8 text");
  if (o->id_prefix && strlen(o->id_prefix) > 40) return tool_error(t, "-I: longer than 40 bytes");
  if (o->id && !*o->id && o->version == MQTT_3_1) return tool_error(t, "MQTT 3.1 needs a client id");
  if (o->keep_session && !(o->id && *o->id)) return tool_error(t, "-c needs a client id (-i)");
  if (!text_valid(o->username)) return tool_error(t, "the user name is not valid UTF-8 text");
  if (o->password && !o->username && o->version != MQTT_5)
    return tool_error(t, "a password needs a user name (-u)");
  if (o->password && strlen(o->password) > 65535)
    return tool_error(t, "the password is longer than 65535 bytes");
  bool will = o->will_payload || o->will_qos || o->will_retain;
  if (will && !o->will_topic) return tool_error(t, "a will needs a topic (--will-topic)");
  if (o->will_topic && (!text_valid(o->will_topic) || !topic_name_valid(slice_str(o->will_topic))))
    return tool_error(t, "--will-topic: '%s' is not a topic", o->will_topic);
  if (o->will_payload && strlen(o->will_payload) > 65535)
    return tool_error(t, "--will-payload: longer than 65535 bytes");
  return 0;
}

static const char *choose_id(struct tool *t) {
  const struct tool_options *o = &t->options;
  if (o->id) return o->id;
  if (o->id_prefix) {
    snprintf(t->id, sizeof t->id, "%s%ld", o->id_prefix, (long)getpid());
  } else {
    struct rand r;
    rand_init_system(&r);
    snprintf(t->id, sizeof t->id, "luamq-%s-%012llx", t->name, (unsigned long long)rand_next(&r) >> 16);
  }
  return t->id;
}

static bool use_transport(struct tool *t) {
  static const char *const flags[] = {
      [TLS_CLIENT_CA_FILE] = "--cafile",   [TLS_CLIENT_CA_PATH] = "--capath",
      [TLS_CLIENT_CERTIFICATE] = "--cert", [TLS_CLIENT_KEY] = "--key",
      [TLS_CLIENT_PSK] = "--psk",          [TLS_CLIENT_PSK_IDENTITY] = "--psk-identity",
      [TLS_CLIENT_ALPN] = "--tls-alpn",    [TLS_CLIENT_MIN_VERSION] = "--tls-version"};
  const struct tool_options *o = &t->options;
  if (o->use_tls) {
    struct tls_client_options tls = o->tls;
    struct tls_client_error e;
    tls.psk = o->psk;
    t->tls = tls_client_new(&tls, &e);
    if (!t->tls) return tool_error(t, "%s: %s", flags[e.field], e.text), false;
  }
  t->websocket.path = o->websocket_path;
  t->socket.tls = t->tls;
  t->socket.websocket = o->websocket ? &t->websocket : NULL;
  return true;
}

int tool_init(struct tool *t, const char *name, const char *what, const struct option_row *own, int argc,
              char **argv) {
  *t = (struct tool){.name = name};
  options_init(&t->options);
  mqtt_socket_init(&t->socket, &(struct mqtt_client_options){0});
  const struct tool_options *o = &t->options;
  if (!options_parse(&t->options, name, own, argc, argv)) return 1;
  if (o->help) {
    options_usage(name, what, own);
    return 0;
  }
  if (check(t)) return 1;
  mqtt_socket_release(&t->socket);
  struct mqtt_client_options client = {
      .version = o->version,
      .clean_session = !o->keep_session,
      .has_username = o->username != NULL,
      .has_password = o->password != NULL,
      .has_will = o->will_topic != NULL,
      .keep_alive = o->keep_alive,
      .id = slice_str(choose_id(t)),
      .username = slice_str(o->username ? o->username : ""),
      .password = slice_str(o->password ? o->password : ""),
      .will = {.topic = slice_str(o->will_topic ? o->will_topic : ""),
               .payload = slice_str(o->will_payload ? o->will_payload : ""),
               .properties = t->properties[PROPERTY_OF_WILL],
               .qos = o->will_qos,
               .retain = o->will_retain},
      .properties = t->properties[PROPERTY_OF_CONNECT],
  };
  mqtt_socket_init(&t->socket, &client);
  if (!use_transport(t)) return 1;
  if (o->debug) {
    t->socket.client.trace = trace;
    t->socket.client.trace_arg = t;
  }
  return -1;
}

void tool_release(struct tool *t) {
  mqtt_socket_release(&t->socket);
  tls_client_free(t->tls);
  options_release(&t->options);
}

static bool open_socket(struct tool *t, uint64_t deadline_ms) {
  const struct tool_options *o = &t->options;
  if (o->unix_path) return mqtt_socket_open_unix(&t->socket, o->unix_path, deadline_ms);
  return mqtt_socket_open(&t->socket, o->host, o->port, deadline_ms);
}

// Why the broker said no, with its own words.
static void refuse(const struct tool *t, const struct mqtt_client_event *e) {
  char text[REASON_TEXT_SIZE];
  struct packet_property said;
  struct buf quoted = BUF_INIT;
  const struct mqtt_client *c = &t->socket.client;
  if (e->type == MQTT_CLIENT_AUTH) {
    tool_error(t, "connection refused: the broker asks for an authentication that this tool does not know");
    return;
  }
  bool explained = packet_find_property(&e->properties, PROPERTY_REASON_STRING, &said);
  if (explained) packet_format_string(said.value, &quoted);
  tool_error(t, "connection refused: %s%s%s", mqtt_client_connack_text(c, e->code, text),
             explained ? ", " : "", buf_text(&quoted));
  buf_release(&quoted);
}

bool tool_connect(struct tool *t, uint64_t deadline_ms, bool *refused) {
  struct mqtt_socket *s = &t->socket;
  *refused = false;
  uint64_t latest = mqtt_socket_now() + CONNECT_TIMEOUT_MS;
  if (deadline_ms > latest) deadline_ms = latest;
  if (!open_socket(t, deadline_ms)) {
    tool_error(t, "cannot connect to %s", s->error);
    return false;
  }
  mqtt_client_connect(&s->client);
  struct mqtt_client_event e;
  enum mqtt_socket_result r = mqtt_socket_next(s, deadline_ms, &e);
  if (r == MQTT_SOCKET_EVENT && e.type == MQTT_CLIENT_CONNACK && e.code == CONNACK_ACCEPTED) return true;
  if (r == MQTT_SOCKET_EVENT) {
    *refused = true;
    refuse(t, &e);
  } else if (r == MQTT_SOCKET_TIMEOUT && t->options.unix_path) {
    tool_error(t, "no answer from %s", t->options.unix_path);
  } else if (r == MQTT_SOCKET_TIMEOUT) {
    tool_error(t, "no answer from %s port %u", t->options.host, (unsigned)t->options.port);
  } else if (r == MQTT_SOCKET_CLOSED) {
    tool_error(t, "%s before the broker answered", s->error);
  }
  mqtt_socket_close(s);
  return false;
}

void tool_disconnect(struct tool *t, uint64_t deadline_ms) {
  struct mqtt_socket *s = &t->socket;
  if (s->client.state == MQTT_CLIENT_CONNECTED)
    mqtt_client_disconnect(&s->client, REASON_SUCCESS, &t->properties[PROPERTY_OF_DISCONNECT]);
  mqtt_socket_disconnect(s, deadline_ms);
}
