// After a swap the clients that are there go over to the new script, some in each turn: what is plain data in
// `client.ref`, then the hook `adopt`. One that has something to do first goes first (client_adopt).
#ifndef LUAMQ_SCRIPT_ADOPTION_H
#define LUAMQ_SCRIPT_ADOPTION_H

#include "script/host.h"

void adoption_init(struct host *h);
void adoption_begin(struct host *h); // the script in force has just replaced another one
bool adoption_is_over(const struct host *h);
void adoption_end(struct host *h); // the host ends

#endif
