// A connection: bytes in order, both ways, over a socket or memory, or over another connection that carries
// it (TLS, WebSocket). It never blocks and has no buffers but one: the bytes that the peer did not take yet.
// Its owner is told what happened through a handler, from loop_turn only.
//
//   conn_start(conn, &handler, client);
//   readable: n = conn_read(conn, iov, 2);  n > 0 bytes, 0 end of stream, < 0 none now or an error
//   conn_write(conn, iov, count, NULL);     takes all; conn_blocked tells whether some of it waits
//   writable: what waited is gone
//   conn_close(conn);                       frees it
#ifndef LUAMQ_TRANSPORT_CONN_H
#define LUAMQ_TRANSPORT_CONN_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "transport/address.h"

struct conn;

// Bytes of a write that have an owner who counts references: what waits of them is not copied.
struct conn_lent {
  void **owners; // one for each iovec; NULL: the bytes are the caller's, and copied
  void (*ref)(void *owner);
  void (*unref)(void *owner);
};

struct unsent { // bytes on their way to the peer
  int at, count;
  void (*unref)(void *owner);
  struct unsent_part {
    struct iovec iov;
    void *owner; // or NULL
  } * parts;
};

struct conn_handler {
  void (*readable)(struct conn *c); // bytes, an end or an error can be read
  void (*writable)(struct conn *c); // the unsent bytes are gone
};

struct conn_ops { // what a transport implements; the functions below are what others call
  ssize_t (*read)(struct conn *c, struct iovec *iov, int count);        // as conn_read
  ssize_t (*write)(struct conn *c, const struct iovec *iov, int count); // bytes taken, or -errno
  void (*watch)(struct conn *c, bool read, bool write);
  void (*local)(const struct conn *c, struct address *out);
  void (*close)(struct conn *c, bool orderly); // frees c
  // The rest is NULL where it is not needed. Goes on with what both ends agree on before bytes may flow: 0 it
  // is done, -EAGAIN more when `readable` or `writable` is called, else it has failed. Not called once done.
  int (*handshake)(struct conn *c);
  const char *(*failure)(const struct conn *c);  // why it failed where an errno tells too little, or NULL
  struct conn *(*carrier)(const struct conn *c); // the connection that carries this one
  bool (*gone)(const struct conn *c);            // as conn_is_gone, where there is no carrier
};

struct conn {
  const struct conn_ops *ops;
  const struct conn_handler *handler;
  void *owner;
  struct unsent *unsent; // NULL: nothing waits
  bool reading, writing; // what is watched
  bool broken;           // a write failed: output is thrown away, input is read to its end
  bool held;             // the layer itself has bytes that its carrier did not take yet
  bool progressed;       // some of `unsent` went out; set here, cleared by the owner
};

void conn_start(struct conn *c, const struct conn_handler *handler, void *owner); // and watches for reading
void conn_watch_read(struct conn *c, bool on);
void conn_watch(struct conn *c, bool read, bool write); // for layers: of their carrier

// Bytes read (> 0), 0 at the end of the stream, or -errno: -EAGAIN when there is nothing now.
ssize_t conn_read(struct conn *c, struct iovec *iov, int count);

// Sends what the peer takes now with one system call; the rest waits in `unsent`, as references to the owners
// that `lent` (or NULL) names and as a copy of other bytes, and `writable` is called when it has gone. Must
// not be called while conn_blocked. Returns the bytes that wait.
size_t conn_write(struct conn *c, struct iovec *iov, int count, const struct conn_lent *lent);
static inline bool conn_blocked(const struct conn *c) { return c->unsent || c->held; }

// Whether the peer has reset the connection. One that has ended its own side only is still there.
bool conn_is_gone(const struct conn *c);
void conn_local_address(const struct conn *c, struct address *out);
// `orderly`: the peer is to get all that was taken before the end; else what waits is dropped.
void conn_close(struct conn *c, bool orderly);

const char *conn_strerror(int error); // text of an errno, static storage
// What a read or handshake that returned `error` (a negative errno) failed with; static storage.
const char *conn_failure(const struct conn *c, ssize_t error);

// For transports: sends unsent bytes, calls the handler when they are gone.
void conn_on_writable(struct conn *c);

#endif
