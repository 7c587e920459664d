// `luamq bench`: options, the table of scenarios, and one run. bench.h tells how the parts go together.

#include "cmd/bench.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "packet/packet.h"

#define BATCH_BYTES_MAX (256u * 1024 * 1024) // of all publishers

static const struct bench_scenario scenarios[] = {
    {"fanout",
     "one publisher to N subscribers",
     bench_run_fanout,
     {.clients = 100, .payload = 16, .window = 1600, .batch = 64, .seconds = 3}},
    {"fanin",
     "N publishers to one subscriber",
     bench_run_fanin,
     {.clients = 100, .payload = 16, .window = 1600, .batch = 64, .seconds = 3}},
    {"pairs",
     "N publishers, each to a subscriber of its own; --one: one message at a time",
     bench_run_pairs,
     {.clients = 100, .payload = 16, .window = 1600, .batch = 64, .seconds = 3}},
    {"wildcards",
     "N publishers, --topics topics, each matched by three wildcard filters",
     bench_run_wildcards,
     {.clients = 100, .payload = 16, .window = 512, .batch = 64, .seconds = 3, .topics = 10000}},
    {"large",
     "pairs with payloads of 64 KiB",
     bench_run_pairs,
     {.clients = 10, .payload = 65536, .window = 4, .batch = 1, .seconds = 3}},
    {"latency",
     "pairs at a fixed --rate, latency from the time a message was due",
     bench_run_latency,
     {.clients = 50, .payload = 16, .window = 1, .batch = 1, .seconds = 3, .rate = 10000}},
    {"connects", "--messages times connect, CONNACK, DISCONNECT", bench_run_connects, {.messages = 10000}},
    {"idle",
     "N idle connections; --subscribe: with one subscription each",
     bench_run_idle,
     {.clients = 10000}},
    {"retained",
     "--topics retained messages stored, then replayed to one subscriber",
     bench_run_retained,
     {.payload = 16, .window = 1600, .batch = 64, .topics = 100000, .qos = 1}},
};

static void print_help(void) {
  puts("usage: luamq bench --scenario NAME [options]\n"
       "\n"
       "Runs one scenario against one broker and prints a JSON object.\n"
       "\n"
       "scenarios:");
  for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++)
    printf("  %-12s %s\n", scenarios[i].name, scenarios[i].what);
  puts("\n"
       "options (defaults depend on the scenario):\n"
       "  -s, --scenario NAME   what to run\n"
       "  -V, --protocol-version VERSION   mqttv31, mqttv311 (default) or mqttv5\n"
       "      --host HOST       address of the broker (127.0.0.1)\n"
       "      --port PORT       its port (1883)\n"
       "      --pid PID         its process: measure CPU time and memory of it\n"
       "      --tls CAFILE      over TLS, trusting the authorities in this PEM file\n"
       "      --ws              over WebSocket\n"
       "      --ws-path PATH    its path (/mqtt)\n"
       "      --seconds N       how long publishers send\n"
       "      --messages N      how many messages they send in total, instead of --seconds\n"
       "      --clients N       publishers, subscribers, pairs or connections\n"
       "      --topics N        topics of wildcards and retained\n"
       "      --qos N           0, 1 or 2\n"
       "      --payload BYTES   at least 16\n"
       "      --window N        messages sent to a subscriber and not delivered yet, at most\n"
       "      --batch N         messages in one send, at most\n"
       "      --rate N          messages a second of latency\n"
       "      --concurrency N   connections that are opened at a time (50)\n"
       "      --timeout S       give up when nothing comes from the broker (10)\n"
       "      --deadline S      give up whatever happens (120)\n"
       "      --one             pairs: the next message when the last one is delivered and acknowledged\n"
       "      --subscribe       idle: a subscription for each connection\n"
       "  -h, --help            print this\n"
       "\n"
       "The exit code is 0; 1 when something was lost, duplicated or reordered or the run failed;\n"
       "2 when the options are wrong.");
}

// ---- options

enum option_id {
  OPT_HOST = 256,
  OPT_PORT,
  OPT_PID,
  OPT_TLS,
  OPT_WS,
  OPT_WS_PATH,
  OPT_SECONDS,
  OPT_MESSAGES,
  OPT_CLIENTS,
  OPT_TOPICS,
  OPT_QOS,
  OPT_PAYLOAD,
  OPT_WINDOW,
  OPT_BATCH,
  OPT_RATE,
  OPT_CONCURRENCY,
  OPT_TIMEOUT,
  OPT_DEADLINE,
  OPT_ONE,
  OPT_SUBSCRIBE,
};

