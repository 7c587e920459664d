// Who comes back, and by what: pre-shared keys, and sessions that are resumed by tickets.
#include <errno.h>
#include <string.h>

#include "tls_fixture.h"

// --- pre-shared keys ---

static const uint8_t key_of_dev[] = "0123456789abcdef";

struct keys { // that the server knows
  int asked;
  bool gone; // nobody's any more
};

static unsigned find_key(void *arg, struct slice name, uint8_t key[TLS_PSK_MAX]) {
  struct keys *keys = arg;
  keys->asked++;
  if (keys->gone || !slice_eq(name, SLICE("dev"))) return 0;
  memcpy(key, key_of_dev, 16);
  return 16;
}

static unsigned client_as(const char *name, const uint8_t *key, char *identity, unsigned identity_size,
                          unsigned char *out) {
  snprintf(identity, identity_size, "%s", name);
  memcpy(out, key, 16);
  return 16;
}

static unsigned as_dev(SSL *ssl, const char *hint, char *identity, unsigned size, unsigned char *key,
                       unsigned key_size) {
  (void)ssl, (void)hint, (void)key_size;
  return client_as("dev", key_of_dev, identity, size, key);
}

static unsigned as_nobody(SSL *ssl, const char *hint, char *identity, unsigned size, unsigned char *key,
                          unsigned key_size) {
  (void)ssl, (void)hint, (void)key_size;
  return client_as("nobody", key_of_dev, identity, size, key);
}

static unsigned with_wrong_key(SSL *ssl, const char *hint, char *identity, unsigned size, unsigned char *key,
                               unsigned key_size) {
  (void)ssl, (void)hint, (void)key_size;
  return client_as("dev", (const uint8_t *)"fedcba9876543210", identity, size, key);
}

static struct tls *load_psk(const struct fixture *f, struct keys *keys, unsigned identities) {
  struct tls_config config = f->config;
  *keys = (struct keys){0};
  config.identity_count = identities;
  config.psk = find_key;
  config.psk_arg = keys;
  return load(&config);
}

static void a_key_lets_in_who_has_it_and_tells_the_identity(void **state) {
  struct fixture *f = *state;
  struct keys keys;
  SSL_CTX *client = tls_pair_client_context(NULL);
  for (unsigned identities = 0; identities < 2; identities++)
    each_version(version) {
      struct tls *t = load_psk(f, &keys, identities);
      struct tls_pair p;
      open_version(&p, t, client, *version);
      SSL_set_psk_client_callback(p.client, as_dev);
      // in TLS 1.2 both would rather have the certificate
      if (*version == TLS1_2_VERSION) SSL_set_cipher_list(p.client, "PSK");
      assert_null(tls_psk_identity(p.conn).ptr);
      tls_pair_shake(&p);
      assert_true(slice_eq(tls_psk_identity(p.conn), SLICE("dev")));
      assert_int_equal(keys.asked, 1);
      tls_pair_client_write(&p, "hello", 5);
      tls_pair_run(&p);
      assert_string_equal(buf_text(&p.got), "hello");
      tls_pair_release(&p);
      tls_unref(t);
    }
  SSL_CTX_free(client);
}

static void who_has_no_key_or_a_wrong_one_is_refused(void **state) {
  static const struct {
    int version;
    unsigned (*callback)(SSL *ssl, const char *hint, char *identity, unsigned size, unsigned char *key,
                         unsigned key_size);
    const char *failure;
  } cases[] = {
      {TLS1_2_VERSION, as_nobody, "psk identity not found"},
      {TLS1_2_VERSION, with_wrong_key, "decryption failed or bad record mac"},
      {TLS1_3_VERSION, as_nobody, "no suitable signature algorithm"},
      {TLS1_3_VERSION, with_wrong_key, "binder does not verify"},
      {TLS1_2_VERSION, NULL, "no shared cipher"},
      {TLS1_3_VERSION, NULL, "no suitable signature algorithm"},
  };
  struct fixture *f = *state;
  struct keys keys;
  SSL_CTX *client = tls_pair_client_context(NULL);
  struct tls *t = load_psk(f, &keys, 0);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tls_pair p;
    open_version(&p, t, client, cases[i].version);
    SSL_set_psk_client_callback(p.client, cases[i].callback);
    tls_pair_expect_failure(&p, cases[i].failure, NULL);
    assert_null(tls_psk_identity(p.conn).ptr);
    tls_pair_release(&p);
  }
  tls_unref(t);
  SSL_CTX_free(client);
}

static void certificates_and_keys_serve_side_by_side(void **state) {
  struct fixture *f = *state;
  struct keys keys;
  struct tls *t = load_psk(f, &keys, 1);
  each_version(version) {
    struct tls_pair p;
    open_version(&p, t, f->client, *version);
    tls_pair_shake(&p);
    assert_null(tls_psk_identity(p.conn).ptr);
    assert_non_null(SSL_get0_peer_certificate(p.client));
    tls_pair_release(&p);
  }
  assert_int_equal(keys.asked, 0);
  tls_unref(t);
}

