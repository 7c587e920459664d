// What connections over TLS have in common at a client: whom it trusts, and who it says that it is. TLS 1.2
// and 1.3 by OpenSSL; a certificate is always verified, and its name unless `insecure`.
//
//   struct tls_client_error e;
//   struct tls_client *t = tls_client_new(&(struct tls_client_options){.ca_file = "ca.pem"}, &e);
//   if (!t) printf("%s: %s\n", field_names[e.field], e.text);
//   SSL *ssl = tls_client_connection(t, fd, "broker.example.com", "mqtt");
//   ...
//   SSL_free(ssl);
//   tls_client_free(t);              // when its connections have ended
#ifndef LUAMQ_CLIENT_TLS_CLIENT_H
#define LUAMQ_CLIENT_TLS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#define TLS_CLIENT_PSK_MAX 64 // bytes of a pre-shared key

struct tls_client_options {       // texts are borrowed by tls_client_new only; NULL: not given
  const char *ca_file, *ca_path;  // neither, and no psk: the system's certificates are trusted
  bool system_cas;                // those beside ca_file and ca_path
  const char *certificate, *key;  // PEM files, both or none
  const char *psk_identity, *psk; // both or none, the key in hex; excludes ca_file and ca_path
  const char *alpn;               // instead of what a connection suggests
  const char *min_version;        // "1.2" or "1.3"; NULL: 1.2
  bool insecure;                  // the certificate may be another host's
};

enum tls_client_field {
  TLS_CLIENT_CA_FILE,
  TLS_CLIENT_CA_PATH,
  TLS_CLIENT_CERTIFICATE,
  TLS_CLIENT_KEY,
  TLS_CLIENT_PSK,
  TLS_CLIENT_PSK_IDENTITY,
  TLS_CLIENT_ALPN,
  TLS_CLIENT_MIN_VERSION,
};

struct tls_client_error {
  enum tls_client_field field;
  char text[192]; // "cannot read ca.pem: No such file or directory"; never a key
};

struct tls_client;
struct ssl_st; // SSL of OpenSSL

// NULL, and *e tells what is wrong with which field.
struct tls_client *tls_client_new(const struct tls_client_options *o, struct tls_client_error *e);
void tls_client_free(struct tls_client *t); // NULL: nothing

// The client's end of a connection, before its handshake: reads from `fd`, and writes to memory (the write
// BIO), so that who drives it gathers what it sends. `host` is what the certificate has to be for, and the
// server name when it is one.
struct ssl_st *tls_client_connection(const struct tls_client *t, int fd, const char *host, const char *alpn);

// Writes why the last call for `ssl` failed, as "certificate verify failed: hostname mismatch", and clears
// OpenSSL's queue of errors.
void tls_client_failure(const struct ssl_st *ssl, char *text, size_t size);

#endif
