#include "transport/signature.h"

#include <assert.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/mem.h"

#define RSA_BITS_LEAST 2048
#define RSA_BITS_MOST  8192
#define PEM_MAX        65536 // bytes
#define P256_BYTES     32    // of r, and of s

struct signature_key {
  EVP_PKEY *pkey;
  bool is_ec, signs;
};

// --- keys ---

static int refuse_passphrase(char *buf, int size, int writing, void *asked) {
  (void)buf, (void)size, (void)writing, (void)asked;
  return -1;
}

static EVP_PKEY *read_private(BIO *bio) {
  return PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL);
}
static EVP_PKEY *read_public(BIO *bio) { return PEM_read_bio_PUBKEY(bio, NULL, refuse_passphrase, NULL); }

static EVP_PKEY *read_certificate(BIO *bio) {
  X509 *certificate = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
  EVP_PKEY *pkey = certificate ? X509_get_pubkey(certificate) : NULL;
  X509_free(certificate);
  return pkey;
}

static EVP_PKEY *read_pem(struct slice pem, bool *is_private) {
  static EVP_PKEY *(*const readers[])(BIO *) = {read_private, read_public, read_certificate};
  EVP_PKEY *pkey = NULL;
  *is_private = false;
  for (size_t i = 0; !pkey && pem.len && i < sizeof readers / sizeof *readers; i++) {
    BIO *bio = mem_require(BIO_new_mem_buf(pem.ptr, (int)pem.len));
    pkey = readers[i](bio);
    *is_private = pkey && i == 0;
    BIO_free(bio);
  }
  ERR_clear_error();
  return pkey;
}

static bool is_p256(const EVP_PKEY *pkey) {
  char group[32];
  return EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1 && !strcmp(group, "prime256v1");
}

static const char *problem_of(const EVP_PKEY *pkey) {
  int kind = EVP_PKEY_get_base_id(pkey), bits = EVP_PKEY_get_bits(pkey);
  if (kind == EVP_PKEY_EC) return is_p256(pkey) ? NULL : "the curve of the key is not P-256";
  if (kind != EVP_PKEY_RSA) return "the key is neither RSA nor P-256";
  return bits >= RSA_BITS_LEAST && bits <= RSA_BITS_MOST ? NULL : "the RSA key has not 2048 to 8192 bits";
}

struct signature_key *signature_key_read(struct slice pem, const char **error) {
  bool is_private = false;
  EVP_PKEY *pkey = pem.len <= PEM_MAX ? read_pem(pem, &is_private) : NULL;
  *error = pkey ? problem_of(pkey) : "no key or certificate in PEM form, or one with a passphrase";
  if (*error) {
    EVP_PKEY_free(pkey);
    return NULL;
  }
  struct signature_key *k = mem_alloc(sizeof *k);
  *k = (struct signature_key){pkey, EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC, is_private};
  return k;
}

void signature_key_free(struct signature_key *k) {
  if (!k) return;
  EVP_PKEY_free(k->pkey);
  mem_free(k);
}

const char *signature_key_algorithm(const struct signature_key *k) { return k->is_ec ? "ES256" : "RS256"; }
bool signature_key_signs(const struct signature_key *k) { return k->signs; }

// --- the two forms of a signature of ECDSA ---

// OpenSSL has it as a structure of ASN.1.
static bool to_asn1(struct slice raw, struct buf *out) {
  if (raw.len != 2 * P256_BYTES) return false;
  ECDSA_SIG *sig = mem_require(ECDSA_SIG_new());
  BIGNUM *r = mem_require(BN_bin2bn(raw.ptr, P256_BYTES, NULL));
  BIGNUM *s = mem_require(BN_bin2bn(raw.ptr + P256_BYTES, P256_BYTES, NULL));
  ECDSA_SIG_set0(sig, r, s);
  int len = i2d_ECDSA_SIG(sig, NULL);
  if (len > 0) {
    buf_reserve(out, (size_t)len);
    uint8_t *at = out->ptr + out->len;
    i2d_ECDSA_SIG(sig, &at);
    out->len += (size_t)len;
  }
  ECDSA_SIG_free(sig);
  return len > 0;
}

static bool from_asn1(struct slice asn1, struct buf *out) {
  const uint8_t *at = asn1.ptr;
  uint8_t raw[2 * P256_BYTES];
  ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)asn1.len);
  bool fine = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, P256_BYTES) == P256_BYTES &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + P256_BYTES, P256_BYTES) == P256_BYTES;
  ECDSA_SIG_free(sig);
  if (fine) buf_add(out, raw, sizeof raw);
  return fine;
}

// --- verify and make ---

static bool verify(const struct signature_key *k, struct slice data, struct slice signature) {
  EVP_MD_CTX *context = mem_require(EVP_MD_CTX_new());
  bool right = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
               EVP_DigestVerify(context, signature.ptr, signature.len, data.ptr, data.len) == 1;
  EVP_MD_CTX_free(context);
  ERR_clear_error();
  return right;
}

bool signature_verify(const struct signature_key *k, struct slice data, struct slice signature) {
  if (!k->is_ec) return verify(k, data, signature);
  struct buf asn1 = BUF_INIT;
  bool right = to_asn1(signature, &asn1) && verify(k, data, buf_slice(&asn1));
  buf_release(&asn1);
  return right;
}

static bool sign(const struct signature_key *k, struct slice data, struct buf *out) {
  EVP_MD_CTX *context = mem_require(EVP_MD_CTX_new());
  size_t len = (size_t)EVP_PKEY_get_size(k->pkey);
  buf_reserve(out, len);
  bool made = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
              EVP_DigestSign(context, out->ptr + out->len, &len, data.ptr, data.len) == 1;
  if (made) out->len += len;
  EVP_MD_CTX_free(context);
  ERR_clear_error();
  return made;
}

bool signature_make(const struct signature_key *k, struct slice data, struct buf *out) {
  assert(k->signs);
  if (!k->is_ec) return sign(k, data, out);
  struct buf asn1 = BUF_INIT;
  bool made = sign(k, data, &asn1) && from_asn1(buf_slice(&asn1), out);
  buf_release(&asn1);
  return made;
}
