#include "transport/networks.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/mem.h"

struct network {
  uint16_t family; // AF_INET, AF_INET6 or AF_UNIX
  uint8_t bits;    // of the prefix
  uint8_t ip[16];
};

struct networks {
  unsigned count;
  struct network *list;
};

struct networks *networks_new(void) {
  return mem_calloc(1, sizeof(struct networks));
}

void networks_free(struct networks *n) {
  if (!n) return;
  mem_free(n->list);
  mem_free(n);
}

struct networks *networks_copy(const struct networks *n) {
  if (!n) return NULL;
  struct networks *copy = networks_new();
  copy->count = n->count;
  copy->list = mem_dup(n->list, n->count * sizeof *n->list);
  return copy;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits) {
  if (memcmp(a, b, bits / 8) != 0) return false;
  uint8_t mask = (uint8_t)(0xff00 >> bits % 8);
  return !(bits % 8) || !((a[bits / 8] ^ b[bits / 8]) & mask);
}

// The prefix length behind the slash; -1: there is none that fits.
static int read_bits(const char *text, int most) {
  size_t len = strlen(text);
  if (len < 1 || len > 3 || strspn(text, "0123456789") != len) return -1;
  int bits = 0;
  for (; *text; text++)
    bits = bits * 10 + (*text - '0');
  return bits <= most ? bits : -1;
}

// An IPv4 network in IPv6's form is the IPv4 network, as address_from has it.
static void unmap(struct network *n) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (n->family != AF_INET6 || n->bits < 96 || memcmp(n->ip, mapped, sizeof mapped) != 0) return;
  n->family = AF_INET;
  n->bits -= 96;
  memmove(n->ip, n->ip + 12, 4);
}

static const char *read_network(char *text, struct network *out) {
  char *slash = strchr(text, '/');
  if (slash) *slash = 0;
  if (inet_pton(AF_INET, text, out->ip) == 1)
    out->family = AF_INET;
  else if (inet_pton(AF_INET6, text, out->ip) == 1)
    out->family = AF_INET6;
  else
    return "expected an IP address or a network such as \"10.0.0.0/8\"";
  int most = out->family == AF_INET ? 32 : 128;
  int bits = slash ? read_bits(slash + 1, most) : most;
  if (bits < 0) return "the length of the prefix must be 0 to 32, for IPv6 0 to 128";
  out->bits = (uint8_t)bits;
  unmap(out);
  return NULL;
}

const char *networks_add(struct networks *n, struct slice text) {
  struct network network = {.family = AF_UNIX};
  char copy[INET6_ADDRSTRLEN + 8];
  if (!slice_eq(text, SLICE("unix"))) {
    if (text.len >= sizeof copy || memchr(text.ptr, 0, text.len)) return "too long for a network";
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    const char *problem = read_network(copy, &network);
    if (problem) return problem;
  }
  n->list = mem_realloc(n->list, (n->count + 1) * sizeof *n->list);
  n->list[n->count++] = network;
  return NULL;
}

bool networks_contain(const struct networks *n, const struct address *a) {
  for (unsigned i = 0; n && i < n->count; i++) {
    const struct network *network = &n->list[i];
    if (network->family != a->family) continue;
    if (a->family == AF_UNIX || same_prefix(network->ip, a->ip, network->bits)) return true;
  }
  return false;
}
