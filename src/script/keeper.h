// Session operations that a script has answered to `setup` or `adopt`: a table with five methods, which keeps
// the packets in flight of one client.
//
//   { next_id = fn(self), save_packet = fn(self, direction, packet), lookup_packet = fn(self, direction, id),
//     delete_packet = fn(self, direction, id), all_packets = fn(self, direction) }
//
// They are called as hooks are, protected and within a budget, and cannot suspend. `direction` is "incoming"
// or "outgoing", a packet { type = "publish" | "pubrel", id =, message = }.
#ifndef LUAMQ_SCRIPT_KEEPER_H
#define LUAMQ_SCRIPT_KEEPER_H

#include "broker/backend.h"
#include "script/hook.h"

enum { KEEPER_OPERATIONS = HOOK_ALL_PACKETS - HOOK_NEXT_ID + 1 };

struct keeper { // references into the registry; LUA_NOREF where there is none yet
  int self;
  int functions[KEEPER_OPERATIONS]; // in the order of enum hook
};

struct keeper_call {
  const struct keeper *keeper;
  enum direction direction;
  uint16_t id;                 // lookup_packet, delete_packet; what next_id has answered
  const struct stored *packet; // save_packet
  struct stored *packets;      // lookup_packet, all_packets: the answer, with references to messages; or NULL
  uint32_t count;
};
void keeper_drop_packets(struct keeper_call *k);

// argument.c and answer.c: the rows of the operations.
int keeper_push_arguments(lua_State *L, struct hook_call *call);
const char *keeper_read_id(lua_State *L, int index, struct hook_call *call);
const char *keeper_read_done(lua_State *L, int index, struct hook_call *call);
const char *keeper_read_found(lua_State *L, int index, struct hook_call *call);
const char *keeper_read_list(lua_State *L, int index, struct hook_call *call);

// Reads the table at `index`. `*out` is to be freed also when there is a problem, or when it raises.
const char *keeper_read(lua_State *L, int index, struct keeper **out);
// `s` is NULL when it has ended, and its state is not to be used; `keeper` may be NULL.
void keeper_free(struct script *s, struct keeper *keeper);

// The client has the operations that the hook has answered, if it has; and if its script is still in force.
void keeper_install(struct hook_call *call);

extern const struct keeper_ops keeper_ops; // of the decorator

// Packets as Lua sees them. Pushes `entry`, whose message the caller keeps; or, when that is NULL, the packet
// that `store` has by then: making room may run finalizers, and these may delete it.
void keeper_push_packet(lua_State *L, const struct stored *entry, const struct store *store, uint16_t id,
                        uint64_t now_ms);
// Reads one, whose message comes with a reference. NULL, or a problem.
const char *keeper_read_packet(lua_State *L, int index, enum direction d, uint64_t now_ms,
                               struct stored *out);

#endif
