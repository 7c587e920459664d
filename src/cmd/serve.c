#include "cmd/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "cmd/command_line.h"
#include "cmd/control.h"
#include "cmd/notify.h"
#include "cmd/repl.h"
#include "cmd/state.h"
#include "script/reload.h"
#include "script/script.h"

static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
#define SIGNALS (sizeof signals / sizeof *signals)

struct server {
  const struct command_line *command_line;
  struct host *host;
  char **told; // URLs of listeners that were told on standard output
  unsigned told_count;
  bool signalled;
  struct notify notify;
  struct control control;
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

static bool is_told(const struct server *s, const char *url) {
  for (unsigned i = 0; i < s->told_count; i++)
    if (!strcmp(s->told[i], url)) return true;
  return false;
}

static void forget_told(struct server *s) {
  while (s->told_count)
    mem_free(s->told[--s->told_count]);
  mem_free(s->told);
  s->told = NULL;
}

// Those that were not there before.
static void tell_listeners(struct server *s) {
  struct server before = *s;
  const char *url;
  s->told_count = count_listeners(s->host->engine);
  s->told = mem_calloc(s->told_count + 1, sizeof *s->told);
  for (unsigned i = 0; (url = engine_url(s->host->engine, i)); i++) {
    if (!is_told(&before, url)) printf("listening on %s\n", url);
    size_t size = strlen(url) + 1;
    s->told[i] = memcpy(mem_alloc(size), url, size);
  }
  fflush(stdout);
  forget_told(&before);
}

static void tell_ready(struct server *s) {
  const char *error = notify_ready(&s->notify, count_listeners(s->host->engine));
  struct log *log = script_log(s->host->script);
  if (!error || !log_begin(log, LEVEL_WARN, SLICE("cannot notify the service manager"))) return;
  log_string(log, "error", slice_str(error));
  log_end(log);
}

static void reloading(void *arg) { notify_reloading(&((struct server *)arg)->notify); }

static void reload(struct server *s) {
  note(s, LEVEL_INFO, "SIGHUP: loading the script and certificates again");
  host_reload(s->host, NULL);
}

static void add_problem(void *arg, const char *problem) {
  struct buf *why = arg;
  if (why->len) buf_add_byte(why, '\n');
  buf_add_str(why, problem);
}

// All that --check would tell.
static struct script *load(void *arg, struct host *h, struct buf *why) {
  const struct server *s = arg;
  lua_State *L = state_open(s->command_line, h, why);
  if (!L) return NULL;
  bool fine = script_try_listeners(L, -1, add_problem, why);
  struct script *script = fine ? script_load(L, h, why) : NULL;
  if (script)
    script_own_state(script, L);
  else
    lua_close(L);
  return script;
}

static void reloaded(void *arg, const char *why) {
  struct server *s = arg;
  tell_ready(s);
  if (!why) tell_listeners(s);
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

// Without it the broker goes on: only --reload cannot tell what has become of it.
static void open_control(struct server *s) {
  char error[256];
  if (control_init(&s->control, s->host, error, sizeof error)) return;
  struct log *log = script_log(s->host->script);
  if (!log_begin(log, LEVEL_WARN, SLICE("luamq --reload cannot reach this broker"))) return;
  log_string(log, "error", slice_str(error));
  log_end(log);
}

// A hook that reads from standard input would hold up everybody until somebody writes: it finds its end.
static void leave_input(void) {
  int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0) return;
  dup2(nothing, STDIN_FILENO);
  if (nothing != STDIN_FILENO) close(nothing);
}

static bool run(struct server *s, struct script *script) {
  char error[512] = "";
  if (!start(s, script, error, sizeof error)) {
    if (s->host->exits) return false;
    fprintf(stderr, "luamq: %s\n", error);
    notify_failed(&s->notify, error);
    return false;
  }
  open_control(s);
  for (size_t i = 0; i < SIGNALS; i++)
    s->signals[i] = loop_signal_new(s->host->loop, signals[i], on_signal, s);
  int input = s->command_line->interactive ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : -1;
  leave_input();
  tell_ready(s);
  tell_listeners(s);
  struct repl *repl = input >= 0 ? repl_new(s->host, input) : NULL;
  bool in_time = engine_run(s->host->engine);
  repl_free(repl);
  control_release(&s->control);
  notify_stopping(&s->notify); // the script may have ended it
  note(s, in_time ? LEVEL_INFO : LEVEL_ERROR,
       in_time ? "stopped" : "stopped, but not all clients had closed in time");
  for (size_t i = 0; i < SIGNALS; i++)
    loop_signal_free(s->signals[i]);
  return in_time;
}

// The script of the checked table at the top of L, which is closed with it. NULL: it has been told.
static struct script *first_script(struct host *h, lua_State *L) {
  struct buf why = BUF_INIT;
  struct script *script = script_load(L, h, &why);
  if (script)
    script_own_state(script, L);
  else
    fprintf(stderr, "luamq: %s\n", buf_text(&why));
  buf_release(&why);
  return script;
}

static int serve_on(struct loop *loop, lua_State *L, const struct command_line *command_line) {
  struct server s = {.command_line = command_line, .host = host_new(loop, 0)};
  struct script *script = first_script(s.host, L);
  s.host->source = (struct host_source){load, &s};
  s.host->reloading = reloading;
  s.host->reloaded = reloaded;
  s.host->reloaded_arg = &s;
  notify_init(&s.notify, loop);
  bool fine = script && run(&s, script);
  notify_release(&s.notify);
  int status = fine ? EXIT_SUCCESS : EXIT_FAILURE;
  if (s.host->exits) status = s.host->exit_status;
  host_free(s.host);
  forget_told(&s);
  if (!script) lua_close(L);
  return status;
}

int serve(lua_State *L, const struct command_line *command_line) {
  setvbuf(stdout, NULL, _IOLBF, 0); // what a script prints is seen at once, also in a file
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN); // while hooks.start and hooks.stop take their time; between them it reloads
  raise_descriptor_limit();
  mem_tune();
  struct loop *loop = loop_new();
  if (!loop) {
    fputs("luamq: no usable event method\n", stderr);
    lua_close(L);
    return EXIT_FAILURE;
  }
  int status = serve_on(loop, L, command_line);
  loop_free(loop);
  return status;
}
