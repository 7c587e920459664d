// Memory as the system sees it: what this process uses, and what it is granted.
#ifndef LUAMQ_BASE_SYSTEM_MEMORY_H
#define LUAMQ_BASE_SYSTEM_MEMORY_H

#include <stdint.h>

int system_memory_open(void); // for system_memory_resident; close it. -1: /proc is not there
// Resident bytes of the process; 0 when they cannot be read.
uint64_t system_memory_resident(int fd);
// The memory of the machine, or less where a control group (version 1 or 2) of the process or one above it
// is given less. `root` stands before each path that is read: "" but in tests.
uint64_t system_memory_granted(const char *root);

#endif
