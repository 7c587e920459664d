// Any bytes, decoded as a stream of packets in each version. What decodes must encode, decode again to the
// same, and be the same bytes where there is only one way to write it; a prefix of it must be partial; what
// is refused must not have been accepted as a prefix.
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "packet/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PREFIXES_MAX 64

#define require(condition)                                                                                   \
  do {                                                                                                       \
    if (!(condition)) fail(#condition, __LINE__);                                                            \
  } while (0)

static _Noreturn void fail(const char *what, int line) {
  fprintf(stderr, "fuzz_packet.c:%d: not so: %s\n", line, what);
  abort();
}

static ssize_t decode_copy(struct slice in, uint8_t version) {
  struct packet p;
  uint8_t *copy = mem_dup(in.ptr, in.len);
  ssize_t n = packet_decode(&p, slice_of(copy, in.len), version, PACKET_MAX_SIZE);
  mem_free(copy);
  return n;
}

static void check_prefixes(struct slice in, ssize_t whole, uint8_t version) {
  size_t end = whole > 0 ? (size_t)whole : in.len;
  for (size_t len = 0; len < end && len < PREFIXES_MAX; len++) {
    ssize_t n = decode_copy(slice_of(in.ptr, len), version);
    require(n == 0 || (n < 0 && n == whole));
  }
}

static void check_size(struct slice in, size_t size, uint8_t version) {
  struct packet p;
  require(packet_peek_size(in) == (ssize_t)size);
  require(packet_decode(&p, in, version, size) == (ssize_t)size);
  require(packet_decode(&p, in, version, size - 1) == PACKET_TOO_LARGE);
}

static bool can_encode(const struct packet *p) {
  return p->type != PACKET_CONNECT || p->connect.version == MQTT_3_1 || p->connect.version == MQTT_3_1_1;
}

// Only the remaining length may be written in more bytes than it needs, and only 3.1 leaves anything else
// open.
static bool is_canonical(const struct packet *p, size_t size, size_t encoded, uint8_t version) {
  bool is_3_1 = version == MQTT_3_1 || (p->type == PACKET_CONNECT && p->connect.version == MQTT_3_1);
  return !is_3_1 && size == encoded;
}

static void check_round_trip(const struct packet *p, struct slice in, uint8_t version) {
  struct buf bytes = BUF_INIT, again = BUF_INIT, text = BUF_INIT, text_again = BUF_INIT;
  struct packet decoded;
  packet_encode(p, version, &bytes);
  require(bytes.len <= in.len);
  if (is_canonical(p, in.len, bytes.len, version)) require(slice_eq(buf_slice(&bytes), in));
  require(packet_decode(&decoded, buf_slice(&bytes), version, PACKET_MAX_SIZE) == (ssize_t)bytes.len);
  packet_format(p, version, &text);
  packet_format(&decoded, version, &text_again);
  require(slice_eq(buf_slice(&text), buf_slice(&text_again)));
  packet_encode(&decoded, version, &again);
  require(slice_eq(buf_slice(&bytes), buf_slice(&again)));
  buf_release(&bytes);
  buf_release(&again);
  buf_release(&text);
  buf_release(&text_again);
}

static void check_stream(struct slice in, uint8_t version) {
  struct packet p;
  ssize_t n;
  while ((n = packet_decode(&p, in, version, PACKET_MAX_SIZE)) > 0) {
    struct slice first = slice_of(in.ptr, (size_t)n);
    require(first.len <= in.len);
    check_prefixes(in, n, version);
    check_size(in, first.len, version);
    if (can_encode(&p)) check_round_trip(&p, first, version);
    in = slice_from(in, first.len);
  }
  check_prefixes(in, n, version);
  require(packet_strerror((int)n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  for (uint8_t version = MQTT_3_1; version <= MQTT_3_1_1; version++)
    check_stream(slice_of(data, size), version);
  return 0;
}
