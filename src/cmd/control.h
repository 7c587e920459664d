// What one may ask a running broker from the shell: an abstract unix socket that is named after the process,
// so that there is no file to find, to protect or to leave behind. A caller sends one line, and is answered
// with one that begins with "ok" or "failed", and perhaps with more below it; then the connection ends.
//
//   broker                                      luamq --reload PID
//     control_init(&control, host, ...)           control_ask(pid, "reload", &answer)
//     ...                                              "reload\n" ->
//     control_release(&control)                        <- "ok\n", or "failed\nbroker.lua:3: ...\n"
//
// Only the broker's own user and root are answered, and only a socket of that very process is asked.
#ifndef LUAMQ_CMD_CONTROL_H
#define LUAMQ_CMD_CONTROL_H

#include <sys/types.h>

#include "script/host.h"

struct control {
  struct host *host; // borrowed
  struct listener *listener;
  struct list callers;
};

// False, and why in `error` (at least 256 bytes), when nobody can ask: the broker does without.
bool control_init(struct control *c, struct host *h, char *error, size_t error_size);
void control_release(struct control *c); // before the host ends

// Asks a process, and waits for the answer: what stands below its first line. False: it has failed, or nobody
// answers; then the answer says why.
bool control_ask(pid_t pid, const char *command, struct buf *answer);

#endif
