// `luamq pub`: publishes one message, several times or once a line of stdin, waits until the broker has taken
// them, and disconnects.
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/tool.h"
#include "packet/utf8.h"
#include "topic/topic.h"

#define DISCONNECT_TIMEOUT_MS 5000

static const char what[] = "Publishes messages to an MQTT broker.";

static const struct option_row rows[] = {
    {'m', "message", OPTION_TEXT, OPTION_AT(message), 0, 0, "TEXT", "the message", NULL},
    {'f', "file", OPTION_TEXT, OPTION_AT(file), 0, 0, "FILE", "the contents of a file are the message", NULL},
    {'s', "stdin-file", OPTION_FLAG, OPTION_AT(whole_input), 0, 0, NULL, "all of stdin is the message", NULL},
    {'l', "stdin-line", OPTION_FLAG, OPTION_AT(lines), 0, 0, NULL, "each line of stdin is a message", NULL},
    {'n', "null-message", OPTION_FLAG, OPTION_AT(null_message), 0, 0, NULL, "an empty message", NULL},
    {'r', "retain", OPTION_FLAG, OPTION_AT(retain), 0, 0, NULL, "the message is retained", NULL},
    {0, "repeat", OPTION_U32, OPTION_AT(repeat), 1, UINT32_MAX, "N", "publish it N times (not with -l)",
     NULL},
    {0, "repeat-delay", OPTION_SECONDS, OPTION_AT(repeat_delay), 0, 0, "SECONDS", "wait between two of them",
     NULL},
    {'M', "max-inflight", OPTION_U32, OPTION_AT(max_inflight), 1, 65535, "N",
     "messages of QoS 1 and 2 that may wait for the broker (default 20)", NULL},
    {'D', "property", OPTION_PROPERTY, OPTION_AT(properties),
     PROPERTIES_FOR(CONNECT) | PROPERTIES_FOR(PUBLISH) | PROPERTIES_FOR(DISCONNECT) | PROPERTIES_FOR(WILL), 0,
     "COMMAND NAME VALUE", "a property of connect, publish, disconnect or will (MQTT 5)", NULL},
    {0, NULL, OPTION_FLAG, 0, 0, 0, NULL, NULL, NULL},
};

static int check(const struct tool *t) {
  const struct tool_options *o = &t->options;
  if (o->topics.count != 1)
    return tool_error(t, o->topics.count ? "more than one topic" : "the topic is missing (-t)");
  const char *topic = o->topics.items[0];
  if (!topic_name_valid(slice_str(topic)) || !utf8_valid(slice_str(topic)))
    return tool_error(t, "'%s' is not a topic to publish to", topic);
  int sources = !!o->message + !!o->file + o->lines + o->whole_input + o->null_message;
  if (sources != 1) return tool_error(t, "what to publish: one of -m, -f, -s, -l and -n");
  if (o->lines && (o->repeat != 1 || o->repeat_delay != 0))
    return tool_error(t, "--repeat does not go with -l");
  return 0;
}

static bool fits(const struct tool *t, size_t payload_len) {
  size_t header = 4 + strlen(t->options.topics.items[0]);
  if (payload_len <= PACKET_MAX_SIZE - 5 - header) return true;
  tool_error(t, "the message is larger than MQTT allows");
  return false;
}

// Reads `file` to its end into `out`.
static bool read_all(const struct tool *t, FILE *file, const char *name, struct buf *out) {
  size_t n;
  do {
    buf_reserve(out, 65536);
    n = fread(out->ptr + out->len, 1, 65536, file);
    out->len += n;
    if (!fits(t, out->len)) return false;
  } while (n);
  if (ferror(file)) tool_error(t, "cannot read %s: %s", name, strerror(errno));
  return !ferror(file);
}

static bool load(const struct tool *t, struct buf *payload) {
  const struct tool_options *o = &t->options;
  if (o->message) buf_add_str(payload, o->message);
  if (o->whole_input) return read_all(t, stdin, "stdin", payload);
  if (!o->file) return fits(t, payload->len);
  FILE *file = fopen(o->file, "rb");
  if (!file) {
    tool_error(t, "cannot open %s: %s", o->file, strerror(errno));
    return false;
  }
  bool loaded = read_all(t, file, o->file, payload);
  fclose(file);
  return loaded;
}

static void on_event(struct tool *t, const struct mqtt_client_event *e) {
  char text[REASON_TEXT_SIZE];
  if (e->type != MQTT_CLIENT_PUBLISHED || e->code < REASON_UNSPECIFIED_ERROR) return;
  tool_error(t, "message %u refused: %s", (unsigned)e->id, reason_text(e->code, text));
  t->failed = true;
}

