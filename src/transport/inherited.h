// Sockets that were open before this process began: a service manager listens on them, and passes them on
// (socket activation, sd_listen_fds(3)). A listener takes the one that is bound to its address instead of
// binding: its backlog is kept, and a file that belongs to it is neither given away nor removed.
//
//   struct inherited in;
//   if (!inherited_init(&in, error, sizeof error)) puts(error);    // once: the environment is read and
//   cleared int fd = inherited_take(&in, sa, len);                           // the caller's, or -1: none is
//   bound to sa const struct inherited_socket *s = in.sockets;                   // all; those with fd >= 0
//   were not taken inherited_release(&in);                                          // and closes those
#ifndef LUAMQ_TRANSPORT_INHERITED_H
#define LUAMQ_TRANSPORT_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct inherited_socket {
  int fd;     // -1: taken
  char *name; // FileDescriptorName= of the unit, "unknown" when nobody gave it one
  struct sockaddr_storage address;
  socklen_t length; // of the address
};

struct inherited {
  struct inherited_socket *sockets;
  unsigned count;
};

// False, and nothing is inherited, when what was passed cannot be accepted from: then `error` (at least 256
// bytes) names it.
bool inherited_init(struct inherited *in, char *error, size_t error_size);
// The descriptor of the socket that is bound to this address, non-blocking and closed on exec; from now on
// the caller's. -1 when there is none. `in` may be NULL: nothing was passed.
int inherited_take(struct inherited *in, const struct sockaddr *address, socklen_t length);
// Adds a copy of the descriptor of a socket that listens.
void inherited_add(struct inherited *in, int fd);
void inherited_release(struct inherited *in);

#define INHERITED_TEXT_MAX 128
// "tcp://127.0.0.1:1883", "unix:///run/luamq.sock", "unix://@abstract"; returns out.
const char *inherited_address(const struct inherited_socket *s, char out[INHERITED_TEXT_MAX]);

#endif
