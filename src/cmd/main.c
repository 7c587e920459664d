// The program `luamq`: what it does with a script, or which tool it is. Tools have a file each, see cmd.h.
#include <ctype.h>
#include <fcntl.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/control.h"
#include "cmd/serve.h"
#include "cmd/state.h"
#include "script/script.h"
#include "script/shadow.h"
#include "transport/tls.h"

// What is wrong with a script begins with its file, as editors and other tools want it.
static bool is_located(const char *text) {
  size_t file = strcspn(text, ":");
  if (!text[file] || *text == '(') return false;
  return isdigit((unsigned char)text[file + 1]) || !memchr(text, ' ', file);
}

static void tell_problems(void *arg, const char *text) {
  (void)arg;
  fprintf(stderr, "%s%s\n", is_located(text) ? "" : "luamq: ", text);
}

static bool print_dump(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.config");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "dump");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 1);
  fputs(lua_tostring(L, -1), stdout);
  if (!fflush(stdout) && !ferror(stdout)) return true;
  fputs("luamq: cannot write the settings\n", stderr);
  return false;
}

// The script that is to be asked beside the one whose checked table is at the top.
static bool check_shadow(lua_State *L) {
  char error[1024];
  int top = lua_gettop(L);
  lua_getfield(L, -1, "script");
  lua_getfield(L, -1, "shadow");
  const char *path = lua_tostring(L, -1);
  bool fine = !*path || shadow_check(L, path, error, sizeof error);
  if (!fine) tell_problems(NULL, lua_pushfstring(L, "script.shadow: %s", error));
  lua_settop(L, top);
  return fine;
}

// What a script names has to be there on this machine as well.
static bool check_machine(lua_State *L, const struct command_line *c) {
  if (!script_try_listeners(L, -1, tell_problems, NULL) || !check_shadow(L)) return false;
  const char *script = command_line_script(c);
  printf("%s: fine\n", !script ? "the default" : !strcmp(script, "-") ? "stdin" : script);
  return true;
}

// False: busted is not there. Where tests failed it ends the program.
static bool run_tests(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.runner");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "run");
  lua_call(L, 0, 2);
  if (lua_toboolean(L, -2)) return true;
  fprintf(stderr, "luamq: %s\n", lua_tostring(L, -1));
  return false;
}

struct action { // of `act`
  const struct command_line *command_line;
  bool fine;
};

// What is not serving: the checked table, or nil, is below.
static int act(lua_State *L) {
  struct action *a = lua_touserdata(L, 2);
  const struct command_line *c = a->command_line;
  lua_settop(L, 1);
  if (c->test)
    a->fine = run_tests(L);
  else
    a->fine = c->dump ? print_dump(L) : check_machine(L, c);
  return 0;
}

static bool run_action(lua_State *L, const struct command_line *c) {
  struct action a = {.command_line = c};
  lua_pushcfunction(L, state_traceback);
  lua_insert(L, 1);
  lua_pushcfunction(L, act);
  lua_insert(L, 2);
  lua_pushlightuserdata(L, &a);
  if (lua_pcall(L, 2, 0, 1) == LUA_OK) return a.fine;
  fprintf(stderr, "luamq: %s\n", lua_tostring(L, -1));
  return false;
}

// The checked table, or nil where there is none, is at the top. Returns the exit status.
static int run(lua_State *L, const struct command_line *c) {
  bool acts = c->test || c->dump || c->check;
  if (!acts && !lua_isnil(L, -1)) return serve(L, c);
  bool fine = !acts || run_action(L, c);
  lua_close(L);
  return fine ? EXIT_FINE : EXIT_FAILED;
}

static int run_lua(const struct command_line *c) {
  struct buf why = BUF_INIT;
  lua_State *L = state_open(c, NULL, &why);
  if (!L) tell_problems(NULL, buf_text(&why));
  int status = L ? run(L, c) : EXIT_FAILED;
  buf_release(&why);
  return status;
}

static int reload(const char *text) {
  char *end;
  long pid = strtol(text, &end, 10);
  if (pid <= 0 || *end) {
    fprintf(stderr, "luamq: not a process id: '%s'\nTry 'luamq -h'.\n", text);
    return EXIT_USAGE;
  }
  struct buf answer = BUF_INIT;
  bool done = control_ask((pid_t)pid, "reload", &answer);
  if (done)
    puts("reloaded");
  else
    fprintf(stderr, "luamq: not reloaded: %s\n", buf_text(&answer));
  buf_release(&answer);
  return done ? EXIT_FINE : EXIT_FAILED;
}

// A descriptor that the caller closed must not become a socket, which would get what is printed or logged.
static void keep_standard_streams(void) {
  int fd;
  do
    fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
  tls_require_memory(); // before a script has its files read
  static const struct tool {
    const char *name;
    int (*run)(int argc, char **argv);
  } tools[] = {{"pub", cmd_pub},       {"sub", cmd_sub},         {"bench", cmd_bench},
               {"passwd", cmd_passwd}, {"explain", cmd_explain}, {"replay", cmd_replay},
               {"record", cmd_record}};
  keep_standard_streams();
  for (size_t i = 0; argc > 1 && i < sizeof tools / sizeof *tools; i++)
    if (!strcmp(argv[1], tools[i].name)) return tools[i].run(argc - 1, argv + 1);
  struct command_line c = {.argc = argc, .argv = argv};
  int status = command_line_read(&c);
  if (status >= 0) return status;
  return c.reload ? reload(c.reload) : run_lua(&c);
}
