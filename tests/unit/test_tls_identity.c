// Who presents what in TLS: certificates of the server and of clients, protocols, and files that are loaded
// again.
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#include "tls_fixture.h"

// The text has %s where the folder of the files stands.
static void assert_error(struct fixture *f, const char *error, const char *want) {
  char text[ERROR_SIZE];
  const char *folder = certificates_path(f->files, "");
  snprintf(text, sizeof text, want, folder, folder);
  assert_string_equal(error, text);
  assert_int_equal(ERR_peek_error(), 0);
}

static void expect_refused(struct fixture *f, const struct tls_config *config, const char *want) {
  char error[ERROR_SIZE];
  assert_null(tls_new(config, error, sizeof error));
  assert_error(f, error, want);
}

// --- what the server presents ---

static void assert_presents(struct tls *t, SSL_CTX *client, const char *asked, const char *common_name) {
  char name[100];
  each_version(version) {
    struct tls_pair p;
    open_version(&p, t, client, *version);
    if (asked) SSL_set_tlsext_host_name(p.client, asked);
    tls_pair_shake(&p);
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(p.client)), NID_commonName,
                              name, sizeof name);
    assert_string_equal(name, common_name);
    tls_pair_release(&p);
  }
}

static void the_certificate_is_chosen_by_the_name_that_is_asked_for(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "first", &(struct issue){.names = "DNS:first.example"});
  certificates_issue(f->files, "wild", &(struct issue){.names = "DNS:*.w.example,DNS:second.example"});
  certificates_issue(f->files, "exact", &(struct issue){.names = "DNS:a.w.example,IP:127.0.0.1"});
  certificates_issue(f->files, "named.example", &(struct issue){.names = NULL});
  struct tls_identity identities[] = {
      identity(f, "first.pem", "first.key"), identity(f, "wild.pem", "wild.key"),
      identity(f, "exact.pem", "exact.key"), identity(f, "named.example.pem", "named.example.key")};
  struct tls_config config = f->config;
  config.identities = identities;
  config.identity_count = 4;
  struct tls *t = load(&config);
  static const char *const cases[][2] = {
      {NULL, "first"},         {"first.example", "first"},         {"FIRST.example", "first"},
      {"w.example", "first"},  {"a.w.example", "exact"},           {"b.w.example", "wild"},
      {"B.W.Example", "wild"}, {"second.example", "wild"},         {"a.b.w.example", "first"},
      {"other.org", "first"},  {"named.example", "named.example"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_presents(t, f->client, cases[i][0], cases[i][1]);
  tls_unref(t);
}

static void a_chain_is_sent_whole(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "between", &(struct issue){.authority = true});
  certificates_issue(f->files, "leaf", &(struct issue){.issuer = "between", .with_chain_of = "between"});
  struct tls_identity leaf = identity(f, "leaf.pem", "leaf.key");
  struct tls_config config = f->config;
  config.identities = &leaf;
  struct tls *t = load(&config);
  assert_presents(t, f->client, NULL, "leaf"); // which the client could not verify without it
  tls_unref(t);
}

