// What the system grants and what the process uses, with a tree of files in the place of the system's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/system_memory.h"
#include "base/tokens.h"

#define MACHINE ((uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE))

#define NAME "/tmp/luamq-memory-XXXXXX"

static char root[] = NAME;

static int set_up(void **state) {
  (void)state;
  memcpy(root, NAME, sizeof root);
  return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  char command[256];
  snprintf(command, sizeof command, "rm -r %s", root);
  return system(command);
}

static void put(const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(full, 0700);
  }
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void without_groups_it_is_the_machines(void **state) {
  (void)state;
  assert_int_equal(system_memory_granted(root), MACHINE);
  put("/proc/self/cgroup", "0::/a/b\n");
  assert_int_equal(system_memory_granted(root), MACHINE);
  put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  assert_int_equal(system_memory_granted(root), MACHINE);
}

static void of_version_2_the_least_of_the_group_and_those_above_counts(void **state) {
  (void)state;
  put("/proc/self/cgroup", "0::/a/b\n");
  put("/sys/fs/cgroup/a/memory.max", "2000000\n");
  put("/sys/fs/cgroup/a/b/memory.max", "3000000\n");
  assert_int_equal(system_memory_granted(root), 2000000);
  put("/sys/fs/cgroup/a/b/memory.max", "1000000\n");
  assert_int_equal(system_memory_granted(root), 1000000);
}

static void of_version_2_in_a_container_the_root_counts(void **state) {
  (void)state;
  put("/proc/self/cgroup", "0::/\n");
  put("/sys/fs/cgroup/memory.max", "4000000\n");
  assert_int_equal(system_memory_granted(root), 4000000);
}

static void of_version_1_the_memory_controller_counts(void **state) {
  (void)state;
  put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/y\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "5000000\n");
  assert_int_equal(system_memory_granted(root), 5000000);
}

static void lines_that_are_none_are_passed_over(void **state) {
  (void)state;
  put("/proc/self/cgroup", "\nx\n4:memory\n:::\n0::/a\n");
  put("/sys/fs/cgroup/a/memory.max", "6000000\n");
  assert_int_equal(system_memory_granted(root), 6000000);
}

static void what_the_process_uses_grows_with_it(void **state) {
  (void)state;
  int fd = system_memory_open();
  assert_true(fd >= 0);
  uint64_t before = system_memory_resident(fd);
  assert_in_range(before, 1 << 16, MACHINE);
  size_t size = 32 << 20;
  volatile char *memory = malloc(size); // volatile: it is written to
  for (size_t at = 0; at < size; at += 1024)
    memory[at] = 1;
  assert_true(system_memory_resident(fd) >= before + size / 2);
  free((void *)(uintptr_t)memory);
  close(fd);
  assert_int_equal(system_memory_resident(-1), 0);
}

static void tokens_hold_a_rate_whatever_the_steps(void **state) {
  (void)state;
  static const uint32_t rates[] = {1, 7, 1000, 999983, UINT32_MAX};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    struct tokens t;
    uint64_t now = 12345, taken = 0, step = rates[i] / 100 + 1;
    tokens_init(&t, now);
    while (now < 12345 + 100000) {
      uint64_t wait = tokens_wait_ms(&t, rates[i], 2, now);
      if (wait) {
        now += wait;
        continue;
      }
      tokens_take(&t, step);
      taken += step;
    }
    uint64_t expected = UINT64_C(102) * rates[i]; // a hundred seconds, and the burst
    assert_in_range(taken, expected - expected / 20 - step, expected + expected / 20 + step);
  }
}

static void tokens_bear_any_time_that_passes(void **state) {
  (void)state;
  struct tokens t;
  tokens_init(&t, 0);
  assert_int_equal(tokens_wait_ms(&t, UINT32_MAX, 2, UINT64_MAX / 2), 0);
  tokens_take(&t, UINT64_C(3) * UINT32_MAX);
  assert_in_range(tokens_wait_ms(&t, UINT32_MAX, 2, UINT64_MAX / 2), 1000, 1001);
  assert_int_equal(tokens_wait_ms(&t, UINT32_MAX, 2, UINT64_MAX), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(without_groups_it_is_the_machines),
      test(of_version_2_the_least_of_the_group_and_those_above_counts),
      test(of_version_2_in_a_container_the_root_counts),
      test(of_version_1_the_memory_controller_counts),
      test(lines_that_are_none_are_passed_over),
      cmocka_unit_test(what_the_process_uses_grows_with_it),
      cmocka_unit_test(tokens_hold_a_rate_whatever_the_steps),
      cmocka_unit_test(tokens_bear_any_time_that_passes),
  };
  return cmocka_run_group_tests_name("system memory and tokens", tests, NULL, NULL);
}
