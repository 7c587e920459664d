// A set of networks in CIDR notation, such as the proxies whose word about addresses is taken.
//
//   struct networks *n = networks_new();
//   const char *problem = networks_add(n, SLICE("10.0.0.0/8"));    // "::1", "fd00::/8", "unix"
//   if (networks_contain(n, &remote)) ...
#ifndef LUAMQ_TRANSPORT_NETWORKS_H
#define LUAMQ_TRANSPORT_NETWORKS_H

#include "transport/address.h"

struct networks;

struct networks *networks_new(void);                      // empty
void networks_free(struct networks *n);                   // NULL is fine
struct networks *networks_copy(const struct networks *n); // NULL of NULL
// An address, a network in CIDR notation, or "unix": every peer of a unix socket. NULL, or why it is none.
const char *networks_add(struct networks *n, struct slice text);
bool networks_contain(const struct networks *n, const struct address *a); // false when n is NULL

#endif
