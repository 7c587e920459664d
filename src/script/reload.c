#include "script/reload.h"

#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/adoption.h"
#include "script/plain.h"
#include "script/script_impl.h"
#include "script/shadow.h"

static struct host *host_of(struct reload *r) { return container_of(r, struct host, reload); }

// --- hooks of the steps: they may suspend ---

static void passed(struct reload *r, bool fine, enum reload_step next) {
  r->step = fine ? next : RELOAD_FAILED;
}

static void hook_done(struct hook_call *call) {
  struct reload *r = call->data;
  r->waits = false;
  if (!call->answer.allowed) r->step = RELOAD_FAILED;
  loop_make_ready(call->script->loop, &r->ready);
}

// Meanwhile `step` is what comes when the hook is content.
static void run(struct reload *r, struct hook_call *call) {
  call->script = r->next;
  call->text = r->error;
  call->text_size = sizeof r->error;
  call->data = r;
  call->done = hook_done;
  hook_run(call);
  if (call->suspended)
    r->waits = true;
  else if (!call->answer.allowed)
    r->step = RELOAD_FAILED;
}

// One function after the other, as each of them has to be content.
static void run_selftest(struct reload *r) {
  const struct hook_chain *all = &r->next->hooks[HOOK_SELFTEST];
  if (r->tested == all->count) {
    r->step = RELOAD_SAVE;
    return;
  }
  struct hook_chain one = {.functions = all->functions + r->tested++, .count = 1};
  run(r, &(struct hook_call){.hook = HOOK_SELFTEST, .chain = &one});
}

static void run_start(struct reload *r) {
  script_enter_started(r->next);
  r->step = RELOAD_SWAP;
  if (hook_defined(r->next, HOOK_START)) run(r, &(struct hook_call){.hook = HOOK_START});
}

// --- save: what the script before hands over ---

