#include "cmd/serve.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "cmd/notify.h"
#include "script/script.h"

static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
#define SIGNALS (sizeof signals / sizeof *signals)

struct server {
  struct host *host;
  bool signalled;
  struct notify notify;
  struct inherited inherited;
  struct loop_signal *signals[SIGNALS];
};

static void note(struct server *s, enum log_level level, const char *text) {
  struct log *log = script_log(s->host->script);
  if (log_begin(log, level, slice_str(text))) log_end(log);
}

static unsigned count_listeners(const struct engine *e) {
  unsigned count = 0;
  while (engine_url(e, count))
    count++;
  return count;
}

static void tell_ready(struct server *s) {
  const char *error = notify_ready(&s->notify, count_listeners(s->host->engine));
  struct log *log = script_log(s->host->script);
  if (!error || !log_begin(log, LEVEL_WARN, SLICE("cannot notify the service manager"))) return;
  log_string(log, "error", slice_str(error));
  log_end(log);
}

static void reload(struct server *s) {
  notify_reloading(&s->notify);
  note(s, LEVEL_INFO, "SIGHUP: loading certificates again; the script stays as it is");
  engine_reload_tls(s->host->engine);
  tell_ready(s);
}

static void on_signal(void *arg, int number) {
  struct server *s = arg;
  if (number == SIGHUP) {
    reload(s);
    return;
  }
  notify_stopping(&s->notify);
  uint32_t timeout_ms = s->signalled ? 0 : s->host->shard->settings.close_timeout_ms;
  note(s, LEVEL_INFO, s->signalled ? "second signal: ending at once" : "signal: stopping");
  s->signalled = true;
  engine_stop(s->host->engine, timeout_ms);
}

static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void tell_listeners(const struct engine *e) {
  const char *url;
  for (unsigned i = 0; (url = engine_url(e, i)); i++)
    printf("listening on %s\n", url);
  fflush(stdout);
}

// Sockets that no listener wants: whoever connects to one would wait for ever.
static void tell_unused(const struct server *s) {
  struct log *log = script_log(s->host->script);
  char address[INHERITED_TEXT_MAX];
  for (unsigned i = 0; i < s->inherited.count; i++) {
    const struct inherited_socket *socket = &s->inherited.sockets[i];
    if (socket->fd < 0 || !log_begin(log, LEVEL_WARN, SLICE("no listener for a passed socket"))) continue;
    log_string(log, "name", slice_str(socket->name));
    log_string(log, "address", slice_str(inherited_address(socket, address)));
    log_end(log);
  }
}

// Opens the listeners, on sockets that were passed where they fit.
static bool start(struct server *s, struct script *script, char *error, size_t error_size) {
  if (!inherited_init(&s->inherited, error, error_size)) return false;
  engine_inherit(s->host->engine, &s->inherited);
  bool started = host_start(s->host, script, error, error_size);
  engine_inherit(s->host->engine, NULL);
  tell_unused(s);
  inherited_release(&s->inherited);
  return started;
}

static bool run(struct server *s, struct script *script) {
  char error[512] = "";
  if (!start(s, script, error, sizeof error)) {
    fprintf(stderr, "luamq: %s\n", error);
    notify_failed(&s->notify, error);
    return false;
  }
  for (size_t i = 0; i < SIGNALS; i++)
    s->signals[i] = loop_signal_new(s->host->loop, signals[i], on_signal, s);
  tell_ready(s);
  tell_listeners(s->host->engine);
  bool in_time = engine_run(s->host->engine);
  notify_stopping(&s->notify); // the script may have ended it
  note(s, in_time ? LEVEL_INFO : LEVEL_ERROR,
       in_time ? "stopped" : "stopped, but not all clients had closed in time");
  for (size_t i = 0; i < SIGNALS; i++)
    loop_signal_free(s->signals[i]);
  return in_time;
}

struct host *serve_host(void) {
  setvbuf(stdout, NULL, _IOLBF, 0); // what a script prints is seen at once, also in a file
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  mem_tune();
  struct loop *loop = loop_new();
  if (loop) return host_new(loop, 0);
  fputs("luamq: no usable event method\n", stderr);
  return NULL;
}

bool serve(struct host *host, struct script *script) {
  struct server s = {.host = host};
  notify_init(&s.notify, host->loop);
  bool fine = run(&s, script);
  notify_release(&s.notify);
  return fine;
}
