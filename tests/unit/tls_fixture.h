// What the tests of TLS share: certificates, and the configuration of a server.
#ifndef LUAMQ_TESTS_TLS_FIXTURE_H
#define LUAMQ_TESTS_TLS_FIXTURE_H

#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "certificates.h"
#include "tls_pair.h"

#define ERROR_SIZE 256

struct fixture {
  struct certificates *files;
  struct tls_identity server; // server.pem
  struct tls_config config;   // of it
  SSL_CTX *client;            // knows the authority
  struct tls *tls;            // loaded from it, by tests that need no other; NULL else
};

static inline struct tls_identity identity(struct fixture *f, const char *certificate, const char *key) {
  return (struct tls_identity){certificates_path(f->files, certificate), certificates_path(f->files, key)};
}

static inline int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->files = certificates_new();
  certificates_issue(f->files, "server", &(struct issue){.names = "DNS:broker.example"});
  f->server = identity(f, "server.pem", "server.key");
  tls_config_init(&f->config);
  f->config.identities = &f->server;
  f->config.identity_count = 1;
  f->client = tls_pair_client_context(certificates_path(f->files, "ca.pem"));
  *state = f;
  return 0;
}

static inline int tear_down(void **state) {
  struct fixture *f = *state;
  SSL_CTX_free(f->client);
  tls_unref(f->tls);
  certificates_free(f->files);
  mem_free(f);
  return 0;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define each_version(version)                                                                                \
  for (const int *version = versions; version < versions + sizeof versions / sizeof *versions; version++)

static inline struct tls *load(const struct tls_config *config) {
  char error[ERROR_SIZE];
  struct tls *t = tls_new(config, error, sizeof error);
  assert_int_equal(ERR_peek_error(), 0);
  if (!t) fail_msg("%s", error);
  return t;
}

static inline void open_version(struct tls_pair *p, struct tls *t, SSL_CTX *client, int version) {
  tls_pair_open(p, t, client, 0);
  SSL_set_min_proto_version(p->client, version);
  SSL_set_max_proto_version(p->client, version);
}

static inline void use_client_certificate(struct fixture *f, SSL *client, const char *name) {
  char file[64];
  snprintf(file, sizeof file, "%s.pem", name);
  assert_int_equal(SSL_use_certificate_file(client, certificates_path(f->files, file), SSL_FILETYPE_PEM), 1);
  snprintf(file, sizeof file, "%s.key", name);
  assert_int_equal(SSL_use_PrivateKey_file(client, certificates_path(f->files, file), SSL_FILETYPE_PEM), 1);
}

static inline struct tls *load_verifying(struct fixture *f, enum tls_verify verify, bool crl) {
  struct tls_config config = f->config;
  config.ca = certificates_path(f->files, "ca.pem");
  config.verify = verify;
  if (crl) config.crl = certificates_path(f->files, "crl.pem");
  return load(&config);
}

static inline void reload(struct tls *t) {
  char error[ERROR_SIZE];
  if (!tls_reload(t, error, sizeof error)) fail_msg("%s", error);
}

#endif
