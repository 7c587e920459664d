// luamq record: has a running broker write its decisions to a file, for luamq replay.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cmd/cmd.h"
#include "cmd/control.h"

enum { RECORD_FINE, RECORD_FAILED, RECORD_USAGE };

static const char usage[] =
    "usage: luamq record [--seconds N] PID FILE\n"
    "       luamq record --end PID\n"
    "Has a running broker write what its clients ask for and what it answers to a new file, for luamq "
    "replay;\n"
    "for N seconds (1 to 86400), or until --end. Passwords are never in it; payloads are, and the file is "
    "its\n"
    "owner's alone.\n"
    "\n"
    "exit status: 0 it has begun or ended, 1 it has not, 2 the command line is wrong.\n";

struct request {
  long pid, seconds;
  const char *file;
  bool end;
};

static int misuse(const char *problem) {
  fprintf(stderr, "luamq record: %s (see luamq record --help)\n", problem);
  return RECORD_USAGE;
}

static bool read_number(const char *text, long most, long *out) {
  char *rest;
  *out = strtol(text, &rest, 10);
  return *text >= '1' && *text <= '9' && !*rest && *out <= most;
}

// -1: go on; else the exit status.
static int read_arguments(struct request *r, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
      fputs(usage, stdout);
      return RECORD_FINE;
    }
    if (!strcmp(argv[i], "--end"))
      r->end = true;
    else if (!strcmp(argv[i], "--seconds")) {
      if (++i == argc || !read_number(argv[i], 86400, &r->seconds))
        return misuse("--seconds: expected a number from 1 to 86400");
    } else if (!r->pid) {
      if (!read_number(argv[i], INT_MAX, &r->pid)) return misuse("expected the number of a process");
    } else if (!r->file && !r->end)
      r->file = argv[i];
    else
      return misuse("too many arguments");
  }
  if (!r->pid) return misuse("expected the number of a process");
  return r->file || r->end ? -1 : misuse("expected a file");
}

// The broker may stand in another directory.
static bool write_command(const struct request *r, struct buf *command) {
  char directory[PATH_MAX] = "";
  if (r->end) {
    buf_add_str(command, "end-record");
    return true;
  }
  if (*r->file != '/' && !getcwd(directory, sizeof directory)) return false;
  buf_printf(command, "record %ld %s%s%s", r->seconds, directory, *directory ? "/" : "", r->file);
  return !memchr(command->ptr, '\n', command->len);
}

int cmd_record(int argc, char **argv) {
  struct request r = {0};
  int status = read_arguments(&r, argc, argv);
  if (status >= 0) return status;
  struct buf command = BUF_INIT, answer = BUF_INIT;
  bool done = write_command(&r, &command) && control_ask((pid_t)r.pid, buf_text(&command), &answer);
  if (!done)
    fprintf(stderr, "luamq record: %s\n", answer.len ? buf_text(&answer) : "the path cannot be used");
  buf_release(&command);
  buf_release(&answer);
  return done ? RECORD_FINE : RECORD_FAILED;
}
