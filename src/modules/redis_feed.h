// Subscriptions, each with a connection of its own: a link that subscribes whenever it is up, and is opened
// again until it is closed. What is published while it is down is not received.
#ifndef LUAMQ_MODULES_REDIS_FEED_H
#define LUAMQ_MODULES_REDIS_FEED_H

#include <lua.h>

void redis_feed_define(lua_State *L);
// new(options, command) -> feed | nil, message, code. The command is SUBSCRIBE or PSUBSCRIBE.
int redis_feed_new(lua_State *L);

#endif
