#include "transport/inherited.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/address.h"

static int option_of(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) ? -1 : value;
}

static bool is_known(sa_family_t family) {
  return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

// NULL, or why nobody can connect to it.
static const char *inspect(struct inherited_socket *s) {
  s->length = sizeof s->address;
  if (getsockname(s->fd, (struct sockaddr *)&s->address, &s->length)) return "is not a socket";
  if (!is_known(s->address.ss_family)) return "is neither a tcp nor a unix socket";
  if (option_of(s->fd, SO_TYPE) != SOCK_STREAM) return "is not a stream socket";
  if (option_of(s->fd, SO_ACCEPTCONN) != 1) return "is not listening";
  int flags = fcntl(s->fd, F_GETFL);
  return flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) < 0 ? "cannot be made non-blocking" : NULL;
}

// Takes over the names, and all descriptors, whatever they are.
static void collect(struct inherited *in, char **names, unsigned count) {
  in->sockets = mem_calloc(count, sizeof *in->sockets);
  in->count = count;
  for (unsigned i = 0; i < count; i++)
    in->sockets[i] = (struct inherited_socket){.fd = SD_LISTEN_FDS_START + (int)i, .name = names[i]};
  free(names);
}

bool inherited_init(struct inherited *in, char *error, size_t error_size) {
  *in = (struct inherited){0};
  char **names = NULL;
  int count = sd_listen_fds_with_names(1, &names); // 1: children of this process are not meant
  if (count == 0) return true;
  if (count < 0) {
    snprintf(error, error_size, "cannot read the passed sockets (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES): %s",
             strerror(-count));
    return false;
  }
  collect(in, names, (unsigned)count);
  for (unsigned i = 0; i < in->count; i++) {
    const struct inherited_socket *s = &in->sockets[i];
    const char *problem = inspect(&in->sockets[i]);
    if (!problem) continue;
    snprintf(error, error_size, "passed socket %d (%.100s) %s", s->fd, s->name, problem);
    inherited_release(in);
    return false;
  }
  return true;
}

static bool is_same_ipv6(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b) {
  return a->sin6_port == b->sin6_port && a->sin6_scope_id == b->sin6_scope_id &&
         memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
}

static bool is_same_ipv4(const struct sockaddr_in *a, const struct sockaddr_in *b) {
  return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

// The bytes of a unix address: a path, "" without a name, or an abstract name that begins with a NUL.
static struct slice unix_name(const struct sockaddr_un *sun, socklen_t length) {
  size_t len = length - offsetof(struct sockaddr_un, sun_path);
  bool is_path = len && sun->sun_path[0];
  return slice_of(sun->sun_path, is_path ? strnlen(sun->sun_path, len) : len);
}

static bool is_same(const struct inherited_socket *s, const struct sockaddr *address, socklen_t length) {
  const void *own = &s->address, *other = address;
  if (s->address.ss_family != address->sa_family) return false;
  if (address->sa_family == AF_INET) return is_same_ipv4(own, other);
  if (address->sa_family == AF_INET6) return is_same_ipv6(own, other);
  struct slice name = unix_name(own, s->length);
  return name.len && slice_eq(name, unix_name(other, length));
}

int inherited_take(struct inherited *in, const struct sockaddr *address, socklen_t length) {
  for (unsigned i = 0; in && i < in->count; i++) {
    struct inherited_socket *s = &in->sockets[i];
    if (s->fd < 0 || !is_same(s, address, length)) continue;
    int fd = s->fd;
    s->fd = -1;
    return fd;
  }
  return -1;
}

const char *inherited_address(const struct inherited_socket *s, char out[INHERITED_TEXT_MAX]) {
  if (s->address.ss_family == AF_UNIX) {
    struct slice name = unix_name((const void *)&s->address, s->length);
    bool is_abstract = name.len && !name.ptr[0];
    snprintf(out, INHERITED_TEXT_MAX, "unix://%s%.*s", is_abstract ? "@" : "", (int)(name.len - is_abstract),
             (const char *)name.ptr + is_abstract);
    return out;
  }
  struct address a;
  char text[ADDRESS_TEXT_MAX];
  address_from(&a, (const struct sockaddr *)&s->address);
  snprintf(out, INHERITED_TEXT_MAX, "tcp://%s", address_format(&a, text));
  return out;
}

void inherited_add(struct inherited *in, int fd) {
  struct inherited_socket s = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
  if (s.fd < 0 || inspect(&s)) { // without it the address is in use
    if (s.fd >= 0) close(s.fd);
    return;
  }
  in->sockets = mem_realloc(in->sockets, (in->count + 1) * sizeof *in->sockets);
  in->sockets[in->count++] = s;
}

void inherited_release(struct inherited *in) {
  for (unsigned i = 0; i < in->count; i++) {
    if (in->sockets[i].fd >= 0) close(in->sockets[i].fd);
    free(in->sockets[i].name); // of sd_listen_fds_with_names
  }
  mem_free(in->sockets);
  *in = (struct inherited){0};
}
