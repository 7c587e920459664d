// Listeners: accept tcp connections on an address. When the process is out of file descriptors the listener
// reports it once, waits a second (or until listener_retry), and tries again: the loop never spins.
#ifndef LUAMQ_TRANSPORT_LISTENER_H
#define LUAMQ_TRANSPORT_LISTENER_H

#include "transport/conn.h"
#include "transport/loop.h"

struct listener;

struct listener_handler {
  // The conn is the receiver's; it is not started. `remote` is borrowed.
  void (*accepted)(void *arg, struct conn *c, const struct address *remote);
  void (*failed)(void *arg, const char *error); // accept failed: "accept: Too many open files"
};

// Opens a listener for each address that the URL resolves to; `backlog` is that of listen(2). Returns NULL
// and an error text in `error` (at least 256 bytes) on failure, and then nothing is open.
struct listener *listener_open(struct loop *l, const char *url, int backlog,
                               const struct listener_handler *handler, void *arg, char *error,
                               size_t error_size);
// The URL with the bound address: "tcp://127.0.0.1:40123". Valid as long as the listener.
const char *listener_url(const struct listener *l);
void listener_retry(struct listener *l); // a descriptor has become free
void listener_close(struct listener *l);

#endif
