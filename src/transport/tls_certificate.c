// What a handshake told about the peer.
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "transport/tls_impl.h"

static int64_t seconds_of(const ASN1_TIME *time) {
  struct tm tm = {0};
  return ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void add_name(struct buf *out, const X509_NAME *name) {
  BIO *memory = mem_require(BIO_new(BIO_s_mem()));
  char *text;
  X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
  long len = BIO_get_mem_data(memory, &text);
  if (len > 0) buf_add(out, text, (size_t)len);
  BIO_free(memory);
}

// The last one, which is the most specific.
static void add_common_name(struct buf *out, const X509_NAME *name) {
  int at = -1, found = -1;
  while ((at = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
    found = at;
  if (found < 0) return;
  unsigned char *text;
  int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, found)));
  if (len < 0) return;
  buf_add(out, text, (size_t)len);
  OPENSSL_free(text);
}

// A name with a NUL inside would look like two, so it is none.
static void add_text(struct buf *out, const char *kind, const ASN1_STRING *text) {
  struct slice name = slice_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
  if (!name.len || memchr(name.ptr, 0, name.len)) return;
  buf_add_str(out, kind);
  buf_add_slice(out, name);
  buf_add_byte(out, 0);
}

static void add_ip(struct buf *out, const ASN1_OCTET_STRING *ip) {
  int len = ASN1_STRING_length(ip);
  if (len != 4 && len != 16) return;
  char text[INET6_ADDRSTRLEN];
  inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof text);
  buf_add_str(out, "IP:");
  buf_add(out, text, strlen(text) + 1);
}

static void add_alternative(struct buf *out, const GENERAL_NAME *name) {
  switch (name->type) {
  case GEN_DNS: add_text(out, "DNS:", name->d.dNSName); break;
  case GEN_URI: add_text(out, "URI:", name->d.uniformResourceIdentifier); break;
  case GEN_EMAIL: add_text(out, "email:", name->d.rfc822Name); break;
  case GEN_IPADD: add_ip(out, name->d.iPAddress); break;
  default: break;
  }
}

static void add_alternatives(struct buf *out, const X509 *certificate) {
  GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
    add_alternative(out, sk_GENERAL_NAME_value(names, i));
  GENERAL_NAMES_free(names);
}

static void to_hex(char *out, size_t out_size, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len && 2 * i + 2 < out_size; i++)
    snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

bool tls_peer_certificate(const struct conn *conn, struct tls_certificate *out) {
  const struct tls_conn *c = tls_conn_below(conn);
  const X509 *x = c && c->shaken ? SSL_get0_peer_certificate(c->ssl) : NULL;
  *out = (struct tls_certificate){.subject = BUF_INIT};
  if (!x) return false;
  add_name(&out->subject, X509_get_subject_name(x));
  add_name(&out->issuer, X509_get_issuer_name(x));
  add_common_name(&out->common_name, X509_get_subject_name(x));
  add_alternatives(&out->names, x);
  const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
  to_hex(out->serial, sizeof out->serial, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned digest_len = 0;
  X509_digest(x, EVP_sha256(), digest, &digest_len);
  to_hex(out->fingerprint, sizeof out->fingerprint, digest, digest_len);
  out->not_before = seconds_of(X509_get0_notBefore(x));
  out->not_after = seconds_of(X509_get0_notAfter(x));
  ERR_clear_error();
  return true;
}

void tls_certificate_release(struct tls_certificate *certificate) {
  buf_release(&certificate->subject);
  buf_release(&certificate->issuer);
  buf_release(&certificate->common_name);
  buf_release(&certificate->names);
}

const char *tls_version(const struct conn *conn) {
  const struct tls_conn *c = tls_conn_below(conn);
  return c && c->shaken ? SSL_get_version(c->ssl) : NULL;
}

const char *tls_cipher(const struct conn *conn) {
  const struct tls_conn *c = tls_conn_below(conn);
  return c && c->shaken ? SSL_get_cipher_name(c->ssl) : NULL;
}
