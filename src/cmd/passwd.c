// `luamq passwd`: users of a password file, with the flags of mosquitto_passwd.
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/password_file.h"
#include "cmd/cmd.h"
#include "cmd/passwd_ask.h"
#include "cmd/passwd_edit.h"
#include "transport/conn.h"
#include "transport/password.h"

enum { FINE = 0, FAILED = 1, USAGE = 2 };

static const char usage[] =
    "usage: luamq passwd [-c] [-H KIND] [-C COST] FILE USER\n"
    "       luamq passwd -b [-c] [-H KIND] [-C COST] FILE USER PASSWORD\n"
    "       luamq passwd -D FILE USER\n"
    "       luamq passwd -U [-H KIND] [-C COST] FILE\n"
    "       luamq passwd --check FILE [USER]\n"
    "\n"
    "Changes or checks a password file, for `credentials = luamq.password_file \"FILE\"`. The password is "
    "asked for\n"
    "on the terminal, or is the first line of standard input. A broker that uses the file reads it again by "
    "itself.\n"
    "\n"
    "  -c, --create      a new file; one that is there is overwritten\n"
    "  -b, --batch       the password is an argument, which other users may see for a moment\n"
    "  -D, --delete      take the user out\n"
    "  -U, --upgrade     a file of plain passwords, `name:password` a line, becomes one of hashes\n"
    "  -H, --hash KIND   yescrypt (the default), argon2id, or pbkdf2, which mosquitto reads too\n"
    "  -C, --cost COST   yescrypt: 1 to 8, default 5; argon2id: passes, 1 to 64, default 2; pbkdf2: "
    "iterations,\n"
    "                    1000 to 1000000, default 210000\n"
    "      --check       whether all lines are right, or the password of the user is\n"
    "  -h, --help        print this help\n"
    "\n"
    "exit status\n"
    "  0   fine\n"
    "  1   it failed, or the password or a line is wrong\n"
    "  2   the command line is wrong\n";

struct passwd {
  bool create, batch, remove, upgrade, check;
  const struct password_scheme *scheme;
  const char *cost_text; // NULL: the scheme's
  uint32_t cost;
  const char *path, *user;
  char *password; // of -b
  struct slice name;
};

