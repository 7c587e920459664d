// `luamq sub`: subscribes and prints what comes, until it is stopped, has enough, or its time is over. A lost
// connection is made again.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/format.h"
#include "cmd/tool.h"
#include "packet/utf8.h"
#include "topic/topic.h"

#define DISCONNECT_TIMEOUT_MS 1000
#define RECONNECT_MS          1000

static const char what[] = "Subscribes at an MQTT broker and prints the messages.";

static const struct option_row rows[] = {
    {'v', "verbose", OPTION_FLAG, OPTION_AT(verbose), 0, 0, NULL, "print the topic before the payload", NULL},
    {'F', "format", OPTION_TEXT, OPTION_AT(format), 0, 0, "FORMAT",
     "what to print: %t topic, %p payload, %x in hex, %q qos, %r retain, %l length, %j JSON, %I time, %P "
     "user "
     "properties",
     NULL},
    {'N', "no-newline", OPTION_FLAG, OPTION_AT(no_newline), 0, 0, NULL, "no end of line behind a message",
     NULL},
    {'C', "count", OPTION_U32, OPTION_AT(count), 1, UINT32_MAX, "N", "end after N messages", NULL},
    {'W', "timeout", OPTION_SECONDS, OPTION_AT(timeout), 0, 0, "SECONDS",
     "end with exit code 27 after this time", NULL},
    {'E', "exit-subscribed", OPTION_FLAG, OPTION_AT(exit_subscribed), 0, 0, NULL,
     "end when the broker has acknowledged the subscriptions", NULL},
    {'R', "no-stale", OPTION_FLAG, OPTION_AT(no_stale), 0, 0, NULL, "leave out retained messages", NULL},
    {0, "retained-only", OPTION_FLAG, OPTION_AT(retained_only), 0, 0, NULL,
     "end at the first message that is not retained", NULL},
    {'T', "filter-out", OPTION_LIST, OPTION_AT(filter_out), 0, 0, "FILTER", "leave out these topics", NULL},
    {'U', "unsubscribe", OPTION_LIST, OPTION_AT(unsubscribe), 0, 0, "FILTER", "end this subscription", NULL},
    {0, "retain-as-published", OPTION_FLAG, OPTION_AT(retain_as_published), 0, 0, NULL,
     "messages have the retain flag that they were published with (MQTT 5)", NULL},
    {'D', "property", OPTION_PROPERTY, OPTION_AT(properties),
     PROPERTIES_FOR(CONNECT) | PROPERTIES_FOR(SUBSCRIBE) | PROPERTIES_FOR(UNSUBSCRIBE) |
         PROPERTIES_FOR(DISCONNECT) | PROPERTIES_FOR(WILL),
     0, "COMMAND NAME VALUE", "a property of connect, subscribe, unsubscribe, disconnect or will (MQTT 5)",
     NULL},
    {0, NULL, OPTION_FLAG, 0, 0, 0, NULL, NULL, NULL},
};

enum outcome { GO_ON, DONE, FAILED, LOST, TIMED_OUT };

struct sub {
  struct tool tool;
  uint64_t deadline_ms;
  uint32_t printed;
  uint16_t subscribe_id, unsubscribe_id; // not acknowledged yet; 0: none
  struct buf line;
};

static bool filters_valid(const struct tool *t, const struct text_list *l) {
  for (size_t i = 0; i < l->count; i++) {
    struct slice filter = slice_str(l->items[i]);
    if (topic_filter_valid(filter) && utf8_valid(filter)) continue;
    tool_error(t, "'%s' is not a topic filter", l->items[i]);
    return false;
  }
  return true;
}

static int check(const struct tool *t) {
  const struct tool_options *o = &t->options;
  if (!o->topics.count && !o->unsubscribe.count) return tool_error(t, "the topic is missing (-t)");
  if (!filters_valid(t, &o->topics) || !filters_valid(t, &o->unsubscribe) ||
      !filters_valid(t, &o->filter_out))
    return 1;
  if (o->no_stale && o->retained_only) return tool_error(t, "-R and --retained-only exclude each other");
  if (o->format && !format_valid(o->format)) return tool_error(t, "-F: malformed format");
  return 0;
}

