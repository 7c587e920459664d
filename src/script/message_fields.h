// Fields of a message that a script gives: what `publish` and `dequeue` change, and options of luamq.publish
// and session:deliver. A property that is `false` is taken away.
//
//   struct packet_message m = *call->message;
//   uint64_t given;
//   const char *problem = message_fields_read(L, index, MESSAGE_CHANGE, &m, &given);
//   if (!problem) problem = message_problem(&m);
//   if (!problem) message = message_new(&m, now_ms);
//
// What is read points into strings of the table and into a buffer of the state, and is valid until Lua
// allocates: nothing here does where there is no problem, so no finalizer runs in between.
#ifndef LUAMQ_SCRIPT_MESSAGE_FIELDS_H
#define LUAMQ_SCRIPT_MESSAGE_FIELDS_H

#include <lua.h>

#include "packet/packet.h"

enum message_fields { MESSAGE_OPTIONS, MESSAGE_CHANGE }; // a change may have topic and payload too

// Puts the fields of the table at `index` into the message, and tells which properties were set or taken
// away, a bit for each id. NULL, or a problem whose text may be on the stack.
const char *message_fields_read(lua_State *L, int index, enum message_fields which, struct packet_message *m,
                                uint64_t *given);
// Copies what MESSAGE_OPTIONS may have from the message or table at `index` into the table at the top.
void message_fields_copy(lua_State *L, int index);

#endif
