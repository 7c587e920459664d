#include "cmd/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "script/recorder.h"
#include "script/reload.h"

#define LINE_MAX_BYTES 4352 // of what is asked: a command and a path
#define CALLERS_MAX    16   // at once; others are turned away

// --- the broker's side ---

struct caller {
  struct list node;
  struct control *control;
  struct conn *conn;
  struct reload_wish wish;
  size_t len;
  char line[LINE_MAX_BYTES];
};

static void let_go(struct caller *c, bool orderly) {
  list_remove(&c->node);
  reload_forget(&c->wish);
  conn_close(c->conn, orderly);
  mem_free(c);
}

static void answer(struct caller *c, const char *why) {
  struct buf text = BUF_INIT;
  buf_add_str(&text, why ? "failed\n" : "ok\n");
  if (why) buf_printf(&text, "%s\n", why);
  struct iovec iov = {text.ptr, text.len};
  conn_write(c->conn, &iov, 1, NULL);
  buf_release(&text);
  let_go(c, true);
}

static void reloaded(struct reload_wish *w, const char *why) {
  answer(container_of(w, struct caller, wish), why);
}

static void reload(struct caller *c, char *arguments) {
  (void)arguments;
  c->wish.done = reloaded;
  host_reload(c->control->host, &c->wish);
}

// "SECONDS PATH"
static void record(struct caller *c, char *arguments) {
  struct host *h = c->control->host;
  struct recorder_options options;
  char error[512], *path;
  recorder_options_of(h, &options);
  options.seconds = (uint32_t)strtoul(arguments, &path, 10);
  bool begun = *path == ' ' && recorder_new(h, path + 1, &options, error, sizeof error);
  answer(c, begun ? NULL : *path == ' ' ? error : "it does not know how");
}

static void end_record(struct caller *c, char *arguments) {
  (void)arguments;
  struct recorder *recorder = c->control->host->recorder;
  if (recorder) recorder_end(recorder);
  answer(c, recorder ? NULL : "nothing is recorded");
}

// The line is complete.
static void obey(struct caller *c) {
  static const struct {
    const char *name;
    void (*run)(struct caller *c, char *arguments);
  } commands[] = {{"reload", reload}, {"record", record}, {"end-record", end_record}};
  conn_watch_read(c->conn, false);
  char *arguments = c->line + strcspn(c->line, " ");
  if (*arguments) *arguments++ = 0;
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(c->line, commands[i].name) != 0) continue;
    commands[i].run(c, arguments);
    return;
  }
  answer(c, "it does not know how");
}

static void readable(struct conn *conn) {
  struct caller *c = conn->owner;
  struct iovec iov = {c->line + c->len, sizeof c->line - c->len};
  ssize_t n = conn_read(conn, &iov, 1);
  if (n == -EAGAIN) return;
  if (n > 0) c->len += (size_t)n;
  char *end = memchr(c->line, '\n', c->len);
  if (end) {
    *end = 0;
    obey(c);
  } else if (n <= 0 || c->len == sizeof c->line) {
    let_go(c, false);
  }
}

static void writable(struct conn *conn) { (void)conn; }

static const struct conn_handler conn_handler = {readable, writable};

static bool is_full(const struct control *control) {
  unsigned count = 0;
  list_each(node, &control->callers) count++;
  return count >= CALLERS_MAX;
}

static void accepted(void *arg, struct listener *l, struct conn *conn, const struct address *remote) {
  (void)l;
  struct control *control = arg;
  bool is_own = remote->peer.uid == geteuid() || remote->peer.uid == 0;
  if (!is_own || is_full(control)) {
    conn_close(conn, false);
    return;
  }
  struct caller *c = mem_calloc(1, sizeof *c);
  c->control = control;
  c->conn = conn;
  list_init(&c->wish.node);
  list_append(&control->callers, &c->node);
  conn_start(conn, &conn_handler, c);
}

static void failed(void *arg, const char *error) { (void)arg, (void)error; } // the listener tries again

static const struct listener_handler listener_handler = {accepted, failed};

static void write_url(char *url, size_t size, pid_t pid) {
  snprintf(url, size, "unix://@luamq/%ld", (long)pid);
}

bool control_init(struct control *c, struct host *h, char *error, size_t error_size) {
  char url[64];
  *c = (struct control){.host = h};
  list_init(&c->callers);
  write_url(url, sizeof url, getpid());
  struct listener_config config;
  listener_config_init(&config, url);
  c->listener = listener_open(h->loop, &config, &listener_handler, c, error, error_size);
  return c->listener;
}

void control_release(struct control *c) {
  for (struct list *node; (node = list_first(&c->callers));)
    answer(container_of(node, struct caller, node), "the broker is stopping");
  if (c->listener) listener_close(c->listener);
}

// --- the caller's side: it blocks ---

static bool fail(struct buf *answer_text, pid_t pid, const char *why) {
  answer_text->len = 0;
  buf_printf(answer_text, "process %ld %s", (long)pid, why);
  return false;
}

static int connect_to(pid_t pid) {
  char url[64];
  write_url(url, sizeof url, pid);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *name = url + strlen("unix://@");
  memcpy(address.sun_path + 1, name, strlen(name));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
  if (connect(fd, (struct sockaddr *)&address, size) == 0) return fd;
  close(fd);
  return -1;
}

static bool is_process(int fd, pid_t pid) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == pid;
}

static bool send_line(int fd, const char *command) {
  char line[LINE_MAX_BYTES];
  int len = snprintf(line, sizeof line, "%s\n", command);
  if ((size_t)len >= sizeof line) return false;
  return send(fd, line, (size_t)len, MSG_NOSIGNAL) == len;
}

static void read_all(int fd, struct buf *out) {
  for (ssize_t n = 1; n > 0;) {
    buf_reserve(out, 4096);
    n = read(fd, out->ptr + out->len, out->cap - out->len);
    if (n > 0) out->len += (size_t)n;
    if (n < 0 && errno == EINTR) n = 1;
  }
}

static bool take_line(struct buf *b, const char *line) {
  size_t len = strlen(line);
  if (b->len < len || memcmp(b->ptr, line, len) != 0) return false;
  buf_consume(b, len);
  return true;
}

bool control_ask(pid_t pid, const char *command, struct buf *out) {
  int fd = connect_to(pid);
  if (fd < 0) return fail(out, pid, "is no broker of luamq that this user may ask");
  bool asked = is_process(fd, pid) && send_line(fd, command);
  if (asked) read_all(fd, out);
  close(fd);
  if (out->len && out->ptr[out->len - 1] == '\n') out->len--;
  if (take_line(out, "ok")) return true;
  return !take_line(out, "failed\n") &&
         fail(out, pid, asked ? "ended without an answer" : "is somebody else");
}
