#include "cmd/serve.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "script/script.h"

static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
#define SIGNALS (sizeof signals / sizeof *signals)

struct server {
  struct script *script;
  bool signalled;
  struct loop_signal *signals[SIGNALS];
};

static void note(struct server *s, enum log_level level, const char *text) {
  struct log *log = script_log(s->script);
  if (log_begin(log, level, slice_str(text))) log_end(log);
}

static void on_signal(void *arg, int number) {
  struct server *s = arg;
  if (number == SIGHUP) {
    note(s, LEVEL_INFO, "SIGHUP: loading certificates again; the script stays as it is");
    engine_reload_tls(script_engine(s->script));
    return;
  }
  uint32_t timeout_ms = s->signalled ? 0 : script_shard(s->script)->settings.close_timeout_ms;
  note(s, LEVEL_INFO, s->signalled ? "second signal: ending at once" : "signal: stopping");
  s->signalled = true;
  engine_stop(script_engine(s->script), timeout_ms);
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

static bool run(struct server *s, struct loop *loop) {
  char error[256] = "";
  if (!script_start(s->script, error, sizeof error)) {
    fprintf(stderr, "luamq: %s\n", error);
    return false;
  }
  for (size_t i = 0; i < SIGNALS; i++)
    s->signals[i] = loop_signal_new(loop, signals[i], on_signal, s);
  tell_listeners(script_engine(s->script));
  bool in_time = engine_run(script_engine(s->script));
  note(s, in_time ? LEVEL_INFO : LEVEL_ERROR,
       in_time ? "stopped" : "stopped, but not all clients had closed in time");
  for (size_t i = 0; i < SIGNALS; i++)
    loop_signal_free(s->signals[i]);
  return in_time;
}

bool serve(lua_State *L, struct loop **loop) {
  setvbuf(stdout, NULL, _IOLBF, 0); // what a script prints is seen at once, also in a file
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  mem_tune();
  *loop = loop_new();
  if (!*loop) {
    fputs("luamq: no usable event method\n", stderr);
    return false;
  }
  struct server s = {.script = script_new(L, -1, *loop, 0)};
  bool fine = run(&s, *loop);
  script_free(s.script);
  return fine;
}
