// What `luamq pub` and `luamq sub` share beside their options: messages to the user, and the connection.
#ifndef LUAMQ_CMD_TOOL_H
#define LUAMQ_CMD_TOOL_H

#include "client/socket.h"
#include "cmd/options.h"

#define TOOL_TIMED_OUT 27 // exit code of a sub whose time is over

struct tool {
  const char *name; // "pub"
  struct tool_options options;
  struct tls_client *tls; // NULL: none
  struct ws_client_options websocket;
  struct mqtt_socket socket;
  char id[64];
  bool failed;                                            // pub: the broker refused a message
  bool published;                                         // pub: one has been sent
  struct packet_properties properties[PROPERTY_COMMANDS]; // of the options
};

// Reads the options and checks those that both tools have; the socket is ready to connect. Returns -1 to go
// on, or an exit code: 0 after --help. tool_release is needed in any case.
int tool_init(struct tool *t, const char *name, const char *what, const struct option_row *own, int argc,
              char **argv);
void tool_release(struct tool *t);

// "luamq pub: ..." on stderr, unless --quiet. Returns 1, the exit code.
int tool_error(const struct tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Connects and waits for CONNACK. `*refused` tells whether the broker said no; what failed has been printed.
bool tool_connect(struct tool *t, uint64_t deadline_ms, bool *refused);
// Disconnects, with the properties for it.
void tool_disconnect(struct tool *t, uint64_t deadline_ms);

#endif
