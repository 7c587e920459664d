// Who watches a policy decide: luamq.test and `luamq explain`, a record of decisions, a policy in the shadow.
// An observer is told each answer of a deciding hook, and what else decided; it changes nothing. Without
// observers a hook costs nothing more.
//
//   static void seen(struct observer *o, const struct observation *what) { ... }
//   struct observer o = {.seen = seen};
//   observe(host, &o);
//   ...
//   observe_end(&o);
#ifndef LUAMQ_SCRIPT_OBSERVE_H
#define LUAMQ_SCRIPT_OBSERVE_H

#include "base/list.h"
#include "script/hook.h"

struct host;

struct observation { // borrowed
  enum operation operation;
  struct client *client;        // NULL: there is none
  const struct hook_call *call; // of a hook that has answered, with its arguments; NULL: another one decided
  const struct verdict *by;     // who decided
  const struct reply *reply;    // what; its `by` is not to be looked at
  bool changed;                 // the answer puts something else in the place of what was asked for
  const struct message *became; // that message; or NULL
  struct slice filter;          // that filter; or empty
  uint64_t running_us, waiting_us; // of a hook; nothing takes time where time is virtual
};

// What came of an operation that a policy decides about, once for each: all hooks and rules have been asked.
// Of a login that has been let in, before it gets its session.
struct decision {           // borrowed
  enum operation operation; // connect, subscribe, publish or deliver
  struct client *client;
  const struct packet_message *message; // as it was asked for: publish, deliver
  const struct message *asked;          // of which `message` is a view
  const struct subscribe_item *item;    // subscribe
  uint32_t identifier;                  // of the subscription; 0: none
  const struct reply *reply;
  const struct message *changed; // what is in the place of the message; or NULL
};

struct observer {
  struct list node;
  void (*seen)(struct observer *o, const struct observation *what); // or NULL
  void (*decided)(struct observer *o, const struct decision *d);    // or NULL
};

#define is_observed(host) (!list_empty(&(host)->observers))

void observe(struct host *h, struct observer *o);
void observe_end(struct observer *o); // no effect on one that is not observing

// What is told.
void observe_hook(const struct hook_call *call, uint64_t waited_ms);
void observe_decision(struct host *h, const struct decision *d);

// The same for what the decorator decides; no effect when nobody observes.
void observe_login(struct script *s, struct client *c, const struct reply *reply);
// Of one that is let in `setup` has the last word.
void observe_authenticate(struct script *s, struct client *c, const struct reply *reply);
// Of who was checked against a name and a password of the script, or a file's; or turned away before that.
void observe_credentials(struct script *s, struct client *c, const struct reply *reply);
// `asked`: the message as it came; `now`: the same, or what is in its place.
void observe_publish(struct script *s, struct client *c, const struct message *asked,
                     const struct message *now, const struct reply *reply);
void observe_subscription(struct backend *b, struct client *c, const struct subscribe_item *item,
                          uint32_t identifier);
void observe_rules(struct backend *b, struct client *c, enum operation o, const struct rules_decision *d,
                   bool lowered);

#endif
