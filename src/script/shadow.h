// A policy in the shadow: a second script that is asked what the one in force is asked, and whose answers
// have no effect but to be compared. It runs in a Lua state and a broker of its own, without listeners and
// clients: what it publishes, closes or stops is that broker's, so that it can never harm the first. It may
// wait; nobody waits for it.
//
//   struct shadow *next;
//   if (!shadow_prepare(host, script, &next, why, sizeof why)) ...   // what script.shadow names is wrong
//   shadow_follow(host, next);                                       // it watches, and the one before has
//   ended
//
// Compared are logins (unless by a file of passwords), messages, subscriptions and deliveries: whether they
// are allowed and why not, dropped, changed, and the QoS that is granted. Rules are the shadow's own: those
// for all, and those that its authenticate gave to the client. A client that was there before the shadow has
// the rules and the `client.ref` that a reload would leave it with. Differences are counted, also by hook
// (hook_times.h), and logged with both places.
#ifndef LUAMQ_SCRIPT_SHADOW_H
#define LUAMQ_SCRIPT_SHADOW_H

#include "script/hook.h"

struct host;
struct shadow;

// Loads the shadow that `s`, a script of the host that may not be in force yet, asks for, and calls its
// hooks.start. *out is NULL where it asks for none. False, and why in `error`: it is wrong.
bool shadow_prepare(struct host *h, struct script *s, struct shadow **out, char *error, size_t error_size);
// When that script is in force. Takes `next` over; the shadow of the script before ends. NULL: there is none.
void shadow_follow(struct host *h, struct shadow *next);
void shadow_end(struct shadow *sh); // NULL is fine
// Whether a script can be one, for --check. `L` is the state whose paths it gets.
bool shadow_check(lua_State *L, const char *path, char *error, size_t error_size);

// A client logs in: before the policy in force is asked, for what it gave is gone afterwards.
void shadow_login(struct shadow *sh, struct client *c, const struct credentials *given);

#endif
