// The memory backend, the default: sessions in a map, a subscription index, a retained index. Its settings
// are those of the shard; credentials are its own.
#ifndef LUAMQ_BROKER_MEMORY_H
#define LUAMQ_BROKER_MEMORY_H

#include "broker/backend.h"

struct backend *memory_backend_new(struct shard *shard);

// Who gets in. Without credentials everyone does, unless `anonymous_only` was set.
void memory_add_credentials(struct backend *b, struct slice username, struct slice password); // copied
void memory_clear_credentials(struct backend *b);
// Users of a password file, see broker/password_login.h, in the place of those; NULL: of none.
void memory_set_password_file(struct backend *b, const char *path);
bool memory_has_password_file(const struct backend *b); // then `authenticate` may take its time
enum memory_access { MEMORY_OPEN, MEMORY_CREDENTIALS, MEMORY_ANONYMOUS, MEMORY_CREDENTIALS_OR_ANONYMOUS };
void memory_set_access(struct backend *b, enum memory_access access);

// For scripts and tests. Sessions in no particular order: start with *at = 0; NULL after the last.
struct session *memory_session(const struct backend *b, struct slice id); // NULL when there is none
struct session *memory_each_session(const struct backend *b, uint32_t *at);
struct retained *memory_retained(struct backend *b);
const struct shares *memory_shares(const struct backend *b);        // broker/share.h
void memory_set_fanout_slice(struct backend *b, uint32_t sessions); // see broker/fanout.h; at least 1
// All subscriptions of a session as a request, to be decided about anew; the caller's.
struct subscribe_request *memory_subscriptions(const struct backend *b, const struct session *s);
// Ends the subscription of an item of such a request that has been refused meanwhile, or lowers its QoS to
// the item's code. True: it has ended.
bool memory_decide_again(struct backend *b, struct session *s, const struct subscribe_item *item);
// A stored session that nobody is connected to, kept that long from now on. The id is not that of a session,
// and 1..65535 bytes. NULL: there are too many.
struct session *memory_create_session(struct backend *b, struct slice id, uint32_t expiry_s);
// As SUBSCRIBE and UNSUBSCRIBE, for a session with or without a client, and without rules. The item's `code`
// is the QoS to grant, and afterwards as in its struct. False: there was none.
void memory_subscribe_session(struct backend *b, struct session *s, struct subscribe_item *item,
                              uint32_t identifier);
bool memory_unsubscribe_session(struct backend *b, struct session *s, const struct subscribe_item *item);
// Puts a message into one session's queue, as if it matched a subscription with the message's QoS. False:
// dropped.
bool memory_deliver(struct backend *b, struct session *s, struct message *m, uint8_t qos, bool retain);

#endif
