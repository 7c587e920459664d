#include "cmd/options.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/slice.h"
#include "packet/packet.h"

static void wipe(char *text, size_t size) {
  if (text) explicit_bzero(text, size);
  mem_free(text);
}

static void set_secret(char **place, const char *value) {
  wipe(*place, *place ? strlen(*place) : 0);
  *place = mem_dup(value, strlen(value) + 1);
}

// Values that need more than a place

uint8_t options_version(const char *name) {
  static const struct {
    const char *name;
    uint8_t version;
  } versions[] = {{"mqttv31", MQTT_3_1}, {"31", MQTT_3_1},      {"3.1", MQTT_3_1},  {"mqttv311", MQTT_3_1_1},
                  {"311", MQTT_3_1_1},   {"3.1.1", MQTT_3_1_1}, {"mqttv5", MQTT_5}, {"5", MQTT_5}};
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
    if (!strcmp(name, versions[i].name)) return versions[i].version;
  return 0;
}

static const char *set_version(struct tool_options *o, char *value) {
  o->version = options_version(value);
  return o->version ? NULL : "expected mqttv31, mqttv311 or mqttv5";
}

static const char *set_session_expiry(struct tool_options *o, char *value) {
  char *rest;
  bool never = !strcmp(value, "-1") || !strcmp(value, "∞");
  unsigned long long seconds = strtoull(value, &rest, 10);
  if (!never && (*value < '0' || *value > '9' || *rest || seconds > UINT32_MAX))
    return "expected seconds from 0 to 4294967295, or -1 for ever";
  o->session_expiry_s = never ? UINT32_MAX : (uint32_t)seconds;
  o->has_session_expiry = true;
  return NULL;
}

static const char *set_tls_version(struct tool_options *o, char *value) {
  if (strcmp(value, "tlsv1.2") != 0 && strcmp(value, "tlsv1.3") != 0) return "expected tlsv1.2 or tlsv1.3";
  o->tls.min_version = value + strlen("tlsv");
  return NULL;
}

