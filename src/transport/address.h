// Addresses: the URL of a listener, and the two ends of a connection.
#ifndef LUAMQ_TRANSPORT_ADDRESS_H
#define LUAMQ_TRANSPORT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/slice.h"

#define ADDRESS_TEXT_MAX 64 // "[" IPv6 "]:" port, and the NUL

struct address {   // of one end of a connection
  uint16_t family; // AF_INET, AF_INET6, or AF_UNSPEC: memory
  uint16_t port;   // host order
  uint8_t ip[16];
};

void address_from(struct address *a, const struct sockaddr *sa);
// "127.0.0.1:1883", "[::1]:1883", "memory"; returns out.
const char *address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]);
bool address_is_loopback(const struct address *a);

// Resolves "tcp://host:port" or "mqtt://host[:port]" (default port 1883) to socket addresses. Returns NULL
// and the list in *out (free with freeaddrinfo), or an error text with static storage.
struct addrinfo;
const char *address_resolve(const char *url, struct addrinfo **out);

#endif
