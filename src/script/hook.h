// Hooks: the only way into Lua. A call of a hook runs in a coroutine of a pool; arguments are pushed,
// functions are called and answers are understood inside of the protection, and what comes out is a plain
// struct answer. So nothing that a script does (errors, endless recursion, no memory left, a yield) reaches
// the C that called, but as an answer that failed.
//
//   struct hook_call call = {.script = s, .hook = HOOK_PUBLISH, .client = c, .message = &view, .stored = m,
//                            .done = decided};
//   hook_run(&call);
//   if (call.suspended) return BACKEND_PENDING;           // decided(&kept) comes later, from the loop
//   if (!call.answer.allowed) ... call.answer.reason
//
// What a caller does not give is zero in a call, the answer as well, and each call is used once.
//
// A hook whose caller gives no `done` cannot suspend: what would have to wait raises an error in it.
//
// Hooks nest: a hook may call the broker, which may run another hook.
#ifndef LUAMQ_SCRIPT_HOOK_H
#define LUAMQ_SCRIPT_HOOK_H

#include <lua.h>

#include "base/log.h"
#include "broker/backend.h"
#include "script/wait.h"

enum hook {
  HOOK_AUTHENTICATE,
  HOOK_AUTH,
  HOOK_SETUP,
  HOOK_RESTORE,
  HOOK_SUBSCRIBE,
  HOOK_UNSUBSCRIBE,
  HOOK_PUBLISH,
  HOOK_DEQUEUE,
  HOOK_TERMINATE,
  HOOK_PACKET,
  HOOK_FULL_QUEUE,
  HOOK_PSK,
  HOOK_LOG,
  HOOK_ERROR,
  HOOK_START,
  HOOK_STOP,
  HOOK_SELFTEST,
  HOOK_SAVE,
  HOOK_ADOPT,
  HOOK_TIMER,   // functions of luamq.after and luamq.every; not in a script's table
  HOOK_SPAWN,   // of luamq.spawn; likewise
  HOOK_PROMPT,  // what is typed at a prompt; likewise
  HOOK_NEXT_ID, // session operations that `setup` has answered, see keeper.h; likewise
  HOOK_SAVE_PACKET,
  HOOK_LOOKUP_PACKET,
  HOOK_DELETE_PACKET,
  HOOK_ALL_PACKETS,
  HOOK_COUNT,
};

#define HOOK_DEPTH_MAX 16
#define HOOK_IDLE_MAX  16 // coroutines that are kept

struct hook_scope; // what a function is about, see scope.c

struct hook_chain { // functions in the order in which they are asked
  int *functions;   // references into the registry
  unsigned count;
  struct hook_scope **scopes; // of each, NULL: everything; or NULL: none has one
};

struct hook_pool {
  struct hook_task *idle[HOOK_IDLE_MAX];
  unsigned count;
};

struct answer {
  bool allowed;
  bool drop;         // publish: acknowledge, route to nobody
  uint8_t qos;       // subscribe, dequeue: at most this one
  uint8_t reason;    // of a refusal
  bool continues;    // auth: the client is to be asked on; prompt: the text is incomplete
  bool has_settings; // authenticate
  bool has_policy;   // full_queue
  enum full_queue policy;
  const char *failed; // NULL: it was decided; else what failed
  struct client_settings settings;
  struct rules *rules;     // authenticate: of that client alone, the caller's; or NULL
  struct message *message; // publish, dequeue: a changed one, the caller's; or NULL
  struct keeper *keeper;   // setup, adopt: session operations, the caller's; or NULL
  struct buf *told;        // what an MQTT 5 client is told beside the reason, the caller's; or NULL
  bool has_value;          // save: in the registry, by `value`; the caller's to unref
  int value;
  unsigned key_len; // psk: bytes in hook_call.key; 0: the identity is not known
};

struct borrowed; // script/object.h
struct keeper;   // script/keeper.h
struct keeper_call;

