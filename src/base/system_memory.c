#include "base/system_memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int system_memory_open(void) { return open("/proc/self/statm", O_RDONLY | O_CLOEXEC); }

uint64_t system_memory_resident(int fd) {
  char text[128];
  ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  char *second = strchr(text, ' '); // size, resident, ... in pages
  return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

// The number in a file; UINT64_MAX when there is none, as where version 2 says "max".
static uint64_t read_limit(const char *path) {
  FILE *file = fopen(path, "re");
  unsigned long long value;
  if (!file) return UINT64_MAX;
  bool found = fscanf(file, "%llu", &value) == 1;
  fclose(file);
  return found ? value : UINT64_MAX;
}

// The least limit of a group and those above it: `group` is "/a/b", and is shortened.
static uint64_t least_limit(const char *root, const char *mount, char *group, const char *name) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    char path[3 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s/%s", root, mount, group, name);
    uint64_t limit = read_limit(path);
    if (limit < least) least = limit;
    char *last = strrchr(group, '/');
    if (!last) return least;
    *last = 0;
  }
}

// A line of /proc/self/cgroup: "0::/path" is version 2, "4:memory:/path" is version 1.
static uint64_t limit_of_line(const char *root, char *line) {
  line[strcspn(line, "\n")] = 0;
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return UINT64_MAX;
  *group++ = 0;
  if (!strcmp(controllers, ":")) return least_limit(root, "/sys/fs/cgroup", group, "memory.max");
  if (strcmp(controllers, ":memory") != 0) return UINT64_MAX;
  return least_limit(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
}

uint64_t system_memory_granted(const char *root) {
  uint64_t granted = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  char path[PATH_MAX], line[PATH_MAX];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) {
    uint64_t limit = limit_of_line(root, line);
    if (limit < granted) granted = limit;
  }
  if (file) fclose(file);
  return granted;
}
