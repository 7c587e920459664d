// Shared subscriptions, "$share/name/filter" [MQTT5 4.8.2]: of the members of a group one gets each message.
// A group is a name with a filter. It is one subscriber of the index, and so one match; its members are
// sessions, each with options and a subscription identifier of its own.
//
//   index ---- match ----> group "name/filter"
//                          [ member | member | member || member | member ]
//                            online, in turn            without a client
//
// Who gets a message is decided when it is routed: an online member whose queue has room, by the strategy;
// where none has room, an online one as a full subscriber of its own; where nobody is online, the stored
// sessions in turn, which take no QoS 0. No more than SHARE_LOOK_MAX are looked at, so that very many full
// ones do not hold up the broker.
//
// What a member has not acknowledged when its session ends goes to another one, but for QoS 2 that was sent
// [MQTT5-4.8.2-5]: so a delivery tells the number of the group that it came by (broker/orphan.h).
//
//   struct shares shares;
//   shares_init(&shares, shard, index);
//   struct share_group *group = shares_join(&shares, session, name, filter, options, identifier);
//   const struct share_member *m = shares_choose(&shares, group, qos);
#ifndef LUAMQ_BROKER_SHARE_H
#define LUAMQ_BROKER_SHARE_H

#include "base/map.h"
#include "session/session.h"

#define SHARE_LOOK_MAX 1024

struct shard;

struct share_group {
  struct subscriber subscriber; // with one subscription, to the filter
  uint32_t number;              // never 0, not used again
  uint32_t count, online;       // members, and how many of them come first because they are online
  uint32_t cap;
  uint32_t next, next_stored; // whose turn it is, of either part
  uint64_t fanned;            // see broker/fanout.h
  struct share_member **members;
  const struct share_member *sticky; // NULL: to be chosen
  uint16_t name_len, key_len;
  uint8_t key[]; // name/filter
};

struct share_pair {
  struct session *session;
  struct share_group *group;
};

struct share_member { // a shared subscription of a session
  struct share_pair pair;
  struct list node; // of its session
  uint32_t at;      // in group->members
  uint32_t id;      // subscription identifier; 0: none
  uint8_t options;
};

struct shares {
  struct shard *shard;
  struct index *index;
  struct map groups;    // by name/filter
  struct map by_number; // the same
  struct map members;   // by pair
  struct map holders;   // sessions that have shared subscriptions
  uint32_t last_number;
};

void shares_init(struct shares *s, struct shard *shard, struct index *ix);
void shares_release(struct shares *s); // all members have left

// The parts of "$share/name/filter": whether the text is meant to be that; then `name` and `filter` are what
// it has, valid or not.
bool share_parse(struct slice text, struct slice *name, struct slice *filter);
bool share_valid(struct slice name, struct slice filter); // [MQTT5-4.8.2-1, -2]

// Adds the session to the group, which is made where there is none, or replaces options and identifier that
// it has there.
struct share_group *shares_join(struct shares *s, struct session *session, struct slice name,
                                struct slice filter, uint8_t options, uint32_t id);
bool shares_leave(struct shares *s, struct session *session, struct slice name, struct slice filter);
void shares_leave_all(struct shares *s, struct session *session);
const struct share_member *shares_find(const struct shares *s, const struct session *session,
                                       struct slice name, struct slice filter); // or NULL
// The session has got a client, or lost it.
void shares_session_moved(struct shares *s, struct session *session);

// Who gets the next message of the QoS. NULL: nobody.
const struct share_member *shares_choose(struct shares *s, struct share_group *group, uint8_t qos);
struct share_group *shares_group(const struct shares *s, struct slice name, struct slice filter); // or NULL
struct share_group *shares_by_number(const struct shares *s, uint32_t number);                    // or NULL

// Shared subscriptions of a session: their number, and the next after `before` (NULL: the first); NULL after
// the last.
uint32_t shares_count(const struct shares *s, const struct session *session);
const struct share_member *shares_next(const struct shares *s, const struct session *session,
                                       const struct share_member *before);

static inline struct slice share_name(const struct share_group *g) { return slice_of(g->key, g->name_len); }
static inline struct slice share_filter(const struct share_group *g) {
  return slice_from(slice_of(g->key, g->key_len), g->name_len + 1u);
}
static inline struct share_group *share_of(const struct subscriber *s) {
  return container_of((struct subscriber *)(uintptr_t)s, struct share_group, subscriber);
}

#endif
