// Properties of MQTT 5 as Lua sees them: numbers and strings under the specification's names in snake case,
// and two that may be there more than once as lists: `user_properties`, of pairs { name, value } in their
// order, and `subscription_identifiers`. One that is absent is nil.
#ifndef LUAMQ_SCRIPT_PROPERTY_H
#define LUAMQ_SCRIPT_PROPERTY_H

#include <lua.h>

#include "packet/properties.h"

#define PROPERTY_BIT(id) (UINT64_C(1) << (id))
// What a message has, and a will.
#define PROPERTIES_OF_MESSAGE                                                                                \
  (PROPERTY_BIT(PROPERTY_PAYLOAD_FORMAT_INDICATOR) | PROPERTY_BIT(PROPERTY_MESSAGE_EXPIRY_INTERVAL) |        \
   PROPERTY_BIT(PROPERTY_CONTENT_TYPE) | PROPERTY_BIT(PROPERTY_RESPONSE_TOPIC) |                             \
   PROPERTY_BIT(PROPERTY_CORRELATION_DATA) | PROPERTY_BIT(PROPERTY_SUBSCRIPTION_IDENTIFIER) |                \
   PROPERTY_BIT(PROPERTY_WILL_DELAY_INTERVAL) | PROPERTY_BIT(PROPERTY_USER_PROPERTY))
// What no script sees in a packet.
#define PROPERTIES_SECRET PROPERTY_BIT(PROPERTY_AUTHENTICATION_DATA)

// Adds those in `which` to the table of an object's fields (see object_define), which is at the top. The
// number of a field is PROPERTY_FIELD and the property's id.
#define PROPERTY_FIELD 64
void property_add_fields(lua_State *L, uint64_t which);

// Pushes one value: nil where it is absent.
void property_push(lua_State *L, const struct packet_properties *p, enum packet_property_id id);
// Sets all that are there as fields of the table at the top.
void property_set_fields(lua_State *L, const struct packet_properties *p);

// For answers and options: checks the list of pairs at `index`. NULL, or a problem, whose text may be on the
// stack. Allocates nothing of Lua where there is none.
const char *property_check_pairs(lua_State *L, int index);
void property_add_pairs(lua_State *L, int index, struct buf *raw); // of a list that was checked
// The same for the string at `index`, as a value that a property of UTF-8 may have.
const char *property_check_text(lua_State *L, int index, struct slice *out);

#endif