static void what_cannot_be_loaded_names_the_file_and_why(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "other", &(struct issue){0});
  certificates_write(f->files, "empty.pem", "");
  certificates_write(f->files, "broken.pem",
                     "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
  static const struct {
    const char *certificate, *key, *error;
  } cases[] = {
      {"none.pem", "server.key", "%snone.pem: No such file or directory"},
      {"server.pem", "none.key", "%snone.key: No such file or directory"},
      {"", "server.key", "%s: Is a directory"},
      {"empty.pem", "server.key", "%sempty.pem: no certificate in PEM form"},
      {"server.key", "server.key", "%sserver.key: no certificate in PEM form"},
      {"server.pem", "empty.pem", "%sempty.pem: no private key in PEM form"},
      {"broken.pem", "server.key", "%sbroken.pem: header too long"},
      {"server.pem", "other.key",
       "the key in %sother.key does not belong to the certificate in %sserver.pem"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tls_identity id = identity(f, cases[i].certificate, cases[i].key);
    struct tls_config config = f->config;
    config.identities = &id;
    expect_refused(f, &config, cases[i].error);
  }
}

static void a_key_with_a_passphrase_is_refused_without_asking(void **state) {
  struct fixture *f = *state;
  FILE *in = fopen(certificates_path(f->files, "server.key"), "re");
  EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
  FILE *out = fopen(certificates_path(f->files, "secret.key"), "we");
  assert_int_equal(
      PEM_write_PrivateKey(out, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL), 1);
  fclose(in);
  fclose(out);
  EVP_PKEY_free(key);
  struct tls_identity id = identity(f, "server.pem", "secret.key");
  struct tls_config config = f->config;
  config.identities = &id;
  expect_refused(f, &config, "%ssecret.key: the key has a passphrase; 'openssl pkey' can remove it");
}

static void settings_that_cannot_be_are_refused(void **state) {
  struct fixture *f = *state;
  struct tls_config config = f->config;
  config.ciphers = "NONSENSE";
  expect_refused(f, &config, "ciphers: none of 'NONSENSE' is known");
  config = f->config;
  config.ciphersuites = "TLS_NONSENSE";
  expect_refused(f, &config, "ciphersuites: 'TLS_NONSENSE' has one that is not known");
  config = f->config;
  config.min_version = "1.1";
  expect_refused(f, &config, "min_version: '1.1' is neither 1.2 nor 1.3");
  config = f->config;
  config.identity_count = 0;
  expect_refused(f, &config, "neither a certificate nor pre-shared keys");
  config = f->config;
  config.verify = TLS_VERIFY_OPTIONAL;
  expect_refused(f, &config, "client certificates cannot be verified without a ca");
  config = f->config;
  config.crl = certificates_path(f->files, "crl.pem");
  expect_refused(f, &config, "a crl needs a ca");
  config = f->config;
  config.ca = certificates_path(f->files, "server.key");
  expect_refused(f, &config, "%sserver.key: no certificate in PEM form");
  config.ca = certificates_path(f->files, "ca.pem");
  config.crl = certificates_path(f->files, "ca.pem");
  expect_refused(f, &config, "%sca.pem: no list of revoked certificates in PEM form");
}

static void an_expired_certificate_is_used_and_told(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "old", &(struct issue){.from_days = -9, .to_days = -2});
  struct tls_identity identities[] = {f->server, identity(f, "old.pem", "old.key")};
  struct tls_config config = f->config;
  struct tls *t = load(&config);
  assert_null(tls_expired(t));
  tls_unref(t);
  config.identities = identities;
  config.identity_count = 2;
  t = load(&config);
  assert_string_equal(tls_expired(t), identities[1].certificate);
  tls_unref(t);
}

static void versions_and_ciphers_are_as_set(void **state) {
  struct fixture *f = *state;
  struct tls_config config = f->config;
  config.min_version = "1.3";
  config.ciphersuites = "TLS_AES_128_GCM_SHA256";
  struct tls *t = load(&config);
  struct tls_pair p;
  open_version(&p, t, f->client, TLS1_2_VERSION);
  tls_pair_expect_failure(&p, "unsupported protocol", "tlsv1 alert protocol version");
  tls_pair_release(&p);
  open_version(&p, t, f->client, TLS1_3_VERSION);
  tls_pair_shake(&p);
  assert_string_equal(tls_version(p.conn), "TLSv1.3");
  assert_string_equal(tls_cipher(p.conn), "TLS_AES_128_GCM_SHA256");
  tls_pair_release(&p);
  tls_unref(t);
  config = f->config;
  config.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  t = load(&config);
  open_version(&p, t, f->client, TLS1_2_VERSION);
  tls_pair_shake(&p);
  assert_string_equal(tls_version(p.conn), "TLSv1.2");
  assert_string_equal(tls_cipher(p.conn), "ECDHE-ECDSA-AES128-GCM-SHA256");
  tls_pair_release(&p);
  tls_unref(t);
}

// --- protocols ---

static void a_client_that_lists_protocols_has_to_list_ours(void **state) {
  static const struct {
    const char *ours, *list, *chosen; // NULL: refused
  } cases[] = {
      {"mqtt", "\x04mqtt", "mqtt"},
      {"mqtt", "\x02h2\x04mqtt", "mqtt"},
      {"mqtt", "\x08http/1.1", NULL},
      {"mqtt", "\x02h2\x08http/1.1", NULL},
      {"mqtt", "\x05mqtt5", NULL},
      {"mqtt", "", ""},
      {"http/1.1", "\x02h2\x08http/1.1", "http/1.1"},
      {NULL,
       "\x03"
       "foo",
       ""},
  };
  struct fixture *f = *state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tls_config config = f->config;
    config.protocol = cases[i].ours;
    struct tls *t = load(&config);
    each_version(version) {
      struct tls_pair p;
      open_version(&p, t, f->client, *version);
      unsigned len = (unsigned)strlen(cases[i].list);
      if (len) SSL_set_alpn_protos(p.client, (const unsigned char *)cases[i].list, len);
      if (cases[i].chosen) {
        const unsigned char *chosen;
        unsigned chosen_len;
        tls_pair_shake(&p);
        SSL_get0_alpn_selected(p.client, &chosen, &chosen_len);
        assert_true(slice_eq(slice_of(chosen, chosen_len), slice_str(cases[i].chosen)));
      } else {
        tls_pair_expect_failure(&p, "no application protocol", "tlsv1 alert no application protocol");
      }
      tls_pair_release(&p);
    }
    tls_unref(t);
  }
}

