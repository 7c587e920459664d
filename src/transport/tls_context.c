// What a listener presents: files into SSL_CTXs, one for each identity, and what is chosen among them when a
// client says hello.
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "transport/tls_impl.h"

// Pre-shared keys go with SHA-256 [RFC 8446, 4.2.11]. What is chosen before it is known whether a client has
// one must not rule it out.
#define KEYS_FIRST "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
// Without finite fields, which would let clients buy much of our time with little of theirs.
#define GROUPS           "X25519:P-256:P-384:P-521:X448"
#define CLIENT_CHAIN_MAX 32768 // bytes of the certificates that a client shows

struct loading { // of a new set of contexts
  const struct tls *tls;
  char *error;
  size_t error_size;
  X509_STORE *trusted;         // NULL: no client certificates
  STACK_OF(X509_NAME) * names; // of those who may have issued them
  uint8_t session_context[SSL_MAX_SID_CTX_LENGTH];
};

// --- errors ---

const char *tls_take_reason(const char *otherwise) {
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason ? reason : otherwise;
}

__attribute__((format(printf, 2, 3))) static bool fail(struct loading *l, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(l->error, l->error_size, format, args);
  va_end(args);
  ERR_clear_error();
  return false;
}

// A file was read, and is not what it should be. A decoder of keys tells only that none of its kinds fits.
static bool fail_contents(struct loading *l, const char *path, const char *what) {
  unsigned long error = ERR_peek_error();
  const char *reason = ERR_reason_error_string(error);
  if (!reason || ERR_GET_REASON(error) == PEM_R_NO_START_LINE || ERR_GET_LIB(error) == ERR_LIB_OSSL_DECODER)
    return fail(l, "%s: no %s in PEM form", path, what);
  return fail(l, "%s: %s", path, reason);
}

static BIO *open_file(struct loading *l, const char *path) {
  struct stat status;
  FILE *file = fopen(path, "re");
  bool folder = file && fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode);
  if (file && !folder) return mem_require(BIO_new_fp(file, BIO_CLOSE));
  fail(l, "%s: %s", path, conn_strerror(file ? EISDIR : errno));
  if (file) fclose(file);
  return NULL;
}

// --- files that have changed ---

static void take_stamps(struct tls *t) {
  for (unsigned i = 0; i < t->path_count; i++)
    t->stamps[i] = file_stamp_of(t->paths[i]);
}

bool tls_files_changed(const struct tls *t) {
  for (unsigned i = 0; i < t->path_count; i++) {
    struct file_stamp now = file_stamp_of(t->paths[i]);
    if (!file_stamp_eq(&now, &t->stamps[i])) return true;
  }
  return false;
}

// --- the server's certificate ---

static int refuse_passphrase(char *buf, int size, int writing, void *asked) {
  (void)buf, (void)size, (void)writing;
  *(bool *)asked = true;
  return -1;
}

// The first certificate is the server's own, the others lead to one that clients know.
static bool use_chain(struct loading *l, SSL_CTX *context, BIO *file, const char *path) {
  X509 *own = PEM_read_bio_X509_AUX(file, NULL, NULL, NULL);
  bool fine = own && SSL_CTX_use_certificate(context, own) == 1;
  X509_free(own);
  if (!fine) return fail_contents(l, path, "certificate");
  for (X509 *next; (next = PEM_read_bio_X509(file, NULL, NULL, NULL));)
    SSL_CTX_add0_chain_cert(context, next);
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) return fail_contents(l, path, "chain");
  ERR_clear_error();
  return true;
}

static bool use_key(struct loading *l, SSL_CTX *context, BIO *file, const struct tls_identity *id) {
  bool asked = false;
  EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, refuse_passphrase, &asked);
  if (asked) {
    EVP_PKEY_free(key);
    return fail(l, "%s: the key has a passphrase; 'openssl pkey' can remove it", id->key);
  }
  if (!key) return fail_contents(l, id->key, "private key");
  bool fine = SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
  EVP_PKEY_free(key);
  if (fine) return true;
  return fail(l, "the key in %s does not belong to the certificate in %s", id->key, id->certificate);
}

static bool use_identity(struct loading *l, SSL_CTX *context, const struct tls_identity *id) {
  BIO *chain = open_file(l, id->certificate), *key = chain ? open_file(l, id->key) : NULL;
  bool fine = key && use_chain(l, context, chain, id->certificate) && use_key(l, context, key, id);
  BIO_free(chain);
  BIO_free(key);
  return fine;
}

