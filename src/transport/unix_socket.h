// Unix sockets that listen, and their files. The file is never more open than its listener asks for: it is
// made for nobody but its owner, gets its owner, group and mode, and only then does the socket listen.
#ifndef LUAMQ_TRANSPORT_UNIX_SOCKET_H
#define LUAMQ_TRANSPORT_UNIX_SOCKET_H

#include <sys/un.h>

#include "transport/listener.h"

#define UNIX_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path) // with the NUL

struct unix_socket {
  int fd;
  dev_t device; // of the file, so that no other one is removed in its place
  ino_t inode;
  mode_t mode; // that the listener asks for, as the next two
  uid_t uid;
  gid_t gid;
  char path[UNIX_PATH_MAX];
};

// The path in "unix:///path", or NULL when the URL has another scheme.
const char *unix_socket_path(const char *url);
// "@name" in the place of a path is an abstract socket, which has no file. Returns false and why in `error`
// when it cannot listen: then there is no new file, and one that was there and is not stale still is. An
// inherited socket with this path is used as it is, and its file is not ours.
bool unix_socket_open(struct unix_socket *u, const struct listener_config *config, char *error,
                      size_t error_size);
// Removes the file, if it is still the socket's. The descriptor is the caller's.
void unix_socket_unlink(const struct unix_socket *u);
// The file of `old`, which has the same path, becomes that of `u`, with the owner, group and mode that its
// listener asks for. False, and why in `error`, when it cannot have these.
bool unix_socket_take_file(struct unix_socket *u, struct unix_socket *old, char *error, size_t error_size);
// Who is at the other end of a connected socket, as an address. False when the system does not tell.
bool unix_socket_peer(int fd, struct address *out);

#endif