static const struct option long_options[] = {
    {"scenario", required_argument, NULL, 's'},
    {"help", no_argument, NULL, 'h'},
    {"protocol-version", required_argument, NULL, 'V'},
    {"host", required_argument, NULL, OPT_HOST},
    {"port", required_argument, NULL, OPT_PORT},
    {"pid", required_argument, NULL, OPT_PID},
    {"tls", required_argument, NULL, OPT_TLS},
    {"ws", no_argument, NULL, OPT_WS},
    {"ws-path", required_argument, NULL, OPT_WS_PATH},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"messages", required_argument, NULL, OPT_MESSAGES},
    {"clients", required_argument, NULL, OPT_CLIENTS},
    {"topics", required_argument, NULL, OPT_TOPICS},
    {"qos", required_argument, NULL, OPT_QOS},
    {"payload", required_argument, NULL, OPT_PAYLOAD},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"rate", required_argument, NULL, OPT_RATE},
    {"concurrency", required_argument, NULL, OPT_CONCURRENCY},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"deadline", required_argument, NULL, OPT_DEADLINE},
    {"one", no_argument, NULL, OPT_ONE},
    {"subscribe", no_argument, NULL, OPT_SUBSCRIBE},
    {NULL, 0, NULL, 0},
};

static bool use_scenario(struct bench *b, const char *name) {
  for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
    if (strcmp(scenarios[i].name, name) != 0) continue;
    b->opt = scenarios[i].defaults;
    b->opt.scenario = &scenarios[i];
    b->opt.host = "127.0.0.1";
    b->opt.port = "1883";
    b->opt.version = MQTT_3_1_1;
    b->opt.concurrency = 50;
    b->opt.timeout = 10;
    b->opt.deadline = 120;
    return true;
  }
  return bench_fail(b, "no scenario '%s'; --help lists them", name);
}

// A number in [min, max]; 0 and a failure when it is not one.
static uint32_t number(struct bench *b, const char *text, uint32_t min, uint32_t max) {
  char *end;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  if (!errno && end > text && !*end && *text != '-' && n >= min && n <= max) return (uint32_t)n;
  bench_fail(b, "'%s' is not a number from %u to %u", text, min, max);
  return 0;
}

static void set_seconds(struct bench *b, const char *text) {
  char *end;
  double n = strtod(text, &end);
  if (end == text || *end || !(n >= 0.01 && n <= 3600))
    bench_fail(b, "'%s' are no seconds from 0.01 to 3600", text);
  b->opt.seconds = n;
}

static void set_version(struct bench *b, const char *name) {
  b->opt.version = options_version(name);
  if (!b->opt.version) bench_fail(b, "-V: expected mqttv31, mqttv311 or mqttv5");
}

static void set_option(struct bench *b, int option, const char *value) {
  struct bench_options *o = &b->opt;
  switch (option) {
  case 'V': set_version(b, value); break;
  case OPT_HOST: o->host = value; break;
  case OPT_PORT: o->port = value; break;
  case OPT_PID: o->pid = (pid_t)number(b, value, 1, INT32_MAX); break;
  case OPT_TLS: o->tls_ca = value; break;
  case OPT_WS: o->websocket = true; break;
  case OPT_WS_PATH: o->websocket_path = value; break;
  case OPT_SECONDS: set_seconds(b, value); break;
  case OPT_MESSAGES: o->messages = number(b, value, 1, UINT32_MAX); break;
  case OPT_CLIENTS: o->clients = number(b, value, 1, 100000); break;
  case OPT_TOPICS: o->topics = number(b, value, 1, 1000000); break;
  case OPT_QOS: o->qos = (uint8_t)number(b, value, 0, 2); break;
  case OPT_PAYLOAD: o->payload = number(b, value, sizeof(struct bench_stamp), 64 * 1024 * 1024); break;
  case OPT_WINDOW: o->window = number(b, value, 1, 60000); break; // ids in flight are distinct
  case OPT_BATCH: o->batch = number(b, value, 1, 60000); break;
  case OPT_RATE: o->rate = number(b, value, 1, 10000000); break;
  case OPT_CONCURRENCY: o->concurrency = number(b, value, 1, 10000); break;
  case OPT_TIMEOUT: o->timeout = number(b, value, 1, 3600); break;
  case OPT_DEADLINE: o->deadline = number(b, value, 1, 86400); break;
  case OPT_ONE: o->one = true; break;
  case OPT_SUBSCRIBE: o->subscribe = true; break;
  default: break;
  }
}

enum parsed { PARSED, PARSED_HELP, PARSED_WRONG };

// The scenario comes first whatever its place, because it brings the defaults that other options change.
static enum parsed parse_pass(struct bench *b, int argc, char **argv, bool scenario) {
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "s:hV:", long_options, NULL)) != -1;) {
    if (option == 'h') return PARSED_HELP;
    if (option == '?') return PARSED_WRONG; // getopt has said why
    if (scenario && option == 's') use_scenario(b, optarg);
    if (!scenario) set_option(b, option, optarg);
    if (b->error[0]) return PARSED_WRONG;
  }
  if (optind < argc) bench_fail(b, "'%s' is not an option", argv[optind]);
  if (!b->opt.scenario && !b->error[0]) bench_fail(b, "--scenario is missing; --help lists them");
  return b->error[0] ? PARSED_WRONG : PARSED;
}

