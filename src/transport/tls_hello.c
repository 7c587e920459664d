// The first record of a connection, before there is an SSL for it. OpenSSL takes 40 KiB for a connection that
// shakes hands, and as much more as the hello says that it is long, up to 128 KiB, when nine bytes of it have
// come. Here it costs what was sent until a record is whole that may be one.
//
//   0    1     3       5           6        9
//   type version length | message   length   ...     a message may go on in further records
//
#include <errno.h>

#include "base/mem.h"
#include "transport/tls_impl.h"

#define RECORD_HEAD  5
#define HEADS        9     // of the record, and of the message in it
#define HELLO_MAX    16384 // bytes; common ones have 200 to 2000
#define HELLO_STEP   1024  // bytes of memory, as they come
#define HANDSHAKE    22
#define CLIENT_HELLO 1

// How many more bytes are needed before OpenSSL may see them; *why: they are no hello.
static size_t missing(struct slice in, const char **why) {
  *why = "the peer does not speak TLS";
  if (in.len > 0 && in.ptr[0] != HANDSHAKE) return 0;
  if (in.len > 1 && in.ptr[1] != SSL3_VERSION_MAJOR) return 0;
  if (in.len > RECORD_HEAD && in.ptr[RECORD_HEAD] != CLIENT_HELLO) return 0;
  *why = NULL;
  if (in.len < HEADS) return HEADS - in.len;
  size_t record = (size_t)in.ptr[3] << 8 | in.ptr[4];
  size_t message = (size_t)in.ptr[6] << 16 | (size_t)in.ptr[7] << 8 | in.ptr[8];
  if (message > HELLO_MAX || record > HELLO_MAX) *why = "the hello is too long";
  if (record < HEADS - RECORD_HEAD) *why = "the hello comes in too small pieces";
  return *why ? 0 : RECORD_HEAD + record - in.len;
}

static ssize_t read_step(struct tls_conn *c, size_t need) {
  if (need > HELLO_STEP) need = HELLO_STEP;
  buf_reserve_exact(c->hello, need);
  struct iovec iov = {c->hello->ptr + c->hello->len, need};
  ssize_t n = conn_read(c->carrier, &iov, 1);
  if (n > 0) c->hello->len += (size_t)n;
  return n;
}

ssize_t tls_hello_gather(struct tls_conn *c, const char **why) {
  if (!c->hello) c->hello = mem_calloc(1, sizeof *c->hello);
  for (size_t need; (need = missing(buf_slice(c->hello), why));) {
    ssize_t n = read_step(c, need);
    if (n == 0) *why = "connection closed by peer";
    if (n <= 0) return n ? n : -EPROTO;
  }
  return *why ? -EPROTO : 0;
}

size_t tls_hello_take(struct tls_conn *c, uint8_t *out, size_t size) {
  size_t n = c->hello->len < size ? c->hello->len : size;
  memcpy(out, c->hello->ptr, n);
  buf_consume(c->hello, n);
  if (!c->hello->len) tls_hello_drop(c);
  return n;
}

void tls_hello_drop(struct tls_conn *c) {
  if (!c->hello) return;
  buf_release(c->hello);
  mem_free(c->hello);
  c->hello = NULL;
}
