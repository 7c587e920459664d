// Any bytes as a PROXY header: read as an arrival reads it, and byte by byte, against a naive reading of the
// whole. A header is never refused while a part of it is missing, and never more bytes are asked for than
// belong to it.
#include <stdlib.h>

#include "base/mem.h"
#include "fuzz.h"
#include "transport/proxy.h"

#define LINE_MAX 107

struct naive {
  ssize_t len; // of the header; 0: not whole, -1: none
  struct proxy_header header;
};

// --- naive: addresses as text ---

static bool naive_number(struct slice text, unsigned base, unsigned most, unsigned *out) {
  static const char digits[] = "0123456789abcdef";
  *out = 0;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.ptr[i] >= 'A' && text.ptr[i] <= 'F' ? text.ptr[i] + 32 : text.ptr[i];
    const char *digit = c ? strchr(digits, c) : NULL;
    if (!digit || digit - digits >= (long)base) return false;
    *out = *out * base + (unsigned)(digit - digits);
    if (*out > most) return false;
  }
  return text.len && (base == 16 || text.len == 1 || text.ptr[0] != '0');
}

// Takes off the text up to `end`, which is taken off as well; all of it where there is none.
static struct slice take_to(struct slice *rest, char end, bool *found) {
  const uint8_t *at = rest->len ? memchr(rest->ptr, end, rest->len) : NULL;
  struct slice part = fuzz_take(rest, at ? (size_t)(at - rest->ptr) : rest->len);
  *found = at;
  if (at) fuzz_take(rest, 1);
  return part;
}

static bool naive_ipv4(struct slice text, uint8_t *ip) {
  bool more = true;
  for (int i = 0; i < 4; i++) {
    unsigned octet;
    if (!more || !naive_number(take_to(&text, '.', &more), 10, 255, &octet)) return false;
    ip[i] = (uint8_t)octet;
  }
  return !more;
}

// The groups of one side of "::" to ip; their bytes, or -1.
static int naive_groups(struct slice side, uint8_t ip[16]) {
  int at = 0;
  for (bool more = side.len; more; at += 2) {
    struct slice group = take_to(&side, ':', &more);
    unsigned value;
    if (at == 16) return -1;
    if (!more && at <= 12 && naive_ipv4(group, ip + at)) return at + 4;
    if (group.len > 4 || !naive_number(group, 16, 0xffff, &value)) return -1;
    ip[at] = (uint8_t)(value >> 8);
    ip[at + 1] = (uint8_t)value;
  }
  return at;
}

static bool naive_ipv6(struct slice text, uint8_t ip[16]) {
  const uint8_t *gap = text.len ? memmem(text.ptr, text.len, "::", 2) : NULL;
  if (!gap) return naive_groups(text, ip) == 16;
  uint8_t left[16], right[16];
  struct slice before = slice_of(text.ptr, (size_t)(gap - text.ptr));
  if (before.len && memchr(before.ptr, '.', before.len)) return false;
  int left_len = naive_groups(before, left),
      right_len = naive_groups(slice_from(text, before.len + 2), right);
  if (left_len < 0 || right_len < 0 || left_len + right_len > 14) return false;
  memset(ip, 0, 16);
  memcpy(ip, left, (size_t)left_len);
  memcpy(ip + 16 - right_len, right, (size_t)right_len);
  return true;
}

// --- naive: headers ---

static struct address naive_address(const uint8_t *ip, size_t len, unsigned port) {
  struct address a = {.family = len == 4 ? AF_INET : AF_INET6, .port = (uint16_t)port};
  memcpy(a.ip, ip, len);
  if (len == 4 || memcmp(ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) != 0) return a;
  return naive_address(ip + 12, 4, port);
}

static bool naive_line(struct slice line, struct proxy_header *out) {
  bool more;
  struct slice words[6];
  size_t count = 0;
  take_to(&line, ' ', &more);
  struct slice kind = take_to(&line, ' ', &more);
  if (slice_eq(kind, SLICE("UNKNOWN"))) return true;
  for (; more && count < 6; count++)
    words[count] = take_to(&line, ' ', &more);
  if (count != 4) return false;
  bool is_4 = slice_eq(kind, SLICE("TCP4"));
  if (!is_4 && !slice_eq(kind, SLICE("TCP6"))) return false;
  uint8_t ip[2][16];
  unsigned ports[2];
  for (int i = 0; i < 2; i++)
    if (!(is_4 ? naive_ipv4 : naive_ipv6)(words[i], ip[i]) ||
        !naive_number(words[2 + i], 10, 65535, &ports[i]))
      return false;
  *out = (struct proxy_header){true, naive_address(ip[0], is_4 ? 4 : 16, ports[0])};
  return true;
}

