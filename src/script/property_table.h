// Properties of MQTT 5 from Lua's options: fields under the specification's names in snake case, as
// property.h pushes them, for the packets that a client sends.
#ifndef LUAMQ_SCRIPT_PROPERTY_TABLE_H
#define LUAMQ_SCRIPT_PROPERTY_TABLE_H

#include <lua.h>

#include "packet/packet.h"

// (what) -> {name = "integer" | "string" | "table"}: the properties that "connect", "publish", "subscribe",
// "unsubscribe", "disconnect", "auth" or "will" may have when a client sends it.
int property_table_types(lua_State *L);
// (what, table) -> nil | problem: whether the values of those that are there are right.
int property_table_problem(lua_State *L);

// Reads them. Raises for a wrong value. The bytes are a new userdata on the stack, and valid while it is
// there; so it is with NULL for nothing at `index`, which may be nil.
struct packet_properties property_table_read(lua_State *L, int index, uint8_t packet_type);

#endif