// Handles what the broker sends until at most `most` messages are not acknowledged, and all bytes are sent.
static bool settle(struct tool *t, uint32_t most) {
  struct mqtt_socket *s = &t->socket;
  struct mqtt_client_event e;
  int watch_fd = s->watch_fd;
  s->watch_fd = -1;
  enum mqtt_socket_result r = mqtt_socket_flush(s, MQTT_SOCKET_FOREVER);
  while (r == MQTT_SOCKET_EVENT && s->client.inflight > most) {
    r = mqtt_socket_next(s, MQTT_SOCKET_FOREVER, &e);
    if (r == MQTT_SOCKET_EVENT) on_event(t, &e);
  }
  s->watch_fd = watch_fd;
  if (r == MQTT_SOCKET_EVENT) return true;
  tool_error(t, "connection lost: %s", *s->error ? s->error : "the broker does not read");
  return false;
}

static bool publish(struct tool *t, struct slice payload) {
  const struct tool_options *o = &t->options;
  struct packet_message m = {
      .topic = slice_str(o->topics.items[0]),
      .payload = payload,
      .properties = t->properties[PROPERTY_OF_PUBLISH],
      .qos = o->qos,
      .retain = o->retain,
  };
  const char *problem = mqtt_client_refuses(&t->socket.client, &m);
  if (problem) return tool_error(t, "cannot publish: %s", problem), false;
  // The broker knows what an alias stands for once it has had the topic.
  if (t->published && packet_has_property(&m.properties, PROPERTY_TOPIC_ALIAS)) m.topic = slice_of(NULL, 0);
  mqtt_client_publish(&t->socket.client, &m);
  t->published = true;
  return settle(t, o->max_inflight - 1);
}

// The connection lives while time passes.
static bool wait_between(struct tool *t) {
  struct mqtt_socket *s = &t->socket;
  uint64_t deadline = mqtt_socket_now() + (uint64_t)(t->options.repeat_delay * 1000);
  struct mqtt_client_event e;
  enum mqtt_socket_result r;
  while ((r = mqtt_socket_next(s, deadline, &e)) == MQTT_SOCKET_EVENT)
    on_event(t, &e);
  if (r == MQTT_SOCKET_CLOSED) tool_error(t, "connection lost: %s", s->error);
  return r != MQTT_SOCKET_CLOSED;
}

static bool publish_repeated(struct tool *t, struct slice payload) {
  for (uint32_t i = 0; i < t->options.repeat; i++) {
    if (i && t->options.repeat_delay > 0 && !wait_between(t)) return false;
    if (!publish(t, payload)) return false;
  }
  return true;
}

// Publishes the complete lines at the front of `input`; `ended`: the rest is a line, too.
static bool publish_lines_of(struct tool *t, struct buf *input, bool ended) {
  size_t at = 0;
  while (at < input->len) {
    struct slice rest = slice_from(buf_slice(input), at);
    const uint8_t *newline = memchr(rest.ptr, '\n', rest.len);
    if (!newline && !ended) break;
    size_t len = newline ? (size_t)(newline - rest.ptr) : rest.len;
    if (!fits(t, len) || !publish(t, slice_of(rest.ptr, len))) return false;
    at += len + (newline ? 1 : 0);
  }
  buf_consume(input, at < input->len ? at : input->len);
  return fits(t, input->len);
}

static bool publish_lines(struct tool *t, struct buf *input) {
  struct mqtt_socket *s = &t->socket;
  struct mqtt_client_event e;
  s->watch_fd = STDIN_FILENO;
  for (;;) {
    enum mqtt_socket_result r = mqtt_socket_next(s, MQTT_SOCKET_FOREVER, &e);
    if (r == MQTT_SOCKET_CLOSED) {
      tool_error(t, "connection lost: %s", s->error);
      return false;
    }
    if (r == MQTT_SOCKET_EVENT) on_event(t, &e);
    if (r != MQTT_SOCKET_WATCHED) continue;
    buf_reserve(input, 65536);
    ssize_t n = read(STDIN_FILENO, input->ptr + input->len, 65536);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tool_error(t, "cannot read stdin: %s", strerror(errno)), false;
    input->len += (size_t)n;
    if (!publish_lines_of(t, input, n == 0)) return false;
    if (n == 0) return true;
  }
}

static int run(struct tool *t, struct buf *payload) {
  bool refused;
  if (!t->options.lines && !load(t, payload)) return 1;
  if (!tool_connect(t, MQTT_SOCKET_FOREVER, &refused)) return 1;
  bool sent = t->options.lines ? publish_lines(t, payload) : publish_repeated(t, buf_slice(payload));
  if (!sent || !settle(t, 0)) return 1;
  tool_disconnect(t, mqtt_socket_now() + DISCONNECT_TIMEOUT_MS);
  return t->failed;
}

int cmd_pub(int argc, char **argv) {
  struct tool t;
  struct buf payload = BUF_INIT;
  int code = tool_init(&t, "pub", what, rows, argc, argv);
  if (code < 0) code = check(&t);
  if (code == 0 && !t.options.help) code = run(&t, &payload);
  buf_release(&payload);
  tool_release(&t);
  return code;
}
