// Decisions of hooks, for people: which function gave an answer, and what is told of it.
#ifndef LUAMQ_SCRIPT_DECISION_H
#define LUAMQ_SCRIPT_DECISION_H

#include "script/hook.h"

#define PLACE_MAX 512 // of "broker.lua:12", with its end

// The function of the chain that has answered, or failed to: "broker.lua:12". Never raises.
void decision_place(const struct hook_call *call, char place[PLACE_MAX]);
// The same as who decided. The caller's.
const struct verdict *decision_verdict(const struct hook_call *call);

// Pushes what a refusal tells as a table, for the hook `log`.
void decision_push(lua_State *L, const struct log_record *refused);

#endif
