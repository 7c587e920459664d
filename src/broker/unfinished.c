#include "broker/unfinished.h"

void unfinished_init(struct unfinished *u) {
  u->bytes = 0;
  for (unsigned i = 0; i < UNFINISHED_POWERS; i++)
    list_init(&u->by_power[i]);
}

void unfinished_packet_init(struct unfinished_packet *p) {
  list_init(&p->node);
  p->bytes = 0;
}

static unsigned power_of(uint32_t bytes) { return 31 - (unsigned)__builtin_clz(bytes); }

void unfinished_update(struct unfinished *u, struct unfinished_packet *p, uint32_t bytes) {
  if (bytes == p->bytes) return;
  bool stays = bytes && p->bytes && power_of(bytes) == power_of(p->bytes);
  u->bytes += bytes;
  u->bytes -= p->bytes;
  p->bytes = bytes;
  if (stays) return;
  list_remove(&p->node);
  if (bytes) list_append(&u->by_power[power_of(bytes)], &p->node);
}

struct unfinished_packet *unfinished_largest(struct unfinished *u) {
  for (unsigned i = UNFINISHED_POWERS; i--;) {
    struct list *node = list_first(&u->by_power[i]);
    if (node) return container_of(node, struct unfinished_packet, node);
  }
  return NULL;
}
