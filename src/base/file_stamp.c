#include "base/file_stamp.h"

#include <string.h>
#include <sys/stat.h>

struct file_stamp file_stamp_of(const char *path) {
  struct stat s;
  if (stat(path, &s)) return (struct file_stamp){0};
  return (struct file_stamp){.device = s.st_dev,
                             .inode = s.st_ino,
                             .size = (uint64_t)s.st_size,
                             .modified_s = s.st_mtim.tv_sec,
                             .modified_ns = s.st_mtim.tv_nsec};
}

bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b) {
  return memcmp(a, b, sizeof *a) == 0;
}
