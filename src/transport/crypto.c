#include "transport/crypto.h"

#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static const struct row {
  const char *name;
  const EVP_MD *(*get)(void);
} rows[] = {
    {"sha1", EVP_sha1},     {"sha224", EVP_sha224}, {"sha256", EVP_sha256},
    {"sha384", EVP_sha384}, {"sha512", EVP_sha512},
};

static const EVP_MD *find_digest(const char *name) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!strcmp(rows[i].name, name)) return rows[i].get();
  return NULL;
}

bool crypto_has_digest(const char *digest) { return find_digest(digest) != NULL; }

size_t crypto_hash(const char *digest, struct slice data, uint8_t *out) {
  const EVP_MD *md = find_digest(digest);
  unsigned len = 0;
  return md && EVP_Digest(data.ptr, data.len, out, &len, md, NULL) ? len : 0;
}

// OpenSSL takes NULL for "the key as before".
static const uint8_t *bytes_of(struct slice s) { return s.ptr ? s.ptr : (const uint8_t *)""; }

size_t crypto_hmac(const char *digest, struct slice key, struct slice data, uint8_t *out) {
  const EVP_MD *md = find_digest(digest);
  unsigned len = 0;
  if (!md || key.len > INT_MAX) return 0;
  return HMAC(md, bytes_of(key), (int)key.len, bytes_of(data), data.len, out, &len) ? len : 0;
}

bool crypto_pbkdf2(const char *digest, struct slice password, struct slice salt, uint32_t iterations,
                   uint8_t *out, size_t len) {
  assert(iterations >= 1 && iterations <= CRYPTO_ITERATIONS_MAX && len >= 1 && len <= CRYPTO_KEY_MAX);
  const EVP_MD *md = find_digest(digest);
  if (!md || password.len > INT_MAX || salt.len > INT_MAX) return false;
  return PKCS5_PBKDF2_HMAC((const char *)bytes_of(password), (int)password.len, bytes_of(salt), (int)salt.len,
                           (int)iterations, md, (int)len, out);
}

bool crypto_random(uint8_t *out, size_t len) {
  assert(len <= INT_MAX);
  return RAND_bytes(out, (int)len) == 1;
}

// --- base64 ---

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void crypto_base64_encode(struct slice bytes, struct buf *out) {
  for (size_t i = 0; i < bytes.len; i += 3) {
    size_t left = bytes.len - i;
    uint32_t word = (uint32_t)bytes.ptr[i] << 16;
    if (left > 1) word |= (uint32_t)bytes.ptr[i + 1] << 8;
    if (left > 2) word |= bytes.ptr[i + 2];
    char quad[4] = {alphabet[word >> 18], alphabet[word >> 12 & 63],
                    left > 1 ? alphabet[word >> 6 & 63] : '=', left > 2 ? alphabet[word & 63] : '='};
    buf_add(out, quad, sizeof quad);
  }
}

// -1: it stands for no bits.
static int bits_of(uint8_t c) {
  const char *at = c ? strchr(alphabet, c) : NULL;
  return at ? (int)(at - alphabet) : -1;
}

// Four characters, of which `padding` last ones are '='.
static bool decode_quad(const uint8_t *quad, size_t padding, struct buf *out) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; i++) {
    int bits = i < 4 - padding ? bits_of(quad[i]) : 0;
    if (bits < 0) return false;
    word = word << 6 | (uint32_t)bits;
  }
  if (word & ((1u << 8 * padding) - 1)) return false;
  const uint8_t bytes[3] = {(uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
  buf_add(out, bytes, 3 - padding);
  return true;
}

static size_t padding_of(struct slice text) {
  if (!text.len || text.ptr[text.len - 1] != '=') return 0;
  return text.ptr[text.len - 2] == '=' ? 2 : 1;
}

bool crypto_base64_decode(struct slice text, struct buf *out) {
  size_t before = out->len, padding = text.len % 4 ? 0 : padding_of(text);
  bool good = text.len % 4 == 0;
  for (size_t i = 0; good && i < text.len; i += 4)
    good = decode_quad(text.ptr + i, i + 4 == text.len ? padding : 0, out);
  if (!good) out->len = before;
  return good;
}

// Puts one alphabet in the place of the other; false, when a character of the old one would have been lost by
// it.
static bool translate(uint8_t *bytes, size_t len, const char from[2], const char to[2]) {
  for (size_t i = 0; i < len; i++) {
    for (int k = 0; k < 2; k++) {
      if (bytes[i] == (uint8_t)to[k]) return false;
      if (bytes[i] != (uint8_t)from[k]) continue;
      bytes[i] = (uint8_t)to[k];
      break;
    }
  }
  return true;
}

void crypto_base64url_encode(struct slice bytes, struct buf *out) {
  size_t before = out->len;
  crypto_base64_encode(bytes, out);
  while (out->len > before && out->ptr[out->len - 1] == '=')
    out->len--;
  if (out->len > before) translate(out->ptr + before, out->len - before, "+/", "-_");
}

bool crypto_base64url_decode(struct slice text, struct buf *out) {
  if (text.len % 4 == 1 || (text.len && memchr(text.ptr, '=', text.len))) return false;
  struct buf plain = BUF_INIT;
  buf_add_slice(&plain, text);
  bool good = !text.len || translate(plain.ptr, plain.len, "-_", "+/");
  while (plain.len % 4)
    buf_add_byte(&plain, '=');
  good = good && crypto_base64_decode(buf_slice(&plain), out);
  buf_release(&plain);
  return good;
}
