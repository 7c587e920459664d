// Users and the hashes of their passwords, as a file has them: a line `name:hash` for each, such as `luamq
// passwd` writes. Empty lines and those that begin with '#' say nothing. The hashes are those of
// transport/password.h.
//
//   struct password_file *f = password_file_read(path, seed, told, arg, &error);
//   struct slice hash = password_file_hash(f, name);      // ptr NULL: there is no such user
//
// A line that is wrong is told of, by its number, and left out: whoever it was to be for does not get in.
// What a line holds is in no text. It does not change once it is read, so it may be read in one thread and
// used in another.
#ifndef LUAMQ_BROKER_PASSWORD_FILE_H
#define LUAMQ_BROKER_PASSWORD_FILE_H

#include "base/buf.h"

#define PASSWORD_FILE_MAX (64u << 20) // bytes of a file

struct password_file;

typedef void password_line_told(void *arg, unsigned line, const char *problem); // static text

// NULL: it cannot be read, or no line of it is right though it has some; *error says why, static text.
struct password_file *password_file_read(const char *path, uint64_t seed, password_line_told *told, void *arg,
                                         const char **error);
void password_file_free(struct password_file *f); // NULL is fine

struct slice password_file_hash(const struct password_file *f, struct slice name); // borrowed; ptr NULL: none
// The hash of some user, always of the same one for a name: for a name that is not there it is verified too,
// so that the time does not tell. ptr NULL: the file has no users.
struct slice password_file_decoy(const struct password_file *f, struct slice name);
uint32_t password_file_count(const struct password_file *f);

// One line, without its end. True: it has a name and a hash. False: it is empty or a comment, and *problem is
// NULL; or it is wrong.
bool password_line_read(struct slice line, struct slice *name, struct slice *hash, const char **problem);
// The bytes of a file. NULL, or why not: static text.
const char *password_file_text(const char *path, struct buf *out);
// What a name must not be: static text, or NULL.
const char *password_name_problem(struct slice name);

#endif
