// The PROXY protocol, versions 1 and 2: a header in front of a connection's own bytes, in which a proxy tells
// who has connected to it (haproxy.org, proxy-protocol.txt). Protocol code without I/O.
//
//   size_t need = PROXY_FIRST;                       // read exactly so many bytes, never more
//   while ((n = proxy_parse(bytes so far, &header, &need)) == 0) read exactly `need` more
//   n > 0: the header had n bytes, which is all that was read; n < 0: there is no valid header
#ifndef LUAMQ_TRANSPORT_PROXY_H
#define LUAMQ_TRANSPORT_PROXY_H

#include <sys/types.h>

#include "transport/address.h"

#define PROXY_FIRST 15   // no header is shorter
#define PROXY_MAX   2048 // longer ones are refused; addresses and common TLVs take some hundred bytes

struct proxy_header {
  bool has_source;       // false: of the proxy itself (LOCAL), or of a kind that says nothing about it
  struct address source; // who has connected
};

// Bytes of a whole header (> 0), 0 when it is not complete and then how many further bytes belong to it for
// sure, or -1.
ssize_t proxy_parse(struct slice in, struct proxy_header *out, size_t *need);

#endif
