// Pre-shared keys. TLS 1.2 and 1.3 have callbacks of their own. In 1.3 a hello may list many identities and
// tickets, and OpenSSL takes the first that fits: so the identity is kept with the session that is made of
// its key, never with the connection.
#include <openssl/crypto.h>

#include "base/mem.h"
#include "transport/tls_impl.h"

#define IDENTITY_MAX 128 // bytes; what is longer is a ticket
#define LOOKUPS_MAX  4   // of a connection

static const uint8_t cipher_of_psk[] = {0x13, 0x01}; // TLS_AES_128_GCM_SHA256 [RFC 8446, 4.2.11]: SHA-256

static unsigned look_up(SSL *ssl, struct slice identity, uint8_t key[TLS_PSK_MAX]) {
  struct tls_conn *c = tls_conn_of_ssl(ssl);
  const struct tls_config *config = &c->tls->config;
  if (!identity.len || identity.len > IDENTITY_MAX || c->psk_lookups == LOOKUPS_MAX) return 0;
  c->psk_lookups++;
  return config->psk(config->psk_arg, identity, key);
}

static unsigned find_key_1_2(SSL *ssl, const char *identity, unsigned char *out, unsigned out_size) {
  if (SSL_version(ssl) >= TLS1_3_VERSION) return 0; // find_session has looked it up
  uint8_t key[TLS_PSK_MAX];
  unsigned len = look_up(ssl, slice_str(identity), key);
  if (len > out_size) len = 0;
  if (len) memcpy(out, key, len);
  OPENSSL_cleanse(key, sizeof key);
  return len;
}

static SSL_SESSION *session_of(SSL *ssl, struct slice identity, const uint8_t *key, size_t len) {
  SSL_SESSION *session = mem_require(SSL_SESSION_new());
  SSL_SESSION_set1_master_key(session, key, len);
  SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, cipher_of_psk));
  SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
  SSL_SESSION_set1_ticket_appdata(session, identity.ptr, identity.len);
  return session;
}

// A session by a key is not resumed by a ticket: it is as cheap to make, and ends with its key.
static int find_session(SSL *ssl, const unsigned char *identity, size_t identity_len, SSL_SESSION **out) {
  uint8_t key[TLS_PSK_MAX];
  struct slice name = slice_of(identity, identity_len);
  unsigned len = look_up(ssl, name, key);
  *out = len ? session_of(ssl, name, key, len) : NULL;
  if (len) SSL_set_num_tickets(ssl, 0);
  OPENSSL_cleanse(key, sizeof key);
  return 1;
}

static bool is_by_key(const SSL_SESSION *session) {
  switch (SSL_CIPHER_get_kx_nid(SSL_SESSION_get0_cipher(session))) {
  case NID_kx_psk:
  case NID_kx_rsa_psk:
  case NID_kx_dhe_psk:
  case NID_kx_ecdhe_psk: return true;
  default: return false;
  }
}

// The same in TLS 1.2, where a ticket is promised before the key is known.
static SSL_TICKET_RETURN accept_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_len, SSL_TICKET_STATUS status, void *arg) {
  (void)ssl, (void)name, (void)name_len, (void)arg;
  switch (status) {
  case SSL_TICKET_SUCCESS:
  case SSL_TICKET_SUCCESS_RENEW: break;
  default: return SSL_TICKET_RETURN_IGNORE_RENEW;
  }
  if (is_by_key(session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void tls_use_psk(SSL_CTX *context) {
  SSL_CTX_set_psk_server_callback(context, find_key_1_2);
  SSL_CTX_set_psk_find_session_callback(context, find_session);
  SSL_CTX_set_session_ticket_cb(context, NULL, accept_ticket, NULL);
}

struct slice tls_psk_identity(const struct conn *conn) {
  const struct tls_conn *c = tls_conn_below(conn);
  struct slice none = {NULL, 0};
  if (!c || !c->shaken) return none;
  void *identity;
  size_t len;
  if (SSL_version(c->ssl) < TLS1_3_VERSION) {
    const char *name = SSL_get_psk_identity(c->ssl);
    return name ? slice_str(name) : none;
  }
  SSL_SESSION *session = SSL_get_session(c->ssl);
  if (!SSL_session_reused(c->ssl) || !SSL_SESSION_get0_ticket_appdata(session, &identity, &len)) return none;
  return len ? slice_of(identity, len) : none;
}