static void list_add(struct text_list *l, const char *text) {
  l->items = mem_realloc(l->items, (l->count + 1) * sizeof *l->items);
  l->items[l->count++] = text;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Replaces %XX in place; false when one is malformed or would be a NUL.
static bool unescape(char *text) {
  char *to = text;
  for (char *from = text; *from; from++) {
    if (*from != '%') {
      *to++ = *from;
      continue;
    }
    int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
    if (low < 0 || (high == 0 && low == 0)) return false;
    *to++ = (char)(high << 4 | low);
    from += 2;
  }
  *to = 0;
  return true;
}

static const char *set_port(struct tool_options *o, const char *text) {
  char *rest;
  long port = strtol(text, &rest, 10);
  if (*text < '0' || *text > '9' || *rest || port < 1 || port > 65535)
    return "the port is not a number from 1 to 65535";
  o->port = (uint16_t)port;
  return NULL;
}

// "host", "host:port", "[::1]:port"
static const char *set_authority(struct tool_options *o, char *text) {
  char *port = NULL;
  if (*text == '[') {
    char *bracket = strchr(++text, ']');
    if (!bracket) return "the ']' of the address is missing";
    *bracket++ = 0;
    if (*bracket && *bracket != ':') return "expected a port behind the ']'";
    port = *bracket ? bracket + 1 : NULL;
  } else if ((port = strchr(text, ':'))) {
    *port++ = 0;
  }
  if (!*text) return "the host is missing";
  o->host = text;
  return port ? set_port(o, port) : NULL;
}

#define URL "mqtt|mqtts|ws|wss://[username[:password]@]host[:port]/topic"

static const struct url_scheme {
  const char *prefix;
  bool tls, websocket;
} url_schemes[] = {
    {"mqtt://", false, false}, {"mqtts://", true, false}, {"ws://", false, true}, {"wss://", true, true}};

// The rest of the text behind a scheme that is known, or NULL.
static char *set_scheme(struct tool_options *o, char *text) {
  for (size_t i = 0; i < sizeof url_schemes / sizeof *url_schemes; i++) {
    const struct url_scheme *scheme = &url_schemes[i];
    if (strncmp(text, scheme->prefix, strlen(scheme->prefix)) != 0) continue;
    o->use_tls |= scheme->tls;
    o->websocket |= scheme->websocket;
    return text + strlen(scheme->prefix);
  }
  return NULL;
}

// The argument is overwritten, for it may hold a password.
static const char *set_url(struct tool_options *o, char *value) {
  if (o->kept) return "given twice";
  o->kept_size = strlen(value) + 1;
  o->kept = mem_dup(value, o->kept_size);
  memset(value, '*', strlen(value));
  char *text = set_scheme(o, o->kept);
  if (!text) return "expected " URL;
  char *topic = strchr(text, '/');
  if (!topic) return "the topic is missing: expected " URL;
  *topic++ = 0;
  if (!*topic || !unescape(topic)) return "the topic is empty or malformed";
  list_add(&o->topics, topic);
  char *host = strrchr(text, '@');
  if (!host) return set_authority(o, text);
  *host++ = 0;
  char *password = strchr(text, ':');
  if (password) *password++ = 0;
  if (!unescape(text) || (password && !unescape(password))) return "the user name or password is malformed";
  o->username = text;
  if (password) set_secret(&o->password, password);
  return set_authority(o, host);
}

const struct option_row options_common[] = {
    {'h', "host", OPTION_TEXT, OPTION_AT(host), 0, 0, "HOST", "the broker (default localhost)", NULL},
    {'p', "port", OPTION_U16, OPTION_AT(port), 1, 65535, "PORT", "its port (default 1883, 8883 with TLS)",
     NULL},
    {0, "unix", OPTION_TEXT, OPTION_AT(unix_path), 0, 0, "PATH", "the broker's unix socket", NULL},
    {'L', "url", OPTION_CALL, 0, 0, 0, "URL", URL, set_url},
    {'t', "topic", OPTION_LIST, OPTION_AT(topics), 0, 0, "TOPIC",
     "the topic; for sub a filter, and maybe several", NULL},
    {'q', "qos", OPTION_U8, OPTION_AT(qos), 0, 2, "QOS", "quality of service, 0 to 2 (default 0)", NULL},
    {'u', "username", OPTION_TEXT, OPTION_AT(username), 0, 0, "NAME", "user name", NULL},
    {'P', "pw", OPTION_SECRET, OPTION_AT(password), 0, 0, "PASSWORD", "password", NULL},
    {'i', "id", OPTION_TEXT, OPTION_AT(id), 0, 0, "ID", "client id (default a random one)", NULL},
    {'I', "id-prefix", OPTION_TEXT, OPTION_AT(id_prefix), 0, 0, "PREFIX",
     "client id: this and the process id", NULL},
    {'c', "disable-clean-session", OPTION_FLAG, OPTION_AT(keep_session), 0, 0, NULL,
     "keep the session between connections; needs -i", NULL},
    {'k', "keepalive", OPTION_U16, OPTION_AT(keep_alive), 0, 65535, "SECONDS",
     "keep alive (default 60, 0: off)", NULL},
    {'V', "protocol-version", OPTION_CALL, 0, 0, 0, "VERSION",
     "mqttv31, mqttv311 (default) or mqttv5 (default with -D and -x)", set_version},
    {'x', "session-expiry-interval", OPTION_CALL, 0, 0, 0, "S",
     "how long the session is kept, MQTT 5 (default 0, and with -c for ever)", set_session_expiry},
    {0, "will-topic", OPTION_TEXT, OPTION_AT(will_topic), 0, 0, "TOPIC",
     "a will, sent when the connection is lost", NULL},
    {0, "will-payload", OPTION_TEXT, OPTION_AT(will_payload), 0, 0, "TEXT", "its payload (default empty)",
     NULL},
    {0, "will-qos", OPTION_U8, OPTION_AT(will_qos), 0, 2, "QOS", "its quality of service", NULL},
    {0, "will-retain", OPTION_FLAG, OPTION_AT(will_retain), 0, 0, NULL, "it is retained", NULL},
    {'d', "debug", OPTION_FLAG, OPTION_AT(debug), 0, 0, NULL, "print all packets on stderr", NULL},
    {0, "quiet", OPTION_FLAG, OPTION_AT(quiet), 0, 0, NULL, "print no errors", NULL},
    {0, "help", OPTION_FLAG, OPTION_AT(help), 0, 0, NULL, "print this", NULL},
    {0, "cafile", OPTION_TEXT, OPTION_AT(tls.ca_file), 0, 0, "FILE", "TLS: PEM file of trusted authorities",
     NULL},
    {0, "capath", OPTION_TEXT, OPTION_AT(tls.ca_path), 0, 0, "FOLDER",
     "TLS: folder of them, as c_rehash makes it", NULL},
    {0, "tls-use-os-certs", OPTION_FLAG, OPTION_AT(tls.system_cas), 0, 0, NULL,
     "TLS: trust the system's authorities", NULL},
    {0, "cert", OPTION_TEXT, OPTION_AT(tls.certificate), 0, 0, "FILE", "TLS: this client's certificate, PEM",
     NULL},
    {0, "key", OPTION_TEXT, OPTION_AT(tls.key), 0, 0, "FILE", "TLS: its key, PEM", NULL},
    {0, "psk", OPTION_SECRET, OPTION_AT(psk), 0, 0, "HEX",
     "TLS with a pre-shared key instead of certificates", NULL},
    {0, "psk-identity", OPTION_TEXT, OPTION_AT(tls.psk_identity), 0, 0, "NAME", "TLS: whose key it is", NULL},
    {0, "tls-version", OPTION_CALL, 0, 0, 0, "VERSION", "TLS: tlsv1.2 (default) or tlsv1.3 at least",
     set_tls_version},
    {0, "tls-alpn", OPTION_TEXT, OPTION_AT(tls.alpn), 0, 0, "NAME",
     "TLS: application protocol (default mqtt)", NULL},
    {0, "insecure", OPTION_FLAG, OPTION_AT(tls.insecure), 0, 0, NULL,
     "TLS: the certificate may be for another host", NULL},
    {0, "ws", OPTION_FLAG, OPTION_AT(websocket), 0, 0, NULL,
     "over a WebSocket (default port 80, 443 with TLS)", NULL},
    {0, "ws-path", OPTION_TEXT, OPTION_AT(websocket_path), 0, 0, "PATH", "its path (default /mqtt)", NULL},
    {0, "ciphers", OPTION_MISSING, 0, 0, 0, "", NULL, NULL},
    {0, "proxy", OPTION_MISSING, 0, 0, 0, "", NULL, NULL},
    {'A', NULL, OPTION_MISSING, 0, 0, 0, "", NULL, NULL},
    {0, NULL, OPTION_FLAG, 0, 0, 0, NULL, NULL, NULL},
};

void options_init(struct tool_options *o) {
  *o = (struct tool_options){
      .keep_alive = 60,
      .repeat = 1,
      .max_inflight = 20,
  };
}

void options_release(struct tool_options *o) {
  wipe(o->password, o->password ? strlen(o->password) : 0);
  wipe(o->psk, o->psk ? strlen(o->psk) : 0);
  wipe(o->kept, o->kept_size);
  property_options_release(&o->properties);
  mem_free(o->topics.items);
  mem_free(o->unsubscribe.items);
  mem_free(o->filter_out.items);
  options_init(o);
}

// Parsing

struct parse {
  struct tool_options *o;
  const char *tool;
  const struct option_row *own;
  char **argv;
  int argc, at; // argv[at] is the argument under way
};

// "-p", or "--port" for one without a letter, or as it was given.
static const char *shown(const struct option_row *row, char text[40]) {
  if (row->letter)
    snprintf(text, 40, "-%c", row->letter);
  else
    snprintf(text, 40, "--%s", row->name);
  return text;
}

static bool complain(const struct parse *p, const char *option, const char *problem) {
  fprintf(stderr, "luamq %s: %s%s%s (see luamq %s --help)\n", p->tool, option, *option ? ": " : "", problem,
          p->tool);
  return false;
}

static const struct option_row *find_in(const struct option_row *rows, char letter, struct slice name) {
  for (; rows->letter || rows->name; rows++) {
    if (letter && rows->letter == letter) return rows;
    if (!letter && rows->name && slice_eq(slice_str(rows->name), name)) return rows;
  }
  return NULL;
}

static const struct option_row *find_row(const struct parse *p, char letter, struct slice name) {
  const struct option_row *row = find_in(p->own, letter, name);
  return row ? row : find_in(options_common, letter, name);
}

static const char *set_number(const struct option_row *row, void *place, const char *value,
                              char problem[96]) {
  char *rest;
  unsigned long long n = strtoull(value, &rest, 10);
  if (*value < '0' || *value > '9' || *rest || n < row->min || n > row->max) {
    snprintf(problem, 96, "expected a number from %u to %u", (unsigned)row->min, (unsigned)row->max);
    return problem;
  }
  if (row->type == OPTION_U8) *(uint8_t *)place = (uint8_t)n;
  if (row->type == OPTION_U16) *(uint16_t *)place = (uint16_t)n;
  if (row->type == OPTION_U32) *(uint32_t *)place = (uint32_t)n;
  return NULL;
}

static const char *set_seconds(double *place, const char *value) {
  char *rest;
  double n = strtod(value, &rest);
  if (rest == value || *rest || !isfinite(n) || n < 0 || n > 1e9) return "expected a number of seconds";
  *place = n;
  return NULL;
}

// NULL, or what is wrong with the value.
static const char *set(struct tool_options *o, const struct option_row *row, char *value, char problem[96]) {
  void *place = (char *)o + row->offset;
  if (row->type == OPTION_MISSING) return "not supported in this version";
  if (row->type == OPTION_FLAG) {
    *(bool *)place = true;
    return NULL;
  }
  assert(value);
  switch (row->type) {
  case OPTION_TEXT: *(const char **)place = value; return NULL;
  case OPTION_SECRET:
    set_secret(place, value);
    memset(value, '*', strlen(value));
    return NULL;
  case OPTION_LIST: list_add(place, value); return NULL;
  case OPTION_SECONDS: return set_seconds(place, value);
  case OPTION_CALL: return row->set(o, value);
  default: return set_number(row, place, value, problem);
  }
}

// Takes the arguments that follow; one may be joined.
static bool apply_property(struct parse *p, const struct option_row *row, char *joined) {
  char option[40], problem[PROPERTY_PROBLEM_SIZE];
  char *args[PROPERTY_ARGS_MAX];
  int count = 0, at = p->at + 1;
  if (joined) args[count++] = joined;
  while (count < PROPERTY_ARGS_MAX && at < p->argc)
    args[count++] = p->argv[at++];
  int used = property_options_add((void *)((char *)p->o + row->offset), row->min, args, count, problem);
  if (used < 0) return complain(p, shown(row, option), problem);
  p->at += used - (joined ? 1 : 0);
  return true;
}

// `joined`: the value that stands in the same argument, or NULL.
static bool apply(struct parse *p, const struct option_row *row, char *joined) {
  char option[40], problem[96];
  char *value = joined;
  if (row->type == OPTION_PROPERTY) return apply_property(p, row, joined);
  if (row->value && !value && p->at + 1 < p->argc) value = p->argv[++p->at];
  if (row->value && !value) return complain(p, shown(row, option), "a value is missing");
  const char *error = set(p->o, row, value, problem);
  return error ? complain(p, shown(row, option), error) : true;
}

static bool parse_letters(struct parse *p, char *letters) {
  for (; *letters; letters++) {
    const struct option_row *row = find_row(p, *letters, SLICE(""));
    char option[] = {'-', *letters, 0};
    if (!row) return complain(p, option, "unknown option");
    if (row->value) return apply(p, row, letters[1] ? letters + 1 : NULL);
    if (!apply(p, row, NULL)) return false;
  }
  return true;
}

static bool parse_name(struct parse *p, char *name) {
  size_t len = strcspn(name, "=");
  char *joined = name[len] ? name + len + 1 : NULL;
  const struct option_row *row = find_row(p, 0, slice_of(name, len));
  char option[40];
  snprintf(option, sizeof option, "--%.*s", (int)(len < 36 ? len : 36), name);
  if (!row) return complain(p, option, "unknown option");
  if (joined && !row->value) return complain(p, option, "takes no value");
  return apply(p, row, joined);
}

bool options_parse(struct tool_options *o, const char *tool, const struct option_row *own, int argc,
                   char **argv) {
  struct parse p = {.o = o, .tool = tool, .own = own, .argv = argv, .argc = argc};
  for (p.at = 1; p.at < argc; p.at++) {
    char *arg = argv[p.at], problem[64];
    if (arg[0] == '-' && arg[1] == '-' && arg[2]) {
      if (!parse_name(&p, arg + 2)) return false;
    } else if (arg[0] == '-' && arg[1] && arg[1] != '-') {
      if (!parse_letters(&p, arg + 1)) return false;
    } else { // it may be part of a password that was not quoted
      snprintf(problem, sizeof problem, "argument %d is not an option", p.at);
      return complain(&p, "", problem);
    }
  }
  return true;
}

static void print_rows(const struct option_row *rows) {
  for (; rows->letter || rows->name; rows++) {
    if (!rows->help) continue;
    char letter[8] = "   ", name[64] = "";
    if (rows->letter) snprintf(letter, sizeof letter, " -%c", rows->letter);
    snprintf(name, sizeof name, "%s%s%s%s", rows->name ? "--" : "", rows->name ? rows->name : "",
             rows->value ? " " : "", rows->value ? rows->value : "");
    printf(" %s  %-30s %s\n", letter, name, rows->help);
  }
}

void options_usage(const char *tool, const char *what, const struct option_row *own) {
  printf("usage: luamq %s [options]\n%s\n\n", tool, what);
  print_rows(own);
  puts("");
  print_rows(options_common);
}
