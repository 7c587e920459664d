// Replacing the script in force by another one while the broker goes on. The steps, each of which may fail,
// and then everything stays as it is:
//
//   load and check -> try and open listeners -> selftest of the new -> save of the old -> start of the new ->
//   swap
//
// After the swap the new script decides. Connections, sessions, queues, retained messages and counters stay;
// listeners that are the same stay open. Timers of the old script end; hooks of it that are suspended come to
// their end, and their answers count; then its Lua state is closed. Clients are told to the new one
// (adoption.h).
//
//   host_reload(host, &wish.node);      // wish.done is called with the outcome, from the loop
//
// Wishes that come before the reload has begun are fulfilled by the same one; for those that come while it is
// under way there is another one after it.
#ifndef LUAMQ_SCRIPT_RELOAD_H
#define LUAMQ_SCRIPT_RELOAD_H

#include "script/host.h"

struct reload_wish { // the caller's, until `done` is called or the wish is taken back
  struct list node;
  void (*done)(struct reload_wish *w,
               const char *why); // NULL: it is done; else why everything stays as it is
};

// Loads the script again from the host's source in one of the next turns. `w` may be NULL: nobody wants to
// know.
void host_reload(struct host *h, struct reload_wish *w);
void reload_forget(struct reload_wish *w);      // takes the wish back; no effect when it was told
bool reload_is_under_way(const struct host *h); // also while clients go over to the new script
// The same with a script that has been made for the host, when no reload is under way.
void host_replace(struct host *h, struct script *s, struct reload_wish *w);

// --- for the host ---
void reload_init(struct host *h);
void reload_look(struct host *h);    // the next one may begin
void reload_abandon(struct host *h); // the host ends, and with it the one that is under way
void reload_end(struct host *h);     // hooks have ended

#endif
