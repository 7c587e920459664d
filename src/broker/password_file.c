#include "broker/password_file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "packet/utf8.h"
#include "transport/conn.h"
#include "transport/password.h"

struct user {
  uint16_t name_len, hash_len;
  uint8_t bytes[]; // name, hash
};

struct password_file {
  struct map users; // by name
  uint64_t seed;
};

static struct slice user_name(const void *value) {
  const struct user *u = value;
  return slice_of(u->bytes, u->name_len);
}

static struct slice user_hash(const struct user *u) { return slice_of(u->bytes + u->name_len, u->hash_len); }

// --- a line ---

const char *password_name_problem(struct slice name) {
  if (!name.len) return "the user name is empty";
  if (name.len > UINT16_MAX) return "the user name is longer than 65535 bytes";
  if (memchr(name.ptr, ':', name.len)) return "the user name has a colon in it";
  if (name.ptr[0] == '#') return "the user name begins with '#'";
  for (size_t i = 0; i < name.len; i++)
    if (name.ptr[i] < ' ' || name.ptr[i] == 0x7f) return "the user name has a control character in it";
  return utf8_valid(name) ? NULL : "the user name is not valid UTF-8 text";
}

bool password_line_read(struct slice line, struct slice *name, struct slice *hash, const char **problem) {
  *problem = NULL;
  if (line.len && line.ptr[line.len - 1] == '\r') line.len--;
  if (!line.len || line.ptr[0] == '#') return false;
  const uint8_t *colon = memchr(line.ptr, ':', line.len);
  if (!colon) {
    *problem = "expected name:hash";
    return false;
  }
  *name = slice_of(line.ptr, (size_t)(colon - line.ptr));
  *hash = slice_from(line, name->len + 1);
  *problem = password_name_problem(*name);
  if (!*problem) *problem = password_hash_problem(*hash);
  return !*problem;
}

// --- the file ---

static struct user *user_new(struct slice name, struct slice hash) {
  struct user *u = mem_alloc(sizeof *u + name.len + hash.len);
  u->name_len = (uint16_t)name.len;
  u->hash_len = (uint16_t)hash.len;
  memcpy(u->bytes, name.ptr, name.len);
  memcpy(u->bytes + name.len, hash.ptr, hash.len);
  return u;
}

static const char *read_line(struct password_file *f, struct slice line) {
  struct slice name, hash;
  const char *problem;
  if (!password_line_read(line, &name, &hash, &problem)) return problem;
  if (map_get(&f->users, name)) return "a line for this user stands above";
  map_put(&f->users, user_new(name, hash));
  return NULL;
}

// Whether all lines are wrong, of which there are some.
static bool read_lines(struct password_file *f, struct slice text, password_line_told *told, void *arg) {
  unsigned number = 0, wrong = 0;
  while (text.len) {
    const uint8_t *end = memchr(text.ptr, '\n', text.len);
    size_t len = end ? (size_t)(end - text.ptr) : text.len;
    const char *problem = read_line(f, slice_of(text.ptr, len));
    number++;
    wrong += problem != NULL;
    if (problem) told(arg, number, problem);
    text = slice_from(text, end ? len + 1 : len);
  }
  return wrong && !f->users.count;
}

static const char *read_all(FILE *file, struct buf *out) {
  struct stat status;
  if (fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode)) return conn_strerror(EISDIR);
  for (size_t got = 1; got;) {
    buf_reserve(out, 65536);
    got = fread(out->ptr + out->len, 1, 65536, file);
    out->len += got;
    if (out->len > PASSWORD_FILE_MAX) return "larger than 64 MiB";
  }
  return ferror(file) ? conn_strerror(errno) : NULL;
}

const char *password_file_text(const char *path, struct buf *out) {
  FILE *file = fopen(path, "re");
  if (!file) return conn_strerror(errno);
  const char *error = read_all(file, out);
  fclose(file);
  return error;
}

struct password_file *password_file_read(const char *path, uint64_t seed, password_line_told *told, void *arg,
                                         const char **error) {
  struct buf text = BUF_INIT;
  struct password_file *f = mem_calloc(1, sizeof *f);
  f->seed = seed;
  map_init(&f->users, user_name, seed);
  *error = password_file_text(path, &text);
  if (!*error && read_lines(f, buf_slice(&text), told, arg)) *error = "no line of it is right";
  buf_release(&text);
  if (!*error) return f;
  password_file_free(f);
  return NULL;
}

void password_file_free(struct password_file *f) {
  if (!f) return;
  uint32_t at = 0;
  for (struct user *u; (u = map_each(&f->users, &at));)
    mem_free(u);
  map_release(&f->users);
  mem_free(f);
}

struct slice password_file_hash(const struct password_file *f, struct slice name) {
  const struct user *u = map_get(&f->users, name);
  return u ? user_hash(u) : slice_of(NULL, 0);
}

// The first user at or behind a place in the table, which the name tells.
struct slice password_file_decoy(const struct password_file *f, struct slice name) {
  if (!f->users.count) return slice_of(NULL, 0);
  uint32_t at = (uint32_t)(hash_bytes(~f->seed, name) % f->users.cap);
  const struct user *u = map_each(&f->users, &at);
  at = 0;
  return user_hash(u ? u : map_each(&f->users, &at));
}

uint32_t password_file_count(const struct password_file *f) { return f->users.count; }
