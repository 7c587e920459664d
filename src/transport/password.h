// Hashes of passwords, as text: made, checked for being one, and compared with a password.
//
//   const char *problem = password_hash_problem(hash);  // NULL: it can be verified
//   if (password_verify(password, hash) == PASSWORD_MATCHES) ...
//
// What is known:
//
//   $y$j9T$salt$hash                          yescrypt, of crypt(3); made unless told otherwise
//   $argon2id$v=19$m=19456,t=2,p=1$salt$hash  Argon2id
//   $7$iterations$salt$hash                   PBKDF2 with SHA-512, as mosquitto_passwd makes it
//   $6$salt$hash                              one round of SHA-512 of the old mosquitto_passwd: base64, with
//   padding $6$salt$hash, $2b$cost$...                SHA-512 and bcrypt of crypt(3)
//
// Making and verifying take some 1 to 200 ms and up to 256 MiB on purpose: they belong into a worker thread
// (transport/workers.h). These functions keep no state, and may be called in any thread. A hash that would
// cost more than that is none.
#ifndef LUAMQ_TRANSPORT_PASSWORD_H
#define LUAMQ_TRANSPORT_PASSWORD_H

#include "base/buf.h"

#define PASSWORD_HASH_MAX 384 // bytes of a hash
#define PASSWORD_MAX      511 // bytes of a password that can be hashed: what crypt(3) takes

// NULL, or why it cannot be verified: static text, which has nothing of the hash in it.
const char *password_hash_problem(struct slice hash);

enum password_result {
  PASSWORD_MATCHES,
  PASSWORD_DIFFERS, // also where the hash is none
  PASSWORD_FAILED,  // it could not be found out: no memory
};
enum password_result password_verify(struct slice password, struct slice hash);

// How a hash is made. The cost is what crypt(3) calls so for yescrypt, passes for Argon2id, and iterations
// for PBKDF2.
struct password_scheme {
  const char *name;
  uint32_t default_cost, least_cost, most_cost;
};
const struct password_scheme *password_scheme(const char *name); // NULL: there is none
const struct password_scheme *
password_scheme_at(unsigned i); // the first one is the default; NULL behind the last

// Appends the hash. NULL, or why there is none: static text. The cost is one that the scheme has (asserted).
const char *password_hash(const struct password_scheme *scheme, uint32_t cost, struct slice password,
                          struct buf *out);
// What a password must not be to be hashed: static text, or NULL.
const char *password_problem(struct slice password);

#endif
