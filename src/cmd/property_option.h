// Properties of MQTT 5 on the command line: `-D COMMAND NAME VALUE`, as `-D publish content-type text/plain`
// and `-D connect user-property name value`. A command is the packet that has the property, or the will.
#ifndef LUAMQ_CMD_PROPERTY_OPTION_H
#define LUAMQ_CMD_PROPERTY_OPTION_H

#include "packet/packet.h"

enum property_command {
  PROPERTY_OF_CONNECT,
  PROPERTY_OF_PUBLISH,
  PROPERTY_OF_SUBSCRIBE,
  PROPERTY_OF_UNSUBSCRIBE,
  PROPERTY_OF_DISCONNECT,
  PROPERTY_OF_WILL,
  PROPERTY_COMMANDS
};
#define PROPERTIES_FOR(command) (1u << PROPERTY_OF_##command)

struct property_options { // zeros: none
  struct buf raw[PROPERTY_COMMANDS];
  bool given;
};

#define PROPERTY_ARGS_MAX     4
#define PROPERTY_PROBLEM_SIZE 512

void property_options_release(struct property_options *o);
// Takes one from the first arguments of `args`, for one of `commands` (bits). Returns how many it has taken,
// or -1 with a problem.
int property_options_add(struct property_options *o, uint32_t commands, char *const *args, int count,
                         char problem[PROPERTY_PROBLEM_SIZE]);
// Those of a command, valid until the next one is added.
struct packet_properties property_options_of(const struct property_options *o, enum property_command command);

#endif