// --- certificates of clients ---

static bool load_crl(struct loading *l, const char *path) {
  BIO *file = open_file(l, path);
  if (!file) return false;
  int count = 0;
  for (X509_CRL *crl; (crl = PEM_read_bio_X509_CRL(file, NULL, NULL, NULL)); count++) {
    X509_STORE_add_crl(l->trusted, crl);
    X509_CRL_free(crl);
  }
  bool fine = count && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  BIO_free(file);
  if (!fine) return fail_contents(l, path, "list of revoked certificates");
  ERR_clear_error();
  X509_STORE_set_flags(l->trusted, X509_V_FLAG_CRL_CHECK);
  return true;
}

static bool load_authorities(struct loading *l, const char *path) {
  BIO *file = open_file(l, path);
  if (!file) return false;
  l->trusted = mem_require(X509_STORE_new());
  l->names = mem_require(sk_X509_NAME_new_null());
  int count = 0;
  for (X509 *ca; (ca = PEM_read_bio_X509_AUX(file, NULL, NULL, NULL)); count++) {
    X509_STORE_add_cert(l->trusted, ca);
    sk_X509_NAME_push(l->names, mem_require(X509_NAME_dup(X509_get_subject_name(ca))));
    X509_free(ca);
  }
  bool fine = count && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  BIO_free(file);
  if (!fine) return fail_contents(l, path, "certificate");
  ERR_clear_error();
  return true;
}

// Sessions of other authorities or of an older list of revoked certificates are not resumed: a handshake
// checks them again.
static void name_session_context(struct loading *l) {
  struct file_stamp stamps[2] = {{0}};
  const struct tls_config *config = &l->tls->config;
  if (config->ca) stamps[0] = file_stamp_of(config->ca);
  if (config->crl) stamps[1] = file_stamp_of(config->crl);
  EVP_Digest(stamps, sizeof stamps, l->session_context, NULL, EVP_sha256(), NULL);
}

