// The inside of a script, for src/script only.
//
//   host.c            the broker for which scripts decide, one after the other
//   reload.c          the steps from one script to the next
//   adoption.c        clients go over to it
//   reauthorize.c     it decides about subscriptions that there are
//   script.c          its life: from a checked table to a policy, and its end
//   settings.c        settings of the checked table and of clients
//   rules_settings.c  rules of the checked table and of clients
//   listeners.c       its listeners: opened, or only tried
//   listener_settings.c   settings of one
//   backend.c         the decorator: operations of the backend -> hooks -> the memory backend;
//                     backend_subscribe.c and backend_dequeue.c are parts of it
//   hook.c            the one place where Lua is entered; hook_report.c tells what went wrong there
//   scope.c           what functions of hooks are about, by luamq.on_topics
//   task.c            coroutines that are suspended: slots, time, cancelling; wait.h is its door for others
//   commons.c         what stays when a script is replaced: shared_module.c, metrics_module.c, metrics.c
//   pause_module.c    luamq.sleep, luamq.spawn and tickets, of which semaphores and channels are made
//   budget.c, guards.c   how long Lua may run
//   heap.c            how much memory Lua may have
//   hook_times.c      how long hooks took
//   argument.c        what a hook gets
//   decision.c        which function answered, for the log
//   observe.c         who watches decisions
//   shadow.c          a second script that is asked as well
//   recorder.c        their record in a file; record_module.c: what a script has of it
//   answer.c          what it may answer
//   *_object.c        the values that Lua sees
//   client_values.c   the life of `client`
//   client_connection.c   what `client` tells of its connection
//   keeper.c          session operations that a script has answered
//   plain.c           data from one Lua state to another
//   property.c        properties of MQTT 5, in both directions
//   message_fields.c  fields of a message that a script gives
//   prompt.c          what is typed at a prompt, as a hook
//   *_module.c        the functions of `luamq`
//
// A struct script lives in a userdata, so that values which outlive the broker (a session, a timer) can keep
// it and see that it has ended: then `shard` is NULL.
#ifndef LUAMQ_SCRIPT_SCRIPT_IMPL_H
#define LUAMQ_SCRIPT_SCRIPT_IMPL_H

#include "broker/access.h"
#include "broker/client.h"
#include "broker/logger.h"
#include "broker/memory.h"
#include "script/budget.h"
#include "script/heap.h"
#include "script/hook.h"
#include "script/object.h"
#include "script/script.h"
#include "transport/tls.h"

struct commons;

struct script_home {       // one for each Lua state, in its registry
  struct script *running;  // whose hook is running, innermost; or NULL
  struct hook_task *task;  // its coroutine; NULL: it is no hook
  struct commons *commons; // of a state that has no host yet; or NULL
  struct script *started;  // the last one that was started and has not ended; or NULL
  struct budget budget;    // with what is running: where a nested hook comes from
  struct heap heap;
  struct hook_clock clock;
  bool reloads;         // its script is loaded for a broker that runs already
  lua_State *finalizer; // that __gc functions run in; NULL: not made yet
  int types[OBJECT_COUNT];
  struct log log;                     // of what runs outside of brokers
  struct buf text;                    // see object_text
  struct tls_certificate certificate; // likewise, of client_connection.c
  struct buf raw;                     // properties, see message_fields.h
};

struct script_listener {
  struct listener *listener; // NULL: not opened
  char *signature;           // what is the same of two that are
};

enum { HOME_FINALIZER = 1, HOME_VALUES = 1 }; // user values of a home: what it keeps in Lua

struct script {
  struct backend backend; // the decorator, with its table
  struct backend_ops ops;
  struct host *host;
  struct list node; // in host->scripts
  // Of the host; NULL: it has ended.
  struct backend *inner;
  struct loop *loop;
  struct shard *shard;
  struct engine *engine;
  struct settings settings;
  struct rules *rules; // or NULL
  struct script_home *home;
  struct script *started_before; // the next of home->started
  lua_State *tool;               // never runs a hook: for what C does with Lua beside them
  lua_State *state;              // closed with the script; NULL: it is not its own
  int saved_ref;                 // what the script before has saved; or LUA_NOREF
  int self_ref, tool_ref, config_ref, read_ref, index_ref, own_rules_ref;
  struct script_listener *listeners;
  unsigned listener_count;
  bool is_started, in_log;
  bool is_retired; // another one has come into force: it ends when its last hook has
  bool ends;       // nothing can wait any more
  unsigned depth;  // hooks under way
  struct hook_pool pool;
  struct list tasks;       // of struct hook_task: those that are suspended
  struct list queued;      // of struct wait: not started, for want of a slot
  struct list over;        // of struct wait: their hooks go on in the next turn
  struct list cancelled;   // of struct hook_task: those that are to be closed in the next turn
  struct ready waits_over; // while one of these two lists has any
  uint32_t waiting;        // waits that have a slot
  uint32_t spawned;        // coroutines of luamq.spawn
  struct log_rate slots_used, spawns;
  struct log log;
  struct logger logger;
  struct log_rate rates[HOOK_COUNT];
  struct log_rate held_up, memory, memory_near; // lines about hooks that ran for long, and about lua_memory
  struct log_rate lost_refs;                    // lines about what cannot be handed over at a reload
  struct list timers;                           // of struct timer_object, those that are armed
  struct list clients;                          // of struct client_object, those whose client lives
  uint64_t number;                              // later ones have higher numbers
  struct hook_chain hooks[HOOK_COUNT];
  int functions[]; // of the chains
};

