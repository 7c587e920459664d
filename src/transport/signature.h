// Signatures with a key pair, over SHA-256, from OpenSSL: RSA with PKCS #1 v1.5 (RS256 of RFC 7518), and
// ECDSA on the curve P-256 (ES256, r and s in 32 bytes each).
//
//   const char *error;
//   struct signature_key *key = signature_key_read(pem, &error);
//   if (signature_verify(key, data, signature)) ...
//
// A key has one algorithm, so that a signature of another one is never taken for one of it.
#ifndef LUAMQ_TRANSPORT_SIGNATURE_H
#define LUAMQ_TRANSPORT_SIGNATURE_H

#include "base/buf.h"

struct signature_key;

// Of PEM text: a public key, a certificate, or a private key without a passphrase. NULL, and *error says why,
// static text: also for RSA with less than 2048 or more than 8192 bits, and for other curves.
struct signature_key *signature_key_read(struct slice pem, const char **error);
void signature_key_free(struct signature_key *k); // NULL is fine

const char *signature_key_algorithm(const struct signature_key *k); // "RS256", "ES256"
bool signature_key_signs(const struct signature_key *k);            // it is a private key

// Some 50 microseconds.
bool signature_verify(const struct signature_key *k, struct slice data, struct slice signature);
// Up to some milliseconds, by the key. Appends the signature; false: OpenSSL makes none. The key signs
// (asserted).
bool signature_make(const struct signature_key *k, struct slice data, struct buf *out);

#endif
