// What makes calls of the system fail on demand: the library that is built from fault.c is loaded before all
// others (LD_PRELOAD) and stands between a program and libc or OpenSSL. It is controlled through a file that
// it maps (FAULT_CONTROL names it), so that a test counts and fails calls of a program that runs:
//
//   the file: eight little-endian 64-bit numbers, struct fault_control
//   armed = 1, calls = FAULT_RECV | FAULT_READV, error = ECONNRESET, first = last = 3
//     from now on calls of recv and readv are counted, and the third one fails with ECONNRESET
//   seen, failed: how many were counted, and how many of them were made to fail
//
// With FAULT_ARMED=1 in the environment it is armed before main, and counts what starting takes.
#ifndef LUAMQ_TESTS_FAULT_H
#define LUAMQ_TESTS_FAULT_H

#include <stdint.h>

enum fault_call { // bits; spec/support/faults.lua has the same list
  FAULT_MALLOC = 1 << 0,
  FAULT_CALLOC = 1 << 1,
  FAULT_REALLOC = 1 << 2,
  FAULT_READ = 1 << 3,
  FAULT_RECV = 1 << 4,
  FAULT_READV = 1 << 5,
  FAULT_WRITE = 1 << 6,
  FAULT_SEND = 1 << 7,
  FAULT_SENDMSG = 1 << 8,
  FAULT_WRITEV = 1 << 9,
  FAULT_ACCEPT4 = 1 << 10,
  FAULT_EPOLL_CTL = 1 << 11, // additions: what else epoll_ctl does takes no memory
  FAULT_SSL_NEW = 1 << 12,
  FAULT_SSL_ACCEPT = 1 << 13,
  FAULT_SSL_READ = 1 << 14,  // SSL_read_ex
  FAULT_SSL_WRITE = 1 << 15, // SSL_write_ex
};

#define FAULT_SHORT 0 // as an error: the call moves one byte

struct fault_control {
  uint64_t armed;
  uint64_t calls;       // of enum fault_call
  uint64_t error;       // an errno, or FAULT_SHORT
  uint64_t first, last; // the calls that fail, from 1 on
  uint64_t seen, failed;
  uint64_t unused;
};

#endif