struct script_home *script_home(lua_State *L);
void script_guard(lua_State *L); // replaces functions of Lua, see guards.h
static inline struct script *script_of_backend(struct backend *b) {
  return container_of(b, struct script, backend);
}
static inline struct script *script_of_client(const struct client *c) {
  return script_of_backend(client_shard(c)->backend);
}

// Whether hooks of it are on their way, which may be no longer the one in force.
static inline bool script_is_suspended(const struct script *s) { return s->depth || !list_empty(&s->tasks); }

// Around calls from Lua into the broker, which may run hooks. Nothing between them raises.
static inline lua_State *script_enter(struct script *s, lua_State *L) {
  return budget_run(&s->home->budget, L);
}
static inline void script_leave(struct script *s, lua_State *outer) { budget_back(&s->home->budget, outer); }

// script.c, for the host
void script_give_access(struct script *s); // to its credentials, and to nobody else's
bool script_run_start(struct script *s, char *error, size_t error_size); // hooks.start, to its end
// From now on functions of `luamq` mean its broker, outside of hooks as well.
void script_enter_started(struct script *s);
void script_retire(struct script *s); // timers end
void script_stop(struct script *s);   // hooks.stop, if it was started; timers end
void script_free(struct script *s);

// backend.c
void script_backend_init(struct script *s);
void backend_reply(const struct hook_call *call, struct reply *reply); // what the call was answered

// backend_dequeue.c
bool backend_dequeue(struct backend *b, struct client *c, struct delivery *d);
void backend_put_back(struct script *s, struct client *c); // the delivery that a hook was asked about, if any

// backend_subscribe.c
void backend_subscribe(struct backend *b, struct client *c, struct subscribe_request *request);
void backend_unsubscribe(struct backend *b, struct client *c, struct subscribe_request *request);
// Asks the hook `subscribe` about each item; while it waits the client is paused. `then` gets the request,
// whose items have code and reason, also when the client is closing.
void backend_ask_subscribe(struct script *s, struct client *c, struct subscribe_request *request,
                           void (*then)(struct script *s, struct client *c,
                                        struct subscribe_request *request));

// reauthorize.c: decides again about the client's subscriptions. client_adopted is called when that is done,
// at once or later.
void reauthorize(struct script *s, struct client *c);

// listeners.c: opens those that `older`, which may be NULL, does not have already; none with a virtual clock,
// which has no sockets. Nobody is accepted yet. False, and why, after the first that cannot be opened.
bool listeners_prepare(struct script *s, const struct script *older, char *error, size_t error_size);
void listeners_install(struct script *s); // they accept; others of the engine are closed
void listeners_abandon(struct script *s, const struct script *older); // instead: closes what was opened
void listeners_forget(struct script *s);                              // they are the engine's

// client_connection.c: what the connection of a client tells. Pushes nil for what there is not.
void client_push_certificate(lua_State *L, const struct client *c);
void client_push_psk_identity(lua_State *L, const struct client *c);
void client_push_tls_version(lua_State *L, const struct client *c);
void client_push_tls_cipher(lua_State *L, const struct client *c);
void client_push_transport(lua_State *L, const struct client *c);
// For tests: a table at `index`, or nil, that tells these fields in the place of the connection, as long as
// somebody else keeps it; and the field of it, where there is one.
void client_tell(lua_State *L, const struct client *c, int index);
bool client_push_told(lua_State *L, const struct client *c, const char *field);

// module.c: pushes a table of all counters and gauges by name, and of the script's hooks
void stats_push(lua_State *L, struct script *s);

// reload_module.c
int reload_call(lua_State *L); // luamq.reload

// record_module.c: luamq.record; and begins the record that the settings ask for, if there is none yet.
// False, and why, when it cannot.
int record_call(lua_State *L);
bool record_follow_settings(struct script *s, char *error, size_t error_size);

// log_module.c: pushes the table of luamq.log
void log_module_push(lua_State *L);

// crypto_module.c: pushes the table of luamq.crypto
void crypto_module_push(lua_State *L);

// rules_settings.c: the rules of a checked script, or NULL
struct rules *rules_from_config(lua_State *L, int config, uint64_t seed);
// Checks those at `index`, that a hook gives to one client. NULL and the rules, the caller's; or a problem
// whose text is on the stack. Calls Lua before it makes them.
const char *rules_of_client(lua_State *L, struct script *s, int index, struct rules **out);

// password_module.c: pushes the table that luamq.password is made of
void password_module_push(lua_State *L);

// signature_module.c: pushes the table that luamq.jwt is made of
void signature_module_push(lua_State *L);

// settings.c. Rows of client settings: 0 is none.
void settings_from_config(lua_State *L, int config,
                          struct settings *out); // raises on what is no checked table
int settings_client_row(struct slice name);
const char *settings_client_name(int row); // NULL behind the last
void settings_client_push(lua_State *L, int row, const struct client_settings *from);
// Checks the value at `index` as the value in a script is checked. NULL, or a problem whose text is on the
// stack.
const char *settings_client_set(lua_State *L, struct script *s, int row, int index,
                                struct client_settings *to);

#endif
