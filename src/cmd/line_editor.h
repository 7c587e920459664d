// Lines that are typed at a terminal, edited and with a history, without waiting for them: by libedit, where
// it is installed. It is loaded when it is wanted, so that a broker does without.
//
//   struct line_editor *e = line_editor_new(fd);      // NULL: there is none, the terminal's own editing will
//   do line_editor_begin(e, "> "); it is readable: line = line_editor_read(e, &ended);   // NULL:
//   not yet, or the end line_editor_free(e);
//
// Between line_editor_begin and a line, or the end, the terminal is in the editor's hands.
#ifndef LUAMQ_CMD_LINE_EDITOR_H
#define LUAMQ_CMD_LINE_EDITOR_H

#include <stdbool.h>

#include "base/slice.h"

struct line_editor;

struct line_editor *line_editor_new(int terminal);                 // the descriptor is the caller's
void line_editor_free(struct line_editor *e);                      // gives the terminal back; NULL is fine
void line_editor_begin(struct line_editor *e, const char *prompt); // of static storage
// A line without its end; ptr NULL: none yet. Valid until the next call.
struct slice line_editor_read(struct line_editor *e, bool *ended);

#endif