static void request(struct sub *s) {
  const struct tool_options *o = &s->tool.options;
  const struct packet_properties *properties = s->tool.properties;
  struct mqtt_client *c = &s->tool.socket.client;
  uint8_t options = (uint8_t)(o->qos | (o->retain_as_published ? SUBSCRIPTION_RETAIN_AS_PUBLISHED : 0));
  size_t most = o->topics.count > o->unsubscribe.count ? o->topics.count : o->unsubscribe.count;
  struct packet_subscription *topics = mem_calloc(most, sizeof *topics);
  struct slice *filters = mem_calloc(most, sizeof *filters);
  for (size_t i = 0; i < o->topics.count; i++)
    topics[i] = (struct packet_subscription){slice_str(o->topics.items[i]), options};
  for (size_t i = 0; i < o->unsubscribe.count; i++)
    filters[i] = slice_str(o->unsubscribe.items[i]);
  if (o->topics.count)
    s->subscribe_id = mqtt_client_subscribe(c, topics, o->topics.count, &properties[PROPERTY_OF_SUBSCRIBE]);
  if (o->unsubscribe.count)
    s->unsubscribe_id =
        mqtt_client_unsubscribe(c, filters, o->unsubscribe.count, &properties[PROPERTY_OF_UNSUBSCRIBE]);
  mem_free(topics);
  mem_free(filters);
}

static enum outcome acknowledged(const struct sub *s) {
  return s->tool.options.exit_subscribed && !s->subscribe_id && !s->unsubscribe_id ? DONE : GO_ON;
}

// Tells of the refusals among the codes, and returns how many there are. Before MQTT 5 they have no reason.
static size_t tell_refused(const struct sub *s, const struct mqtt_client_event *e, const char *what_for,
                           const struct text_list *filters) {
  char text[REASON_TEXT_SIZE];
  size_t refused = 0;
  for (size_t i = 0; i < e->codes.len; i++) {
    if (e->codes.ptr[i] < SUBACK_FAILURE) continue;
    bool has_reason = s->tool.options.version == MQTT_5;
    tool_error(&s->tool, "%s '%s' refused%s%s", what_for, filters->items[i], has_reason ? ": " : "",
               has_reason ? reason_text(e->codes.ptr[i], text) : "");
    refused++;
  }
  return refused;
}

static enum outcome on_suback(struct sub *s, const struct mqtt_client_event *e) {
  const struct text_list *topics = &s->tool.options.topics;
  size_t refused = tell_refused(s, e, "subscription to", topics);
  if (refused == topics->count) return FAILED;
  s->subscribe_id = 0;
  return acknowledged(s);
}

static enum outcome on_unsuback(struct sub *s, const struct mqtt_client_event *e) {
  tell_refused(s, e, "unsubscription from", &s->tool.options.unsubscribe);
  s->unsubscribe_id = 0;
  return acknowledged(s);
}

// A client that another one has taken the session of would only take it back, and so on.
static enum outcome on_disconnected(const struct sub *s, const struct mqtt_client_event *e) {
  if (e->code != REASON_SESSION_TAKEN_OVER) return LOST;
  tool_error(&s->tool, "%s", s->tool.socket.error);
  return FAILED;
}

static bool wanted(const struct tool_options *o, const struct packet_message *m) {
  if (m->retain && o->no_stale) return false;
  for (size_t i = 0; i < o->filter_out.count; i++)
    if (topic_match(slice_str(o->filter_out.items[i]), m->topic)) return false;
  return true;
}

static bool print(struct sub *s, const struct mqtt_client_event *e) {
  const struct tool_options *o = &s->tool.options;
  const char *format = o->format ? o->format : o->verbose ? "%t %p" : "%p";
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  s->line.len = 0;
  format_message(&s->line, format, e, now);
  if (!o->no_newline) buf_add_byte(&s->line, '\n');
  return s->line.len == 0 || fwrite(s->line.ptr, 1, s->line.len, stdout) == s->line.len;
}

static enum outcome output_failed(const struct sub *s) {
  tool_error(&s->tool, "cannot write: %s", strerror(errno));
  return FAILED;
}

static enum outcome on_message(struct sub *s, const struct mqtt_client_event *e) {
  const struct tool_options *o = &s->tool.options;
  if (o->retained_only && !e->message.retain) return DONE;
  if (!wanted(o, &e->message)) return GO_ON;
  if (!print(s, e)) return output_failed(s);
  return ++s->printed == o->count ? DONE : GO_ON;
}

static enum outcome handle(struct sub *s, const struct mqtt_client_event *e) {
  switch (e->type) {
  case MQTT_CLIENT_SUBACK: return on_suback(s, e);
  case MQTT_CLIENT_UNSUBACK: return on_unsuback(s, e);
  case MQTT_CLIENT_DISCONNECTED: return on_disconnected(s, e);
  case MQTT_CLIENT_MESSAGE: return on_message(s, e);
  default: return GO_ON;
  }
}

