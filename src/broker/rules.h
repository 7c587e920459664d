// Rules: who may publish, subscribe and be delivered what. A numbered list as data, compiled into an index
// and checked without entering Lua; the first rule that applies decides.
//
//   struct rules *r = rules_new("broker.lua", seed);
//   const char *error = rules_add(r, &(struct rule){.number = 1, .allow = true, .operations = RULES_PUBLISH,
//                                                   .qos = RULES_ANY_QOS, .has_topic = true,
//                                                   .topic = SLICE("t/%u/#")});
//   rules_seal(r);
//   struct rules_decision d;
//   rules_check(r, &who, &input, &d);          // d.verdict, d.number, d.line
//
// Rules with the same condition on user and client make a group, which is a list of filters
// (topic/filters.h) with and one without placeholders. A client's groups are found once, by its names
// (rules_view_new): a check looks at topics only.
//
// What a rule's fields mean is told in README.md, "Who may do what".
#ifndef LUAMQ_BROKER_RULES_H
#define LUAMQ_BROKER_RULES_H

#include "base/map.h"
#include "topic/filters.h"

enum rules_operation { RULES_PUBLISH = 1, RULES_SUBSCRIBE = 2, RULES_DELIVER = 4 };

enum rules_name_kind {
  RULES_NAME_ANY, // also none
  RULES_NAME_NONE,
  RULES_NAME_EXACT,
  RULES_NAME_PREFIX,
};
struct rules_name {
  enum rules_name_kind kind;
  struct slice text;
};

#define RULES_ANY_QOS 0xffu

struct rule {      // one of what a rule's lists stand for; borrowed by rules_add
  uint32_t number; // from 1, growing; the same for all that stand in one rule
  uint32_t line;   // where it stands in the script; 0: not known
  bool allow, has_topic;
  bool exact;      // the topic is a filter that only itself is covered by
  bool any_retain; // or `retain` counts
  bool retain;
  uint8_t operations; // of enum rules_operation
  uint8_t named;      // of them, those that do not just come by "all"
  // An allowing rule's highest: a publish above it is another rule's matter, subscriptions and deliveries are
  // lowered to it. A denying rule's lowest. Or RULES_ANY_QOS.
  uint8_t qos;
  struct rules_name user, client;
  struct slice topic; // a filter, with %u and %c
};

struct rules_who {
  struct slice client, user; // ptr NULL: none
};

struct rules_input {
  enum rules_operation operation;
  struct slice topic; // a filter for subscribe, without its "$share/name/"
  uint8_t qos;
  bool retain;
};

enum rules_verdict {
  RULES_SILENT, // none applies
  RULES_DENY,
  RULES_ALLOW,
};

struct rules_decision {
  enum rules_verdict verdict;
  uint8_t qos;      // of RULES_ALLOW: the highest that is allowed
  uint32_t number;  // of the rule; 0: none applied
  uint32_t line;    // where it stands; 0: not known
  const char *file; // the rules' own, or NULL
  bool own;         // by the rules of that client alone
};

struct rules;
struct rules_view; // the groups of somebody

struct rules *rules_new(const char *file, uint64_t seed);        // the file is copied; NULL: none
void rules_unref(struct rules *r);                               // NULL is fine
const char *rules_add(struct rules *r, const struct rule *rule); // NULL, or what is wrong with the topic
void rules_seal(struct rules *r);                                // all have been added
uint32_t rules_count(const struct rules *r);                     // the number of the last one
// Whether such a thing is to be checked: deliveries only where a rule names them.
bool rules_concern(const struct rules *r, enum rules_operation o);

struct rules_view *rules_view_new(const struct rules *r, const struct rules_who *who);
void rules_view_free(struct rules_view *v); // NULL is fine
// The names have been looked at by pattern_value.
void rules_decide(struct rules *r, const struct rules_view *v, const struct pattern_values *names,
                  const struct rules_input *input, struct rules_decision *out);
// The same for somebody who is not here.
void rules_check(struct rules *r, const struct rules_who *who, const struct rules_input *input,
                 struct rules_decision *out);

// Rules that many clients have of their own are there once: they are found by the bytes that they were made
// of.
struct rules_pool {
  struct map by_source;
};
void rules_pool_init(struct rules_pool *pool, uint64_t seed);
void rules_pool_release(struct rules_pool *pool);                                   // rules may outlive it
struct rules *rules_pool_get(struct rules_pool *pool, struct slice source);         // a reference, or NULL
void rules_pool_put(struct rules_pool *pool, struct rules *r, struct slice source); // copies the source

// "rule 3", "rule 3 of its own", "no rule": for people. Returns `out`.
#define RULES_TEXT_MAX 48
const char *rules_decision_text(const struct rules_decision *d, char out[RULES_TEXT_MAX]);
// "broker.lua:12", or an empty text.
#define RULES_PLACE_MAX 300
const char *rules_decision_place(const struct rules_decision *d, char out[RULES_PLACE_MAX]);

#endif
