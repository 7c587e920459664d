// Runs a fuzz target over files, without a fuzzer: for the corpus in every test run, and for inputs that
// failed.
//
//   replay tests/fuzz/corpus/packet crash-1234
//
// A folder stands for the files in it and below. Fails when there is no input at all.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replay(const char *path);

static _Noreturn void fail(const char *path) {
  fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
  exit(1);
}

static size_t replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  struct buf in = BUF_INIT;
  uint8_t part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
    buf_add(&in, part, n);
  if (ferror(file)) fail(path);
  fclose(file);
  // A copy of exactly the right size, so that the address sanitizer sees a read beyond it.
  uint8_t *data = mem_dup(in.ptr, in.len);
  LLVMFuzzerTestOneInput(data, in.len);
  mem_free(data);
  buf_release(&in);
  return 1;
}

static size_t replay_folder(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) fail(path);
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (entry->d_name[0] == '.') continue;
    struct buf name = BUF_INIT;
    buf_printf(&name, "%s/%s", path, entry->d_name);
    count += replay(buf_text(&name));
    buf_release(&name);
  }
  closedir(folder);
  return count;
}

static size_t replay(const char *path) {
  struct stat st;
  if (stat(path, &st)) fail(path);
  return S_ISDIR(st.st_mode) ? replay_folder(path) : replay_file(path);
}

int main(int argc, char **argv) {
  size_t count = 0;
  for (int i = 1; i < argc; i++)
    count += replay(argv[i]);
  printf("%zu inputs replayed\n", count);
  return count ? 0 : 1;
}
