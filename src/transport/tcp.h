// Connections over stream sockets.
#ifndef LUAMQ_TRANSPORT_TCP_H
#define LUAMQ_TRANSPORT_TCP_H

#include "transport/conn.h"
#include "transport/loop.h"

// Takes over a connected, non-blocking socket; TCP keepalive and TCP_NODELAY are set.
struct conn *tcp_new(struct loop *l, int fd);

#endif
