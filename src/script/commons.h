// What the scripts of a host have in common, one after the other: shared values and metrics. A script that is
// loaded anew finds them as the one before left them.
//
// While a script is loaded it belongs to no host yet. What it sets then is kept for the Lua state, and goes
// to the first host that gets a script of it; a state that is made for a reload has the host's from the
// beginning (commons_give).
#ifndef LUAMQ_SCRIPT_COMMONS_H
#define LUAMQ_SCRIPT_COMMONS_H

#include "script/metrics.h"
#include "script/script_impl.h"

struct shared_value { // by its key
  uint32_t key_len, len;
  uint8_t bytes[]; // key, then what plain_write has written
};

struct commons {
  uint32_t refs;
  struct map shared;
  uint64_t shared_bytes; // of keys and values
  struct metrics metrics;
  struct log_rate refused, full; // lines about series that were; about values that had no room
};

struct commons *commons_new(void);
struct commons *commons_ref(struct commons *c);
void commons_unref(struct commons *c);

// Those of the broker that is running, else those of the state.
struct commons *commons_of(lua_State *L);
// Before a script for `h` is loaded in the state.
void commons_give(struct script_home *home, struct host *h);
// The host has got its first script: what was kept for the state is its own.
void commons_take(struct script_home *home, struct host *h);

// shared_module.c: pushes luamq.shared
void shared_module_push(lua_State *L);
// metrics_module.c: pushes the table of counter, gauge, histogram and metrics
void metrics_module_push(lua_State *L);
void metrics_define_types(lua_State *L, struct script_home *home);

#endif
