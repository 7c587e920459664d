// The log: one line a record, as text or as JSON, to a stream. A record is begun, gets fields, and is ended;
// what a peer or a script put into it is escaped, so that one record is always one line of printable text.
//
//   if (log_begin(&log, LEVEL_INFO, SLICE("client connected"))) {
//     log_string(&log, "id", id);
//     log_number(&log, "version", 4);
//     log_end(&log);
//   }
//
//   2026-11-23T16:20:05.123Z info client connected id=a1 version=4
//   {"time":"2026-11-23T16:20:05.123Z","level":"info","text":"client connected","id":"a1","version":4}
#ifndef LUAMQ_BASE_LOG_H
#define LUAMQ_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_OFF, LEVEL_COUNT };

struct log {
  FILE *out;            // borrowed
  enum log_level level; // what is below it is not written
  bool json;
  struct buf line;   // of the record under way
  struct buf detail; // its lines below the first one, in text
};

void log_init(struct log *l, FILE *out); // text, from info on
void log_release(struct log *l);

int log_level_by_name(struct slice name); // "debug" ... "off"; -1 when there is none
static inline bool log_wants(const struct log *l, enum log_level level) { return level >= l->level; }

// False, and nothing is to be ended, when the level is not wanted. A record that was begun and not ended is
// dropped.
bool log_begin(struct log *l, enum log_level level, struct slice text);
void log_string(struct log *l, const char *name, struct slice value);
void log_number(struct log *l, const char *name, int64_t value);
void log_bool(struct log *l, const char *name, bool value);
// A field with a name that nobody has checked, and a value that is written as it stands (a number, true,
// null).
void log_any_string(struct log *l, struct slice name, struct slice value);
void log_any_literal(struct log *l, struct slice name, struct slice value);
// Several lines, such as a traceback: in text they follow the record, indented.
void log_lines(struct log *l, const char *name, struct slice value);
void log_end(struct log *l);

// For what peers can cause at will: at most `limit` records a second.
struct log_rate {
  uint64_t second; // of the shard's clock
  uint32_t count, suppressed;
};
// Whether one more may be written. *missed: how many were not, since the last one that was.
bool log_rate_allows(struct log_rate *r, uint64_t now_ms, uint32_t limit, uint32_t *missed);

#endif
