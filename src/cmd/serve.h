// Serving a script until it is told to stop.
#ifndef LUAMQ_CMD_SERVE_H
#define LUAMQ_CMD_SERVE_H

#include "script/script.h"

// Readies the process, and makes a broker in it, with a loop of its own; both are the caller's to free. NULL
// when it cannot, which has been told on standard error.
struct host *serve_host(void);
// Serves until it is told to stop. False: it could not start, which has been told on standard error, or
// clients were left when the time for closing was over.
bool serve(struct host *host, struct script *script);

#endif
