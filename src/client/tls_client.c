#include "client/tls_client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define ALPN_MAX    255
#define READ_BUFFER 65536 // of ciphertext in one system call

struct tls_client {
  SSL_CTX *ctx;
  char *psk_identity;
  unsigned char psk[TLS_CLIENT_PSK_MAX];
  size_t psk_len;
  bool insecure;
  unsigned char alpn[1 + ALPN_MAX]; // its length and the text; 0: the connection's
};

static bool wrong(struct tls_client_error *e, enum tls_client_field field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool wrong(struct tls_client_error *e, enum tls_client_field field, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(e->text, sizeof e->text, format, args);
  va_end(args);
  e->field = field;
  ERR_clear_error();
  return false;
}

static const char *reason(unsigned long error) {
  const char *text = ERR_reason_error_string(error);
  return text ? text : "unknown error";
}

// What the system says about a file tells more than what OpenSSL says about it.
static bool readable(struct tls_client_error *e, enum tls_client_field field, const char *path) {
  if (access(path, R_OK) == 0) return true;
  return wrong(e, field, "cannot read %.100s: %s", path, strerror(errno));
}

// Trust

static bool use_authorities(struct tls_client *t, const struct tls_client_options *o,
                            struct tls_client_error *e) {
  if (o->ca_file) {
    if (!readable(e, TLS_CLIENT_CA_FILE, o->ca_file)) return false;
    if (SSL_CTX_load_verify_file(t->ctx, o->ca_file) != 1)
      return wrong(e, TLS_CLIENT_CA_FILE, "%.100s holds no certificates in PEM form: %s", o->ca_file,
                   reason(ERR_peek_last_error()));
  }
  if (o->ca_path) {
    if (!readable(e, TLS_CLIENT_CA_PATH, o->ca_path)) return false;
    if (SSL_CTX_load_verify_dir(t->ctx, o->ca_path) != 1)
      return wrong(e, TLS_CLIENT_CA_PATH, "%.100s: %s", o->ca_path, reason(ERR_peek_last_error()));
  }
  if (o->system_cas || (!o->ca_file && !o->ca_path && !o->psk)) SSL_CTX_set_default_verify_paths(t->ctx);
  ERR_clear_error(); // a system without certificates trusts nobody
  return true;
}

// Who we are

// Keys that are encrypted would be asked for at the terminal, where a script or a service has none.
static int no_passphrase(char *buf, int size, int writing, void *asked) {
  (void)buf, (void)size, (void)writing;
  if (asked) *(bool *)asked = true;
  return -1;
}

static bool use_key(struct tls_client *t, const struct tls_client_options *o, struct tls_client_error *e) {
  bool asked = false;
  SSL_CTX_set_default_passwd_cb_userdata(t->ctx, &asked);
  bool used = SSL_CTX_use_PrivateKey_file(t->ctx, o->key, SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(t->ctx, NULL);
  if (used) return true;
  if (asked) return wrong(e, TLS_CLIENT_KEY, "%.100s is encrypted, and must not be", o->key);
  unsigned long error = ERR_peek_last_error();
  if (ERR_GET_REASON(error) == X509_R_KEY_VALUES_MISMATCH)
    return wrong(e, TLS_CLIENT_KEY, "%.100s is not the key of %.60s", o->key, o->certificate);
  return wrong(e, TLS_CLIENT_KEY, "%.100s holds no private key in PEM form: %s", o->key, reason(error));
}

static bool use_certificate(struct tls_client *t, const struct tls_client_options *o,
                            struct tls_client_error *e) {
  if (!o->certificate && !o->key) return true;
  if (!o->certificate) return wrong(e, TLS_CLIENT_CERTIFICATE, "missing: a key needs its certificate");
  if (!o->key) return wrong(e, TLS_CLIENT_KEY, "missing: a certificate needs its key");
  if (!readable(e, TLS_CLIENT_CERTIFICATE, o->certificate) || !readable(e, TLS_CLIENT_KEY, o->key))
    return false;
  if (SSL_CTX_use_certificate_chain_file(t->ctx, o->certificate) != 1)
    return wrong(e, TLS_CLIENT_CERTIFICATE, "%.100s holds no certificate in PEM form: %s", o->certificate,
                 reason(ERR_peek_last_error()));
  return use_key(t, o, e);
}

static unsigned int give_psk(SSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *psk, unsigned int psk_max) {
  (void)hint;
  const struct tls_client *t = SSL_get_app_data(ssl);
  size_t len = strlen(t->psk_identity);
  if (len >= identity_max || t->psk_len > psk_max) return 0;
  memcpy(identity, t->psk_identity, len + 1);
  memcpy(psk, t->psk, t->psk_len);
  return (unsigned int)t->psk_len;
}

static bool use_psk(struct tls_client *t, const struct tls_client_options *o, struct tls_client_error *e) {
  if (!o->psk && !o->psk_identity) return true;
  if (!o->psk) return wrong(e, TLS_CLIENT_PSK, "missing: an identity needs its key");
  if (!o->psk_identity)
    return wrong(e, TLS_CLIENT_PSK_IDENTITY, "missing: a pre-shared key needs its identity");
  if (o->ca_file || o->ca_path) return wrong(e, TLS_CLIENT_PSK, "excludes certificates of authorities");
  if (!*o->psk_identity || strlen(o->psk_identity) > PSK_MAX_IDENTITY_LEN)
    return wrong(e, TLS_CLIENT_PSK_IDENTITY, "expected 1 to %d bytes", PSK_MAX_IDENTITY_LEN);
  if (!*o->psk || OPENSSL_hexstr2buf_ex(t->psk, sizeof t->psk, &t->psk_len, o->psk, '\0') != 1)
    return wrong(e, TLS_CLIENT_PSK, "expected hexadecimal digits for 1 to %d bytes", TLS_CLIENT_PSK_MAX);
  t->psk_identity = mem_dup(o->psk_identity, strlen(o->psk_identity) + 1);
  SSL_CTX_set_psk_client_callback(t->ctx, give_psk);
  // Those with forward secrecy first. A server that ignores the key and shows a certificate is not trusted.
  int known = SSL_CTX_set_cipher_list(t->ctx, "kECDHEPSK:kDHEPSK:kPSK");
  assert(known == 1);
  (void)known;
  return true;
}

static bool use_alpn(struct tls_client *t, const struct tls_client_options *o, struct tls_client_error *e) {
  size_t len = o->alpn ? strlen(o->alpn) : 0;
  if (len > ALPN_MAX) return wrong(e, TLS_CLIENT_ALPN, "longer than %d bytes", ALPN_MAX);
  if (o->alpn && !len) return wrong(e, TLS_CLIENT_ALPN, "expected the name of a protocol");
  t->alpn[0] = (unsigned char)len;
  if (len) memcpy(t->alpn + 1, o->alpn, len);
  return true;
}

static bool use_version(struct tls_client *t, const struct tls_client_options *o,
                        struct tls_client_error *e) {
  const char *version = o->min_version ? o->min_version : "1.2";
  bool newest = strcmp(version, "1.3") == 0;
  if (!newest && strcmp(version, "1.2") != 0) return wrong(e, TLS_CLIENT_MIN_VERSION, "expected 1.2 or 1.3");
  SSL_CTX_set_min_proto_version(t->ctx, newest ? TLS1_3_VERSION : TLS1_2_VERSION);
  return true;
}

struct tls_client *tls_client_new(const struct tls_client_options *o, struct tls_client_error *e) {
  struct tls_client *t = mem_calloc(1, sizeof *t);
  ERR_clear_error();
  t->ctx = mem_require(SSL_CTX_new(TLS_client_method()));
  t->insecure = o->insecure;
  SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_default_passwd_cb(t->ctx, no_passphrase);
  // MQTT tells by itself where a connection ends, and many brokers end theirs without close_notify.
  SSL_CTX_set_options(t->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(t->ctx, 1);
  SSL_CTX_set_default_read_buffer_len(t->ctx, READ_BUFFER);
  if (use_authorities(t, o, e) && use_certificate(t, o, e) && use_psk(t, o, e) && use_alpn(t, o, e) &&
      use_version(t, o, e))
    return t;
  tls_client_free(t);
  return NULL;
}

void tls_client_free(struct tls_client *t) {
  if (!t) return;
  SSL_CTX_free(t->ctx);
  mem_free(t->psk_identity);
  explicit_bzero(t->psk, sizeof t->psk);
  mem_free(t);
}

// Connections

static bool is_address(const char *host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void expect_host(const struct tls_client *t, SSL *ssl, const char *host) {
  X509_VERIFY_PARAM *verify = SSL_get0_param(ssl);
  bool address = is_address(host);
  if (!address) SSL_set_tlsext_host_name(ssl, host);
  if (t->insecure) return;
  X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  int set = address ? X509_VERIFY_PARAM_set1_ip_asc(verify, host) : SSL_set1_host(ssl, host);
  mem_require(set == 1 ? verify : NULL);
}

static void suggest_protocol(const struct tls_client *t, SSL *ssl, const char *alpn) {
  char text[1 + ALPN_MAX + 1];
  int len = snprintf(text + 1, sizeof text - 1, "%s", alpn);
  assert(len > 0 && len <= ALPN_MAX);
  text[0] = (char)len;
  const unsigned char *list = (const unsigned char *)text, *used = t->alpn[0] ? t->alpn : list;
  SSL_set_alpn_protos(ssl, used, 1u + used[0]);
}

SSL *tls_client_connection(const struct tls_client *t, int fd, const char *host, const char *alpn) {
  SSL *ssl = mem_require(SSL_new(t->ctx));
  SSL_set0_rbio(ssl, mem_require(BIO_new_socket(fd, BIO_NOCLOSE)));
  SSL_set0_wbio(ssl, mem_require(BIO_new(BIO_s_mem())));
  SSL_set_app_data(ssl, (void *)t);
  SSL_set_connect_state(ssl);
  expect_host(t, ssl, host);
  suggest_protocol(t, ssl, alpn);
  return ssl;
}

void tls_client_failure(const SSL *ssl, char *text, size_t size) {
  unsigned long error = ERR_peek_error();
  long verified = SSL_get_verify_result(ssl);
  if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
    snprintf(text, size, "certificate verify failed: %s", X509_verify_cert_error_string(verified));
  else if (ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER)
    snprintf(text, size, "what answers does not speak TLS");
  else
    snprintf(text, size, "TLS: %s", error ? reason(error) : "the connection failed");
  ERR_clear_error();
}
