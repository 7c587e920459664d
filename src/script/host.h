// A broker for which scripts take turns to decide. The host owns what stays when its script is replaced: the
// shard with its clients, sessions and messages, the memory backend, the engine with its listeners. A script
// (script/script.h) is one loaded policy that decorates the memory backend, as long as it is the one in
// force.
//
//   struct host *h = host_new(loop, 0);
//   struct script *s = script_new(L, -1, h);           // the checked table at the top of L
//   if (host_start(h, s, error, sizeof error)) ...     // opens its listeners, and calls hooks.start
//   ... shard_turn(h->shard, true) ...
//   host_free(h);                                      // calls hooks.stop; the scripts end with their broker
//
// A Lua state that is not the script's own (script_own_state) is the caller's, and outlives the host.
#ifndef LUAMQ_SCRIPT_HOST_H
#define LUAMQ_SCRIPT_HOST_H

#include <lua.h>

#include "base/buf.h"
#include "base/list.h"
#include "broker/engine.h"
#include "script/hook.h"
#include "script/hook_times.h"

struct host;
struct recorder;
struct shadow;
struct script;

struct reload { // see script/reload.h
  struct ready ready;
  struct list wishes;    // of struct reload_wish: they wait for the next one
  struct list served;    // by the one that is under way
  struct script *next;   // that is to come into force; NULL: none
  struct shadow *shadow; // of `next`; NULL: none
  enum reload_step {
    RELOAD_LOAD,
    RELOAD_SELFTEST,
    RELOAD_SAVE,
    RELOAD_START,
    RELOAD_SWAP,
    RELOAD_FAILED,
  } step;           // that comes next
  bool waits;       // for a hook that is suspended
  unsigned tested;  // functions of selftest that were content
  struct buf why;   // it failed
  char error[1024]; // of a hook, or of a listener
};

struct adoption { // see script/adoption.h
  struct ready ready;
  uint64_t left; // clients that are still to be looked at
};

// Where the next script comes from.
struct host_source {
  // A new script of the host, or NULL and why: all that is wrong, a line for each. NULL: there is no reload.
  struct script *(*load)(void *arg, struct host *h, struct buf *why);
  void *arg;
};

struct host {
  struct loop *loop; // borrowed
  struct shard *shard;
  struct backend *inner; // the memory backend, which scripts decorate
  struct engine *engine;
  struct script *script;   // in force; NULL: none is yet
  struct list scripts;     // all that there are, in force or not
  uint64_t made;           // scripts so far
  struct buf plain;        // what goes from one state to another
  struct commons *commons; // script/commons.h; NULL until there is a script
  struct hook_times times[HOOK_COUNT];
  bool exits;                // a hook has called os.exit: the broker stops in order
  int exit_status;           // with which
  struct list observers;     // of decisions, script/observe.h
  struct recorder *recorder; // script/recorder.h; NULL: nothing is recorded
  struct shadow *shadow;     // script/shadow.h; NULL: there is none
  bool is_shadow;            // it is the broker of a shadow: nothing that its script does has an effect
  struct host *watched;      // of a shadow: the one with the script in force
  // Called when another script has come into force; or NULL.
  void (*installed)(void *arg);
  void *installed_arg;
  struct host_source source;
  // Called when a reload begins, and with its outcome, see struct reload_wish; or NULL.
  void (*reloading)(void *arg);
  void (*reloaded)(void *arg, const char *why);
  void *reloaded_arg;
  struct reload reload;
  struct adoption adoption;
  struct ready retire; // scripts that have been replaced may have come to their end
};

struct host *host_new(struct loop *loop, uint64_t seed); // seed 0: of the system
// Opens the listeners (none with a virtual clock, which has no sockets) and calls hooks.start; an error in it
// fails the start. The error text has at least 512 bytes. After a failure the host is there to be freed.
bool host_start(struct host *h, struct script *s, char *error, size_t error_size);
// L, in which nothing has run yet, is for a script of this host: what it shares is that of the script before.
void host_give_state(struct host *h, lua_State *L);
// `s` decides from now on, by its settings.
void host_install(struct host *h, struct script *s);
// A script that was replaced may have come to its end: its hooks have, or all clients have left it.
void host_look_at_retired(struct host *h);
// Closes what is left at once, and frees all scripts, with the Lua states that are theirs.
void host_free(struct host *h);

#endif
