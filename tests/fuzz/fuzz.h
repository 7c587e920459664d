// What all fuzz targets share: the entry that a fuzzer or replay.c calls, checks that end the process, and
// input that is taken byte by byte.
//
//   int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
//     struct slice in = slice_of(data, size);
//     while (in.len) do_something(fuzz_byte(&in));
//     CHECK(nothing_is_left());
//     return 0;
//   }
#ifndef LUAMQ_TESTS_FUZZ_H
#define LUAMQ_TESTS_FUZZ_H

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Ends the process, and tells what did not hold and where.
#define CHECK(condition) fuzz_check((condition), #condition, __FILE__, __LINE__)
void fuzz_check(bool condition, const char *text, const char *file, int line);

uint8_t fuzz_byte(struct slice *in);                // the next byte, which is taken off; 0 at the end
struct slice fuzz_take(struct slice *in, size_t n); // the next n bytes, or what is left
struct slice fuzz_line(struct slice *in);           // up to a newline, which is taken off as well

#endif
