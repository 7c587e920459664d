// Changes of a password file: its text, and putting another text in its place. Lines that are not concerned
// stay as they are, also comments and those that are wrong.
#ifndef LUAMQ_CMD_PASSWD_EDIT_H
#define LUAMQ_CMD_PASSWD_EDIT_H

#include <stdbool.h>

#include "base/buf.h"

// The text with the user's line replaced, which is put behind the others when there is none; `hash` with ptr
// NULL: without it. *found: there was one. A second line of the user goes away.
void passwd_edit_user(struct slice text, struct slice user, struct slice hash, struct buf *out, bool *found);

// The name of a line that is none of empty or a comment; ptr NULL: it has none. *rest: what is behind the
// colon.
struct slice passwd_line_name(struct slice line, struct slice *rest);
// Takes the first line off, without its end. False: there is none.
bool passwd_take_line(struct slice *text, struct slice *line);

// A file that no other `luamq passwd` changes meanwhile.
struct passwd_lock {
  int fd;
  char *path; // of the file itself, where `path` was a link to it
};
// NULL, or why not: static text. `create`: there may be none, then nothing is locked.
const char *passwd_lock(struct passwd_lock *lock, const char *path, bool create);
void passwd_unlock(struct passwd_lock *lock);

// Puts the text in the place of the file: all of it or, when it returns why not, nothing. It keeps owner and
// mode; a new one is readable by its owner only.
const char *passwd_replace(const struct passwd_lock *lock, struct slice text);

#endif
