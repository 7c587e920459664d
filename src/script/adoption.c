#include "script/adoption.h"

#include "broker/client_impl.h"
#include "script/reload.h"
#include "script/script_impl.h"

#define CLIENTS_A_LOOK 32   // between two looks at the time
#define ADOPTION_US    1000 // of a turn

static void adopt(struct host *h, struct client *c) {
  if (!client_is_busy(c)) client_object_hand_over(h->script, c);
  client_adopt(c);
}

// What older states no longer refer to goes a little at a time, not all of it when they are closed.
static void collect_older(const struct host *h) {
  list_each(node, &h->scripts) {
    const struct script *s = container_of(node, struct script, node);
    if (s->is_retired && s->state) lua_gc(s->tool, LUA_GCSTEP, 0);
  }
}

// The first of the list goes to its end. So a client that comes meanwhile may be looked at, which does
// nothing.
static void go_on(struct ready *r) {
  struct adoption *a = container_of(r, struct adoption, ready);
  struct host *h = container_of(a, struct host, adoption);
  struct list *clients = &h->shard->clients;
  uint64_t end_us = loop_now_us(h->loop) + ADOPTION_US;
  for (unsigned i = 1; a->left && !list_empty(clients); i++) {
    struct list *node = list_first(clients);
    list_remove(node);
    list_append(clients, node);
    a->left--;
    adopt(h, container_of(node, struct client, node));
    if (i % CLIENTS_A_LOOK == 0 && loop_now_us(h->loop) > end_us) break;
  }
  collect_older(h);
  if (a->left && !list_empty(clients)) {
    loop_make_ready(h->loop, r);
    return;
  }
  a->left = 0;
  host_look_at_retired(h);
  reload_look(h);
}

void adoption_init(struct host *h) { ready_init(&h->adoption.ready, go_on); }

static bool has_objects(const struct host *h) {
  list_each(node, &h->scripts) {
    const struct script *s = container_of(node, struct script, node);
    if (s->is_retired && !list_empty(&s->clients)) return true;
  }
  return false;
}

void adoption_begin(struct host *h) {
  bool is_needed = h->script->ops.adopt || has_objects(h);
  h->adoption.left = is_needed ? h->shard->stats.connections : 0;
  loop_make_ready(h->loop, &h->adoption.ready);
}

bool adoption_is_over(const struct host *h) { return list_empty(&h->adoption.ready.node); }

void adoption_end(struct host *h) { ready_cancel(&h->adoption.ready); }
