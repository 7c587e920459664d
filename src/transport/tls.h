// TLS 1.2 and 1.3 by OpenSSL: what a listener presents and asks for, and a connection that is encrypted over
// the one that carries it.
//
//   struct tls_config config;
//   tls_config_init(&config);
//   config.identities = &(struct tls_identity){"server.pem", "server.key"}, config.identity_count = 1;
//   struct tls *t = tls_new(&config, error, sizeof error);
//   struct conn *c = tls_accept(t, loop, carrier);       // then conn_start, and c->ops->handshake
//   tls_unref(t);                                        // connections keep it as long as they need it
//
// What a turn has for a connection becomes as few records as there can be, and one write of the carrier for
// each 64 KiB of them. An idle connection holds no record buffers, and one that has not sent a whole hello
// costs what it sent.
//
// - A hello with a name (SNI) gets the identity whose certificate has it, else one with a wildcard for it, or
//   else the first.
// - A hello that lists protocols (ALPN) has to list the listener's, or is refused [RFC 7301, 3.2].
// - Sessions are resumed by tickets only: nothing is kept here for them. They last two hours, and the keys of
//   tickets as long as the struct tls with its reloads. Another `ca` or `crl` ends all of them, so that
//   nobody who was revoked comes back by one; a session by a pre-shared key has none, so that it ends with
//   its key.
// - Who has a pre-shared key is not asked for a certificate, whatever `verify` says.
// - A peer that ends its stream without TLS's close_notify has ended like any other: packets tell how long
//   they are.
#ifndef LUAMQ_TRANSPORT_TLS_H
#define LUAMQ_TRANSPORT_TLS_H

#include "transport/conn.h"
#include "transport/loop.h"

#define TLS_PSK_MAX 64 // bytes of a pre-shared key

struct tls;

struct tls_identity {      // paths of PEM files
  const char *certificate; // the chain, the server's own first
  const char *key;         // without a passphrase
};

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

struct tls_config {                      // borrowed by tls_new, which copies
  const struct tls_identity *identities; // the first is the default; SNI picks by the names in them
  unsigned identity_count;               // 0: pre-shared keys only
  const char *ca;                        // of client certificates, PEM; NULL: none are asked for
  const char *crl;                       // revoked ones, PEM; NULL: none
  enum tls_verify verify;
  const char *min_version;  // "1.2" or "1.3"
  const char *ciphers;      // of TLS 1.2, OpenSSL's notation; NULL: its default
  const char *ciphersuites; // of TLS 1.3; NULL: its default. Keys need one with SHA-256 before the others
  const char *protocol;     // that a client must offer if it lists any (ALPN); NULL: none is agreed on
  bool session_tickets;
  // The key of an identity, asked for during the handshake; its length, or 0: none. NULL: no pre-shared keys.
  unsigned (*psk)(void *arg, struct slice identity, uint8_t key[TLS_PSK_MAX]);
  void *psk_arg;
};

// For a process that is a broker, before anything else of OpenSSL: where its memory is refused, the process
// ends as it does elsewhere. Otherwise a refusal in the wrong place leaves OpenSSL's random numbers broken.
void tls_require_memory(void);

void tls_config_init(struct tls_config *c); // with the defaults

// NULL, and which file and why in `error`, when something cannot be used.
struct tls *tls_new(const struct tls_config *config, char *error, size_t error_size);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t); // NULL is fine
// Reads the files again, for connections to come. False, and why: what was loaded before goes on.
bool tls_reload(struct tls *t, char *error, size_t error_size);
// Whether a file is not the one that was loaded last, or that could not be loaded last.
bool tls_files_changed(const struct tls *t);
// The file of a certificate of the server's own that has expired, or NULL. It is used all the same: clients
// decide whether they take it.
const char *tls_expired(const struct tls *t);

// The server's side over `carrier`, which it takes over.
struct conn *tls_accept(struct tls *t, struct loop *l, struct conn *carrier);

// What a handshake told about the peer. All borrowed and valid until the connection is closed, but for the
// certificate's texts, which are appended to the buffers.
struct tls_certificate {
  struct buf subject, issuer; // RFC 2253
  struct buf common_name;     // of the subject; empty: none
  struct buf names;     // subject alternative names, each "DNS:..", "IP:..", "URI:..", "email:.." and a NUL
  char serial[64];      // hex, lower case
  char fingerprint[65]; // SHA-256 of the certificate, hex, lower case
  int64_t not_before, not_after; // seconds since 1970
};
// The connection itself or one that carries it is encrypted and the peer has shown a certificate.
bool tls_peer_certificate(const struct conn *c, struct tls_certificate *out);
void tls_certificate_release(struct tls_certificate *certificate);
struct slice tls_psk_identity(const struct conn *c); // ptr NULL: none was used
const char *tls_version(const struct conn *c);       // "TLSv1.3"; NULL: not encrypted
const char *tls_cipher(const struct conn *c);        // "TLS_AES_256_GCM_SHA384"; NULL: not encrypted

#endif
