// Both ends of a TLS connection over memory: the server's is a conn as the broker has it, the client's an SSL
// over memory BIOs.
//
//   struct tls_pair p;
//   tls_pair_open(&p, tls, client_context, step);      // step: bytes that travel at once; 0: all
//   tls_pair_shake(&p);                                // and expects that it worked
//   SSL_write(p.client, "x", 1), tls_pair_run(&p);     // p.got is what the server's end has read
//   tls_pair_release(&p);
#ifndef LUAMQ_TESTS_TLS_PAIR_H
#define LUAMQ_TESTS_TLS_PAIR_H

#include <openssl/ssl.h>

#include "transport/memory.h"
#include "transport/tls.h"

struct tls_pair {
  struct loop *loop;
  struct memory_peer *peer;
  struct conn *conn;
  SSL *client;
  size_t step;
  bool shaken;
  size_t read_size;           // of the server's end at once
  struct buf got;             // by the server's end
  ssize_t end;                // of its reading: 0 or -errno; 1: none yet
  const char *failure;        // of its handshake or reading, NULL: none yet
  const char *client_failure; // of the client's handshake
  int writable;               // calls
};

SSL_CTX *tls_pair_client_context(const char *ca); // verifies the server; NULL: does not
// `client` NULL: the test sends bytes by itself.
void tls_pair_open(struct tls_pair *p, struct tls *tls, SSL_CTX *client, size_t step);
void tls_pair_run(struct tls_pair *p);   // until neither end has anything to do
void tls_pair_shake(struct tls_pair *p); // both ends succeed
// The server's end refuses, or the client's: the text is of the end that did.
void tls_pair_expect_failure(struct tls_pair *p, const char *server, const char *client);
void tls_pair_client_write(struct tls_pair *p, const void *bytes, size_t len);
// All that has come to the client's end, appended; SSL_get_error of what stopped it.
int tls_pair_client_read(struct tls_pair *p, struct buf *out);
void tls_pair_close(struct tls_pair *p, bool orderly); // the server's end
void tls_pair_release(struct tls_pair *p);             // what is left of both ends

#endif
