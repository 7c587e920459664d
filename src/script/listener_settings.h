// From a checked listener to struct listener_config, with what it stands on: TLS, WebSocket, trusted proxies.
// What options may be is told in one place, lua/luamq/listeners.lua; what means something on this machine
// only (names of users and groups, files) is looked up here.
//
//   struct listener_settings settings;                     // the checked listener at the top of L
//   listener_settings_read(L, s, &settings);               // raises, and nothing is to be released then
//   if (listener_settings_build(&settings, error, sizeof error)) engine_listen(e, &settings.config, ...)
//   listener_settings_release(&settings);                  // in any case
//
// All texts belong to the checked table, or to the values that listener_settings_read leaves on the stack.
#ifndef LUAMQ_SCRIPT_LISTENER_SETTINGS_H
#define LUAMQ_SCRIPT_LISTENER_SETTINGS_H

#include <lua.h>

#include "transport/listener.h"

struct script;

struct listener_settings {
  struct listener_config config;
  const char *unknown_user, *unknown_group; // of this system; or NULL
  const char *const *trusted;               // networks
  unsigned trusted_count;
  bool has_tls, has_websocket;
  struct tls_config tls;
  struct websocket_config websocket;
  struct networks *networks; // made by listener_settings_build, as config.tls and config.websocket
};

// `s` answers for pre-shared keys; NULL: nothing will be served.
void listener_settings_read(lua_State *L, struct script *s, struct listener_settings *out);
// False, and why in `error` (at least 256 bytes), when this system has no such user, or a file cannot be
// used.
bool listener_settings_build(struct listener_settings *settings, char *error, size_t error_size);
void listener_settings_release(struct listener_settings *settings);

#endif
