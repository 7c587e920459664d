#include "script/commons.h"

#include "base/mem.h"
#include "base/rand.h"

static struct slice shared_key(const void *value) {
  const struct shared_value *v = value;
  return slice_of(v->bytes, v->key_len);
}

struct commons *commons_new(void) {
  struct commons *c = mem_calloc(1, sizeof *c);
  struct rand seed;
  rand_init(&seed, 0);
  c->refs = 1;
  map_init(&c->shared, shared_key, rand_next(&seed));
  metrics_init(&c->metrics, rand_next(&seed));
  return c;
}

struct commons *commons_ref(struct commons *c) {
  c->refs++;
  return c;
}

void commons_unref(struct commons *c) {
  if (!c || --c->refs) return;
  uint32_t at = 0;
  for (void *value; (value = map_each(&c->shared, &at));)
    mem_free(value);
  map_release(&c->shared);
  metrics_release(&c->metrics);
  mem_free(c);
}

struct commons *commons_of(lua_State *L) {
  const struct script *s = script_current(L);
  if (s && s->shard) return s->host->commons;
  struct script_home *home = script_home(L);
  if (!home->commons) home->commons = commons_new();
  return home->commons;
}

void commons_give(struct script_home *home, struct host *h) {
  commons_unref(home->commons);
  home->commons = commons_ref(h->commons);
}

void commons_take(struct script_home *home, struct host *h) {
  if (!h->commons)
    h->commons = home->commons ? home->commons : commons_new();
  else
    commons_unref(home->commons);
  home->commons = NULL;
}
