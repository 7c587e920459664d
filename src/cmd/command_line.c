#include "cmd/command_line.h"

#include <lua.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: luamq [options] [script.lua [args]]\n"
    "       luamq --test [busted's options] [files]\n"
    "       luamq pub|sub|bench|passwd|explain|record|replay ...    tools; each has a --help\n"
    "\n"
    "Serves the MQTT broker that the script returns; without a script, one on tcp://127.0.0.1:1883.\n"
    "When it serves, each listener is told on standard output: `listening on tcp://127.0.0.1:1883`.\n"
    "\n"
    "  -e CHUNK   run a chunk of Lua; without a script nothing is served then\n"
    "  -l NAME    require a module into the global of its name, or with -l g=NAME into g\n"
    "  -i         a prompt for Lua in the state of the broker that is served; its end stops the broker\n"
    "  -W         turn Lua's warnings on\n"
    "  -E         ignore LUA_INIT, LUA_PATH and LUA_CPATH\n"
    "  -          the script is read from standard input\n"
    "  --check    check the script and the files that it names, and do not serve it\n"
    "  --dump     print the script's settings with all defaults, passwords masked\n"
    "  --test     run busted, which finds luamq.test; what follows is busted's (default: spec)\n"
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
    "      the broker goes on with the script that it had, a test failed\n"
    "  2   the command line is wrong\n";

static int print_usage(void) {
  fputs(usage, stdout);
  return EXIT_FINE;
}

static int print_version(void) {
  printf("luamq %s, %s\n", LUAMQ_VERSION, LUA_RELEASE);
  return EXIT_FINE;
}

struct row { // one of: a flag, a value that is read when the state is there, something that is printed
  char letter;
  const char *name;  // NULL: none
  size_t flag, text; // of struct command_line
  bool has_flag, has_text, has_value, in_state;
  const char *missing; // what is told where the value is
  int (*print)(void);
};

#define FLAG(field) .has_flag = true, .flag = offsetof(struct command_line, field)

#define TEXT(field)    .has_text = true, .text = offsetof(struct command_line, field)
#define VALUE(problem) .has_value = true, .missing = problem

static const struct row rows[] = {
    {.letter = 'e', FLAG(has_chunk), VALUE("no chunk after"), .in_state = true},
    {.letter = 'l', VALUE("no module after"), .in_state = true},
    {.letter = 'W', .in_state = true},
    {.letter = 'E', FLAG(without_environment)},
    {.letter = 'i', FLAG(interactive)},
    {.name = "--check", FLAG(check)},
    {.name = "--dump", FLAG(dump)},
    {.name = "--test", FLAG(test)},
    {.name = "--reload", TEXT(reload), VALUE("no process id after")},
    {.letter = 'v', .name = "--version", .print = print_version},
    {.letter = 'h', .name = "--help", .print = print_usage},
};

static bool is_row(const struct row *row, const char *text) {
  if (row->name && !strcmp(text, row->name)) return true;
  return row->letter && text[1] == row->letter && (row->has_value || !text[2]);
}

static const struct row *find(const char *text) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (is_row(&rows[i], text)) return &rows[i];
  return NULL;
}

// The value of the option at *at, joined or the next argument, to which *at moves. NULL: it is missing.
static const char *value_of(const struct command_line *c, const struct row *row, int *at) {
  const char *text = c->argv[*at];
  if (row->letter && text[2]) return text + 2;
  return *at + 1 < c->argc ? c->argv[++*at] : NULL;
}

static int misuse(const char *problem, const char *what) {
  fprintf(stderr, "luamq: %s '%s'\nTry 'luamq -h'.\n", problem, what);
  return EXIT_USAGE;
}

// Reads the option at *at and moves to its last argument. Returns -1 to go on, or the exit status to end
// with.
static int read_option(struct command_line *c, int *at) {
  const char *text = c->argv[*at];
  const struct row *row = find(text);
  if (!row) return misuse("unknown option", text);
  if (row->print) return row->print();
  if (row->has_flag) *(bool *)((char *)c + row->flag) = true;
  const char *value = row->has_value ? value_of(c, row, at) : NULL;
  if (row->has_value && !value) return misuse(row->missing, text);
  if (row->has_text) *(const char **)((char *)c + row->text) = value;
  return -1;
}

static bool is_option(const char *text) { return text[0] == '-' && text[1]; }

static int check_together(const struct command_line *c) {
  const char *script = command_line_script(c);
  bool from_input = script && !strcmp(script, "-");
  if (c->interactive && from_input) return misuse("the prompt and the script cannot both read", "-");
  if (c->interactive && (c->check || c->dump || c->test))
    return misuse("nothing is served, so there is no", "-i");
  if (c->test && (c->check || c->dump)) return misuse("there is no script to check beside", "--test");
  return -1;
}

int command_line_read(struct command_line *c) {
  int at = 1;
  for (; at < c->argc && is_option(c->argv[at]) && !c->test; at++) {
    if (!strcmp(c->argv[at], "--")) {
      at++;
      break;
    }
    int status = read_option(c, &at);
    if (status >= 0) return status;
  }
  c->rest = at;
  return check_together(c);
}

const char *command_line_script(const struct command_line *c) {
  return !c->test && c->rest < c->argc ? c->argv[c->rest] : NULL;
}

void command_line_each(const struct command_line *c, void (*fn)(void *arg, char letter, const char *value),
                       void *arg) {
  for (int at = 1; at < c->rest; at++) {
    const struct row *row = find(c->argv[at]);
    if (row && row->in_state) fn(arg, row->letter, row->has_value ? value_of(c, row, &at) : NULL);
  }
}