// --- certificates of clients ---

// `failure` NULL: it gets in. `client`: the name of its certificate, or NULL: none.
static void try_client(struct fixture *f, struct tls *t, const char *client, const char *failure) {
  each_version(version) {
    struct tls_pair p;
    struct tls_certificate certificate;
    open_version(&p, t, f->client, *version);
    if (client) use_client_certificate(f, p.client, client);
    if (failure) {
      tls_pair_expect_failure(&p, failure, NULL);
      assert_false(tls_peer_certificate(p.conn, &certificate));
    } else {
      tls_pair_shake(&p);
      assert_int_equal(tls_peer_certificate(p.conn, &certificate), client != NULL);
      if (client) assert_string_equal(buf_text(&certificate.common_name), client);
    }
    tls_certificate_release(&certificate);
    tls_pair_release(&p);
  }
}

static void client_certificates_are_required_optional_or_not_asked_for(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "device", &(struct issue){0});
  certificates_issue(f->files, "expired", &(struct issue){.from_days = -9, .to_days = -2});
  certificates_issue(f->files, "foreign-ca", &(struct issue){.authority = true, .issuer = "ca"});
  certificates_issue(f->files, "foreign", &(struct issue){.issuer = "foreign-ca"});
  struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, false);
  try_client(f, t, "device", NULL);
  try_client(f, t, NULL, "peer did not return a certificate");
  try_client(f, t, "expired", "certificate has expired");
  try_client(f, t, "foreign", "unable to get local issuer certificate");
  tls_unref(t);
  t = load_verifying(f, TLS_VERIFY_OPTIONAL, false);
  try_client(f, t, "device", NULL);
  try_client(f, t, NULL, NULL);
  try_client(f, t, "expired", "certificate has expired");
  tls_unref(t);
  t = load(&f->config);
  struct tls_pair p;
  struct tls_certificate certificate;
  tls_pair_open(&p, t, f->client, 0);
  use_client_certificate(f, p.client, "device"); // which nobody asks for
  tls_pair_shake(&p);
  assert_false(tls_peer_certificate(p.conn, &certificate));
  tls_certificate_release(&certificate);
  tls_pair_release(&p);
  tls_unref(t);
}

static void a_revoked_certificate_is_refused(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "device", &(struct issue){0});
  certificates_issue(f->files, "stolen", &(struct issue){0});
  certificates_revoke(f->files, "stolen");
  struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, true);
  try_client(f, t, "device", NULL);
  try_client(f, t, "stolen", "certificate revoked");
  tls_unref(t);
}

static void assert_names(struct buf *names, const char *const *want, size_t count) {
  struct buf all = BUF_INIT;
  for (size_t i = 0; i < count; i++)
    buf_add(&all, want[i], strlen(want[i]) + 1);
  assert_int_equal(names->len, all.len);
  assert_memory_equal(names->ptr, all.ptr, all.len);
  buf_release(&all);
}

static void show_certificate(struct fixture *f, struct tls *t, const char *name,
                             struct tls_certificate *certificate) {
  struct tls_pair p;
  tls_pair_open(&p, t, f->client, 0);
  use_client_certificate(f, p.client, name);
  tls_pair_shake(&p);
  assert_true(tls_peer_certificate(p.conn, certificate));
  tls_pair_release(&p);
}

static void what_a_certificate_says_is_told(void **state) {
  static const char *const names[] = {"DNS:d.example", "IP:192.0.2.1", "IP:2001:db8::1", "URI:urn:dev:7",
                                      "email:d@example.org"};
  struct fixture *f = *state;
  struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, false);
  struct tls_certificate c;
  certificates_issue(f->files, "device",
                     &(struct issue){.common_name = "Gerät, 7",
                                     .names = "DNS:d.example,IP:192.0.2.1,IP:2001:db8::1,URI:urn:dev:7,"
                                              "email:d@example.org"});
  show_certificate(f, t, "device", &c);
  assert_string_equal(buf_text(&c.common_name), "Gerät, 7");
  assert_string_equal(buf_text(&c.subject), "CN=Gerät\\, 7,O=luamq tests");
  assert_string_equal(buf_text(&c.issuer), "CN=ca,O=luamq tests");
  assert_names(&c.names, names, sizeof names / sizeof *names);
  assert_int_equal(c.not_after - c.not_before, 2 * 86400);
  assert_int_equal(strlen(c.serial) % 2, 0);
  assert_int_equal(strspn(c.fingerprint, "0123456789abcdef"), 64);
  tls_certificate_release(&c);
  tls_unref(t);
}