// --- tickets ---

static SSL_SESSION *session_after(struct tls_pair *p) {
  struct buf none = BUF_INIT;
  tls_pair_client_read(p, &none); // the tickets of TLS 1.3
  SSL_SESSION *session = SSL_get1_session(p->client);
  buf_release(&none);
  return session;
}

static void open_again(struct tls_pair *p, struct tls_pair *first, struct tls *t, SSL_CTX *client,
                       int version) {
  SSL_SESSION *session = session_after(first);
  open_version(p, t, client, version);
  SSL_set_session(p->client, session);
  SSL_SESSION_free(session);
}

static void a_key_that_is_gone_ends_its_sessions(void **state) {
  struct fixture *f = *state;
  struct keys keys;
  SSL_CTX *client = tls_pair_client_context(NULL);
  SSL_CTX_set_psk_client_callback(client, as_dev);
  each_version(version) {
    struct tls *t = load_psk(f, &keys, 0);
    struct tls_pair p, again;
    open_version(&p, t, client, *version);
    tls_pair_shake(&p);
    open_again(&again, &p, t, client, *version);
    tls_pair_shake(&again);
    assert_int_equal(keys.asked, 2); // it was not resumed
    assert_true(slice_eq(tls_psk_identity(again.conn), SLICE("dev")));
    tls_pair_release(&again);
    keys.gone = true;
    open_again(&again, &p, t, client, *version);
    tls_pair_expect_failure(&again, NULL, NULL);
    assert_int_equal(again.end, -EPROTO);
    tls_pair_release(&again);
    tls_pair_release(&p);
    tls_unref(t);
  }
  SSL_CTX_free(client);
}

static void try_again(struct tls_pair *first, struct tls *t, SSL_CTX *client, int version, bool resumed,
                      bool certificate) {
  struct tls_pair p;
  struct tls_certificate peer;
  open_again(&p, first, t, client, version);
  tls_pair_shake(&p);
  assert_int_equal(SSL_session_reused(p.client), resumed);
  assert_int_equal(tls_peer_certificate(p.conn, &peer), certificate);
  assert_null(tls_psk_identity(p.conn).ptr);
  tls_certificate_release(&peer);
  tls_pair_release(&p);
}

static void sessions_are_resumed_by_tickets_where_they_are_allowed(void **state) {
  struct fixture *f = *state;
  struct keys keys;
  for (int allowed = 0; allowed < 2; allowed++)
    each_version(version) {
      struct tls_config config = f->config;
      config.session_tickets = allowed;
      config.psk = find_key; // which does not get in the way
      config.psk_arg = &keys;
      struct tls *t = load(&config);
      struct tls_pair p;
      open_version(&p, t, f->client, *version);
      tls_pair_shake(&p);
      try_again(&p, t, f->client, *version, allowed, false);
      tls_pair_release(&p);
      tls_unref(t);
    }
}

static void a_resumed_session_still_has_its_client_certificate(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "device", &(struct issue){0});
  struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, false);
  each_version(version) {
    struct tls_pair p;
    open_version(&p, t, f->client, *version);
    use_client_certificate(f, p.client, "device");
    tls_pair_shake(&p);
    try_again(&p, t, f->client, *version, true, true);
    tls_pair_release(&p);
  }
  tls_unref(t);
}

static void tickets_outlive_a_reload_unless_the_authorities_change(void **state) {
  struct fixture *f = *state;
  certificates_issue(f->files, "device", &(struct issue){0});
  certificates_issue(f->files, "stolen", &(struct issue){0});
  certificates_revoke(f->files, NULL);
  each_version(version) {
    struct tls *t = load_verifying(f, TLS_VERIFY_REQUIRED, true);
    struct tls_pair p, stolen, again;
    open_version(&p, t, f->client, *version);
    use_client_certificate(f, p.client, "device");
    tls_pair_shake(&p);
    open_version(&stolen, t, f->client, *version);
    use_client_certificate(f, stolen.client, "stolen");
    tls_pair_shake(&stolen);
    certificates_copy(f->files, "server.pem", "server.pem"); // renewed
    reload(t);
    try_again(&p, t, f->client, *version, true, true);
    certificates_revoke(f->files, "stolen");
    reload(t);
    open_again(&again, &stolen, t, f->client, *version);
    use_client_certificate(f, again.client, "stolen");
    tls_pair_expect_failure(&again, "certificate revoked", NULL);
    tls_pair_release(&again);
    tls_pair_release(&stolen);
    tls_pair_release(&p);
    tls_unref(t);
    certificates_revoke(f->files, NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
      T(a_key_lets_in_who_has_it_and_tells_the_identity),
      T(who_has_no_key_or_a_wrong_one_is_refused),
      T(certificates_and_keys_serve_side_by_side),
      T(a_key_that_is_gone_ends_its_sessions),
      T(sessions_are_resumed_by_tickets_where_they_are_allowed),
      T(a_resumed_session_still_has_its_client_certificate),
      T(tickets_outlive_a_reload_unless_the_authorities_change),
#undef T
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