static void ask_for_certificate(const struct loading *l, SSL_CTX *context) {
  static const int modes[] = {
      [TLS_VERIFY_NONE] = SSL_VERIFY_NONE,
      [TLS_VERIFY_OPTIONAL] = SSL_VERIFY_PEER,
      [TLS_VERIFY_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
  };
  SSL_CTX_set_session_id_context(context, l->session_context, sizeof l->session_context);
  if (!l->trusted) return;
  SSL_CTX_set1_cert_store(context, l->trusted);
  SSL_CTX_set_client_CA_list(context, SSL_dup_CA_list(l->names));
  SSL_CTX_set_verify(context, modes[l->tls->config.verify], NULL);
}

// --- what a client asks for in its hello ---

static SSL_CTX *context_named(const struct tls *t, const char *name, unsigned flags) {
  for (unsigned i = 0; i < t->context_count; i++)
    if (X509_check_host(SSL_CTX_get0_certificate(t->contexts[i]), name, 0, flags, NULL) == 1)
      return t->contexts[i];
  return NULL;
}

// A name that none of the certificates has gets the first one: many devices know their broker by an address.
static int choose_identity(SSL *ssl, int *alert, void *arg) {
  (void)alert;
  const struct tls *t = arg;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (!name || t->context_count < 2) return SSL_TLSEXT_ERR_NOACK;
  SSL_CTX *context = context_named(t, name, X509_CHECK_FLAG_NO_WILDCARDS);
  if (!context) context = context_named(t, name, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (!context) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_SSL_CTX(ssl, context);
  return SSL_TLSEXT_ERR_OK;
}

static struct slice next_protocol(struct slice *list) {
  size_t len = list->ptr[0];
  if (len >= list->len) len = list->len - 1;
  struct slice protocol = slice_of(list->ptr + 1, len);
  *list = slice_from(*list, len + 1);
  return protocol;
}

// Who lists protocols, but not the listener's, speaks something else [RFC 7301, 3.2].
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg) {
  (void)ssl;
  const struct tls *t = arg;
  struct slice list = slice_of(in, in_len), ours = slice_str(t->config.protocol);
  while (list.len) {
    struct slice protocol = next_protocol(&list);
    if (!slice_eq(protocol, ours)) continue;
    *out = protocol.ptr;
    *out_len = (unsigned char)protocol.len;
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// --- contexts ---

static int version_named(const char *name) {
  static const struct {
    const char *name;
    int version;
  } versions[] = {{"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}};
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
    if (strcmp(name, versions[i].name) == 0) return versions[i].version;
  return 0;
}

// Sessions are kept by clients alone, in tickets.
static void set_options(const struct tls *t, SSL_CTX *context) {
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set1_groups_list(context, GROUPS);
  SSL_CTX_set_max_cert_list(context, CLIENT_CHAIN_MAX);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, t->config.session_tickets ? 1 : 0);
  if (!t->config.session_tickets) SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_set_tlsext_servername_callback(context, choose_identity);
  SSL_CTX_set_tlsext_servername_arg(context, (void *)(uintptr_t)t);
  if (t->config.protocol) SSL_CTX_set_alpn_select_cb(context, choose_protocol, (void *)(uintptr_t)t);
  if (t->config.psk) tls_use_psk(context);
}

static bool set_algorithms(struct loading *l, SSL_CTX *context) {
  const struct tls_config *config = &l->tls->config;
  int version = version_named(config->min_version);
  if (!version) return fail(l, "min_version: '%s' is neither 1.2 nor 1.3", config->min_version);
  SSL_CTX_set_min_proto_version(context, version);
  if (config->ciphers && !SSL_CTX_set_cipher_list(context, config->ciphers))
    return fail(l, "ciphers: none of '%s' is known", config->ciphers);
  if (config->psk) SSL_CTX_set_ciphersuites(context, KEYS_FIRST);
  if (config->ciphersuites && !SSL_CTX_set_ciphersuites(context, config->ciphersuites))
    return fail(l, "ciphersuites: '%s' has one that is not known", config->ciphersuites);
  return true;
}

static SSL_CTX *load_context(struct loading *l, const struct tls_identity *id) {
  SSL_CTX *context = mem_require(SSL_CTX_new(TLS_server_method()));
  set_options(l->tls, context);
  ask_for_certificate(l, context);
  if (set_algorithms(l, context) && (!id || use_identity(l, context, id))) return context;
  SSL_CTX_free(context);
  return NULL;
}

static bool check_config(struct loading *l) {
  const struct tls_config *config = &l->tls->config;
  if (!config->identity_count && !config->psk) return fail(l, "neither a certificate nor pre-shared keys");
  if (config->verify != TLS_VERIFY_NONE && !config->ca)
    return fail(l, "client certificates cannot be verified without a ca");
  if (config->crl && !config->ca) return fail(l, "a crl needs a ca");
  return true;
}

static void free_contexts(SSL_CTX **contexts, unsigned count) {
  while (count)
    SSL_CTX_free(contexts[--count]);
  mem_free(contexts);
}

// Those who have a ticket may go on using it.
static void keep_ticket_keys(SSL_CTX *from, SSL_CTX *to) {
  uint8_t keys[256];
  long size = SSL_CTX_get_tlsext_ticket_keys(from, NULL, 0);
  assert(size > 0 && size <= (long)sizeof keys);
  SSL_CTX_get_tlsext_ticket_keys(from, keys, size);
  SSL_CTX_set_tlsext_ticket_keys(to, keys, size);
  OPENSSL_cleanse(keys, sizeof keys);
}

static void swap_contexts(struct tls *t, SSL_CTX **contexts, unsigned count) {
  if (t->contexts) {
    keep_ticket_keys(t->contexts[0], contexts[0]);
    free_contexts(t->contexts, t->context_count);
  }
  t->contexts = contexts;
  t->context_count = count;
}

static bool load_contexts(struct tls *t, struct loading *l) {
  const struct tls_config *config = &t->config;
  if (!check_config(l)) return false;
  if (config->ca && !load_authorities(l, config->ca)) return false;
  if (config->crl && !load_crl(l, config->crl)) return false;
  unsigned want = config->identity_count ? config->identity_count : 1, count = 0;
  SSL_CTX **contexts = mem_calloc(want, sizeof(SSL_CTX *));
  for (; count < want; count++)
    if (!(contexts[count] = load_context(l, config->identity_count ? &config->identities[count] : NULL)))
      break;
  if (count == want)
    swap_contexts(t, contexts, count);
  else
    free_contexts(contexts, count);
  return count == want;
}

bool tls_reload(struct tls *t, char *error, size_t error_size) {
  struct loading l = {.tls = t, .error = error, .error_size = error_size};
  take_stamps(t); // before reading: what changes meanwhile has changed afterwards
  name_session_context(&l);
  ERR_clear_error();
  bool fine = load_contexts(t, &l);
  X509_STORE_free(l.trusted);
  sk_X509_NAME_pop_free(l.names, X509_NAME_free);
  ERR_clear_error();
  return fine;
}

// --- life ---

static void *require_alloc(size_t size, const char *file, int line) {
  (void)file, (void)line;
  return mem_alloc(size);
}

static void *require_realloc(void *old, size_t size, const char *file, int line) {
  (void)file, (void)line;
  return mem_realloc(old, size);
}

static void give_back(void *ptr, const char *file, int line) {
  (void)file, (void)line;
  mem_free(ptr);
}

void tls_require_memory(void) { CRYPTO_set_mem_functions(require_alloc, require_realloc, give_back); }

void tls_config_init(struct tls_config *c) {
  *c = (struct tls_config){.min_version = "1.2", .session_tickets = true, .protocol = "mqtt"};
}

static const char *copy(const char *text) { return text ? mem_dup(text, strlen(text) + 1) : NULL; }

static void copy_config(struct tls *t, const struct tls_config *config) {
  struct tls_identity *identities = mem_calloc(config->identity_count, sizeof *identities);
  for (unsigned i = 0; i < config->identity_count; i++)
    identities[i] =
        (struct tls_identity){copy(config->identities[i].certificate), copy(config->identities[i].key)};
  t->config = *config;
  t->config.identities = identities;
  t->config.ca = copy(config->ca);
  t->config.crl = copy(config->crl);
  t->config.min_version = copy(config->min_version);
  t->config.ciphers = copy(config->ciphers);
  t->config.ciphersuites = copy(config->ciphersuites);
  t->config.protocol = copy(config->protocol);
}

static void free_text(const char *text) { mem_free((void *)(uintptr_t)text); }

static void release_config(struct tls_config *c) {
  for (unsigned i = 0; i < c->identity_count; i++) {
    free_text(c->identities[i].certificate);
    free_text(c->identities[i].key);
  }
  mem_free((void *)(uintptr_t)c->identities);
  free_text(c->ca);
  free_text(c->crl);
  free_text(c->min_version);
  free_text(c->ciphers);
  free_text(c->ciphersuites);
  free_text(c->protocol);
}

static void list_paths(struct tls *t) {
  const struct tls_config *config = &t->config;
  unsigned most = 2 * config->identity_count + 2, count = 0;
  t->paths = mem_calloc(most, sizeof *t->paths);
  t->stamps = mem_calloc(most, sizeof *t->stamps);
  for (unsigned i = 0; i < config->identity_count; i++) {
    t->paths[count++] = config->identities[i].certificate;
    t->paths[count++] = config->identities[i].key;
  }
  if (config->ca) t->paths[count++] = config->ca;
  if (config->crl) t->paths[count++] = config->crl;
  t->path_count = count;
}

struct tls *tls_new(const struct tls_config *config, char *error, size_t error_size) {
  struct tls *t = mem_calloc(1, sizeof *t);
  t->refs = 1;
  t->method = tls_bio_method();
  t->plaintext = mem_alloc(SSL3_RT_MAX_PLAIN_LENGTH);
  copy_config(t, config);
  list_paths(t);
  if (tls_reload(t, error, error_size)) return t;
  tls_unref(t);
  return NULL;
}

struct tls *tls_ref(struct tls *t) {
  t->refs++;
  return t;
}

void tls_unref(struct tls *t) {
  if (!t || --t->refs) return;
  if (t->contexts) free_contexts(t->contexts, t->context_count);
  release_config(&t->config);
  mem_free(t->paths);
  mem_free(t->stamps);
  BIO_meth_free(t->method);
  buf_release(&t->records);
  mem_free(t->plaintext);
  mem_free(t);
}

const char *tls_expired(const struct tls *t) {
  for (unsigned i = 0; i < t->config.identity_count; i++)
    if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(t->contexts[i]))) < 0)
      return t->config.identities[i].certificate;
  return NULL;
}