// The next event; what was printed is flushed before a wait.
static enum mqtt_socket_result next(struct sub *s, struct mqtt_client_event *e) {
  enum mqtt_socket_result r = mqtt_socket_next(&s->tool.socket, 0, e);
  if (r != MQTT_SOCKET_TIMEOUT) return r;
  if (mqtt_socket_now() >= s->deadline_ms) return MQTT_SOCKET_TIMEOUT;
  fflush(stdout);
  return mqtt_socket_next(&s->tool.socket, s->deadline_ms, e);
}

// One connection, from its CONNACK on.
static enum outcome serve(struct sub *s) {
  struct mqtt_client_event e;
  enum outcome o = GO_ON;
  request(s);
  while (o == GO_ON && !ferror(stdout)) {
    switch (next(s, &e)) {
    case MQTT_SOCKET_EVENT: o = handle(s, &e); break;
    case MQTT_SOCKET_TIMEOUT: return TIMED_OUT;
    case MQTT_SOCKET_WATCHED: return DONE; // a signal
    case MQTT_SOCKET_CLOSED: return LOST;
    }
  }
  if (o == GO_ON) return output_failed(s);
  return o;
}

// Waits before the next attempt.
static enum outcome pause_before_retry(const struct sub *s) {
  uint64_t now = mqtt_socket_now(), left = s->deadline_ms > now ? s->deadline_ms - now : 0;
  struct pollfd signals = {.fd = s->tool.socket.watch_fd, .events = POLLIN};
  fflush(stdout);
  if (poll(&signals, 1, left < RECONNECT_MS ? (int)left : RECONNECT_MS) > 0) return DONE;
  return left <= RECONNECT_MS ? TIMED_OUT : GO_ON;
}

static enum outcome connect_again(struct sub *s) {
  for (;;) {
    enum outcome o = pause_before_retry(s);
    bool refused;
    if (o != GO_ON) return o;
    if (tool_connect(&s->tool, s->deadline_ms, &refused)) return GO_ON;
    if (refused) return FAILED;
  }
}

static enum outcome run(struct sub *s) {
  bool refused;
  if (!tool_connect(&s->tool, s->deadline_ms, &refused))
    return mqtt_socket_now() >= s->deadline_ms ? TIMED_OUT : FAILED;
  enum outcome o = serve(s);
  while (o == LOST) {
    tool_error(&s->tool, "connection lost: %s; trying again", s->tool.socket.error);
    o = connect_again(s);
    if (o == GO_ON) o = serve(s);
  }
  tool_disconnect(&s->tool, mqtt_socket_now() + DISCONNECT_TIMEOUT_MS);
  if (fflush(stdout) != 0 && o != FAILED) return output_failed(s);
  return o;
}

// A descriptor that is readable when SIGINT or SIGTERM has come.
static int watch_signals(sigset_t *before) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, before);
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

// A signal that was acted upon is taken, so that it does not end the process afterwards.
static void unwatch_signals(int fd, const sigset_t *before) {
  struct signalfd_siginfo taken;
  while (fd >= 0 && read(fd, &taken, sizeof taken) > 0) {
  }
  if (fd >= 0) close(fd);
  sigprocmask(SIG_SETMASK, before, NULL);
}

static int run_watched(struct sub *s) {
  double timeout = s->tool.options.timeout;
  s->deadline_ms = timeout > 0 ? mqtt_socket_now() + (uint64_t)(timeout * 1000) : MQTT_SOCKET_FOREVER;
  sigset_t before;
  int fd = watch_signals(&before);
  s->tool.socket.watch_fd = fd;
  enum outcome o = run(s);
  unwatch_signals(fd, &before);
  if (o == TIMED_OUT) tool_error(&s->tool, "timed out");
  return o == TIMED_OUT ? TOOL_TIMED_OUT : o == DONE ? 0 : 1;
}

int cmd_sub(int argc, char **argv) {
  struct sub s = {.line = BUF_INIT};
  int code = tool_init(&s.tool, "sub", what, rows, argc, argv);
  if (code < 0) code = check(&s.tool);
  if (code == 0 && !s.tool.options.help) code = run_watched(&s);
  buf_release(&s.line);
  tool_release(&s.tool);
  return code;
}
