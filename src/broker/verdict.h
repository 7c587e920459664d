// Who decided: what a refusal tells about itself in the log, to the hook `log`, in tests and in `luamq
// explain`.
//
//   static const struct verdict by_quota = {DECIDER_LIMIT, .name = "limits.subscriptions"};
//   reply->by = &by_quota;                                       // or
//   reply->by = verdict_new(&(struct verdict){DECIDER_HOOK, .name = "publish"}, SLICE("broker.lua:12"));
//
// A verdict is static or one allocation; who releases a reply or a request releases it with verdict_free,
// which leaves static ones alone.
#ifndef LUAMQ_BROKER_VERDICT_H
#define LUAMQ_BROKER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/rules.h"

enum decider {
  DECIDER_NONE,
  DECIDER_HOOK,        // a function of the script; `name` is the hook
  DECIDER_RULE,        // of an acl; `rule` is its number
  DECIDER_CREDENTIALS, // the names and passwords of the script
  DECIDER_LIMIT,       // `name` is the setting, "limits.subscriptions"
  DECIDER_PROTOCOL,    // MQTT itself
  DECIDER_COUNT,
};

struct verdict {
  uint8_t decider;
  bool allocated;
  uint32_t rule;     // counts from 1; 0: none applied
  const char *name;  // static storage; or NULL
  bool own;          // the rule is one of the client alone
  const char *place; // of a hook or a rule: "broker.lua:12"; or NULL
};

enum operation { // that can be refused
  OPERATION_NONE,
  OPERATION_CONNECT, // authenticate, auth, setup, and what comes before them
  OPERATION_AUTH,    // once more, while the client is connected
  OPERATION_SUBSCRIBE,
  OPERATION_UNSUBSCRIBE,
  OPERATION_PUBLISH,
  OPERATION_DELIVER,
  OPERATION_PACKET, // any other packet
  OPERATION_COUNT,
};

extern const struct verdict verdict_of_protocol, verdict_of_credentials;

const char *decider_name(enum decider d);     // "hook"
const char *operation_name(enum operation o); // "publish"

// A copy of `v` with the place, which is copied; an empty one is none.
const struct verdict *verdict_new(const struct verdict *v, struct slice place);
// What a rule is called, for people: "rule 3 of its own", "no rule applies". Returns `out`.
const char *verdict_rule_text(const struct verdict *v, char out[RULES_TEXT_MAX]);
void verdict_free(const struct verdict *v); // NULL and static ones are fine

#endif
