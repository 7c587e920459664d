// Connections inside the process, for tests: one end is a conn like any other, the other end is a peer that a
// test holds. Nothing is copied to a socket and no time passes.
//
//   struct memory_peer *peer;
//   struct conn *conn = memory_open(loop, &peer);    // hand conn to the engine
//   memory_send(peer, bytes);                          // readable in the next loop_turn
//   struct slice got = memory_received(peer);          // what the broker wrote, until memory_consume
#ifndef LUAMQ_TRANSPORT_MEMORY_H
#define LUAMQ_TRANSPORT_MEMORY_H

#include "transport/conn.h"
#include "transport/loop.h"

struct memory_peer;

struct conn *memory_open(struct loop *l, struct memory_peer **peer);
void memory_send(struct memory_peer *p, struct slice bytes);
struct slice memory_received(const struct memory_peer *p);
void memory_consume(struct memory_peer *p, size_t bytes);
// How many bytes the peer takes before the other side blocks; SIZE_MAX (the default) is no limit. Bytes that
// were consumed make room.
void memory_set_window(struct memory_peer *p, size_t bytes);
void memory_shutdown(struct memory_peer *p); // end of stream towards the broker; receiving goes on
void memory_reset(struct memory_peer *p); // ECONNRESET on the broker's next read and EPIPE on its next write
bool memory_closed(const struct memory_peer *p); // the broker closed its end
void memory_peer_free(struct memory_peer *p);    // resets when it is still open

#endif