static void a_name_with_a_nul_inside_is_no_name(void **state) {
  static const char *const names[] = {"DNS:ok"};
  struct fixture *f = *state;
  struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, false);
  struct tls_certificate c;
  certificates_issue(f->files, "device", // "a\0DNS:b", "ok"
                     &(struct issue){.names = "DER:300d82076100444e533a6282026f6b"});
  show_certificate(f, t, "device", &c);
  assert_names(&c.names, names, 1);
  tls_certificate_release(&c);
  tls_unref(t);
}

// --- loading again ---

static void files_are_loaded_again_for_connections_to_come(void **state) {
  struct fixture *f = *state;
  struct tls *t = load(&f->config);
  struct tls_pair old;
  tls_pair_open(&old, t, f->client, 0);
  tls_pair_shake(&old);
  assert_false(tls_files_changed(t));
  certificates_issue(f->files, "next", &(struct issue){.common_name = "newer"});
  certificates_copy(f->files, "next.pem", "server.pem");
  certificates_copy(f->files, "next.key", "server.key");
  assert_true(tls_files_changed(t));
  assert_presents(t, f->client, NULL, "server");
  reload(t);
  assert_false(tls_files_changed(t));
  assert_presents(t, f->client, NULL, "newer");
  tls_pair_client_write(&old, "still", 5);
  tls_pair_run(&old);
  assert_string_equal(buf_text(&old.got), "still");
  tls_unref(t); // the connection keeps it
  tls_pair_client_write(&old, " here", 5);
  tls_pair_run(&old);
  assert_string_equal(buf_text(&old.got), "still here");
  tls_pair_release(&old);
}

static void files_that_cannot_be_used_leave_what_was_loaded(void **state) {
  struct fixture *f = *state;
  char error[ERROR_SIZE];
  struct tls *t = load(&f->config);
  certificates_issue(f->files, "other", &(struct issue){0});
  certificates_copy(f->files, "other.pem", "server.pem"); // half of what a renewal does
  assert_true(tls_files_changed(t));
  assert_false(tls_reload(t, error, sizeof error));
  assert_error(f, error, "the key in %sserver.key does not belong to the certificate in %sserver.pem");
  assert_false(tls_files_changed(t)); // once is enough
  assert_presents(t, f->client, NULL, "server");
  certificates_copy(f->files, "other.key", "server.key"); // the other half
  assert_true(tls_files_changed(t));
  reload(t);
  assert_presents(t, f->client, NULL, "other");
  unlink(f->server.key);
  assert_true(tls_files_changed(t));
  assert_false(tls_reload(t, error, sizeof error));
  assert_error(f, error, "%sserver.key: No such file or directory");
  assert_presents(t, f->client, NULL, "other");
  tls_unref(t);
}

static void a_link_that_leads_elsewhere_is_a_change(void **state) {
  struct fixture *f = *state;
  const char *link = certificates_path(f->files, "live"), *next = certificates_path(f->files, "live.next");
  certificates_issue(f->files, "second", &(struct issue){0});
  assert_int_equal(symlink("server.pem", link), 0);
  struct tls_identity id = {link, f->server.key};
  struct tls_config config = f->config;
  config.identities = &id;
  struct tls *t = load(&config);
  assert_false(tls_files_changed(t));
  assert_int_equal(symlink("second.pem", next), 0);
  assert_int_equal(rename(next, link), 0);
  assert_true(tls_files_changed(t));
  tls_unref(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
      T(the_certificate_is_chosen_by_the_name_that_is_asked_for),
      T(a_chain_is_sent_whole),
      T(what_cannot_be_loaded_names_the_file_and_why),
      T(a_key_with_a_passphrase_is_refused_without_asking),
      T(settings_that_cannot_be_are_refused),
      T(an_expired_certificate_is_used_and_told),
      T(versions_and_ciphers_are_as_set),
      T(a_client_that_lists_protocols_has_to_list_ours),
      T(client_certificates_are_required_optional_or_not_asked_for),
      T(a_revoked_certificate_is_refused),
      T(what_a_certificate_says_is_told),
      T(a_name_with_a_nul_inside_is_no_name),
      T(files_are_loaded_again_for_connections_to_come),
      T(files_that_cannot_be_used_leave_what_was_loaded),
      T(a_link_that_leads_elsewhere_is_a_change),
#undef T
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
