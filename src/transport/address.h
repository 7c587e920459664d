// Addresses: the URL of a listener, and the two ends of a connection.
#ifndef LUAMQ_TRANSPORT_ADDRESS_H
#define LUAMQ_TRANSPORT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/slice.h"

#define ADDRESS_TEXT_MAX 64 // "[" IPv6 "]:" port, and the NUL

struct address_peer { // who opened a unix socket's connection
  uint32_t uid, gid;
  int32_t pid; // 0: of a process that is not visible here
};

struct address {   // of one end of a connection
  uint16_t family; // AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC: memory
  uint16_t port;   // host order
  union {
    uint8_t ip[16];
    struct address_peer peer; // of the remote end, AF_UNIX
  };
};

// An IPv4 address in IPv6's form (::ffff:192.0.2.1) becomes the IPv4 address.
void address_from(struct address *a, const struct sockaddr *sa);
// The same of 4 or 16 bytes in network order.
void address_from_ip(struct address *a, const uint8_t *ip, size_t len, uint16_t port);
// "127.0.0.1:1883", "[::1]:1883", "unix", "memory"; returns out.
const char *address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]);
bool address_is_loopback(const struct address *a);

// The scheme of a URL ("wss"), and its path behind host and port ("/mqtt", or empty). Slices of the URL.
struct slice address_scheme(const char *url);
struct slice address_path(const char *url);
// Resolves a URL "scheme://host[:port][/path]" to socket addresses; each scheme but unix has a default port.
// Returns NULL and the list in *out (free with freeaddrinfo), or an error text with static storage.
struct addrinfo;
const char *address_resolve(const char *url, struct addrinfo **out);

#endif
