// The program `luamq`: options, the Lua state with its paths, and the script. Tools have a file each, see
// cmd.h.
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve.h"
#include "script/script.h"
#include "transport/tls.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: luamq [options] [script.lua [args]]\n"
    "       luamq pub|sub|bench ...    tools; each has a --help\n"
    "\n"
    "Serves the MQTT broker that the script returns; without a script, one on tcp://127.0.0.1:1883.\n"
    "When it serves, each listener is told on standard output: `listening on tcp://127.0.0.1:1883`.\n"
    "\n"
    "  -e CHUNK   run a chunk of Lua; without a script nothing is served then\n"
    "  --check    check the script and the files that it names, and do not serve it\n"
    "  --dump     print the script's settings with all defaults, passwords masked\n"
    "  -v         print the version\n"
    "  -h         print this help\n"
    "  --         end of options\n"
    "\n"
    "SIGTERM and SIGINT stop in order: clients have engine.close_timeout to go; a second one ends at once.\n"
    "\n"
    "exit status\n"
    "  0   fine; all clients had closed in time\n"
    "  1   it failed: the script is wrong, an address cannot be listened on, clients were left at the end\n"
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

// --- the Lua state ---

// The directory of the program, with the slash.
static bool program_directory(char *path, size_t size) {
  ssize_t len = readlink("/proc/self/exe", path, size - 1);
  if (len <= 0) return false;
  path[len] = 0;
  char *slash = strrchr(path, '/');
  if (!slash) return false;
  slash[1] = 0;
  return true;
}

static void prepend(lua_State *L, const char *field, const char *templates) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, field);
  lua_pushfstring(L, "%s;%s", templates, lua_tostring(L, -1));
  lua_setfield(L, -3, field);
  lua_pop(L, 2);
}

// In the source tree the modules stand beside the build folder and in it, installed in share/ and lib/.
static void set_path(lua_State *L) {
  static const struct {
    const char *lua, *c;
  } places[] = {{"../lua", "lib"}, {"../share/lua/5.4", "../lib/lua/5.4"}};
  char directory[4096];
  if (!program_directory(directory, sizeof directory)) return;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    const char *lua = lua_pushfstring(L, "%s%s", directory, places[i].lua);
    if (access(lua_pushfstring(L, "%s/luamq/init.lua", lua), R_OK)) continue;
    prepend(L, "path", lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", lua, lua));
    prepend(L, "cpath", lua_pushfstring(L, "%s%s/?.so", directory, places[i].c));
    break;
  }
  lua_settop(L, 0);
}

static void preload_core(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_luamq_core);
  lua_setfield(L, -2, "luamq.core");
  lua_pop(L, 1);
}

static void set_arg(lua_State *L, const struct options *o) {
  int script = o->script < o->argc ? o->script : 0;
  lua_createtable(L, o->argc - script, script + 1);
  for (int i = 0; i < o->argc; i++) {
    lua_pushstring(L, o->argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static int with_traceback(lua_State *L) {
  const char *text = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, text, 1);
  return 1;
}

static bool run_chunk(lua_State *L, const char *chunk) {
  lua_pushcfunction(L, with_traceback);
  int handler = lua_gettop(L);
  bool fine = luaL_loadbuffer(L, chunk, strlen(chunk), "=(command line)") == LUA_OK &&
              lua_pcall(L, 0, 0, handler) == LUA_OK;
  if (!fine) fprintf(stderr, "luamq: %s\n", lua_tostring(L, -1));
  lua_settop(L, handler - 1);
  return fine;
}

static bool run_chunks(lua_State *L, const struct options *o) {
  for (int i = 1; i < o->script; i++) {
    if (strncmp(o->argv[i], "-e", 2) != 0) continue;
    if (!run_chunk(L, o->argv[i][2] ? o->argv[i] + 2 : o->argv[++i])) return false;
  }
  return true;
}

// What is wrong with a script begins with its file and line, as editors and other tools want it.
static void tell_problems(const char *text) {
  bool is_located = strncmp(text, "cannot ", strlen("cannot ")) != 0;
  fprintf(stderr, "%s%s\n", is_located ? "" : "luamq: ", text);
}

// Pushes the checked table; or prints what is wrong.
static bool load_config(lua_State *L, const struct options *o) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.config");
  lua_call(L, 1, 1);
  if (o->script == o->argc) {
    lua_getfield(L, -1, "default");
    lua_call(L, 0, 1);
    return true;
  }
  lua_getfield(L, -1, "load");
  lua_pushstring(L, o->argv[o->script]);
  lua_newtable(L);
  for (int i = o->script + 1; i < o->argc; i++) {
    lua_pushstring(L, o->argv[i]);
    lua_rawseti(L, -2, i - o->script);
  }
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) {
    tell_problems(lua_tostring(L, -1));
    return false;
  }
  lua_pop(L, 1);
  return true;
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
  if (!script_try_listeners(L, -1, tell_problems)) return false;
  printf("%s: fine\n", o->script < o->argc ? o->argv[o->script] : "the default");
  return true;
}

struct run { // of `protected_main`
  const struct options *options;
  struct host *host; // of serve; or NULL
  int status;
};

// The checked table is at the top. The host is freed in any case, also when this raises.
static bool serve_script(lua_State *L, struct run *run) {
  run->host = serve_host();
  return run->host && serve(run->host, script_new(L, -1, run->host));
}

static int protected_main(lua_State *L) {
  struct run *run = lua_touserdata(L, 1);
  const struct options *o = run->options;
  lua_settop(L, 0);
  luaL_openlibs(L);
  set_path(L);
  preload_core(L);
  set_arg(L, o);
  run->status = EXIT_FAILED;
  if (!run_chunks(L, o)) return 0;
  if (o->chunks && o->script == o->argc && !o->check && !o->dump) {
    run->status = EXIT_FINE;
    return 0;
  }
  if (!load_config(L, o)) return 0;
  bool fine = true;
  if (o->dump)
    fine = print_dump(L);
  else if (o->check)
    fine = check_machine(L, o);
  else
    fine = serve_script(L, run);
  if (fine) run->status = EXIT_FINE;
  return 0;
}

static int run_lua(const struct options *o) {
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("luamq: not enough memory\n", stderr);
    return EXIT_FAILED;
  }
  struct run run = {.options = o};
  lua_pushcfunction(L, with_traceback);
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, &run);
  if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
    fprintf(stderr, "luamq: %s\n", lua_tostring(L, -1));
    run.status = EXIT_FAILED;
  }
  struct loop *loop = run.host ? run.host->loop : NULL;
  if (run.host) host_free(run.host);
  lua_close(L); // what scripts have of the loop goes with it
  if (loop) loop_free(loop);
  return run.status;
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
  } tools[] = {{"pub", cmd_pub}, {"sub", cmd_sub}, {"bench", cmd_bench}};
  keep_standard_streams();
  for (size_t i = 0; argc > 1 && i < sizeof tools / sizeof *tools; i++)
    if (!strcmp(argv[1], tools[i].name)) return tools[i].run(argc - 1, argv + 1);
  struct options o = {.argc = argc, .argv = argv};
  int status = read_options(&o);
  return status >= 0 ? status : run_lua(&o);
}
