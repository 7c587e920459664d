// A record of decisions: what clients asked a policy for, and what it answered, as lines of JSON in a file
// that `luamq replay` reads. It never holds up the loop: lines are gathered, and threads
// (transport/workers.h) write them; what comes faster than the disk takes is dropped and counted. Passwords
// and authentication data are never in it; payloads are, up to a size, so the file is its owner's alone.
//
//   {"luamq":"0.1.0","record":1,"ms":1764115200000}
//   {"ms":12,"op":"connect","id":"c","user":"u","version":5,"address":"192.0.2.1:5000","password":true,
//    "reason":"success"}
//   {"ms":20,"op":"publish","id":"c","topic":"a/b","qos":1,"payload":"x","reason":"not_authorized","by":"hook",
//    "name":"publish","place":"broker.lua:12"}
//
// `ms` of a line is the time since the first one's. Bytes that are no text are in base64, under "payload64".
#ifndef LUAMQ_SCRIPT_RECORDER_H
#define LUAMQ_SCRIPT_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host;
struct recorder;

struct recorder_options {
  uint64_t bytes;          // of the file; then it ends
  uint32_t payload_bytes;  // of each payload that are kept
  uint32_t clients_of_100; // so many of 100 clients, always the same ones
  bool append;             // to a file that is there; else there must be none
  uint32_t seconds;        // then it ends; 0: when it is told to
};

// What the script in force has set, for a new file.
void recorder_options_of(const struct host *h, struct recorder_options *o);

// Begins. NULL, and why in `error`, when the file cannot be made. `path` is copied.
struct recorder *recorder_new(struct host *h, const char *path, const struct recorder_options *o, char *error,
                              size_t error_size);
// Ends in order: what has been gathered is written. May be called while hooks run.
void recorder_end(struct recorder *r);
const char *recorder_path(const struct recorder *r);
uint64_t recorder_lines(const struct recorder *r);

#endif
