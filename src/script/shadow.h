// A policy in the shadow: a second script that is asked what the one in force is asked, and whose answers
// have no effect but to be compared. It runs in a Lua state and a broker of its own, without listeners and
// clients: what it publishes, closes or stops is that broker's, so that it can never harm the first. It may
// wait; nobody waits for it.
//
//   if (shadow_follow(host, why, sizeof why)) ...   // begins or ends what script.shadow asks for
//
// Compared are logins (by its hook `authenticate`), messages, subscriptions and deliveries: whether they are
// allowed and why not, dropped, changed, and the QoS that is granted. Differences are counted and logged with
// both places.
#ifndef LUAMQ_SCRIPT_SHADOW_H
#define LUAMQ_SCRIPT_SHADOW_H

#include "script/hook.h"

struct host;
struct shadow;

// After a script has come into force. False, and why in `error`: the shadow's script is wrong; there is none
// then.
bool shadow_follow(struct host *h, char *error, size_t error_size);
void shadow_end(struct shadow *sh); // NULL is fine
// Whether a script can be one, for --check. `L` is the state whose paths it gets.
bool shadow_check(lua_State *L, const char *path, char *error, size_t error_size);

// A client logs in: before the policy in force is asked, for what it gave is gone afterwards.
void shadow_login(struct shadow *sh, struct client *c, const struct credentials *given);

#endif
