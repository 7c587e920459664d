#include "script/shadow.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

#include "base/mem.h"
#include "script/client_object.h"
#include "script/decision.h"
#include "script/host.h"
#include "script/observe.h"
#include "script/script_impl.h"

#define LINES_A_SECOND 10

struct shadow {
  struct observer observer;
  struct host *watched;
  struct host *own;
  struct list trials; // that are not compared yet
  struct log_rate rate;
};

struct outcome {
  bool known, dropped;
  struct message *changed; // what it has put in the place of the message; a reference, or NULL
  char *filter;            // of a subscription that it allows, without its group; or NULL
  uint8_t reason, granted;
  const char *error; // static storage; NULL: it was decided
  char place[PLACE_MAX];
};

struct trial { // one operation, decided twice
  struct list node;
  struct shadow *shadow;
  struct client *client; // a reference
  enum operation operation;
  struct outcome first, second; // of the script in force, of the shadow
  struct subscribe_item item;   // a copy, for the hook to change
  char *filter;                 // of the item, and behind it the name of its group
  struct message *message;      // or NULL
};

static void outcome_release(struct outcome *o) {
  if (o->changed) message_unref(o->changed);
  mem_free(o->filter);
}

static char *copy_text(struct slice s) {
  char *text = mem_alloc(s.len + 1);
  if (s.len) memcpy(text, s.ptr, s.len);
  text[s.len] = 0;
  return text;
}

static struct script *script_of(const struct shadow *sh) { return sh->own->script; }

// --- comparing ---

static struct trial *trial_new(struct shadow *sh, enum operation o, struct client *c) {
  struct trial *t = mem_calloc(1, sizeof *t);
  t->shadow = sh;
  t->operation = o;
  t->client = client_ref(c);
  list_append(&sh->trials, &t->node);
  return t;
}

static void trial_free(struct trial *t) {
  list_remove(&t->node);
  client_unref(t->client);
  if (t->message) message_unref(t->message);
  outcome_release(&t->first);
  outcome_release(&t->second);
  if (t->item.owned) mem_free((void *)(uintptr_t)t->item.filter.ptr);
  mem_free(t->filter);
  mem_free(t);
}

static bool is_same_message(const struct message *a, const struct message *b) {
  if (!a || !b) return a == b;
  struct packet_message x = message_view(a), y = message_view(b);
  return x.qos == y.qos && x.retain == y.retain && slice_eq(x.topic, y.topic) &&
         slice_eq(x.payload, y.payload) && slice_eq(x.properties.raw, y.properties.raw);
}

static bool is_same_filter(const struct outcome *a, const struct outcome *b) {
  return !a->filter || !b->filter || !strcmp(a->filter, b->filter);
}

static bool differs(const struct trial *t) {
  const struct outcome *a = &t->first, *b = &t->second;
  if (a->reason != b->reason) return true;
  if (a->reason != REASON_SUCCESS) return false;
  return a->dropped != b->dropped || a->granted != b->granted || !is_same_message(a->changed, b->changed) ||
         !is_same_filter(a, b);
}

static const char *outcome_text(const struct outcome *o, char out[64]) {
  if (o->reason != REASON_SUCCESS) return reason_name(o->reason);
  if (o->dropped) return "dropped";
  if (o->changed) return "changed";
  snprintf(out, 64, o->granted ? "success, QoS %u" : "success", o->granted);
  return out;
}

static void tell(struct trial *t) {
  struct shadow *sh = t->shadow;
  struct log *log = &sh->watched->script->log;
  uint32_t missed = 0;
  char first[64], second[64];
  if (!log_wants(log, LEVEL_INFO)) return;
  if (!log_rate_allows(&sh->rate, sh->watched->loop->clock.now_ms, LINES_A_SECOND, &missed)) return;
  log_begin(log, LEVEL_INFO, SLICE("the shadow decides otherwise"));
  logger_add_client(log, t->client);
  log_string(log, "operation", slice_str(operation_name(t->operation)));
  if (t->message) log_string(log, "topic", message_topic(t->message));
  if (t->filter) log_string(log, "filter", slice_str(t->filter));
  log_string(log, "answer", slice_str(outcome_text(&t->first, first)));
  if (*t->first.place) log_string(log, "place", slice_str(t->first.place));
  bool both_change = t->first.changed && t->second.changed;
  log_string(log, "shadow",
             both_change ? SLICE("changed otherwise") : slice_str(outcome_text(&t->second, second)));
  if (!is_same_filter(&t->first, &t->second)) {
    log_string(log, "answer_filter", slice_str(t->first.filter));
    log_string(log, "shadow_filter", slice_str(t->second.filter));
  }
  if (*t->second.place) log_string(log, "shadow_place", slice_str(t->second.place));
  if (t->second.error) log_string(log, "error", slice_str(t->second.error));
  if (missed) log_number(log, "suppressed", missed);
  log_end(log);
}

