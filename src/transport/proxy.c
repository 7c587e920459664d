#include "transport/proxy.h"

#include <arpa/inet.h>

#define V1_MAX   107 // the longest line, with its CR LF
#define V2_FIXED 16  // signature, command, family, length

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21 };

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

// --- version 2 ---

static ssize_t parse_v2(struct slice in, struct proxy_header *out, size_t *need) {
  if (in.len < V2_FIXED) {
    *need = V2_FIXED - in.len;
    return 0;
  }
  uint8_t command = in.ptr[12], family = in.ptr[13];
  size_t len = get16(in.ptr + 14), whole = V2_FIXED + len;
  if (command != COMMAND_LOCAL && command != COMMAND_PROXY) return -1;
  if (whole > PROXY_MAX) return -1;
  if (in.len < whole) {
    *need = whole - in.len;
    return 0;
  }
  const uint8_t *body = in.ptr + V2_FIXED; // source, destination, their ports, then TLVs
  size_t ip = family == FAMILY_TCP4 ? 4 : 16;
  if (command == COMMAND_LOCAL || (family != FAMILY_TCP4 && family != FAMILY_TCP6)) return (ssize_t)whole;
  if (len < 2 * ip + 4) return -1;
  address_from_ip(&out->source, body, ip, get16(body + 2 * ip));
  out->has_source = true;
  return (ssize_t)whole;
}

// --- version 1: "PROXY TCP4 192.0.2.1 192.0.2.9 56324 1883\r\n" ---

static struct slice next_word(struct slice *rest) {
  const uint8_t *space = rest->len ? memchr(rest->ptr, ' ', rest->len) : NULL;
  size_t len = space ? (size_t)(space - rest->ptr) : rest->len;
  struct slice word = slice_of(rest->ptr, len);
  *rest = slice_from(*rest, space ? len + 1 : len);
  return word;
}

static bool read_ip(struct slice word, int family, uint8_t ip[16]) {
  char text[INET6_ADDRSTRLEN];
  if (word.len >= sizeof text || memchr(word.ptr, 0, word.len)) return false;
  memcpy(text, word.ptr, word.len);
  text[word.len] = 0;
  return inet_pton(family, text, ip) == 1;
}

static bool read_port(struct slice word, uint16_t *port) {
  uint32_t value = 0;
  if (!word.len || word.len > 5 || (word.len > 1 && word.ptr[0] == '0')) return false;
  for (size_t i = 0; i < word.len; i++) {
    if (word.ptr[i] < '0' || word.ptr[i] > '9') return false;
    value = value * 10 + (uint32_t)(word.ptr[i] - '0');
  }
  *port = (uint16_t)value;
  return value <= UINT16_MAX;
}

static bool parse_line(struct slice line, struct proxy_header *out) {
  const uint8_t *end = line.ptr + line.len;
  next_word(&line); // PROXY
  struct slice kind = next_word(&line);
  if (slice_eq(kind, SLICE("UNKNOWN"))) return true; // whatever follows is to be ignored
  int family = slice_eq(kind, SLICE("TCP4")) ? AF_INET : slice_eq(kind, SLICE("TCP6")) ? AF_INET6 : 0;
  struct slice source = next_word(&line), destination = next_word(&line);
  struct slice source_port = next_word(&line), destination_port = next_word(&line);
  uint8_t from[16], to[16];
  uint16_t from_port, to_port;
  if (!family || destination_port.ptr + destination_port.len != end || !read_ip(source, family, from) ||
      !read_ip(destination, family, to) || !read_port(source_port, &from_port) ||
      !read_port(destination_port, &to_port))
    return false;
  address_from_ip(&out->source, from, family == AF_INET ? 4 : 16, from_port);
  out->has_source = true;
  return true;
}

static ssize_t parse_v1(struct slice in, struct proxy_header *out, size_t *need) {
  const uint8_t *end = memchr(in.ptr, '\n', in.len);
  if (end) {
    size_t len = (size_t)(end - in.ptr) + 1;
    bool good =
        len <= V1_MAX && len == in.len && end[-1] == '\r' && parse_line(slice_of(in.ptr, len - 2), out);
    return good ? (ssize_t)len : -1;
  }
  if (in.len >= V1_MAX) return -1;
  *need = in.ptr[in.len - 1] == '\r' ? 1 : 2; // at least CR LF, of which LF is the last byte
  return 0;
}

ssize_t proxy_parse(struct slice in, struct proxy_header *out, size_t *need) {
  *out = (struct proxy_header){0};
  *need = in.len < PROXY_FIRST ? PROXY_FIRST - in.len : 0;
  if (!in.len) return 0;
  size_t known = in.len < sizeof signature ? in.len : sizeof signature;
  if (memcmp(in.ptr, signature, known) == 0) return known < sizeof signature ? 0 : parse_v2(in, out, need);
  if (memcmp(in.ptr, "PROXY ", in.len < 6 ? in.len : 6) != 0) return -1;
  return in.len < PROXY_FIRST ? 0 : parse_v1(in, out, need);
}
