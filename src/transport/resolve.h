// The addresses of a name, by the system's own ways (the hosts file, DNS, whatever it is configured for),
// which block: so it is looked up in a worker thread.
//
//   if (!resolve_is_address(host))
//     look_up = resolve_start(loop, host, found, owner);   // NULL: the workers have too much to do
//
//   static void found(void *owner, const struct resolve_result *result) { ... result->problem, or addresses
//   ... }
//
// A look-up that is under way ends by calling `found` once, in the loop, or by resolve_cancel.
#ifndef LUAMQ_TRANSPORT_RESOLVE_H
#define LUAMQ_TRANSPORT_RESOLVE_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/api.h"

#define RESOLVE_MAX   8 // addresses that are taken of a name
#define RESOLVE_BYTES (INET6_ADDRSTRLEN + 16)

struct loop;
struct resolve;

struct resolve_result {
  char addresses[RESOLVE_MAX][RESOLVE_BYTES]; // numeric, in the order in which they are to be tried
  unsigned count;
  const char *problem; // NULL, or why there is none: static storage
};

LUAMQ_API bool resolve_is_address(const char *host); // it is numeric: there is nothing to look up
LUAMQ_API struct resolve *resolve_start(struct loop *l, const char *host,
                                        void (*found)(void *arg, const struct resolve_result *result),
                                        void *arg);
LUAMQ_API void resolve_cancel(struct resolve *r); // NULL is fine

#endif
