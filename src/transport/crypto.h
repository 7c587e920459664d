// Primitives of cryptography, from OpenSSL: digests, HMAC, PBKDF2, randomness, base64. For what scripts build
// of them; nothing here keeps state.
//
//   struct slice mac = slice_of(bytes, CRYPTO_DIGEST_MAX);
//   size_t len = crypto_hmac("sha256", key, data, bytes);   // 0: OpenSSL has no such digest
#ifndef LUAMQ_TRANSPORT_CRYPTO_H
#define LUAMQ_TRANSPORT_CRYPTO_H

#include "base/buf.h"

#define CRYPTO_DIGEST_MAX     64 // bytes
#define CRYPTO_ITERATIONS_MAX 1000000
#define CRYPTO_KEY_MAX        1024 // bytes that crypto_pbkdf2 derives

// The digests that are known: "sha1", "sha224", "sha256", "sha384", "sha512".
bool crypto_has_digest(const char *digest);

// These write at most CRYPTO_DIGEST_MAX bytes, and return how many. 0: the digest is not known, or this
// OpenSSL refuses it.
size_t crypto_hash(const char *digest, struct slice data, uint8_t *out);
size_t crypto_hmac(const char *digest, struct slice key, struct slice data, uint8_t *out);

// Derives `len` bytes (1 to CRYPTO_KEY_MAX) of a password [RFC 8018], in 1 to CRYPTO_ITERATIONS_MAX
// iterations (asserted); a million of them take about a second, in which the caller does nothing else. False
// as above.
bool crypto_pbkdf2(const char *digest, struct slice password, struct slice salt, uint32_t iterations,
                   uint8_t *out, size_t len);

bool crypto_random(uint8_t *out, size_t len); // false: the system has none

// Base64 [RFC 4648 4], with padding and without line breaks. Append to `out`.
void crypto_base64_encode(struct slice bytes, struct buf *out);
// False, and nothing is appended, where `text` is anything else: also where bits that stand for nothing are
// set.
bool crypto_base64_decode(struct slice text, struct buf *out);
// The same with the alphabet for URLs [RFC 4648 5], and without padding.
void crypto_base64url_encode(struct slice bytes, struct buf *out);
bool crypto_base64url_decode(struct slice text, struct buf *out);

#endif
