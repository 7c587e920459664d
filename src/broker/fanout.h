// Fan-outs to very many sessions, in slices: one slice of one message a turn, so that everybody else goes on.
// A session or a group of shared subscriptions gets a message once, in the order of publishing, and as things
// were when it was published:
//
//   fan-outs under way:  [7: a/b ####------] [8: c --------] [9: a/b --------]     # has got it
//   fanned:              the last one that the session or group has had, or does not want
//
// A slice goes on where the one before it ended. When the index has changed since, the matches are walked
// from the start, and who has had its message is passed over. A session whose own subscriptions, or a group
// whose members are about to change is served first (fanouts_settle), so that a change never takes or adds a
// message that was published before it. Its publisher is paused until the last slice, and acknowledged when
// all have it.
//
// So does a message of which receivers are to get very large copies of their own, with subscription
// identifiers: a slice makes FANOUT_BYTES of them, and before the next one the limits of queues are looked
// at.
#ifndef LUAMQ_BROKER_FANOUT_H
#define LUAMQ_BROKER_FANOUT_H

#include "broker/backend.h"
#include "broker/share.h"
#include "broker/target.h"
#include "transport/loop.h"

#define FANOUT_SLICE 8192        // sessions, unless a test sets another
#define FANOUT_BYTES (16u << 20) // of copies; the last one may exceed it

struct fanouts {
  struct loop *loop;
  struct index *index;
  struct shares *shares;
  struct list list;   // under way, in order
  struct ready ready; // there is a slice to do in the next turn
  uint64_t last;      // number of the newest; 0: there was none
  uint32_t slice;     // FANOUT_SLICE
  // Puts the message into the queues of sessions that match it, `full` or not, and acknowledges.
  void (*deliver)(void *arg, struct message *m, struct ack ack, struct target *list, size_t count);
  void *arg;
};

void fanouts_init(struct fanouts *f, struct loop *l, struct index *ix, struct shares *shares,
                  void (*deliver)(void *arg, struct message *m, struct ack ack, struct target *list,
                                  size_t count),
                  void *arg);
void fanouts_release(struct fanouts *f); // drops those under way

// Whether the matches may take copies of more than FANOUT_BYTES.
bool fanouts_copies_are_many(const struct message *m, const struct matches *matches);
// Whether a message with these matches goes this way: they are too many, or it would overtake one that is
// under way and may be of the same origin.
static inline bool fanouts_take(const struct fanouts *f, const struct message *m,
                                const struct matches *matches, const struct client *publisher) {
  return matches->count > f->slice || (!publisher && !list_empty(&f->list)) ||
         (message_size(m) * matches->count > FANOUT_BYTES && fanouts_copies_are_many(m, matches));
}
void fanouts_add(struct fanouts *f, struct message *m, struct ack ack);
// Before the subscriptions of a session, or the members of a group, change.
void fanouts_settle(struct fanouts *f, struct subscriber *s);

#endif
