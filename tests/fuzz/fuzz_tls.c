// Any bytes as the start of a TLS connection whose server has pre-shared keys only: whole, and byte by byte
// with a peer that takes its answers byte by byte. Both end alike, no more memory waits for a hello than was
// sent, and nothing is left behind in OpenSSL's queue of errors.
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "transport/memory.h"
#include "transport/tls_impl.h"

#define HELLO_STEP 1024

struct end { // the server's
  struct conn *conn;
  int result; // of the handshake; -EAGAIN: goes on
};

static unsigned find_key(void *arg, struct slice identity, uint8_t key[TLS_PSK_MAX]) {
  (void)arg;
  if (!slice_starts(identity, SLICE("d"))) return 0;
  memset(key, 7, 16);
  return 16;
}

static void on_event(struct conn *c) {
  struct end *e = c->owner;
  e->result = c->ops->handshake(c);
  CHECK(ERR_peek_error() == 0);
  if (e->result != -EAGAIN) conn_watch(c, false, false);
}

static const struct conn_handler handler = {on_event, on_event};

static void rest(struct loop *l, struct memory_peer *peer, bool slowly) {
  while (loop_turn(l, false))
    if (slowly && memory_received(peer).len) memory_consume(peer, 1);
}

// Returns the failure, or NULL where it goes on.
static const char *arrive(struct tls *t, struct slice in, size_t step) {
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct end e = {.result = -EAGAIN};
  e.conn = tls_accept(t, l, memory_open(l, &peer));
  bool slowly = step < in.len;
  if (slowly) memory_set_window(peer, 1);
  conn_start(e.conn, &handler, &e);
  for (size_t sent = 0; in.len && e.result == -EAGAIN; sent += step) {
    memory_send(peer, fuzz_take(&in, step));
    rest(l, peer, slowly);
    const struct tls_conn *c = tls_conn_below(e.conn);
    CHECK(!c->hello || c->hello->cap <= sent + step + HELLO_STEP);
  }
  CHECK(e.result == -EAGAIN || e.result == -EPROTO); // nobody guesses a key
  const char *failure = e.result == -EPROTO ? conn_failure(e.conn, e.result) : NULL;
  CHECK(!tls_psk_identity(e.conn).ptr);
  conn_close(e.conn, true);
  memory_peer_free(peer);
  loop_free(l);
  return failure;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char error[256];
  struct tls_config config;
  tls_config_init(&config);
  config.psk = find_key;
  struct tls *t = tls_new(&config, error, sizeof error);
  CHECK(t);
  const char *whole = arrive(t, slice_of(data, size), size ? size : 1);
  const char *bytewise = arrive(t, slice_of(data, size), 1);
  CHECK(whole == bytewise || (whole && bytewise && strcmp(whole, bytewise) == 0));
  tls_unref(t);
  return 0;
}
