// A request over HTTP and its answer: a userdata of Lua that waits (script/wait.h) for its job in the pool.
//
//   request(pool, t) -> status, head, body     `head`: the lines of its header
//                    -> nil, message, code
//
// `t` is what lua/luamq/http.lua has checked:
//
//   method, url, origin   strings; origin for messages: neither may hold more than scheme, host and port
//   key                   whose connections it may use
//   headers               a list of lines "name: value"
//   body                  a string, or nil
//   timeout_ms, connect_timeout_ms, max_size   integers
//   tls, verify, keep_alive   booleans
//   ca, certificate, key_file, username, password, unix, proxy   strings, or nil
#ifndef LUAMQ_MODULES_HTTP_REQUEST_H
#define LUAMQ_MODULES_HTTP_REQUEST_H

#include <lua.h>

// Defines the type.
void http_request_define(lua_State *L);
// The function above; the pool is its upvalue.
int http_request(lua_State *L);

#endif