static void count(const struct trial *t, bool differ) {
  static const uint8_t hooks[OPERATION_COUNT] = {[OPERATION_CONNECT] = HOOK_AUTHENTICATE,
                                                 [OPERATION_PUBLISH] = HOOK_PUBLISH,
                                                 [OPERATION_SUBSCRIBE] = HOOK_SUBSCRIBE,
                                                 [OPERATION_DELIVER] = HOOK_DEQUEUE};
  struct host *h = t->shadow->watched;
  struct stats *stats = &h->shard->stats;
  struct hook_times *times = &h->times[hooks[t->operation]];
  stats->shadow_calls++;
  times->shadow_calls++;
  stats->shadow_errors += t->second.error != NULL;
  stats->shadow_differences += differ;
  times->shadow_differences += differ;
}

static void compare(struct trial *t) {
  if (!t->first.known || !t->second.known) return;
  bool differ = differs(t);
  count(t, differ);
  if (differ) tell(t);
  trial_free(t);
}

// --- what the script in force has decided ---

static void note_first(struct trial *t, const struct decision *d) {
  const struct reply *reply = d->reply;
  struct outcome *o = &t->first;
  o->known = true;
  o->reason = reply->reason;
  o->dropped = reply->drop;
  o->changed = d->changed ? message_ref((struct message *)(uintptr_t)d->changed) : NULL;
  if (d->item && reply->reason == REASON_SUCCESS) {
    o->granted = d->item->code;
    o->filter = copy_text(d->item->filter);
  }
  if (reply->by && reply->by->place) snprintf(o->place, sizeof o->place, "%s", reply->by->place);
}

// --- what the shadow does ---

static void refuse_by_rule(struct outcome *o, const struct rules_decision *d) {
  char place[RULES_PLACE_MAX];
  o->reason = REASON_NOT_AUTHORIZED;
  snprintf(o->place, sizeof o->place, "%s", rules_decision_place(d, place));
}

// Those of the client alone.
static struct rules *own_rules(const struct trial *t) {
  const struct script *s = script_of(t->shadow);
  if (!hook_defined(s, HOOK_AUTHENTICATE)) return NULL;
  const struct client_object *o = client_object_find(t->client, s);
  return o && o->asked ? o->rules : (struct rules *)(uintptr_t)client_rules(t->client);
}

// As access_decide has it.
static bool decide(const struct trial *t, const struct rules_input *input, struct rules_decision *d) {
  struct rules *own = own_rules(t), *all = script_of(t->shadow)->rules;
  struct rules_who who = {client_id(t->client), client_username(t->client)};
  bool concerned =
      (own && rules_concern(own, input->operation)) || (all && rules_concern(all, input->operation));
  if (!concerned) return false;
  *d = (struct rules_decision){.verdict = RULES_SILENT};
  if (own) rules_check(own, &who, input, d);
  if (d->verdict == RULES_SILENT && all) rules_check(all, &who, input, d);
  return true;
}

static void ask_rules(struct trial *t, struct slice topic, uint8_t qos, bool retain) {
  static const uint8_t operations[OPERATION_COUNT] = {[OPERATION_PUBLISH] = RULES_PUBLISH,
                                                      [OPERATION_SUBSCRIBE] = RULES_SUBSCRIBE,
                                                      [OPERATION_DELIVER] = RULES_DELIVER};
  struct rules_input input = {.operation = (enum rules_operation)operations[t->operation],
                              .topic = topic,
                              .qos = qos,
                              .retain = retain};
  struct rules_decision d;
  if (!decide(t, &input, &d)) return;
  if (d.verdict != RULES_ALLOW)
    refuse_by_rule(&t->second, &d);
  else if (t->operation == OPERATION_SUBSCRIBE && d.qos < t->second.granted)
    t->second.granted = d.qos;
}

static void ask_rules_of(struct trial *t) {
  struct outcome *o = &t->second;
  if (o->reason != REASON_SUCCESS || o->dropped || t->operation == OPERATION_CONNECT) return;
  const struct message *m = o->changed ? o->changed : t->message;
  if (m)
    ask_rules(t, message_topic(m), m->qos, m->retain);
  else
    ask_rules(t, t->item.filter, o->granted, false);
}

