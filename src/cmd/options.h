// Options of a command as a table: a row is a letter, a long name, a type and the place of the value. The
// flags of `luamq pub` and `luamq sub` stand here; those that both have are one table, and each adds its own.
//
// Values follow as the next argument, or are joined: `-p 1883`, `-p1883`, `--will-qos 1`, `--will-qos=1`;
// flags without a value may share a dash (`-dv`).
#ifndef LUAMQ_CMD_OPTIONS_H
#define LUAMQ_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/tls_client.h"
#include "cmd/property_option.h"

struct text_list {
  const char **items; // borrowed texts
  size_t count;
};

struct tool_options { // of pub and sub; texts point into argv, or into `kept`
  // connection
  const char *host, *unix_path; // the one or the other
  const char *id, *id_prefix, *username;
  char *password;
  uint16_t port; // 0: the usual one
  uint16_t keep_alive;
  uint8_t version; // 0: not told
  uint8_t qos, will_qos;
  bool keep_session, debug, quiet, help, will_retain, use_tls, websocket;
  struct text_list topics;
  struct property_options properties; // -D
  uint32_t session_expiry_s;          // -x
  bool has_session_expiry;
  const char *will_topic, *will_payload;
  const char *websocket_path;
  char *psk;
  struct tls_client_options tls; // without psk
  // pub
  const char *message, *file;
  bool null_message, lines, whole_input, retain;
  uint32_t repeat, max_inflight;
  double repeat_delay;
  // sub
  struct text_list unsubscribe, filter_out;
  const char *format;
  uint32_t count; // 0: no limit
  double timeout; // seconds; 0: none
  bool verbose, no_newline, no_stale, retained_only, exit_subscribed, retain_as_published;

  char *kept; // the parts of a URL
  size_t kept_size;
};

enum option_type {
  OPTION_FLAG,   // bool
  OPTION_TEXT,   // const char *
  OPTION_SECRET, // char *: a copy, and argv is overwritten
  OPTION_LIST,   // struct text_list
  OPTION_U8,     // numbers from min to max
  OPTION_U16,
  OPTION_U32,
  OPTION_SECONDS,  // double
  OPTION_CALL,     // `set` returns an error text or NULL, and is told where the value stands
  OPTION_PROPERTY, // struct property_options: several arguments; min: the bits of the commands
  OPTION_MISSING,  // known to users, but not in this version; `value` tells whether one follows
};

struct option_row {
  char letter;      // 0: none
  const char *name; // NULL: none
  enum option_type type;
  uint32_t offset; // in struct tool_options
  uint32_t min, max;
  const char *value; // of the usage text; NULL: it has none
  const char *help;  // NULL: not shown
  const char *(*set)(struct tool_options *o, char *value);
};

#define OPTION_AT(field) ((uint32_t)offsetof(struct tool_options, field))

extern const struct option_row options_common[]; // ends with a row of zeros

void options_init(struct tool_options *o);
void options_release(struct tool_options *o);

// Reads the arguments behind argv[0]. What is wrong is told on stderr behind `tool`; then it returns false.
// Values of secrets, and arguments that may be one, are not printed.
bool options_parse(struct tool_options *o, const char *tool, const struct option_row *own, int argc,
                   char **argv);
// The protocol version that "mqttv5", "311", ... names; 0: none.
uint8_t options_version(const char *name);
void options_usage(const char *tool, const char *what, const struct option_row *own); // on stdout

#endif
