// Inside of TLS: what its files share. tls_context.c loads what a listener presents, tls_hello.c waits
// for a hello, tls_psk.c looks up pre-shared keys, tls.c moves bytes, tls_certificate.c tells about the peer.
#ifndef LUAMQ_TRANSPORT_TLS_IMPL_H
#define LUAMQ_TRANSPORT_TLS_IMPL_H

#include <openssl/ssl.h>

#include "base/file_stamp.h"
#include "transport/tls.h"

struct tls {
  unsigned refs;
  struct tls_config config; // with strings of its own
  SSL_CTX **contexts;       // one for each identity, the default first; or one without a certificate
  unsigned context_count;
  const char **paths; // of all files, into config
  struct file_stamp *stamps;
  unsigned path_count;
  BIO_METHOD *method; // between an SSL and its carrier
  // Shared by all connections, and empty between two calls: records on their way, and small pieces of
  // plaintext that become one record.
  struct buf records;
  uint8_t *plaintext; // SSL3_RT_MAX_PLAIN_LENGTH
};

struct tls_conn {
  struct conn conn;
  struct conn *carrier;
  struct tls *tls;
  struct loop *loop;
  SSL *ssl;            // NULL until a hello has come
  struct buf *hello;   // what has come of it; NULL: nothing, or the SSL has it
  struct ready ready;  // while decrypted bytes, or an end, wait for the next read
  struct buf held;     // records that the carrier did not take
  const char *failure; // the protocol's, static storage
  int end;             // what a read returns that has got all bytes: 0 or -errno; GOES_ON before
  int carrier_error;   // of its last read, -errno
  int write_error;     // of its first failed write, -errno
  bool shaken;         // the handshake is done
  bool more;           // the SSL may hold bytes though the carrier has none
  bool carrier_ended;
  uint8_t reads_left; // of the carrier, in this call
  uint8_t psk_lookups;
};

BIO_METHOD *tls_bio_method(void);
struct tls_conn *tls_conn_of_ssl(const SSL *ssl);
const struct tls_conn *tls_conn_below(const struct conn *c); // c itself or what carries it; NULL: none
// Why the last call into OpenSSL failed, or `otherwise`; static storage. Empties its queue of errors.
const char *tls_take_reason(const char *otherwise);
// The hello of a connection without an SSL: 0 when one may be made for it, -EAGAIN, or another error, with
// *why unless it is the carrier's.
ssize_t tls_hello_gather(struct tls_conn *c, const char **why);
size_t tls_hello_take(struct tls_conn *c, uint8_t *out, size_t size); // the bytes, for the SSL
void tls_hello_drop(struct tls_conn *c);
void tls_use_psk(SSL_CTX *context);

#endif
