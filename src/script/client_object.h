// The inside of `client`, for client_object.c (fields and methods) and client_values.c (its life) only.
//
// `client` is the same value in every hook as long as the client lives. The client knows its objects, a
// reference in the registry keeps each. When the client is freed they become snapshots with copies of what
// names it; `ref` stays in any case, as the user value. A client that is closed and not yet freed shows no
// more than its snapshot would.
//
// Each script has an object of its own, so after a reload a client may have several: those of older scripts
// stay as long as these have hooks that are suspended. What is plain data in `ref` goes over when the new
// script first sees the client, or when its turn comes (adoption.h), and at the latest when the old script
// ends.
//
//   client -> values -> object of the new script -> object of the one before -> ...
#ifndef LUAMQ_SCRIPT_CLIENT_OBJECT_H
#define LUAMQ_SCRIPT_CLIENT_OBJECT_H

#include "script/script_impl.h"

enum { CLIENT_REF_VALUE = 1, CLIENT_ID_VALUE, CLIENT_VALUES = CLIENT_ID_VALUE }; // user values of a client

struct client_snapshot {
  struct address remote;
  bool has_username;
  size_t id_len, username_len;
  uint8_t bytes[]; // id, username
};

struct client_object {
  struct client *client;            // NULL: it is gone
  struct client_snapshot *snapshot; // what is left then
  struct script *script;            // NULL: it has ended
  struct client_object *next;       // of the same client
  struct list node;                 // in script->clients
  struct keeper *keeper;            // of its session; or NULL
  int ref;                          // in the registry, while the client lives; or LUA_NOREF
  bool settled;                     // nothing comes from an older script any more
  bool asked;                       // of a shadow: its authenticate has been asked, see shadow.h
  struct rules *rules;              // of a shadow: those that authenticate gave to the client; or NULL
  bool collected; // Lua has finalized it; while it has a client only when the state is being closed
};

// NULL: no hook of that script has seen the client.
struct client_object *client_object_find(const struct client *c, const struct script *s);

// The metamethod: the state no longer needs it.
int client_object_collect(lua_State *L);

#endif