struct hook_call {
  struct script *script;
  enum hook hook;
  // arguments; which ones count depends on the hook
  struct client *client;
  const struct packet_message *message;
  const struct message *stored; // of which `message` is a view; NULL: it is not stored
  const struct packet *packet;
  struct slice raw;            // the bytes of `packet`, where the hook can suspend
  struct subscribe_item *item; // an answer may change its filter; valid until `done`
  uint32_t identifier;         // of the subscription, MQTT 5; 0: none
  const struct credentials *given;
  const struct auth_step *step;
  const struct hook_chain *chain;   // NULL: the script's own
  const char *error;                // or event's
  const struct log_record *refused; // log: of a refusal; or NULL
  struct slice id;                  // or the identity of a psk, or the text of a prompt
  uint8_t *key;                     // psk: where it goes, TLS_PSK_MAX bytes
  struct keeper_call *operation;    // of a session, with what comes out of it
  enum log_event event;
  uint8_t version; // of packet
  bool clean;
  char *text; // NULL, or where an error text goes
  size_t text_size;

  // The hook has answered after it was suspended: called once, from the loop, with the call that was kept.
  // Also when it was cancelled, timed out, or failed. NULL: it cannot suspend.
  void (*done)(struct hook_call *call);
  void *data; // the caller's, see hook_keep

  // What comes out.
  struct answer answer;
  bool suspended; // there is no answer yet

  // private
  struct hook_task *task;
  bool decides;             // see answer_counts
  struct borrowed *lent[2]; // what may not be used afterwards
  unsigned at;              // the function of the chain that is running
  int argument_count;
  uint64_t ticks; // that it ran
};

const char *hook_name(enum hook h);
// Whether a call of it is wanted at all.
#define hook_defined(script, hook) ((script)->hooks[hook].count != 0)

// Runs the hook. Without an answer, or with a wrong one, a deciding hook denies. True: the answer allows, or
// the hook decides nothing and raised no error. False when it is suspended, too: then the call that was
// passed is no longer used, client and message have been kept, and `given`, `step` and `id` are gone.
bool hook_run(struct hook_call *call);
// After hook_run: sets `data` of the call that was kept.
void hook_keep(struct hook_call *call, void *data);
// Runs one that may suspend, and turns the loop until it has answered; with a virtual clock time passes.
bool hook_run_to_end(struct hook_call *call);

// scope.c: what luamq.on_topics says. A function is left out where it is not about the topic.
// The first function from `at` on that is to be asked, or the count of the chain.
unsigned scope_find_next(const struct hook_call *call, unsigned at);
static inline unsigned scope_next(const struct hook_call *call, unsigned at) {
  return call->chain->scopes ? scope_find_next(call, at) : at;
}
// The answer where none is to be asked.
void scope_answer(struct hook_call *call);
// Those of a checked script, which the chains keep until scopes_release.
void scopes_collect(lua_State *L, int config, struct script *s);
void scopes_release(struct script *s);

// task.c
struct hook_task;
// Cancels the suspended hooks of a client, all but `publish`, which runs to its end. Their `done` is called.
void hook_cancel_client(struct script *s, struct client *c);
void hook_cancel(struct hook_task *t); // one without a client; no effect while it runs
// Whether a hook waits for something, but for timers and luamq.spawn.
bool hook_any_waits(const struct script *s);
void hook_cancel_background(struct script *s); // timers and luamq.spawn
void hook_cancel_all(struct script *s);
void hook_pool_release(struct script *s); // drops coroutines that are idle

// argument.c: pushes the arguments and returns how many. Raises when there is no memory.
int argument_push(lua_State *L, struct hook_call *call);

// answer.c: reads the three values from `index` on into call->answer. NULL, or what is wrong with them: the
// text is static or on the stack.
const char *answer_read(lua_State *L, int index, struct hook_call *call);
bool answer_is_needed(enum hook h);          // it denies without one
bool answer_counts(enum hook h);             // the first one that is not nil ends the chain
uint8_t answer_reason_of_error(enum hook h); // what an error is to the peer

#endif
