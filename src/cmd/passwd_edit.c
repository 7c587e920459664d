#include "cmd/passwd_edit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/conn.h"

// --- the text ---

bool passwd_take_line(struct slice *text, struct slice *line) {
  if (!text->len) return false;
  const uint8_t *end = memchr(text->ptr, '\n', text->len);
  size_t len = end ? (size_t)(end - text->ptr) : text->len;
  *line = slice_of(text->ptr, len);
  *text = slice_from(*text, end ? len + 1 : len);
  return true;
}

struct slice passwd_line_name(struct slice line, struct slice *rest) {
  const uint8_t *colon = line.len && line.ptr[0] != '#' ? memchr(line.ptr, ':', line.len) : NULL;
  if (!colon) return slice_of(NULL, 0);
  size_t len = (size_t)(colon - line.ptr);
  *rest = slice_from(line, len + 1);
  return slice_of(line.ptr, len);
}

static void add_line(struct buf *out, struct slice user, struct slice hash) {
  buf_add_slice(out, user);
  buf_add_byte(out, ':');
  buf_add_slice(out, hash);
  buf_add_byte(out, '\n');
}

void passwd_edit_user(struct slice text, struct slice user, struct slice hash, struct buf *out, bool *found) {
  struct slice line, rest;
  *found = false;
  while (passwd_take_line(&text, &line)) {
    struct slice name = passwd_line_name(line, &rest);
    bool concerned = name.ptr && slice_eq(name, user);
    if (concerned && hash.ptr && !*found) add_line(out, user, hash);
    *found |= concerned;
    if (concerned) continue;
    buf_add_slice(out, line);
    buf_add_byte(out, '\n');
  }
  if (!*found && hash.ptr) add_line(out, user, hash);
}

// --- the file ---

// Whether the path still names the file that is open: another one may have replaced it before it was locked.
static bool is_current(int fd, const char *path) {
  struct stat open_one, named;
  return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 && open_one.st_dev == named.st_dev &&
         open_one.st_ino == named.st_ino;
}

static const char *lock_file(struct passwd_lock *lock) {
  for (;;) {
    lock->fd = open(lock->path, O_RDONLY | O_CLOEXEC);
    if (lock->fd < 0 || flock(lock->fd, LOCK_EX)) return conn_strerror(errno);
    if (is_current(lock->fd, lock->path)) return NULL;
    close(lock->fd);
  }
}

const char *passwd_lock(struct passwd_lock *lock, const char *path, bool create) {
  char *real = realpath(path, NULL);
  *lock = (struct passwd_lock){.fd = -1};
  if (!real && (errno != ENOENT || !create)) return conn_strerror(errno);
  lock->path = real ? real : mem_dup(path, strlen(path) + 1);
  const char *error = real ? lock_file(lock) : NULL;
  if (error) passwd_unlock(lock);
  return error;
}

void passwd_unlock(struct passwd_lock *lock) {
  if (lock->fd >= 0) close(lock->fd);
  mem_free(lock->path);
  *lock = (struct passwd_lock){.fd = -1};
}

// A file of somebody else would be his no longer, and he could not read it.
static bool keep_owner(int fd, const struct passwd_lock *lock) {
  struct stat now, before;
  if (lock->fd < 0) return true;
  if (fstat(lock->fd, &before) || fstat(fd, &now)) return false;
  bool same = before.st_uid == now.st_uid && before.st_gid == now.st_gid;
  return (same || fchown(fd, before.st_uid, before.st_gid) == 0) && fchmod(fd, before.st_mode & 07777) == 0;
}

static bool write_all(int fd, struct slice text) {
  while (text.len) {
    ssize_t written = write(fd, text.ptr, text.len);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text = slice_from(text, (size_t)written);
  }
  return fsync(fd) == 0;
}

// So that the new name outlives a loss of power as well.
static bool sync_directory(const char *path) {
  struct buf directory = BUF_INIT;
  const char *slash = strrchr(path, '/');
  buf_add(&directory, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
  int fd = open(buf_text(&directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool fine = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  buf_release(&directory);
  return fine;
}

static const char *replace_by(const struct passwd_lock *lock, char *temporary, struct slice text) {
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return conn_strerror(errno);
  bool fine = keep_owner(fd, lock) && write_all(fd, text) && rename(temporary, lock->path) == 0;
  const char *error = fine ? NULL : conn_strerror(errno);
  close(fd);
  if (error) unlink(temporary);
  if (!error && !sync_directory(lock->path)) error = conn_strerror(errno);
  return error;
}

const char *passwd_replace(const struct passwd_lock *lock, struct slice text) {
  struct buf temporary = BUF_INIT;
  buf_printf(&temporary, "%s.XXXXXX", lock->path);
  buf_text(&temporary);
  const char *error = replace_by(lock, (char *)temporary.ptr, text);
  buf_release(&temporary);
  return error;
}
