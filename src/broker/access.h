// What a client may do by rules: those that hold for all (shard_set_rules), and those that are its own, which
// come from authenticate. Its own are asked first; where none of them applies, those for all decide; where
// there are rules and none applies, it may not.
//
// A check costs nothing where there are no rules, and no look at names where there are: what a client's names
// come to is kept with it.
#ifndef LUAMQ_BROKER_ACCESS_H
#define LUAMQ_BROKER_ACCESS_H

#include "broker/backend.h"
#include "broker/rules.h"

struct access; // of one client

// Takes the rules over, which are sealed; NULL: it has none.
void client_set_rules(struct client *c, struct rules *own);
const struct rules *client_rules(const struct client *c); // or NULL
void access_free(struct access *a);                       // NULL is fine

// What decides about it, without an effect. RULES_SILENT denies. False: there are no rules for it, and it is
// allowed.
bool access_decide(struct client *c, const struct rules_input *input, struct rules_decision *out);

// --- for the memory backend and the client ---

// Refuses in `reply` what the rules do not allow, and counts it.
void access_check_publish(struct client *c, const struct message *m, struct reply *reply);
// Lowers the QoS to be granted, or refuses.
void access_check_subscribe(struct client *c, struct subscribe_item *item);
// Lowers the QoS. False: it is not for this client, which has been counted and logged.
bool access_allows_delivery(struct client *c, struct delivery *d);

#endif
