#include "transport/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(char *error, size_t error_size, const char *what, int number) {
  if (number)
    snprintf(error, error_size, "%s%s", what, conn_strerror(number));
  else
    snprintf(error, error_size, "%s", what);
  return false;
}

const char *unix_socket_path(const char *url) { return strncmp(url, "unix://", 7) == 0 ? url + 7 : NULL; }

static int new_socket(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  memcpy(sun.sun_path, path, strlen(path) + 1);
  return sun;
}

// Without a file: "@name" is the name behind a NUL, whose length counts.
static bool open_abstract(struct unix_socket *u, const struct listener_config *c, char *error,
                          size_t error_size) {
  struct sockaddr_un sun = address_of(u->path);
  sun.sun_path[0] = 0;
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(u->path));
  u->fd = new_socket();
  if (u->fd < 0) return fail(error, error_size, "", errno);
  if (bind(u->fd, (struct sockaddr *)&sun, length) == 0 && listen(u->fd, c->backlog) == 0) return true;
  fail(error, error_size, "", errno);
  close(u->fd);
  u->fd = -1;
  return false;
}

// ECONNREFUSED when nobody listens on the socket at the path, 0 or EAGAIN when somebody does.
static int probe(const char *path) {
  int fd = new_socket();
  if (fd < 0) return errno;
  struct sockaddr_un sun = address_of(path);
  int error = connect(fd, (struct sockaddr *)&sun, sizeof sun) == 0 ? 0 : errno;
  close(fd);
  return error;
}

// Removes a file that a socket left behind which is closed. False: it is something else, and untouched.
static bool remove_stale(const char *path, char *error, size_t error_size) {
  struct stat st;
  if (lstat(path, &st)) return errno == ENOENT || fail(error, error_size, "", errno);
  if (!S_ISSOCK(st.st_mode)) return fail(error, error_size, "there is a file that is not a socket", 0);
  int number = probe(path);
  if (number == 0 || number == EAGAIN || number == EPROTOTYPE)
    return fail(error, error_size, "another program uses this socket", 0);
  if (number == ENOENT) return true;
  if (number != ECONNREFUSED)
    return fail(error, error_size, "cannot tell whether the socket is in use: ", number);
  return unlink(path) == 0 || errno == ENOENT ||
         fail(error, error_size, "cannot remove the stale socket: ", errno);
}

static bool bind_to(struct unix_socket *u, char *error, size_t error_size) {
  struct sockaddr_un sun = address_of(u->path);
  if (bind(u->fd, (struct sockaddr *)&sun, sizeof sun) == 0) return true;
  if (errno != EADDRINUSE) return fail(error, error_size, "", errno);
  if (!remove_stale(u->path, error, error_size)) return false;
  return bind(u->fd, (struct sockaddr *)&sun, sizeof sun) == 0 || fail(error, error_size, "", errno);
}

// Owner and group first: the mode is for them.
static bool hand_over(const struct unix_socket *u, char *error, size_t error_size) {
  if ((u->uid != LISTENER_SAME_UID || u->gid != LISTENER_SAME_GID) &&
      fchownat(AT_FDCWD, u->path, u->uid, u->gid, AT_SYMLINK_NOFOLLOW))
    return fail(error, error_size, "cannot set owner and group: ", errno);
  return fchmodat(AT_FDCWD, u->path, u->mode, AT_SYMLINK_NOFOLLOW) == 0 ||
         fail(error, error_size, "cannot set the mode: ", errno);
}

static bool listen_on_file(struct unix_socket *u, const struct listener_config *c, char *error,
                           size_t error_size) {
  struct stat st;
  if (lstat(u->path, &st)) return fail(error, error_size, "", errno);
  u->device = st.st_dev;
  u->inode = st.st_ino;
  if (hand_over(u, error, error_size)) {
    if (listen(u->fd, c->backlog) == 0) return true;
    fail(error, error_size, "", errno);
  }
  unix_socket_unlink(u);
  return false;
}

// Its file is not ours: device and inode stay 0, which are no file's.
static bool take_inherited(struct unix_socket *u, const struct listener_config *c) {
  struct sockaddr_un sun = address_of(u->path);
  u->fd = inherited_take(c->inherited, (struct sockaddr *)&sun, sizeof sun);
  return u->fd >= 0;
}

bool unix_socket_open(struct unix_socket *u, const struct listener_config *c, char *error,
                      size_t error_size) {
  const char *path = unix_socket_path(c->url);
  *u = (struct unix_socket){.fd = -1, .mode = c->mode, .uid = c->uid, .gid = c->gid};
  if (*path != '/' && *path != '@') return fail(error, error_size, "expected an absolute path", 0);
  if (strlen(path) >= sizeof u->path) return fail(error, error_size, "the path is too long", 0);
  memcpy(u->path, path, strlen(path) + 1);
  if (*path == '@') return open_abstract(u, c, error, error_size);
  if (take_inherited(u, c)) return true;
  u->fd = new_socket();
  if (u->fd < 0) return fail(error, error_size, "", errno);
  // The mode of the socket is what bind gives the file, less the umask.
  bool good = fchmod(u->fd, c->mode & S_IRWXU) == 0 || fail(error, error_size, "", errno);
  if (good && bind_to(u, error, error_size) && listen_on_file(u, c, error, error_size)) return true;
  close(u->fd);
  u->fd = -1;
  return false;
}

void unix_socket_unlink(const struct unix_socket *u) {
  struct stat st;
  if (lstat(u->path, &st) == 0 && st.st_dev == u->device && st.st_ino == u->inode) unlink(u->path);
}

bool unix_socket_take_file(struct unix_socket *u, struct unix_socket *old, char *error, size_t error_size) {
  if (!old->inode) return true; // a service manager's
  u->device = old->device;
  u->inode = old->inode;
  old->device = 0;
  old->inode = 0;
  return hand_over(u, error, error_size);
}

bool unix_socket_peer(int fd, struct address *out) {
  struct ucred peer;
  socklen_t len = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)) return false;
  *out = (struct address){.family = AF_UNIX, .peer = {peer.uid, peer.gid, peer.pid}};
  return true;
}
