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
// Lua states are the caller's, and outlive the host.
#ifndef LUAMQ_SCRIPT_HOST_H
#define LUAMQ_SCRIPT_HOST_H

#include "base/buf.h"
#include "base/list.h"
#include "broker/engine.h"

struct script;

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
  // Called when another script has come into force; or NULL.
  void (*installed)(void *arg);
  void *installed_arg;
};

struct host *host_new(struct loop *loop, uint64_t seed); // seed 0: of the system
// Opens the listeners (none with a virtual clock, which has no sockets) and calls hooks.start; an error in it
// fails the start. The error text has at least 512 bytes. After a failure the host is there to be freed.
bool host_start(struct host *h, struct script *s, char *error, size_t error_size);
// Closes what is left at once, and frees all scripts. The Lua states are still there.
void host_free(struct host *h);

#endif