static bool check_options(struct bench *b) {
  struct bench_options *o = &b->opt;
  if (o->websocket_path && !o->websocket) return bench_fail(b, "--ws-path is for --ws only");
  if (o->websocket_path && !ws_client_path_valid(o->websocket_path))
    return bench_fail(b, "--ws-path: expected a path that begins with '/'");
  if (o->one) o->window = o->batch = 1;
  if (o->rate && o->scenario->run != bench_run_latency) return bench_fail(b, "--rate is for latency only");
  if (o->one && o->scenario->run != bench_run_pairs) return bench_fail(b, "--one is for pairs only");
  if (o->subscribe && o->scenario->run != bench_run_idle)
    return bench_fail(b, "--subscribe is for idle only");
  if (o->scenario->run == bench_run_retained && !o->qos) return bench_fail(b, "retained needs --qos 1 or 2");
  if ((uint64_t)o->batch * ((uint64_t)o->payload + BENCH_HEAD_MAX) * (o->clients ? o->clients : 1) >
      BATCH_BYTES_MAX)
    return bench_fail(b, "--batch times --payload times --clients is too large");
  if (o->messages && o->messages < o->clients)
    return bench_fail(b, "--messages is less than one for each client");
  return true;
}

static enum parsed parse(struct bench *b, int argc, char **argv) {
  enum parsed parsed = parse_pass(b, argc, argv, true);
  if (parsed == PARSED) parsed = parse_pass(b, argc, argv, false);
  if (parsed == PARSED && !check_options(b)) parsed = PARSED_WRONG;
  return parsed;
}

// ---- one run

bool bench_fail(struct bench *b, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(b->error, sizeof(b->error), format, args);
  va_end(args);
  return false;
}

static bool resolve(struct bench *b) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int error = getaddrinfo(b->opt.host, b->opt.port, &hints, &found);
  if (error) return bench_fail(b, "%s:%s: %s", b->opt.host, b->opt.port, gai_strerror(error));
  memcpy(&b->addr, found->ai_addr, found->ai_addrlen);
  b->addr_len = found->ai_addrlen;
  freeaddrinfo(found);
  // sin6_port stands where sin_port does.
  b->port = ntohs(((const struct sockaddr_in *)(const void *)&b->addr)->sin_port);
  return true;
}

static bool use_transport(struct bench *b) {
  b->websocket.path = b->opt.websocket_path;
  if (!b->opt.tls_ca) return true;
  struct tls_client_error e;
  b->tls = tls_client_new(&(struct tls_client_options){.ca_file = b->opt.tls_ca}, &e);
  return b->tls ? true : bench_fail(b, "--tls: %s", e.text);
}

static bool allow_files(struct bench *b) {
  struct rlimit limit;
  uint64_t needed = 64 + 4ull * (b->opt.clients + b->opt.concurrency);
  if (b->opt.scenario->run == bench_run_idle) needed = 64 + b->opt.clients;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return true;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < needed) {
    limit.rlim_cur = limit.rlim_max = needed; // root may
    if (setrlimit(RLIMIT_NOFILE, &limit))
      return bench_fail(b, "%lu open files are needed, and the limit cannot be raised",
                        (unsigned long)needed);
  }
  return true;
}

static bool run(struct bench *b) {
  b->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (b->epoll < 0) return bench_fail(b, "epoll_create: %s", strerror(errno));
  b->input = mem_alloc(BENCH_HEAD_MAX + BENCH_INPUT);
  b->begin_ns = bench_now();
  bool ok = resolve(b) && use_transport(b) && allow_files(b) && b->opt.scenario->run(b);
  if (ok) bench_report(b);
  bench_conns_release(b);
  bench_streams_release(b);
  tls_client_free(b->tls);
  buf_release(&b->acks);
  mem_free(b->input);
  close(b->epoll);
  return ok;
}

// The faults are in the report as well; here they become the exit code and a line for who reads no JSON.
static bool faultless(struct bench *b) {
  uint64_t lost = bench_lost(b);
  if (!lost && !b->stalled && !b->duplicated && !b->reordered && !b->unexpected) return true;
  return bench_fail(b, "%s%lu lost, %lu duplicated, %lu reordered, %lu unexpected",
                    b->stalled ? "nothing came from the broker any more: " : "", (unsigned long)lost,
                    (unsigned long)b->duplicated, (unsigned long)b->reordered, (unsigned long)b->unexpected);
}

int cmd_bench(int argc, char **argv) {
  struct bench *b = mem_calloc(1, sizeof(*b));
  int code = 0;
  switch (parse(b, argc, argv)) {
  case PARSED_HELP: print_help(); break;
  case PARSED_WRONG: code = 2; break;
  case PARSED: code = run(b) && faultless(b) ? 0 : 1; break;
  }
  if (b->error[0]) fprintf(stderr, "luamq bench: %s\n", b->error);
  mem_free(b);
  return code;
}
