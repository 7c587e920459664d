#include "cmd/passwd_ask.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define INTERRUPTED "interrupted"

void passwd_forget(struct passwd_answer *answer) { explicit_bzero(answer, sizeof *answer); }

// Byte by byte, so that nothing behind the line is taken. `signals`: a descriptor that ends the wait; or -1.
static const char *read_line(int signals, struct passwd_answer *out) {
  out->len = 0;
  for (;;) {
    struct pollfd wait[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    if (poll(wait, 2, -1) < 0 && errno != EINTR) return "cannot be read";
    if (wait[1].revents) return INTERRUPTED;
    if (!wait[0].revents) continue;
    char c;
    ssize_t got = read(STDIN_FILENO, &c, 1);
    if (got < 0) return "cannot be read";
    if (got == 0 || c == '\n') break;
    if (out->len == PASSWORD_MAX) return "longer than 511 bytes";
    out->text[out->len++] = c;
  }
  out->text[out->len] = '\0';
  return out->len ? password_problem(slice_of(out->text, out->len)) : "empty";
}

static const char *prompt(const char *what, const char *user, int signals, struct passwd_answer *out) {
  fprintf(stderr, "%s of %s: ", what, user);
  const char *problem = read_line(signals, out);
  fputc('\n', stderr);
  return problem;
}

static const char *prompt_twice(const char *user, int signals, struct passwd_answer *out) {
  struct passwd_answer again;
  const char *problem = prompt("Password", user, signals, out);
  if (problem) return problem;
  problem = prompt("The same password", user, signals, &again);
  if (!problem && strcmp(out->text, again.text) != 0) problem = "not the same both times";
  passwd_forget(&again);
  return problem;
}

// Signals wait until the echo is back; what was typed and not read is dropped with it.
static const char *ask_terminal(const char *user, bool repeated, const struct termios *before,
                                struct passwd_answer *out) {
  static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  sigset_t signals, blocked, old;
  sigemptyset(&signals);
  for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
    sigaddset(&signals, ending[i]);
  blocked = signals;
  sigaddset(&blocked, SIGTSTP);
  sigprocmask(SIG_BLOCK, &blocked, &old);
  int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  struct termios silent = *before;
  silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
  const char *problem = "the terminal shows what is typed";
  if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0)
    problem = repeated ? prompt_twice(user, fd, out) : prompt("Password", user, fd, out);
  tcsetattr(STDIN_FILENO, TCSAFLUSH, before);
  if (fd >= 0) close(fd);
  sigprocmask(SIG_SETMASK, &old, NULL);
  return problem;
}

const char *passwd_ask(const char *user, bool repeated, struct passwd_answer *out) {
  struct termios terminal;
  if (tcgetattr(STDIN_FILENO, &terminal) == 0) return ask_terminal(user, repeated, &terminal, out);
  return read_line(-1, out);
}
