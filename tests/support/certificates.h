// Certificates for tests, made when they run, in a folder that goes with them: keys of P-256, an authority
// "ca", and whatever it issues.
//
//   struct certificates *c = certificates_new();              // ca.pem, ca.key
//   certificates_issue(c, "server", &(struct issue){.names = "DNS:a.example,DNS:*.b.example"});
//   certificates_path(c, "server.pem");                       // and "server.key"; valid until the end
//   certificates_free(c);
#ifndef LUAMQ_TESTS_CERTIFICATES_H
#define LUAMQ_TESTS_CERTIFICATES_H

#include <stdbool.h>

struct certificates;

struct issue {
  const char *issuer;        // NULL: "ca"
  const char *common_name;   // NULL: the file's name
  const char *names;         // subject alternative names in OpenSSL's notation, or NULL
  int from_days, to_days;    // of its life, counted from now; both 0: a day before and after
  bool authority;            // may issue certificates itself
  const char *with_key_of;   // which has one already, or NULL: a new one
  const char *with_chain_of; // whose certificate follows in the file, or NULL
};

struct certificates *certificates_new(void);
void certificates_free(struct certificates *c);
const char *certificates_path(struct certificates *c, const char *file);
void certificates_issue(struct certificates *c, const char *name, const struct issue *issue);
// A list in crl.pem of what the authority has revoked: the certificate of this name, or NULL: none.
void certificates_revoke(struct certificates *c, const char *name);
void certificates_copy(struct certificates *c, const char *from, const char *to); // replaces, as rename does
void certificates_write(struct certificates *c, const char *file, const char *text);

#endif