// What authenticate gave is for what the client does from then on.
static void keep_rules(const struct trial *t, struct answer *a) {
  struct client_object *o = client_object_find(t->client, script_of(t->shadow));
  if (!o) return;
  rules_unref(o->rules);
  o->rules = a->rules;
  o->asked = true;
  a->rules = NULL;
}

static void release_answer(struct answer *a) {
  told_free(a->told);
  rules_unref(a->rules);
}

static void answered(struct trial *t, struct hook_call *call) {
  struct answer *a = &call->answer;
  struct outcome *o = &t->second;
  *o = (struct outcome){.known = true,
                        .reason = a->allowed ? REASON_SUCCESS : a->reason,
                        .dropped = a->drop,
                        .changed = a->message,
                        .error = a->failed,
                        .granted = call->hook == HOOK_SUBSCRIBE && a->allowed ? a->qos : 0};
  decision_place(call, o->place);
  if (call->hook == HOOK_AUTHENTICATE) keep_rules(t, a);
  ask_rules_of(t);
  if (call->hook == HOOK_SUBSCRIBE) o->filter = copy_text(t->item.filter);
  release_answer(a);
}

static void done(struct hook_call *call) {
  struct trial *t = call->data;
  answered(t, call);
  compare(t);
}

static void run(struct trial *t, struct hook_call *call) {
  struct script *s = script_of(t->shadow);
  call->script = s;
  call->client = t->client;
  call->done = done;
  s->log.out = t->shadow->watched->script->log.out;
  if (!hook_defined(s, call->hook)) {
    t->second = (struct outcome){.known = true, .granted = t->item.qos};
    ask_rules_of(t);
    return;
  }
  hook_run(call);
  if (call->suspended)
    hook_keep(call, t);
  else
    answered(t, call);
}

static void try_message(struct trial *t, enum hook hook, const struct decision *d) {
  t->message = message_ref((struct message *)(uintptr_t)d->asked);
  struct hook_call call = {.hook = hook, .message = d->message, .stored = t->message};
  run(t, &call);
}

static void try_subscription(struct trial *t, const struct decision *d) {
  struct slice filter = d->item->asked, share = d->item->share;
  if (share.len) filter = slice_from(filter, strlen("$share//") + share.len);
  t->filter = mem_alloc(filter.len + 1 + share.len);
  memcpy(t->filter, filter.ptr, filter.len);
  t->filter[filter.len] = 0;
  char *name = t->filter + filter.len + 1;
  if (share.len) memcpy(name, share.ptr, share.len);
  t->item = (struct subscribe_item){.filter = slice_of(t->filter, filter.len),
                                    .share = slice_of(name, share.len),
                                    .qos = d->item->qos,
                                    .code = d->item->qos,
                                    .options = d->item->options};
  struct hook_call call = {.hook = HOOK_SUBSCRIBE, .item = &t->item};
  run(t, &call);
}

// --- watching ---

static struct trial *find_login(struct shadow *sh, const struct client *c) {
  list_each(node, &sh->trials) {
    struct trial *t = container_of(node, struct trial, node);
    if (t->client == c && t->operation == OPERATION_CONNECT) return t;
  }
  return NULL;
}

static void decided(struct observer *o, const struct decision *d) {
  struct shadow *sh = container_of(o, struct shadow, observer);
  bool is_login = d->operation == OPERATION_CONNECT;
  struct trial *t = is_login ? find_login(sh, d->client) : trial_new(sh, d->operation, d->client);
  if (!t) return;
  note_first(t, d);
  switch (d->operation) {
  case OPERATION_PUBLISH: try_message(t, HOOK_PUBLISH, d); break;
  case OPERATION_DELIVER: try_message(t, HOOK_DEQUEUE, d); break;
  case OPERATION_SUBSCRIBE: try_subscription(t, d); break;
  default: break;
  }
  compare(t);
}

// Nothing decides about these any more.
static void forget_gone(struct shadow *sh) {
  list_each(node, &sh->trials) {
    struct trial *t = container_of(node, struct trial, node);
    if (t->second.known && client_closing(t->client)) trial_free(t);
  }
}

// By its names and passwords.
static void try_credentials(struct trial *t, const struct credentials *given) {
  struct backend *b = t->shadow->own->inner;
  struct reply reply = {0};
  b->ops->authenticate(b, t->client, given, &reply);
  t->second = (struct outcome){.known = true, .reason = reply.reason};
  reply_release(&reply);
}

