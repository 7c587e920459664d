#include "certificates.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

#define DAY_S     86400L
#define PATHS_MAX 64

struct certificates {
  char folder[64];
  long serial;
  char *paths[PATHS_MAX]; // that were asked for
};

const char *certificates_path(struct certificates *c, const char *file) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", c->folder, file);
  int i = 0;
  while (i < PATHS_MAX && c->paths[i] && strcmp(c->paths[i], path) != 0)
    i++;
  assert_true(i < PATHS_MAX);
  if (!c->paths[i]) c->paths[i] = mem_dup(path, strlen(path) + 1);
  return c->paths[i];
}

static const char *path_of(struct certificates *c, const char *name, const char *suffix) {
  char file[64];
  snprintf(file, sizeof file, "%s%s", name, suffix);
  return certificates_path(c, file);
}

static FILE *open_for(const char *path, const char *mode) {
  FILE *f = fopen(path, mode);
  assert_non_null(f);
  return f;
}

static X509 *read_certificate(struct certificates *c, const char *name) {
  FILE *f = open_for(path_of(c, name, ".pem"), "re");
  X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
  fclose(f);
  assert_non_null(x);
  return x;
}

static EVP_PKEY *read_key(struct certificates *c, const char *name) {
  FILE *f = open_for(path_of(c, name, ".key"), "re");
  EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
  fclose(f);
  assert_non_null(key);
  return key;
}

static void write_files(struct certificates *c, const char *name, X509 *x, EVP_PKEY *key, X509 *next) {
  FILE *f = open_for(path_of(c, name, ".pem"), "we");
  assert_int_equal(PEM_write_X509(f, x), 1);
  if (next) assert_int_equal(PEM_write_X509(f, next), 1);
  fclose(f);
  f = open_for(path_of(c, name, ".key"), "we");
  assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
  fclose(f);
}

static void add_extension(X509 *x, int nid, const char *value) {
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
  assert_non_null(extension);
  assert_int_equal(X509_add_ext(x, extension, -1), 1);
  X509_EXTENSION_free(extension);
}

static X509 *describe(struct certificates *c, const char *name, const struct issue *issue, EVP_PKEY *key) {
  X509 *x = X509_new();
  bool lifetime = issue->from_days || issue->to_days;
  X509_set_version(x, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x), ++c->serial);
  X509_gmtime_adj(X509_getm_notBefore(x), DAY_S * (lifetime ? issue->from_days : -1));
  X509_gmtime_adj(X509_getm_notAfter(x), DAY_S * (lifetime ? issue->to_days : 1));
  const char *common_name = issue->common_name ? issue->common_name : name;
  X509_NAME *subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"luamq tests", -1, -1, 0);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
  X509_set_pubkey(x, key);
  add_extension(x, NID_basic_constraints, issue->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (issue->names) add_extension(x, NID_subject_alt_name, issue->names);
  return x;
}

static void sign(struct certificates *c, X509 *x, EVP_PKEY *own_key, const char *issuer) {
  X509 *by = issuer ? read_certificate(c, issuer) : NULL;
  EVP_PKEY *key = issuer ? read_key(c, issuer) : own_key;
  X509_set_issuer_name(x, X509_get_subject_name(by ? by : x));
  assert_true(X509_sign(x, key, EVP_sha256()) > 0);
  X509_free(by);
  if (issuer) EVP_PKEY_free(key);
}

static void issue_by(struct certificates *c, const char *name, const struct issue *issue,
                     const char *issuer) {
  EVP_PKEY *key = issue->with_key_of ? read_key(c, issue->with_key_of) : EVP_EC_gen("P-256");
  X509 *x = describe(c, name, issue, key);
  sign(c, x, key, issuer);
  X509 *next = issue->with_chain_of ? read_certificate(c, issue->with_chain_of) : NULL;
  write_files(c, name, x, key, next);
  X509_free(next);
  X509_free(x);
  EVP_PKEY_free(key);
}

void certificates_issue(struct certificates *c, const char *name, const struct issue *issue) {
  issue_by(c, name, issue, issue->issuer ? issue->issuer : "ca");
}

void certificates_revoke(struct certificates *c, const char *name) {
  X509 *ca = read_certificate(c, "ca");
  EVP_PKEY *key = read_key(c, "ca");
  X509_CRL *crl = X509_CRL_new();
  ASN1_TIME *time = X509_gmtime_adj(NULL, -DAY_S);
  X509_CRL_set_version(crl, X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca));
  X509_CRL_set1_lastUpdate(crl, time);
  if (name) {
    X509 *revoked = read_certificate(c, name);
    X509_REVOKED *entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
    X509_REVOKED_set_revocationDate(entry, time);
    X509_CRL_add0_revoked(crl, entry);
    X509_free(revoked);
  }
  X509_gmtime_adj(time, DAY_S);
  X509_CRL_set1_nextUpdate(crl, time);
  assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
  FILE *f = open_for(certificates_path(c, "crl.pem"), "we");
  assert_int_equal(PEM_write_X509_CRL(f, crl), 1);
  fclose(f);
  ASN1_TIME_free(time);
  X509_CRL_free(crl);
  EVP_PKEY_free(key);
  X509_free(ca);
}

void certificates_write(struct certificates *c, const char *file, const char *text) {
  FILE *f = open_for(certificates_path(c, file), "we");
  fputs(text, f);
  fclose(f);
}

void certificates_copy(struct certificates *c, const char *from, const char *to) {
  char bytes[16384];
  FILE *f = open_for(certificates_path(c, from), "re");
  size_t len = fread(bytes, 1, sizeof bytes - 1, f);
  fclose(f);
  bytes[len] = 0;
  certificates_write(c, "next", bytes);
  assert_int_equal(rename(certificates_path(c, "next"), certificates_path(c, to)), 0);
}

struct certificates *certificates_new(void) {
  struct certificates *c = mem_calloc(1, sizeof *c);
  const char *parent = getenv("TMPDIR");
  snprintf(c->folder, sizeof c->folder, "%s/luamq-certificates-XXXXXX", parent ? parent : "/tmp");
  assert_non_null(mkdtemp(c->folder));
  issue_by(c, "ca", &(struct issue){.authority = true}, NULL);
  return c;
}

static void remove_files(const char *folder) {
  DIR *d = opendir(folder);
  for (struct dirent *entry; d && (entry = readdir(d));)
    unlinkat(dirfd(d), entry->d_name, 0);
  if (d) closedir(d);
  rmdir(folder);
}

void certificates_free(struct certificates *c) {
  remove_files(c->folder);
  for (int i = 0; i < PATHS_MAX; i++)
    mem_free(c->paths[i]);
  mem_free(c);
}