static int push_saved(lua_State *L) {
  struct script *s = lua_touserdata(L, 1);
  plain_push(L, buf_slice(&s->host->plain));
  s->saved_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

// What has been saved, from the older state to the new one. Nothing of it may be lost without a word.
static bool take_saved(struct reload *r, struct script *older, int value) {
  struct script *s = r->next;
  lua_State *from = older->tool, *to = s->tool;
  struct plain_loss loss = {.name = "saved"};
  s->host->plain.len = 0;
  lua_rawgeti(from, LUA_REGISTRYINDEX, value);
  plain_write(from, -1, &s->host->plain, &loss);
  lua_pop(from, 1);
  if (loss.count) {
    snprintf(r->error, sizeof r->error, "hook save: not plain data: %s", loss.first);
    return false;
  }
  lua_pushcfunction(to, push_saved);
  lua_pushlightuserdata(to, s);
  if (lua_pcall(to, 1, 0, 0) == LUA_OK) return true;
  snprintf(r->error, sizeof r->error, "hook save: %s", lua_tostring(to, -1));
  lua_pop(to, 1);
  return false;
}

static bool run_save(struct reload *r) {
  struct script *older = host_of(r)->script;
  if (!hook_defined(older, HOOK_SAVE)) return true;
  struct hook_call call = {
      .script = older, .hook = HOOK_SAVE, .text = r->error, .text_size = sizeof r->error};
  if (!hook_run(&call)) return false;
  if (!call.answer.has_value) return true;
  bool taken = take_saved(r, older, call.answer.value);
  luaL_unref(older->tool, LUA_REGISTRYINDEX, call.answer.value);
  return taken;
}

// --- load ---

static struct script *load(struct host *h, struct buf *why) {
  if (h->shard->closing) {
    buf_add_str(why, "the broker is stopping");
  } else if (!h->source.load) {
    buf_add_str(why, "there is no script to load again");
  } else {
    return h->source.load(h->source.arg, h, why);
  }
  return NULL;
}

// From here on the reload is under way, with `s`, or failed where that is NULL.
static void set_out(struct reload *r, struct script *s) {
  struct host *h = host_of(r);
  r->next = s;
  r->tested = 0;
  r->step = RELOAD_FAILED;
  list_splice(&r->served, &r->wishes);
  if (!s) return;
  s->log.out = h->script->log.out;
  passed(r,
         listeners_prepare(s, h->script, r->error, sizeof r->error) &&
             shadow_prepare(h, s, &r->shadow, r->error, sizeof r->error),
         RELOAD_SELFTEST);
}

// --- the end ---

static void tell(struct list *wishes, const char *why) {
  for (struct list *node; (node = list_take(wishes));) {
    struct reload_wish *w = container_of(node, struct reload_wish, node);
    w->done(w, why);
  }
}

static void finish(struct reload *r, const char *why) {
  struct host *h = host_of(r);
  r->step = RELOAD_LOAD;
  r->next = NULL;
  engine_reload_tls(h->engine); // certificates are renewed whatever the script is like
  if (h->reloaded) h->reloaded(h->reloaded_arg, why);
  tell(&r->served, why);
  buf_release(&r->why);
  *r->error = 0;
  reload_look(h);
}

// It is too late to fail.
static void follow_settings(struct script *s) {
  char error[512];
  if (!record_follow_settings(s, error, sizeof error)) logger_engine_error(&s->logger, error);
}

static void swap(struct reload *r) {
  struct host *h = host_of(r);
  struct script *s = r->next, *older = h->script;
  s->is_started = true;
  script_retire(older);
  host_install(h, s);
  shadow_follow(h, r->shadow);
  r->shadow = NULL;
  follow_settings(s);
  listeners_install(s);
  listeners_forget(older);
  adoption_begin(h);
  h->shard->stats.reloads++;
  if (log_begin(&s->log, LEVEL_INFO, SLICE("reload: another script is in force"))) log_end(&s->log);
  finish(r, NULL);
}

static void fail(struct reload *r) {
  struct host *h = host_of(r);
  struct log *log = &h->script->log;
  h->shard->stats.reloads_failed++;
  if (!r->why.len) buf_add_str(&r->why, *r->error ? r->error : "it failed");
  if (log_begin(log, LEVEL_ERROR, SLICE("reload failed: everything stays as it is"))) {
    log_lines(log, "error", buf_slice(&r->why));
    log_end(log);
  }
  shadow_end(r->shadow);
  r->shadow = NULL;
  if (r->next) {
    listeners_abandon(r->next, h->script);
    script_stop(r->next);
    script_free(r->next);
  }
  finish(r, buf_text(&r->why));
}

static bool is_to_begin(const struct reload *r) { return r->step == RELOAD_LOAD && !list_empty(&r->wishes); }

// The steps, until one waits or the reload is over.
static void go_on(struct ready *ready) {
  struct reload *r = container_of(ready, struct reload, ready);
  struct host *h = host_of(r);
  do {
    if (h->shard->closing && r->step != RELOAD_LOAD) { // the listeners may be closed
      snprintf(r->error, sizeof r->error, "the broker is stopping");
      r->step = RELOAD_FAILED;
    }
    switch (r->step) {
    case RELOAD_LOAD:
      if (!is_to_begin(r)) return;
      if (h->reloading) h->reloading(h->reloaded_arg);
      set_out(r, load(h, &r->why));
      break;
    case RELOAD_SELFTEST: run_selftest(r); break;
    case RELOAD_SAVE: passed(r, run_save(r), RELOAD_START); break;
    case RELOAD_START: run_start(r); break;
    case RELOAD_SWAP: swap(r); break;
    case RELOAD_FAILED: fail(r); break;
    }
  } while (!r->waits && r->step != RELOAD_LOAD);
}

// --- wishes ---

// A wish of nobody.
static void forget(struct reload_wish *w, const char *why) {
  (void)why;
  mem_free(w);
}

bool reload_is_under_way(const struct host *h) {
  return h->reload.step != RELOAD_LOAD || !adoption_is_over(h);
}

void host_reload(struct host *h, struct reload_wish *w) {
  if (!w) {
    w = mem_calloc(1, sizeof *w);
    w->done = forget;
  }
  list_append(&h->reload.wishes, &w->node);
  reload_look(h);
}

void reload_look(struct host *h) {
  if (!list_empty(&h->reload.wishes) && !reload_is_under_way(h)) loop_make_ready(h->loop, &h->reload.ready);
}

void host_replace(struct host *h, struct script *s, struct reload_wish *w) {
  assert(!reload_is_under_way(h));
  struct reload *r = &h->reload;
  set_out(r, s);
  list_append(&r->served, &w->node);
  loop_make_ready(h->loop, &r->ready);
}

void reload_forget(struct reload_wish *w) { list_remove(&w->node); }

void reload_init(struct host *h) {
  struct reload *r = &h->reload;
  list_init(&r->wishes);
  list_init(&r->served);
  ready_init(&r->ready, go_on);
}

void reload_abandon(struct host *h) {
  shadow_end(h->reload.shadow);
  h->reload.shadow = NULL;
  if (h->reload.next) listeners_abandon(h->reload.next, h->script);
}

void reload_end(struct host *h) {
  struct reload *r = &h->reload;
  ready_cancel(&r->ready);
  tell(&r->served, "the broker is stopping");
  tell(&r->wishes, "the broker is stopping");
  buf_release(&r->why);
}
