// The door between the loop and memory connections.
#ifndef LUAMQ_TRANSPORT_MEMORY_READY_H
#define LUAMQ_TRANSPORT_MEMORY_READY_H

#include "transport/loop.h"

bool memory_run_ready(
    struct loop *l); // calls the handlers of those ready at the start; whether there was one

#endif