static int tell(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int tell(int status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("luamq passwd: ", stderr);
  vfprintf(stderr, format, args);
  fputs(status == USAGE ? "\nTry 'luamq passwd --help'.\n" : "\n", stderr);
  va_end(args);
  return status;
}

// --- the password ---

static const char *get_password(const struct passwd *p, bool repeated, struct passwd_answer *out) {
  if (!p->batch) return passwd_ask(p->user, repeated, out);
  out->len = strlen(p->password);
  if (out->len > PASSWORD_MAX) return password_problem(slice_str(p->password));
  memcpy(out->text, p->password, out->len + 1);
  explicit_bzero(p->password, out->len); // argv, which other users see
  return out->len ? NULL : "empty";
}

static const char *make_hash(const struct passwd *p, struct buf *hash) {
  struct passwd_answer answer;
  const char *problem = get_password(p, true, &answer);
  if (!problem) problem = password_hash(p->scheme, p->cost, slice_of(answer.text, answer.len), hash);
  passwd_forget(&answer);
  return problem;
}

// --- what is to be done ---

// `text` is empty for a new file.
static int replace(const struct passwd *p, const struct passwd_lock *lock, struct slice text) {
  const char *error = passwd_replace(lock, text);
  return error ? tell(FAILED, "cannot write %s: %s", p->path, error) : FINE;
}

static int set_user(const struct passwd *p, const struct passwd_lock *lock, struct slice text,
                    struct slice hash) {
  struct buf changed = BUF_INIT;
  bool found;
  passwd_edit_user(text, p->name, hash, &changed, &found);
  int status = !hash.ptr && !found ? tell(FAILED, "%s has no user %s", p->path, p->user)
                                   : replace(p, lock, buf_slice(&changed));
  buf_release(&changed);
  return status;
}

// A line that has a hash already stays as it is. NULL, or what is wrong with it.
static const char *upgrade_line(const struct passwd *p, struct slice line, struct buf *out) {
  struct slice password, name = passwd_line_name(line, &password);
  const char *problem = NULL;
  bool is_empty = !line.len || line.ptr[0] == '#';
  bool is_plain = name.ptr && password_hash_problem(password);
  if (!is_empty && !name.ptr) return "expected name:password";
  if (name.ptr) problem = password_name_problem(name);
  if (problem) return problem;
  buf_add_slice(out, is_plain ? slice_of(name.ptr, name.len + 1) : line);
  if (is_plain)
    problem = password.len ? password_hash(p->scheme, p->cost, password, out) : "the password is empty";
  buf_add_byte(out, '\n');
  return problem;
}

static int upgrade(const struct passwd *p, const struct passwd_lock *lock, struct slice text) {
  struct buf changed = BUF_INIT;
  struct slice line;
  const char *problem = NULL;
  unsigned number = 0;
  while (!problem && passwd_take_line(&text, &line)) {
    number++;
    problem = upgrade_line(p, line, &changed);
  }
  int status =
      problem ? tell(FAILED, "%s:%u: %s", p->path, number, problem) : replace(p, lock, buf_slice(&changed));
  buf_release(&changed);
  return status;
}

// What is read is what is changed: the file is locked from here on.
static int change_locked(const struct passwd *p, const struct passwd_lock *lock, struct slice hash) {
  struct buf text = BUF_INIT;
  const char *error = p->create ? NULL : password_file_text(lock->path, &text);
  int status = error        ? tell(FAILED, "cannot read %s: %s", p->path, error)
               : p->upgrade ? upgrade(p, lock, buf_slice(&text))
                            : set_user(p, lock, buf_slice(&text), hash);
  if (text.len) explicit_bzero(text.ptr, text.len);
  buf_release(&text);
  return status;
}

static int cannot_read(const struct passwd *p, const char *error) {
  bool wants_one = !p->remove && !p->upgrade && !p->create && access(p->path, F_OK);
  return tell(FAILED, "cannot read %s: %s%s", p->path, error, wants_one ? "; -c makes a new file" : "");
}

static int lock_and_change(const struct passwd *p, struct slice hash) {
  struct passwd_lock lock;
  const char *error = passwd_lock(&lock, p->path, p->create);
  if (error) return cannot_read(p, error);
  int status = change_locked(p, &lock, hash);
  passwd_unlock(&lock);
  return status;
}

// Nobody is asked for a password in vain, and the file is not locked while somebody is asked.
static int change(const struct passwd *p) {
  struct buf hash = BUF_INIT;
  if (!p->create && access(p->path, R_OK)) return cannot_read(p, conn_strerror(errno));
  const char *error = p->remove || p->upgrade ? NULL : make_hash(p, &hash);
  int status =
      error ? tell(FAILED, "the password of %s: %s", p->user, error) : lock_and_change(p, buf_slice(&hash));
  buf_release(&hash);
  return status;
}

// --- checks ---

struct lines { // of a file that is checked
  const struct passwd *passwd;
  unsigned wrong;
};

// Who asks for one user is not told about the others.
static void told_line(void *arg, unsigned line, const char *problem) {
  struct lines *lines = arg;
  lines->wrong++;
  if (!lines->passwd->user) fprintf(stderr, "%s:%u: %s\n", lines->passwd->path, line, problem);
}

static int check_user(const struct passwd *p, const struct password_file *f) {
  struct slice hash = password_file_hash(f, p->name);
  if (!hash.ptr) return tell(FAILED, "%s has no user %s", p->path, p->user);
  struct passwd_answer answer;
  const char *problem = get_password(p, false, &answer);
  enum password_result result =
      problem ? PASSWORD_DIFFERS : password_verify(slice_of(answer.text, answer.len), hash);
  passwd_forget(&answer);
  if (problem) return tell(FAILED, "the password of %s: %s", p->user, problem);
  if (result == PASSWORD_FAILED) return tell(FAILED, "the password of %s could not be checked", p->user);
  return result == PASSWORD_MATCHES ? FINE : tell(FAILED, "the password of %s is another one", p->user);
}

static int check_lines(const struct passwd *p, const struct password_file *f, const struct lines *lines) {
  if (lines->wrong) return FAILED;
  printf("%s: fine, users: %u\n", p->path, password_file_count(f));
  return FINE;
}

static int check(const struct passwd *p) {
  const char *error = NULL;
  struct lines lines = {.passwd = p};
  struct password_file *f = password_file_read(p->path, 0, told_line, &lines, &error);
  if (!f) return tell(FAILED, "%s: %s", p->path, error);
  int status = p->user ? check_user(p, f) : check_lines(p, f, &lines);
  password_file_free(f);
  return status;
}

// --- the command line ---

static int read_scheme(struct passwd *p, const char *name) {
  p->scheme = password_scheme(strcmp(name, "sha512-pbkdf2") ? name : "pbkdf2"); // as mosquitto_passwd says
  return p->scheme ? -1 : tell(USAGE, "-H: expected yescrypt, argon2id or pbkdf2");
}

// What stands behind its name may be a password that slipped.
static int unknown_option(const char *text) {
  if (optopt) return tell(USAGE, "unknown option -%c", optopt);
  return tell(USAGE, "unknown option %.*s", (int)strcspn(text, "="), text);
}

// -1: go on; else the status to end with.
static int read_option(struct passwd *p, int letter, char **argv) {
  switch (letter) {
  case 'c': p->create = true; return -1;
  case 'b': p->batch = true; return -1;
  case 'D': p->remove = true; return -1;
  case 'U': p->upgrade = true; return -1;
  case 'K': p->check = true; return -1;
  case 'H': return read_scheme(p, optarg);
  case 'C': p->cost_text = optarg; return -1;
  case 'h': fputs(usage, stdout); return FINE;
  case ':': return tell(USAGE, "a value is missing behind %s", argv[optind - 1]);
  default: return unknown_option(argv[optind - 1]);
  }
}

static int read_cost(struct passwd *p) {
  p->cost = p->scheme->default_cost;
  if (!p->cost_text) return -1;
  char *end;
  errno = 0;
  unsigned long cost = strtoul(p->cost_text, &end, 10);
  if (p->cost_text[0] < '0' || p->cost_text[0] > '9' || *end || errno || cost < p->scheme->least_cost ||
      cost > p->scheme->most_cost)
    return tell(USAGE, "-C: expected a number from %u to %u for %s", p->scheme->least_cost,
                p->scheme->most_cost, p->scheme->name);
  p->cost = (uint32_t)cost;
  return -1;
}

static int check_options(const struct passwd *p) {
  if (p->remove + p->upgrade + p->check > 1) return tell(USAGE, "-D, -U and --check exclude each other");
  if (p->create && (p->remove || p->upgrade || p->check))
    return tell(USAGE, "-c goes with none of -D, -U and --check");
  if (p->batch && (p->remove || p->upgrade || p->check))
    return tell(USAGE, "-b goes with none of -D, -U and --check");
  return -1;
}

static int read_arguments(struct passwd *p, int count, char **arguments) {
  int least = p->upgrade || p->check ? 1 : p->batch ? 3 : 2, most = p->check ? 2 : least;
  if (count < least || count > most)
    return tell(USAGE, "%s", count < least ? "an argument is missing" : "too many arguments");
  p->path = arguments[0];
  p->user = count > 1 ? arguments[1] : NULL;
  p->password = p->batch ? arguments[2] : NULL;
  if (!p->user) return -1;
  p->name = slice_str(p->user);
  const char *problem = password_name_problem(p->name);
  return problem ? tell(USAGE, "%s", problem) : -1;
}

int cmd_passwd(int argc, char **argv) {
  static const struct option options[] = {
      {"create", no_argument, NULL, 'c'},
      {"batch", no_argument, NULL, 'b'},
      {"delete", no_argument, NULL, 'D'},
      {"upgrade", no_argument, NULL, 'U'},
      {"hash", required_argument, NULL, 'H'},
      {"cost", required_argument, NULL, 'C'},
      {"check", no_argument, NULL, 'K'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  struct passwd p = {.scheme = password_scheme_at(0)};
  opterr = 0;
  int letter, status = -1;
  while (status < 0 && (letter = getopt_long(argc, argv, "+:cbDUH:C:h", options, NULL)) >= 0)
    status = read_option(&p, letter, argv);
  if (status < 0) status = check_options(&p);
  if (status < 0) status = read_cost(&p);
  if (status < 0) status = read_arguments(&p, argc - optind, argv + optind);
  if (status >= 0) return status;
  return p.check ? check(&p) : change(&p);
}
