#include "cmd/property_option.h"

#include <stdio.h>
#include <stdlib.h>

// What the specification allows in a packet, but for what only servers send.
static const struct command {
  const char *name;
  uint8_t packet_type;
  uint8_t not_from_clients; // enum packet_property_id; 0: none
} commands_known[PROPERTY_COMMANDS] = {
    [PROPERTY_OF_CONNECT] = {"connect", PACKET_CONNECT, 0},
    [PROPERTY_OF_PUBLISH] = {"publish", PACKET_PUBLISH, PROPERTY_SUBSCRIPTION_IDENTIFIER},
    [PROPERTY_OF_SUBSCRIBE] = {"subscribe", PACKET_SUBSCRIBE, 0},
    [PROPERTY_OF_UNSUBSCRIBE] = {"unsubscribe", PACKET_UNSUBSCRIBE, 0},
    [PROPERTY_OF_DISCONNECT] = {"disconnect", PACKET_DISCONNECT, PROPERTY_SERVER_REFERENCE},
    [PROPERTY_OF_WILL] = {"will", PROPERTIES_OF_WILL, 0},
};

void property_options_release(struct property_options *o) {
  for (int i = 0; i < PROPERTY_COMMANDS; i++)
    buf_release(&o->raw[i]);
}

struct packet_properties property_options_of(const struct property_options *o,
                                             enum property_command command) {
  return packet_properties_of(buf_slice(&o->raw[command]));
}

static bool may_have(const struct command *c, uint8_t id) {
  return id && id != c->not_from_clients && packet_may_have_property(c->packet_type, id);
}

// "content_type" as "content-type", and back.
static void swap_dashes(char *text, char from, char to) {
  for (; *text; text++)
    if (*text == from) *text = to;
}

// The id, or 0.
static uint8_t find_property(const char *name) {
  char copy[64];
  if (snprintf(copy, sizeof copy, "%s", name) >= (int)sizeof copy) return 0;
  swap_dashes(copy, '-', '_');
  return (uint8_t)packet_property_by_name(slice_str(copy));
}

// Appends the names that are known, each behind a separator.
static void add_known(char problem[PROPERTY_PROBLEM_SIZE], const char *separator, const char *name) {
  size_t len = strlen(problem);
  snprintf(problem + len, PROPERTY_PROBLEM_SIZE - len, "%s%s", separator, name);
}

static int unknown_command(uint32_t commands, const char *name, char problem[PROPERTY_PROBLEM_SIZE]) {
  snprintf(problem, PROPERTY_PROBLEM_SIZE, "unknown command '%.40s': expected", name);
  const char *separator = " ";
  for (int i = 0; i < PROPERTY_COMMANDS; i++) {
    if (!(commands >> i & 1)) continue;
    add_known(problem, separator, commands_known[i].name);
    separator = ", ";
  }
  return -1;
}

static int unknown_property(const struct command *c, const char *name, char problem[PROPERTY_PROBLEM_SIZE]) {
  snprintf(problem, PROPERTY_PROBLEM_SIZE, "%s has no property '%.40s': it may have", c->name, name);
  const char *separator = " ";
  for (uint8_t id = 1; id <= PROPERTY_MAX; id++) {
    if (!may_have(c, id)) continue;
    char copy[64];
    snprintf(copy, sizeof copy, "%s", packet_property_name(id));
    swap_dashes(copy, '_', '-');
    add_known(problem, separator, copy);
    separator = ", ";
  }
  return -1;
}

// False: it is no number of the property's range.
static bool add_number(struct buf *raw, uint8_t id, const char *value, char problem[PROPERTY_PROBLEM_SIZE]) {
  uint32_t min, max;
  char *rest;
  packet_property_range(id, &min, &max);
  unsigned long long n = strtoull(value, &rest, 10);
  if (*value < '0' || *value > '9' || *rest || n < min || n > max) {
    snprintf(problem, PROPERTY_PROBLEM_SIZE, "expected a number from %u to %u", min, max);
    return false;
  }
  packet_add_number(raw, id, (uint32_t)n);
  return true;
}

static bool add_value(struct buf *raw, uint8_t id, char *const *values, char problem[PROPERTY_PROBLEM_SIZE]) {
  enum packet_property_type type = packet_property_type(id);
  if (type <= PROPERTY_VARINT) return add_number(raw, id, values[0], problem);
  struct slice first = slice_str(values[0]), second = slice_str(type == PROPERTY_PAIR ? values[1] : "");
  if (first.len > UINT16_MAX || second.len > UINT16_MAX) {
    snprintf(problem, PROPERTY_PROBLEM_SIZE, "longer than 65535 bytes");
    return false;
  }
  if (type == PROPERTY_PAIR)
    packet_add_pair(raw, first, second);
  else
    packet_add_value(raw, id, first);
  return true;
}

// Whether all that the command has by now may stand together. Authentication data may come before its method.
static bool check(const struct command *c, const struct buf *raw, char problem[PROPERTY_PROBLEM_SIZE]) {
  struct packet_properties p = {.raw = buf_slice(raw)};
  int error = packet_check_properties(&p, c->packet_type);
  bool lacks_method = packet_has_property(&p, PROPERTY_AUTHENTICATION_DATA) &&
                      !packet_has_property(&p, PROPERTY_AUTHENTICATION_METHOD);
  if (!error || (error == PACKET_BAD_VALUE && lacks_method)) return true;
  const char *text = error == PACKET_REPEATED_PROPERTY ? "given twice"
                     : error == PACKET_BAD_STRING      ? "not valid UTF-8 text"
                                                       : "not a value that it may have";
  snprintf(problem, PROPERTY_PROBLEM_SIZE, "%s", text);
  return false;
}

int property_options_add(struct property_options *o, uint32_t commands, char *const *args, int count,
                         char problem[PROPERTY_PROBLEM_SIZE]) {
  int command = 0;
  snprintf(problem, PROPERTY_PROBLEM_SIZE, "expected COMMAND NAME VALUE");
  if (!count) return -1;
  while (command < PROPERTY_COMMANDS && strcmp(args[0], commands_known[command].name) != 0)
    command++;
  if (command == PROPERTY_COMMANDS || !(commands >> command & 1))
    return unknown_command(commands, args[0], problem);
  if (count < 2) return -1;
  const struct command *c = &commands_known[command];
  uint8_t id = find_property(args[1]);
  if (!may_have(c, id)) return unknown_property(c, args[1], problem);
  int used = packet_property_type(id) == PROPERTY_PAIR ? 4 : 3;
  char detail[PROPERTY_PROBLEM_SIZE] = "a value is missing";
  struct buf *raw = &o->raw[command];
  o->given = true;
  if (count >= used && add_value(raw, id, args + 2, detail) && check(c, raw, detail)) return used;
  snprintf(problem, PROPERTY_PROBLEM_SIZE, "%s %.40s: %.200s", c->name, args[1], detail);
  return -1;
}
