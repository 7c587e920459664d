// Connections over stream sockets.
#ifndef LUAMQ_TRANSPORT_TCP_H
#define LUAMQ_TRANSPORT_TCP_H

#include "transport/conn.h"
#include "transport/loop.h"

// Takes over a connected, non-blocking socket, with the options that it inherited from its listener.
struct conn *tcp_new(struct loop *l, int fd);

#endif
