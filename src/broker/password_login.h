// Logins whose passwords are checked against a password file (broker/password_file.h). A check takes long on
// purpose, so it is made by a worker thread while the client waits, and everyone else goes on. A name that
// the file does not have takes as long as one that it has.
//
//   struct password_logins *l = password_logins_new(shard, "/etc/luamq/users");
//   return password_logins_check(l, client, given, reply);   // in `authenticate` of a backend
//   password_logins_cancel(l, client);                       // in its `cancel`
//
// Limits: limits.password_checks logins wait at once, further ones are refused with `server_busy`.
//
// The file is looked at once a second, and read again, by a worker thread too, when it has changed. Clients
// that are connected stay so, whatever it says then. One that cannot be read, or has no right line, changes
// nothing; lines that are wrong are left out. Both are told to the backend's engine_error.
#ifndef LUAMQ_BROKER_PASSWORD_LOGIN_H
#define LUAMQ_BROKER_PASSWORD_LOGIN_H

#include "base/list.h"
#include "broker/backend.h"

struct password_logins;

// Reads the file at once. Where it cannot be read nobody gets in until it can.
struct password_logins *password_logins_new(struct shard *s, const char *path); // copied
void password_logins_free(struct password_logins *l); // gives up what is under way; NULL is fine
// Another file decides from now on: checks that are under way come to their end, and then it frees itself.
// Until then it is in the list. NULL is fine.
void password_logins_retire(struct password_logins *l, struct list *retired);
void password_logins_free_retired(struct list *retired);
void password_logins_cancel_retired(struct list *retired, struct client *c);
const char *password_logins_path(const struct password_logins *l);

enum backend_status password_logins_check(struct password_logins *l, struct client *c,
                                          const struct credentials *given, struct reply *reply);
// The client goes: its check is given up, and the client resumed, if there is one.
void password_logins_cancel(struct password_logins *l, struct client *c);

#endif
