// What tells whether a file has been changed or replaced, without reading it.
//
//   struct file_stamp before = file_stamp_of(path);   // before reading: what changes meanwhile has changed
//   afterwards
//   ...
//   struct file_stamp now = file_stamp_of(path);
//   if (!file_stamp_eq(&before, &now)) ... read it again
#ifndef LUAMQ_BASE_FILE_STAMP_H
#define LUAMQ_BASE_FILE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

struct file_stamp {
  uint64_t device, inode, size;
  int64_t modified_s, modified_ns;
};

struct file_stamp file_stamp_of(const char *path); // all 0 when it is not there
bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b);

#endif
