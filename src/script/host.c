#include "script/host.h"

#include "base/mem.h"
#include "script/commons.h"

struct host *host_new(struct loop *loop, uint64_t seed) {
  struct host *h = mem_calloc(1, sizeof *h);
  struct settings defaults;
  settings_init(&defaults);
  h->loop = loop;
  h->shard = shard_new(loop, &defaults, seed);
  h->inner = memory_backend_new(h->shard);
  h->engine = engine_new(h->shard);
  list_init(&h->scripts);
  return h;
}

// From now on `s` decides, by its settings.
static void install(struct host *h, struct script *s) {
  h->script = s;
  shard_change_settings(h->shard, &s->settings);
  script_give_access(s);
  shard_set_backend(h->shard, &s->backend);
  h->shard->log_mask = hook_defined(s, HOOK_LOG) ? EVENT_ALL : logger_mask(&s->logger);
  if (h->installed) h->installed(h->installed_arg);
}

bool host_start(struct host *h, struct script *s, char *error, size_t error_size) {
  install(h, s);
  return listeners_open(s, error, error_size) && script_run_start(s, error, error_size);
}

static struct script *script_of_node(struct list *node) { return container_of(node, struct script, node); }

void host_free(struct host *h) {
  list_each(node, &h->scripts) script_stop(script_of_node(node));
  engine_free(h->engine);
  list_each(node, &h->scripts) script_of_node(node)->engine = NULL;
  shard_free(h->shard);
  if (!h->script) h->inner->ops->free(h->inner); // the shard has none yet
  for (struct list *node; (node = list_first(&h->scripts));)
    script_free(script_of_node(node));
  commons_unref(h->commons);
  buf_release(&h->plain);
  mem_free(h);
}
