// What is known of remote addresses: their open connections, how often they connect, and failed logins. An
// address is an IPv4 address or the first 64 bits of an IPv6 address, which is what one subscriber of a
// network usually has. Memory connections and unix sockets are never counted.
//
//   const char *why = peers_admit(peers, &remote);      // on accept
//   if (why) ... closed at once
//   peers_leave(peers, &remote);                        // when an admitted connection has ended
//
// Failed logins: limits.failed_logins are free; from then on a CONNECT of the address waits until a delay has
// passed since the last failure, which doubles from limits.login_delay to limits.login_delay_maximum. One
// that waits is let on at a time, and the next not before that one has its answer. Nobody waits longer than
// login_delay_maximum: after it a CONNECT is to be turned away. A success forgets the failures, and so does a
// time without any (ten minutes, or login_delay_maximum where that is longer).
//
//   if (peers_login_may(peers, &remote)) ... authenticate, then peers_login_done(peers, &remote, outcome)
//   else peers_login_hold(peers, &remote, &hold)        // and hold.resume is called
//
// Memory is bounded: an address is forgotten when it has no connection, no failures and has not connected for
// two seconds. Of those without a connection the 65536 that left last are kept; where there are more, those
// without failures are forgotten first.
#ifndef LUAMQ_BROKER_PEERS_H
#define LUAMQ_BROKER_PEERS_H

#include "base/timer.h"
#include "broker/settings.h"
#include "broker/stats.h"
#include "transport/address.h"
#include "transport/loop.h"

#define PEERS_IDLE_MAX       65536 // addresses without a connection
#define PEERS_LOGINS_AT_ONCE 256   // of one address, that have no answer yet

struct peers;

// All are borrowed; counts go to `stats`.
struct peers *peers_new(const struct settings *settings, struct stats *stats, struct loop *loop,
                        uint64_t seed);
void peers_free(struct peers *p); // no login is held

// NULL: the connection is counted. Or why not: static text.
const char *peers_admit(struct peers *p, const struct address *from);
void peers_leave(struct peers *p, const struct address *from);

struct login_hold { // the owner's memory, until it is resumed or cancelled
  struct list node;
  uint64_t since_ms;
  // The login may go on, as if peers_login_may had just said so; or, not `in_time`, is to be turned away.
  void (*resume)(struct login_hold *hold, bool in_time);
};

enum login_outcome { LOGIN_SUCCEEDED, LOGIN_FAILED, LOGIN_UNDECIDED };

// True: the login is under way until peers_login_done.
bool peers_login_may(struct peers *p, const struct address *from);
void peers_login_done(struct peers *p, const struct address *from, enum login_outcome outcome);
void peers_login_hold(struct peers *p, const struct address *from, struct login_hold *hold);
void peers_login_cancel(struct peers *p, const struct address *from, struct login_hold *hold);

#endif
