// A password from whoever runs the command: from the terminal without an echo, or the first line of standard
// input when that is none.
#ifndef LUAMQ_CMD_PASSWD_ASK_H
#define LUAMQ_CMD_PASSWD_ASK_H

#include <stdbool.h>

#include "transport/password.h"

struct passwd_answer { // to be wiped by passwd_forget
  char text[PASSWORD_MAX + 1];
  size_t len;
};

// On a terminal it is asked for a second time when it is to be `repeated`. NULL, or why there is none: static
// text. A signal that ends the process does so after the terminal has its echo again.
const char *passwd_ask(const char *user, bool repeated, struct passwd_answer *out);
void passwd_forget(struct passwd_answer *answer);

#endif
