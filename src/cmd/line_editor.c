#include "cmd/line_editor.h"

#include <dlfcn.h>
#include <histedit.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"

#define HISTORY_LINES 500
#define END_OF_INPUT  '\004' // how libedit tells of it while it is asked for single keys

struct library {
  __typeof__(el_init) *init;
  __typeof__(el_end) *end;
  __typeof__(el_gets) *gets;
  __typeof__(el_set) *set;
  __typeof__(history_init) *history_init;
  __typeof__(history_end) *history_end;
  __typeof__(history) *history;
};

struct line_editor {
  void *handle;
  struct library library;
  FILE *input;
  EditLine *line;
  History *history;
  const char *prompt;
};

// What is found under a name is a function; C has no other way to say so.
static bool find(void *handle, const char *name, void *function) {
  void *found = dlsym(handle, name);
  memcpy(function, &found, sizeof found);
  return found != NULL;
}

static bool load(struct line_editor *e) {
  struct library *l = &e->library;
  e->handle = dlopen("libedit.so.2", RTLD_NOW | RTLD_GLOBAL);
  return e->handle && find(e->handle, "el_init", &l->init) && find(e->handle, "el_end", &l->end) &&
         find(e->handle, "el_gets", &l->gets) && find(e->handle, "el_set", &l->set) &&
         find(e->handle, "history_init", &l->history_init) &&
         find(e->handle, "history_end", &l->history_end) && find(e->handle, "history", &l->history);
}

// libedit hands over its own object only, which knows ours; and el_get is in the library that was loaded.
static char *prompt_of(EditLine *line) {
  __typeof__(el_get) *get;
  struct line_editor *e = NULL;
  if (find(RTLD_DEFAULT, "el_get", &get)) get(line, EL_CLIENTDATA, &e);
  return (char *)(uintptr_t)(e ? e->prompt : "> ");
}

static bool open_terminal(struct line_editor *e, int terminal) {
  const struct library *l = &e->library;
  HistEvent event;
  e->input = fdopen(dup(terminal), "r");
  if (!e->input) return false;
  e->line = l->init("luamq", e->input, stdout, stderr);
  if (!e->line) return false;
  e->history = l->history_init();
  if (e->history) l->history(e->history, &event, H_SETSIZE, HISTORY_LINES);
  l->set(e->line, EL_CLIENTDATA, e);
  l->set(e->line, EL_PROMPT, prompt_of);
  l->set(e->line, EL_EDITOR, "emacs");
  if (e->history) l->set(e->line, EL_HIST, e->library.history, e->history);
  return true;
}

struct line_editor *line_editor_new(int terminal) {
  struct line_editor *e = mem_calloc(1, sizeof *e);
  if (load(e) && open_terminal(e, terminal)) return e;
  line_editor_free(e);
  return NULL;
}

void line_editor_free(struct line_editor *e) {
  if (!e) return;
  if (e->line) e->library.end(e->line);
  if (e->history) e->library.history_end(e->history);
  if (e->input) fclose(e->input);
  if (e->handle) dlclose(e->handle);
  mem_free(e);
}

void line_editor_begin(struct line_editor *e, const char *prompt) {
  e->prompt = prompt;
  e->library.set(e->line, EL_UNBUFFERED, 1); // prints the prompt
}

static void give_back(struct line_editor *e) { e->library.set(e->line, EL_UNBUFFERED, 0); }

static void remember(struct line_editor *e, const char *line) {
  HistEvent event;
  if (e->history && *line != '\n') e->library.history(e->history, &event, H_ENTER, line);
}

struct slice line_editor_read(struct line_editor *e, bool *ended) {
  int count = 0;
  const char *text = e->library.gets(e->line, &count);
  size_t len = text && count > 0 ? (size_t)count : 0;
  *ended = count < 0 || (len == 1 && *text == END_OF_INPUT);
  bool is_line = len && (text[len - 1] == '\n' || text[len - 1] == '\r');
  if (*ended || is_line) give_back(e);
  if (*ended || !is_line) return slice_of(NULL, 0);
  remember(e, text);
  return slice_of(text, len - 1);
}
