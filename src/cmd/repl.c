#include "cmd/repl.h"

#include <errno.h>
#include <lua.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/line_editor.h"
#include "script/prompt.h"
#include "script/script.h"

#define READ_SIZE 4096

struct repl {
  struct host *host;
  int fd;
  struct loop_input *input;
  struct line_editor *editor; // NULL: lines come as the terminal or a pipe has them
  struct prompt prompt;
  struct ready next; // there is a line already
  struct buf unread; // bytes that are no line yet, or lines that wait
  struct buf text;   // of the statement that is being typed
  bool is_terminal, ended, stopped;
};

static void stop(struct repl *r) {
  if (r->stopped) return;
  r->stopped = true;
  if (r->text.len) fputs("stdin: the end of input is in the middle of a statement\n", stderr);
  if (r->is_terminal) puts("");
  struct log *log = script_log(r->host->script);
  if (log_begin(log, LEVEL_INFO, SLICE("end of input: stopping"))) log_end(log);
  engine_stop(r->host->engine, r->host->shard->settings.close_timeout_ms);
}

// Where the first line that has come ends; its length with the end, 0: there is none.
static size_t line_length(const struct repl *r) {
  const uint8_t *end = r->unread.len ? memchr(r->unread.ptr, '\n', r->unread.len) : NULL;
  if (end) return (size_t)(end - r->unread.ptr) + 1;
  return r->ended ? r->unread.len : 0;
}

// Asks for a line.
static void begin(struct repl *r) {
  const char *prompt = r->text.len ? ">> " : "> ";
  if (line_length(r) || r->ended) {
    loop_make_ready(r->host->loop, &r->next);
    return;
  }
  if (r->editor) {
    line_editor_begin(r->editor, prompt);
  } else if (r->is_terminal) {
    fputs(prompt, stdout);
    fflush(stdout);
  }
  loop_input_watch(r->input, true);
}

static void done(void *arg, bool incomplete) {
  struct repl *r = arg;
  if (!incomplete) r->text.len = 0;
  fflush(stdout);
  begin(r);
}

static void accept_line(struct repl *r, struct slice line) {
  loop_input_watch(r->input, false);
  if (r->text.len) buf_add_str(&r->text, "\n");
  buf_add_slice(&r->text, line);
  prompt_run(&r->prompt, buf_slice(&r->text));
}

static void take_line(struct ready *ready) {
  struct repl *r = container_of(ready, struct repl, next);
  size_t len = line_length(r);
  if (!len) {
    stop(r);
    return;
  }
  struct buf line = BUF_INIT;
  buf_add(&line, r->unread.ptr, len);
  buf_consume(&r->unread, len);
  if (line.ptr[line.len - 1] == '\n') line.len--;
  accept_line(r, buf_slice(&line));
  buf_release(&line);
}

static void read_line(struct repl *r) {
  struct slice line = line_editor_read(r->editor, &r->ended);
  if (line.ptr) accept_line(r, line);
}

static void read_bytes(struct repl *r) {
  char bytes[READ_SIZE];
  ssize_t len = read(r->fd, bytes, sizeof bytes);
  if (len < 0 && (errno == EINTR || errno == EAGAIN)) return;
  r->ended = len <= 0;
  if (len > 0) buf_add(&r->unread, bytes, (size_t)len);
}

static void on_input(void *arg) {
  struct repl *r = arg;
  if (r->editor)
    read_line(r);
  else
    read_bytes(r);
  if (r->ended || line_length(r)) {
    loop_input_watch(r->input, false);
    loop_make_ready(r->host->loop, &r->next);
  }
}

struct repl *repl_new(struct host *host, int input) {
  struct repl *r = mem_calloc(1, sizeof *r);
  r->host = host;
  r->fd = input;
  r->is_terminal = isatty(input) && isatty(STDOUT_FILENO);
  if (r->is_terminal) {
    r->editor = line_editor_new(input);
    printf("luamq %s, %s; the end of input stops the broker\n", LUAMQ_VERSION, LUA_RELEASE);
  }
  prompt_init(&r->prompt, host, done, r);
  ready_init(&r->next, take_line);
  r->input = loop_input_new(host->loop, input, on_input, r);
  begin(r);
  return r;
}

void repl_free(struct repl *r) {
  if (!r) return;
  ready_cancel(&r->next);
  prompt_release(&r->prompt);
  loop_input_free(r->input);
  line_editor_free(r->editor);
  close(r->fd);
  buf_release(&r->unread);
  buf_release(&r->text);
  mem_free(r);
}
