// What the Lua sides of both clients share, luamq.client over TCP and luamq.test over memory: connect options
// from a table, received messages that wait to be asked for, lists of filters.
#ifndef LUAMQ_SCRIPT_LUA_MQTT_H
#define LUAMQ_SCRIPT_LUA_MQTT_H

#include <lua.h>

#include "client/client.h"

struct inbox { // in order
  struct list messages;
};

void inbox_init(struct inbox *in);
void inbox_release(struct inbox *in);
void inbox_add(struct inbox *in, const struct mqtt_client_event *e); // copies
// Pushes the first message as a table and takes it off, or pushes nothing and returns false. When it raises
// for want of memory the message is still there.
bool inbox_push(lua_State *L, struct inbox *in);

// Reads a table with the fields of `luamq.client.ConnectOptions`, which Lua has checked. The strings stay on
// the stack, and are valid while they are there.
struct mqtt_client_options lua_mqtt_options(lua_State *L, int index);

// A list of filters, at `index`, that Lua has checked. The array is a new userdata on the stack.
struct slice *lua_mqtt_filters(lua_State *L, int index, size_t *count);

// A list of filters at `index` and the byte of their options behind it; likewise.
struct packet_subscription *lua_mqtt_subscriptions(lua_State *L, int index, size_t *count);

// The arguments topic, payload, qos, retain from `index` on; they raise when no PUBLISH could carry them.
struct packet_message lua_mqtt_message(lua_State *L, int index);

// (text) -> boolean: what a PUBLISH, and what a SUBSCRIBE may hold.
int lua_mqtt_is_topic(lua_State *L);
int lua_mqtt_is_filter(lua_State *L);

void lua_mqtt_push_slice(lua_State *L, struct slice s);
void lua_mqtt_push_codes(lua_State *L, struct slice codes); // a list of numbers
// A table of topic, payload, qos, retain and properties.
void lua_mqtt_push_message(lua_State *L, const struct packet_message *m);
// What a packet of MQTT 5 answered: a table of code, reason (its name) and properties.
void lua_mqtt_push_answer(lua_State *L, uint8_t code, const struct packet_properties *properties);
// As a table. `scratch` is the caller's, for the text form; it must not be lost when this raises.
void lua_mqtt_push_packet(lua_State *L, const struct packet *p, uint8_t version, struct buf *scratch);

#endif
