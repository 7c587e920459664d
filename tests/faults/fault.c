#include "fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// What the library itself needs to know; set before main, by one thread.
static struct fault_control *control;

__attribute__((constructor)) static void map_control(void) {
  const char *path = getenv("FAULT_CONTROL"), *armed = getenv("FAULT_ARMED");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  struct fault_control *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (c == MAP_FAILED) abort();
  if (armed && *armed == '1') c->armed = 1;
  control = c;
}

// Counts a call. True: it has to fail, and errno is why, or FAULT_SHORT.
static bool has_to_fail(enum fault_call call) {
  struct fault_control *c = control;
  if (!c || !__atomic_load_n(&c->armed, __ATOMIC_ACQUIRE) || !(c->calls & call)) return false;
  uint64_t number = __atomic_add_fetch(&c->seen, 1, __ATOMIC_RELAXED);
  if (number < c->first || number > c->last) return false;
  __atomic_add_fetch(&c->failed, 1, __ATOMIC_RELAXED);
  errno = (int)c->error;
  return true;
}

static void *next_symbol(const char *name) {
  void *symbol = dlsym(RTLD_NEXT, name);
  if (!symbol) abort();
  return symbol;
}

// `next` is the function that would have been called without this library.
#define NEXT(name)                                                                                           \
  static __typeof__(name) *next;                                                                             \
  if (!next) next = (__typeof__(name) *)next_symbol(#name)

// --- memory. dlsym may ask for some before it is known where to get it: that comes from here. ---

static char early[4096];
static size_t early_used;

static void *take_early(size_t size) {
  size = (size + 15) & ~(size_t)15;
  if (size > sizeof early - early_used) abort();
  early_used += size;
  return early + early_used - size;
}

static bool is_early(const void *ptr) {
  return (const char *)ptr >= early && (const char *)ptr < early + sizeof early;
}

static struct {
  void *(*malloc)(size_t size);
  void *(*calloc)(size_t count, size_t size);
  void *(*realloc)(void *old, size_t size);
  void (*free)(void *ptr);
} memory;

static volatile bool resolving; // volatile: dlsym says that it does not call us, and does

// False while it is not known yet: called from within.
static bool find_memory(void) {
  if (memory.free) return true;
  if (resolving) return false;
  resolving = true;
  memory.malloc = (void *(*)(size_t))next_symbol("malloc");
  memory.calloc = (void *(*)(size_t, size_t))next_symbol("calloc");
  memory.realloc = (void *(*)(void *, size_t))next_symbol("realloc");
  memory.free = (void (*)(void *))next_symbol("free");
  resolving = false;
  return true;
}

void *malloc(size_t size) {
  if (!find_memory()) return take_early(size);
  return has_to_fail(FAULT_MALLOC) ? NULL : memory.malloc(size);
}

void *calloc(size_t count, size_t size) {
  if (!find_memory()) return take_early(count * size);
  return has_to_fail(FAULT_CALLOC) ? NULL : memory.calloc(count, size);
}

void *realloc(void *old, size_t size) {
  if (!find_memory() || is_early(old)) abort();
  return has_to_fail(FAULT_REALLOC) ? NULL : memory.realloc(old, size);
}

void free(void *ptr) {
  if (!is_early(ptr) && find_memory()) memory.free(ptr);
}

// --- bytes ---

// One byte of what was asked for.
static struct iovec first_byte(const struct iovec *iov, int count) {
  for (int i = 0; i < count; i++)
    if (iov[i].iov_len) return (struct iovec){iov[i].iov_base, 1};
  return (struct iovec){NULL, 0};
}

#define FAIL_BYTES(call, shortened)                                                                          \
  if (has_to_fail(call)) return errno == FAULT_SHORT ? (shortened) : -1

ssize_t read(int fd, void *bytes, size_t size) {
  NEXT(read);
  FAIL_BYTES(FAULT_READ, next(fd, bytes, size != 0));
  return next(fd, bytes, size);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  NEXT(recv);
  FAIL_BYTES(FAULT_RECV, next(fd, bytes, size != 0, flags));
  return next(fd, bytes, size, flags);
}

ssize_t readv(int fd, const struct iovec *iov, int count) {
  NEXT(readv);
  struct iovec one = first_byte(iov, count);
  FAIL_BYTES(FAULT_READV, next(fd, &one, 1));
  return next(fd, iov, count);
}

ssize_t write(int fd, const void *bytes, size_t size) {
  NEXT(write);
  FAIL_BYTES(FAULT_WRITE, next(fd, bytes, size != 0));
  return next(fd, bytes, size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  NEXT(send);
  FAIL_BYTES(FAULT_SEND, next(fd, bytes, size != 0, flags));
  return next(fd, bytes, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  NEXT(sendmsg);
  struct msghdr shortened = *message;
  struct iovec one = first_byte(message->msg_iov, (int)message->msg_iovlen);
  shortened.msg_iov = &one;
  shortened.msg_iovlen = 1;
  FAIL_BYTES(FAULT_SENDMSG, next(fd, &shortened, flags));
  return next(fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *iov, int count) {
  NEXT(writev);
  struct iovec one = first_byte(iov, count);
  FAIL_BYTES(FAULT_WRITEV, next(fd, &one, 1));
  return next(fd, iov, count);
}

// --- connections and readiness ---

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags) {
  NEXT(accept4);
  return has_to_fail(FAULT_ACCEPT4) ? -1 : next(fd, address, length, flags);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
  NEXT(epoll_ctl);
  return op == EPOLL_CTL_ADD && has_to_fail(FAULT_EPOLL_CTL) ? -1 : next(epfd, op, fd, event);
}

// --- OpenSSL ---

// What fails leaves its reason in the thread's queue of errors, as calls do that really fail.
static bool ssl_has_to_fail(enum fault_call call) {
  if (!has_to_fail(call)) return false;
  int error = errno;
  if (error != FAULT_SHORT) {
    ((__typeof__(ERR_new) *)next_symbol("ERR_new"))();
    ((__typeof__(ERR_set_error) *)next_symbol("ERR_set_error"))(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR, NULL);
  }
  errno = error;
  return true;
}

SSL *SSL_new(SSL_CTX *context) {
  NEXT(SSL_new);
  return ssl_has_to_fail(FAULT_SSL_NEW) ? NULL : next(context);
}

int SSL_accept(SSL *ssl) {
  NEXT(SSL_accept);
  return ssl_has_to_fail(FAULT_SSL_ACCEPT) ? -1 : next(ssl);
}

int SSL_read_ex(SSL *ssl, void *bytes, size_t size, size_t *got) {
  NEXT(SSL_read_ex);
  if (!ssl_has_to_fail(FAULT_SSL_READ)) return next(ssl, bytes, size, got);
  return errno == FAULT_SHORT ? next(ssl, bytes, size != 0, got) : 0;
}

int SSL_write_ex(SSL *ssl, const void *bytes, size_t size, size_t *sent) {
  NEXT(SSL_write_ex);
  if (!ssl_has_to_fail(FAULT_SSL_WRITE)) return next(ssl, bytes, size, sent);
  return errno == FAULT_SHORT ? next(ssl, bytes, size != 0, sent) : 0;
}