static struct naive naive_v1(struct slice in) {
  struct naive result = {.len = -1};
  const uint8_t *end = memchr(in.ptr, '\n', in.len < LINE_MAX ? in.len : LINE_MAX);
  if (!end) {
    result.len = in.len < LINE_MAX ? 0 : -1;
    return result;
  }
  struct slice line = slice_of(in.ptr, (size_t)(end - in.ptr));
  if (line.ptr[line.len - 1] != '\r') return result;
  if (naive_line(slice_of(line.ptr, line.len - 1), &result.header)) result.len = (ssize_t)line.len + 1;
  return result;
}

static struct naive naive_v2(struct slice in) {
  struct naive result = {.len = 0};
  if (in.len < 16) return result;
  size_t len = in.ptr[14] * 256u + in.ptr[15];
  result.len = -1;
  if (in.ptr[12] / 16 != 2 || in.ptr[12] % 16 > 1 || 16 + len > PROXY_MAX) return result;
  result.len = in.len < 16 + len ? 0 : 16 + (ssize_t)len;
  if (result.len <= 0 || in.ptr[12] % 16 == 0) return result;
  size_t ip = in.ptr[13] == 0x11 ? 4 : in.ptr[13] == 0x21 ? 16 : 0;
  if (!ip) return result;
  if (len < 2 * ip + 4) return (struct naive){.len = -1};
  const uint8_t *port = in.ptr + 16 + 2 * ip;
  result.header = (struct proxy_header){true, naive_address(in.ptr + 16, ip, port[0] * 256u + port[1])};
  return result;
}

static struct naive naive_parse(struct slice in) {
  static const char v1[] = "PROXY ", v2[] = "\r\n\r\n\0\r\nQUIT\n";
  if (in.len && memcmp(in.ptr, v2, in.len < 12 ? in.len : 12) == 0) return naive_v2(in);
  if (in.len && memcmp(in.ptr, v1, in.len < 6 ? in.len : 6) == 0) return naive_v1(in);
  return (struct naive){.len = in.len ? -1 : 0};
}

// --- the comparison ---

static bool same_source(const struct proxy_header *a, const struct proxy_header *b) {
  if (a->has_source != b->has_source) return false;
  size_t len = a->source.family == AF_INET ? 4 : 16;
  return !a->has_source || (a->source.family == b->source.family && a->source.port == b->source.port &&
                            memcmp(a->source.ip, b->source.ip, len) == 0);
}

static ssize_t parse_copy(struct slice in, struct proxy_header *out, size_t *need) {
  uint8_t *copy = mem_dup(in.ptr, in.len);
  ssize_t n = proxy_parse(slice_of(copy, in.len), out, need);
  mem_free(copy);
  return n;
}

static void check_whole(ssize_t n, const struct proxy_header *header, const struct naive *expected) {
  if (expected->len) CHECK(n == expected->len);
  CHECK(n <= 0 || (expected->len == n && same_source(header, &expected->header)));
}

static void read_as_asked(struct slice in, const struct naive *expected) {
  struct proxy_header header;
  size_t have = 0, need = PROXY_FIRST;
  ssize_t n = 0;
  while (n == 0 && have + need <= in.len) {
    have += need;
    n = parse_copy(slice_of(in.ptr, have), &header, &need);
    CHECK(n != 0 || need > 0);
    CHECK(n <= 0 || (size_t)n == have);
    CHECK(have <= PROXY_MAX);
  }
  bool ended = n == 0; // and more of the header is missing
  if (!ended) check_whole(n, &header, expected);
  CHECK(!ended || expected->len == 0 || (expected->len < 0 && have + need > in.len));
}

static void read_by_bytes(struct slice in, const struct naive *expected) {
  for (size_t have = 0; have <= in.len && have <= PROXY_MAX; have++) {
    struct proxy_header header;
    size_t need;
    ssize_t n = parse_copy(slice_of(in.ptr, have), &header, &need);
    if (n == 0) CHECK(need > 0 && (expected->len <= 0 || have + need <= (size_t)expected->len));
    if (n != 0) check_whole(n, &header, expected);
    if (n != 0) return;
  }
  CHECK(expected->len == 0 || (size_t)expected->len > PROXY_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice in = slice_of(data, size);
  struct naive expected = naive_parse(in);
  read_as_asked(in, &expected);
  read_by_bytes(in, &expected);
  return 0;
}
