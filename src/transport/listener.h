// Listeners: accept connections on an address, tcp or a unix socket, and know by which route they arrive.
// When the process is out of file descriptors the listener reports it once, waits a second (or until
// listener_retry), and tries again: the loop never spins.
//
//   struct listener_config config;
//   listener_config_init(&config, "unix:///run/luamq/luamq.sock");
//   config.mode = 0600;
//   struct listener *l = listener_open(loop, &config, &handler, arg, error, sizeof error);
#ifndef LUAMQ_TRANSPORT_LISTENER_H
#define LUAMQ_TRANSPORT_LISTENER_H

#include "transport/arrival.h"
#include "transport/inherited.h"

#define LISTENER_KEEPALIVE_SYSTEM (-1)
#define LISTENER_SAME_UID         ((uid_t)-1)
#define LISTENER_SAME_GID         ((gid_t)-1)

struct listener;

struct listener_config {
  const char *url;             // borrowed: "tcp://host:port", "wss://host[:port]/path", "unix:///path"
  int backlog;                 // of listen(2)
  struct inherited *inherited; // borrowed, or NULL: sockets that are used instead of binding another
  // tcp
  bool reuse_port; // other sockets may listen on the same address
  bool dual_stack; // an IPv6 address takes IPv4 connections too
  bool nodelay;    // TCP_NODELAY
  int keepalive;   // seconds until the first probe, 0: none, or LISTENER_KEEPALIVE_SYSTEM
  // unix
  mode_t mode;
  uid_t uid; // or LISTENER_SAME_UID: the process's
  gid_t gid; // or LISTENER_SAME_GID
  // what comes before MQTT; borrowed, the listener takes references and copies
  bool proxy_protocol;
  const struct networks *trusted_proxies; // or NULL
  struct tls *tls;                        // or NULL: not encrypted
  struct websocket *websocket;            // or NULL
  uint32_t handshake_timeout_ms;
  bool watch; // files of `tls` are loaded again when they change
};

struct listener_handler {
  // The conn is the receiver's; it is not started. `remote` is borrowed.
  void (*accepted)(void *arg, struct listener *l, struct conn *c, const struct address *remote);
  void (*failed)(void *arg, const char *error); // accept failed: "accept: Too many open files"
};

void listener_config_init(struct listener_config *c, const char *url); // with the defaults

// Opens a listener for each address that the URL resolves to. Returns NULL and an error text in `error` (at
// least 256 bytes) on failure, and then nothing is open. The file of a unix socket that nobody listens on is
// replaced; any other file is left alone, and is an error.
struct listener *listener_open(struct loop *l, const struct listener_config *config,
                               const struct listener_handler *handler, void *arg, char *error,
                               size_t error_size);
// The URL with the bound address: "ws://127.0.0.1:40123/mqtt". Valid as long as the listener.
const char *listener_url(const struct listener *l);
const struct route *listener_route(const struct listener *l);
bool listener_watches(const struct listener *l); // the files of its TLS
void listener_pause(struct listener *l);         // accepts nothing until listener_retry
void listener_retry(struct listener *l);         // it may accept again, or a descriptor has become free
void listener_set_timeout(struct listener *l, uint32_t handshake_timeout_ms);
// Adds copies of its sockets to `out`, for another listener on the same address.
void listener_lend(const struct listener *l, struct inherited *out);
// Where `l` was opened on the sockets of `old`, which is about to be closed: the file of a unix socket
// becomes its own. False, and why in `error`, when the file cannot have the owner or mode that `l` was opened
// with.
bool listener_succeed(struct listener *l, struct listener *old, char *error, size_t error_size);
void listener_close(struct listener *l); // and removes the file of a unix socket

#endif
