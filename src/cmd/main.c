// The program `luamq`: options, the Lua state with its paths, and the script. Tools have a file each, see
// cmd.h.
#include <fcntl.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/serve.h"
#include "cmd/state.h"
#include "script/script.h"
#include "transport/tls.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: luamq [options] [script.lua [args]]\n"
    "       luamq pub|sub|bench|passwd ...    tools; each has a --help\n"
    "\n"
    "Serves the MQTT broker that the script returns; without a script, one on tcp://127.0.0.1:1883.\n"
    "When it serves, each listener is told on standard output: `listening on tcp://127.0.0.1:1883`.\n"
    "\n"
    "  -e CHUNK   run a chunk of Lua; without a script nothing is served then\n"
    "  --check    check the script and the files that it names, and do not serve it\n"
    "  --dump     print the script's settings with all defaults, passwords masked\n"
    "  --reload PID\n"
    "             have the running broker of this process id load its script again, and tell the outcome\n"
    "  -v         print the version\n"
    "  -h         print this help\n"
    "  --         end of options\n"
    "\n"
    "SIGHUP loads the script and certificates again; a script that is wrong leaves everything as it is.\n"
    "SIGTERM and SIGINT stop in order: clients have engine.close_timeout to go; a second one ends at once.\n"
    "\n"
    "exit status\n"
    "  0   fine; all clients had closed in time\n"
    "  1   it failed: the script is wrong, an address cannot be listened on, clients were left at the end,\n"
    "      the broker goes on with the script that it had\n"
    "  2   the command line is wrong\n";

struct options {
  int argc;
  char **argv;
  int script; // its place in argv; argc: none
  int chunks; // how many -e
  bool check, dump;
};

static int misuse(const char *problem, const char *what) {
  fprintf(stderr, "luamq: %s '%s'\nTry 'luamq -h'.\n", problem, what);
  return EXIT_USAGE;
}

static int reload(const char *text) {
  char *end;
  long pid = strtol(text, &end, 10);
  if (pid <= 0 || *end) return misuse("not a process id:", text);
  struct buf answer = BUF_INIT;
  bool done = control_ask((pid_t)pid, "reload", &answer);
  if (done)
    puts("reloaded");
  else
    fprintf(stderr, "luamq: not reloaded: %s\n", buf_text(&answer));
  buf_release(&answer);
  return done ? EXIT_FINE : EXIT_FAILED;
}

// Reads one option at *at and moves on. Returns -1 to go on, or the exit status to end with.
static int read_option(struct options *o, int *at) {
  const char *text = o->argv[(*at)++];
  if (!strcmp(text, "-h") || !strcmp(text, "--help")) {
    fputs(usage, stdout);
    return EXIT_FINE;
  }
  if (!strcmp(text, "-v") || !strcmp(text, "--version")) {
    printf("luamq %s, %s\n", LUAMQ_VERSION, LUA_RELEASE);
    return EXIT_FINE;
  }
  if (!strcmp(text, "--check")) {
    o->check = true;
  } else if (!strcmp(text, "--reload")) {
    return *at < o->argc ? reload(o->argv[*at]) : misuse("no process id after", text);
  } else if (!strcmp(text, "--dump")) {
    o->dump = true;
  } else if (!strncmp(text, "-e", 2)) {
    if (!text[2] && (*at)++ >= o->argc) return misuse("no chunk after", "-e");
    o->chunks++;
  } else {
    return misuse("unknown option", text);
  }
  return -1;
}

static int read_options(struct options *o) {
  int at = 1;
  while (at < o->argc && o->argv[at][0] == '-' && o->argv[at][1]) {
    if (!strcmp(o->argv[at], "--")) {
      at++;
      break;
    }
    int status = read_option(o, &at);
    if (status >= 0) return status;
  }
  o->script = at;
  return -1;
}

// What is wrong with a script begins with its file, as editors and other tools want it.
static bool is_located(const char *text) {
  const char *colon = strchr(text, ':');
  bool is_own = text[0] == '(' || strncmp(text, "cannot ", strlen("cannot ")) == 0;
  return colon && !is_own;
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

// What a script names has to be there on this machine as well.
static bool check_machine(lua_State *L, const struct options *o) {
  if (!script_try_listeners(L, -1, tell_problems, NULL)) return false;
  printf("%s: fine\n", o->script < o->argc ? o->argv[o->script] : "the default");
  return true;
}

struct action { // of `act`
  const struct options *options;
  bool fine;
};

// --dump or --check: the checked table is below.
static int act(lua_State *L) {
  struct action *a = lua_touserdata(L, 2);
  lua_settop(L, 1);
  a->fine = a->options->dump ? print_dump(L) : check_machine(L, a->options);
  return 0;
}

static int look_at(lua_State *L, const struct options *o) {
  struct action action = {.options = o};
  lua_pushcfunction(L, state_traceback);
  lua_insert(L, 1);
  lua_pushcfunction(L, act);
  lua_insert(L, 2);
  lua_pushlightuserdata(L, &action);
  if (lua_pcall(L, 2, 0, 1) != LUA_OK) fprintf(stderr, "luamq: %s\n", lua_tostring(L, -1));
  return action.fine ? EXIT_FINE : EXIT_FAILED;
}

static int run_lua(const struct options *o) {
  struct program program = {.argc = o->argc,
                            .argv = o->argv,
                            .script = o->script,
                            .has_chunks = o->chunks > 0,
                            .serves = o->check || o->dump};
  struct buf why = BUF_INIT;
  lua_State *L = state_open(&program, NULL, &why);
  int status = EXIT_FAILED;
  if (!L) {
    tell_problems(NULL, buf_text(&why));
  } else if (o->dump || o->check) {
    status = look_at(L, o);
    lua_close(L);
  } else if (lua_isnil(L, -1)) {
    status = EXIT_FINE;
    lua_close(L);
  } else {
    status = serve(L, &program);
  }
  buf_release(&why);
  return status;
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
  } tools[] = {{"pub", cmd_pub}, {"sub", cmd_sub}, {"bench", cmd_bench}, {"passwd", cmd_passwd}};
  keep_standard_streams();
  for (size_t i = 0; argc > 1 && i < sizeof tools / sizeof *tools; i++)
    if (!strcmp(argv[1], tools[i].name)) return tools[i].run(argc - 1, argv + 1);
  struct options o = {.argc = argc, .argv = argv};
  int status = read_options(&o);
  return status >= 0 ? status : run_lua(&o);
}