void shadow_login(struct shadow *sh, struct client *c, const struct credentials *given) {
  bool hooked = hook_defined(script_of(sh), HOOK_AUTHENTICATE);
  if (!hooked && memory_has_password_file(sh->own->inner)) return; // what takes its time is the client's
  forget_gone(sh);
  struct trial *t = trial_new(sh, OPERATION_CONNECT, c);
  struct hook_call call = {.hook = HOOK_AUTHENTICATE, .given = given};
  if (hooked)
    run(t, &call);
  else
    try_credentials(t, given);
}

// --- life ---

struct loading {
  const char *path, *lua, *c; // package.path and cpath
  char *error;
  size_t error_size;
  bool loaded;
};

static void set_field_of(lua_State *L, const char *global, const char *name, const char *value) {
  lua_getglobal(L, global);
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

// Leaves the checked table at the top.
static int load(lua_State *L) {
  struct loading *l = lua_touserdata(L, 1);
  luaL_openlibs(L);
  set_field_of(L, "package", "path", l->lua);
  set_field_of(L, "package", "cpath", l->c);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_luamq_core);
  lua_setfield(L, -2, "luamq.core");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luamq.config");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "load");
  lua_pushstring(L, l->path);
  lua_call(L, 1, 2);
  l->loaded = !lua_isnil(L, -2);
  if (!l->loaded) snprintf(l->error, l->error_size, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return 1;
}

static const char *package_field(lua_State *L, const char *name) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, name);
  return lua_tostring(L, -1);
}

// A state with the checked table at its top; NULL, and why.
static lua_State *open_state(lua_State *from, const char *path, char *error, size_t error_size) {
  int top = lua_gettop(from);
  struct loading l = {path, package_field(from, "path"), package_field(from, "cpath"), error, error_size,
                      false};
  lua_State *L = l.lua && l.c ? luaL_newstate() : NULL;
  snprintf(error, error_size, "not enough memory for a shadow");
  if (L) {
    lua_pushcfunction(L, load);
    lua_pushlightuserdata(L, &l);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) snprintf(error, error_size, "%s", lua_tostring(L, -1));
  }
  lua_settop(from, top);
  if (L && l.loaded) return L;
  if (L) lua_close(L);
  return NULL;
}

bool shadow_check(lua_State *from, const char *path, char *error, size_t error_size) {
  lua_State *L = open_state(from, path, error, error_size);
  if (!L) return false;
  lua_close(L);
  return true;
}

static bool begin(struct shadow *sh, lua_State *L, struct log *log, char *error, size_t error_size) {
  struct buf why = BUF_INIT;
  struct script *s = script_load(L, sh->own, &why);
  if (!s) {
    snprintf(error, error_size, "%s", buf_text(&why));
    lua_close(L);
  } else {
    script_own_state(s, L);
    s->log.out = log->out;
    host_install(sh->own, s);
  }
  buf_release(&why);
  return s && script_run_start(s, error, error_size);
}

static struct shadow *shadow_new(struct host *h) {
  struct shadow *sh = mem_calloc(1, sizeof *sh);
  sh->watched = h;
  sh->own = host_new(h->loop, 0);
  sh->own->is_shadow = true;
  sh->own->watched = h;
  sh->observer.decided = decided;
  list_init(&sh->observer.node);
  list_init(&sh->trials);
  return sh;
}

bool shadow_prepare(struct host *h, struct script *s, struct shadow **out, char *error, size_t error_size) {
  char why[512];
  const char *path = s->settings.shadow;
  *out = NULL;
  if (!*path || h->is_shadow) return true;
  lua_State *L = open_state(s->tool, path, why, sizeof why);
  struct shadow *sh = L ? shadow_new(h) : NULL;
  if (sh && begin(sh, L, &s->log, why, sizeof why)) {
    *out = sh;
    return true;
  }
  shadow_end(sh);
  snprintf(error, error_size, "script.shadow: %s", why);
  return false;
}

void shadow_follow(struct host *h, struct shadow *next) {
  shadow_end(h->shadow); // also of the same path: its script may have changed
  h->shadow = next;
  if (next) observe(h, &next->observer);
}

void shadow_end(struct shadow *sh) {
  if (!sh) return;
  observe_end(&sh->observer);
  if (sh->watched->shadow == sh) sh->watched->shadow = NULL;
  host_free(sh->own); // its hooks that wait come to their end
  while (!list_empty(&sh->trials))
    trial_free(container_of(list_first(&sh->trials), struct trial, node));
  mem_free(sh);
}
