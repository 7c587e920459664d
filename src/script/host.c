#include "script/host.h"

#include "base/mem.h"
#include "script/adoption.h"
#include "script/commons.h"
#include "script/recorder.h"
#include "script/reload.h"
#include "script/script_impl.h"
#include "script/shadow.h"

static struct script *script_of_node(struct list *node) { return container_of(node, struct script, node); }

void host_give_state(struct host *h, lua_State *L) {
  script_home(L)->reloads = true;
  commons_give(script_home(L), h);
}

// From the loop, so that no state is closed from inside of itself.
static void end_retired(struct ready *r) {
  struct host *h = container_of(r, struct host, retire);
  if (!adoption_is_over(h)) return;
  list_each(node, &h->scripts) {
    struct script *s = script_of_node(node);
    if (s->is_retired && !script_is_suspended(s)) script_free(s);
  }
}

void host_look_at_retired(struct host *h) { loop_make_ready(h->loop, &h->retire); }

struct host *host_new(struct loop *loop, uint64_t seed) {
  struct host *h = mem_calloc(1, sizeof *h);
  struct settings defaults;
  settings_init(&defaults);
  h->loop = loop;
  h->shard = shard_new(loop, &defaults, seed);
  h->inner = memory_backend_new(h->shard);
  h->engine = engine_new(h->shard);
  list_init(&h->scripts);
  list_init(&h->observers);
  ready_init(&h->retire, end_retired);
  reload_init(h);
  adoption_init(h);
  return h;
}

void host_install(struct host *h, struct script *s) {
  bool is_first = !h->script;
  h->script = s;
  shard_change_settings(h->shard, &s->settings);
  shard_set_rules(h->shard, s->rules);
  if (is_first)
    shard_set_backend(h->shard, &s->backend);
  else
    shard_replace_backend(h->shard, &s->backend);
  script_give_access(s); // what is wrong with its password file is told to it
  h->shard->log_mask = hook_defined(s, HOOK_LOG) ? EVENT_ALL : logger_mask(&s->logger);
  if (h->installed) h->installed(h->installed_arg);
}

bool host_start(struct host *h, struct script *s, char *error, size_t error_size) {
  host_install(h, s);
  struct shadow *shadow = NULL;
  bool started = record_follow_settings(s, error, error_size) &&
                 shadow_prepare(h, s, &shadow, error, error_size) &&
                 listeners_prepare(s, NULL, error, error_size) && script_run_start(s, error, error_size);
  shadow_follow(h, shadow);
  if (started)
    listeners_install(s); // clients come in when hooks.start is over
  else
    listeners_abandon(s, NULL);
  return started;
}

void host_free(struct host *h) {
  if (h->recorder) recorder_end(h->recorder);
  shadow_end(h->shadow);
  reload_abandon(h);
  list_each(node, &h->scripts) script_stop(script_of_node(node));
  reload_end(h);
  adoption_end(h);
  ready_cancel(&h->retire);
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
