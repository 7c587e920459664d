// A keyed hash of bytes for in-memory tables. The seed is random for each process, so that peers who choose
// topics and client ids cannot choose collisions. Not for anything that leaves the process.
#ifndef LUAMQ_BASE_HASH_H
#define LUAMQ_BASE_HASH_H

#include "base/slice.h"

uint64_t hash_bytes(uint64_t seed, struct slice s);

#endif
