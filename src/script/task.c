#include "script/task.h"

#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/script_impl.h"

#define SECRET_MIN 4    // bytes
#define GO_ON_US   2000 // that hooks whose waits are over may take of a turn
#define LOOK_MS    1000 // between two looks at whether a peer that is not read has gone

// --- coroutines ---

static int make_thread(lua_State *L) {
  struct hook_task *t = lua_touserdata(L, 1);
  t->L = lua_newthread(L);
  t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static void expired(struct timer *timer);

struct hook_task *task_take(struct script *s) {
  if (s->pool.count) return s->pool.idle[--s->pool.count];
  lua_State *L = s->tool;
  if (!lua_checkstack(L, 4)) return NULL;
  struct hook_task *t = mem_calloc(1, sizeof *t);
  t->script = s;
  lua_pushcfunction(L, make_thread);
  lua_pushlightuserdata(L, t);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_pop(L, 1);
    mem_free(t);
    return NULL;
  }
  list_init(&t->node);
  list_init(&t->client_node);
  timer_init(&t->timer, expired);
  return t;
}

static void drop(struct hook_task *t) {
  struct script *s = t->script;
  if (lua_checkstack(s->tool, 4)) luaL_unref(s->tool, LUA_REGISTRYINDEX, t->ref);
  mem_free(t);
}

// What a call that was kept holds on to.
static void release(struct hook_task *t) {
  if (t->kept.client) client_unref(t->kept.client);
  if (t->kept.stored) message_unref((struct message *)(uintptr_t)t->kept.stored);
  buf_release(&t->raw);
  if (t->secret.len) explicit_bzero(t->secret.ptr, t->secret.len);
  buf_release(&t->secret);
}

void task_give(struct hook_task *t) {
  struct script *s = t->script;
  if (t->call->answer.failed && !t->spoilt) lua_settop(t->L, 0); // the error, or what it left
  if (t->call == &t->kept) release(t);
  t->call = NULL;
  if (lua_gethook(t->L)) lua_sethook(t->L, NULL, 0, 0); // the script's own, or of budget.c
  if (s->pool.count < HOOK_IDLE_MAX && !t->spoilt)
    s->pool.idle[s->pool.count++] = t;
  else
    drop(t);
}

void hook_pool_release(struct script *s) {
  while (s->pool.count)
    drop(s->pool.idle[--s->pool.count]);
}

// --- secrets ---

// The password that `authenticate` was given. Short ones are parts of too many words.
static struct slice secret_of(const struct hook_call *call) {
  struct slice secret = {0};
  if (call->hook == HOOK_AUTHENTICATE && call->given)
    secret = call->given->password;
  else if (call->task && call == &call->task->kept)
    secret = buf_slice(&call->task->secret);
  return secret.len >= SECRET_MIN ? secret : slice_of(NULL, 0);
}

void task_add_without_secret(struct buf *out, struct slice text, const struct hook_call *call) {
  struct slice secret = secret_of(call);
  const uint8_t *found;
  while (secret.len && (found = memmem(text.ptr, text.len, secret.ptr, secret.len))) {
    buf_add(out, text.ptr, (size_t)(found - text.ptr));
    buf_add_str(out, "***");
    text = slice_from(text, (size_t)(found - text.ptr) + secret.len);
  }
  buf_add_slice(out, text);
}

// --- slots: only so many waits of hooks are started at once ---

static bool is_background(const struct hook_task *t) { return t->call->hook >= HOOK_TIMER; }

static void start_wait(struct hook_task *t) {
  t->wait->started = true;
  t->wait->ops->start(t->wait);
}

static void tell_slots_used(struct script *s) {
  uint32_t missed = 0;
  if (!log_rate_allows(&s->slots_used, s->loop->clock.now_ms, 1, &missed)) return;
  if (!log_begin(&s->log, LEVEL_WARN, SLICE("too many hooks wait: others wait for one of them to end")))
    return;
  log_number(&s->log, "max_suspended", s->settings.max_suspended);
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

static void take_slot(struct hook_task *t) {
  struct script *s = t->script;
  if (is_background(t)) {
    start_wait(t);
  } else if (s->waiting < s->settings.max_suspended) {
    s->waiting++;
    start_wait(t);
  } else {
    s->shard->stats.hooks_queued++;
    list_append(&s->queued, &t->wait->node);
    tell_slots_used(s);
  }
}

// The slot of a wait that is over goes to the next.
static void leave_slot(struct hook_task *t, struct wait *w) {
  struct script *s = t->script;
  list_remove(&w->node);
  if (!w->started || is_background(t)) return;
  s->waiting--;
  struct list *node = list_take(&s->queued);
  if (!node) return;
  s->waiting++;
  start_wait(container_of(node, struct wait, node)->task);
}

// --- keeping a call ---

static void keep_packet(struct hook_task *t, struct hook_call *call) {
  buf_add_slice(&t->raw, call->raw);
  call->raw = buf_slice(&t->raw);
  packet_decode(&t->packet, call->raw, call->version, call->raw.len); // it has been decoded before
  call->packet = &t->packet;
  if (call->lent[1]) packet_object_move(call->lent[1], &t->packet);
}

static void keep_message(struct hook_task *t, struct hook_call *call) {
  message_ref((struct message *)(uintptr_t)call->stored);
  t->view = *call->message;
  call->message = &t->view;
  if (call->lent[0]) message_object_move(call->lent[0], &t->view);
}

static void keep(struct hook_task *t) {
  struct script *s = t->script;
  t->kept = *t->call;
  struct hook_call *call = t->call = &t->kept;
  call->task = t;
  if (call->hook == HOOK_AUTHENTICATE && call->given) buf_add_slice(&t->secret, call->given->password);
  call->given = NULL; // the coroutine has what they say
  call->step = NULL;
  call->id = slice_of(NULL, 0);
  if (call->chain != &s->hooks[call->hook]) {
    t->function = call->chain->functions[0];
    t->chain = (struct hook_chain){.functions = &t->function, .count = 1};
    call->chain = &t->chain;
  }
  if (call->stored) keep_message(t, call);
  if (call->packet) keep_packet(t, call);
  if (call->client) {
    client_ref(call->client);
    list_append(client_object_tasks(call->client), &t->client_node);
  }
  list_append(&s->tasks, &t->node);
  s->shard->stats.hooks_suspended++;
  t->waited_ms = 0;
  t->looked_ms = s->loop->clock.now_ms;
}

void task_leave(struct hook_task *t) {
  struct script *s = t->script;
  list_remove(&t->node);
  list_remove(&t->client_node);
  timer_disarm(&s->loop->timers, &t->timer);
  s->shard->stats.hooks_suspended--;
  if (s->is_retired) host_look_at_retired(s->host);
}

// --- time ---

static uint64_t left_ms(const struct hook_task *t) {
  if (is_background(t)) return UINT64_MAX;
  uint64_t waited_ms = t->waited_ms + t->script->loop->clock.now_ms - t->since_ms;
  uint64_t limit_ms = t->script->settings.hook_timeout_ms;
  return waited_ms < limit_ms ? limit_ms - waited_ms : 0;
}

// However short the single waits are.
static uint64_t until_look_ms(const struct hook_task *t) {
  if (!t->call->client) return UINT64_MAX;
  uint64_t passed_ms = t->script->loop->clock.now_ms - t->looked_ms;
  return passed_ms < LOOK_MS ? LOOK_MS - passed_ms : 0;
}

static void arm(struct hook_task *t) {
  uint64_t in_ms = left_ms(t), look_ms = until_look_ms(t);
  if (look_ms < in_ms) in_ms = look_ms;
  if (in_ms != UINT64_MAX)
    timer_arm(&t->script->loop->timers, &t->timer, t->script->loop->clock.now_ms + in_ms);
}

static void cancel_wait(struct hook_task *t) {
  struct wait *w = t->wait;
  if (!w) return; // by cancel_later
  t->wait = NULL;
  leave_slot(t, w);
  if (w->started) w->ops->cancel(w);
}

static void give_up(struct hook_task *t, const char *failed, const char *report) {
  cancel_wait(t);
  hook_give_up(t, failed, report);
}

static void expired(struct timer *timer) {
  struct hook_task *t = container_of(timer, struct hook_task, timer);
  struct script *s = t->script;
  if (left_ms(t)) {
    t->looked_ms = s->loop->clock.now_ms;
    arm(t);
    if (t->call->client) client_check_peer(t->call->client);
    return;
  }
  char text[128];
  snprintf(text, sizeof text, "hook %s: waited longer than %g s, at last for %s", hook_name(t->call->hook),
           s->settings.hook_timeout_ms / 1000.0, t->wait->ops->name);
  s->shard->stats.hook_timeouts++;
  give_up(t, "hook timeout", text);
}

void task_suspend(struct hook_task *t) {
  if (t->call != &t->kept) keep(t);
  t->since_ms = t->script->loop->clock.now_ms;
  arm(t);
  take_slot(t);
}

// --- the end of a wait ---

static bool takes_long(const struct script *s, uint64_t since_us) {
  return loop_now_us(s->loop) - since_us > GO_ON_US;
}

static void wait_over(struct wait *w) {
  struct hook_task *t = w->task;
  timer_disarm(&t->script->loop->timers, &t->timer);
  t->waited_ms += t->script->loop->clock.now_ms - t->since_ms;
  t->wait = NULL;
  leave_slot(t, w);
  hook_go_on(t);
}

// Whether there was one.
static bool next_goes_on(struct script *s) {
  struct list *cancelled = list_take(&s->cancelled), *over = cancelled ? NULL : list_take(&s->over);
  if (cancelled) give_up(container_of(cancelled, struct hook_task, client_node), ERROR_CANCELLED, NULL);
  if (over) wait_over(container_of(over, struct wait, node));
  return cancelled || over;
}

// Those that are over, in order; with many of them the rest has its turn later.
static void go_on(struct ready *r) {
  struct script *s = container_of(r, struct script, waits_over);
  uint64_t since_us = loop_now_us(s->loop);
  while (next_goes_on(s) && !takes_long(s, since_us)) {
  }
  if (!list_empty(&s->cancelled) || !list_empty(&s->over)) loop_make_ready(s->loop, r);
}

void wait_done(struct wait *w) {
  struct script *s = w->task->script;
  assert(w->started && !w->over);
  w->over = true;
  list_append(&s->over, &w->node);
  loop_make_ready(s->loop, &s->waits_over);
}

void tasks_init(struct script *s) {
  list_init(&s->tasks);
  list_init(&s->queued);
  list_init(&s->over);
  list_init(&s->cancelled);
  ready_init(&s->waits_over, go_on);
}

// --- cancelling ---

// The first task of the client that ends with it.
static struct hook_task *first_cancellable(struct client *c) {
  list_each(node, client_object_tasks(c)) {
    struct hook_task *t = container_of(node, struct hook_task, client_node);
    if (t->call->hook != HOOK_PUBLISH && t->call->hook != HOOK_TERMINATE) return t;
  }
  return NULL;
}

void hook_cancel_client(struct script *s, struct client *c) {
  if (!client_script(c)) return;
  client_ref(c);
  for (struct hook_task *t; (t = first_cancellable(c));) {
    s->shard->stats.hooks_cancelled++;
    give_up(t, ERROR_CANCELLED, NULL);
  }
  client_unref(c);
}

bool hook_any_waits(const struct script *s) {
  list_each(node, &s->tasks) {
    if (!is_background(container_of(node, struct hook_task, node))) return true;
  }
  return false;
}

// What one of them closes may cancel others, so nothing of the list is known after that.
void hook_cancel_background(struct script *s) {
  struct list before;
  list_init(&before);
  list_splice(&before, &s->tasks);
  for (struct list *node; (node = list_take(&before));) {
    struct hook_task *t = container_of(node, struct hook_task, node);
    list_append(&s->tasks, node);
    if (is_background(t)) give_up(t, ERROR_CANCELLED, NULL);
  }
}

// It waits no longer, and its coroutine is closed in the next turn.
static void cancel_later(struct hook_task *t) {
  struct script *s = t->script;
  assert(!t->call->client);
  cancel_wait(t);
  list_append(&s->cancelled, &t->client_node);
  loop_make_ready(s->loop, &s->waits_over);
}

// What is closed may cancel the next one, which is on the stack then.
void hook_cancel(struct hook_task *t) {
  if (!t->wait) return;
  if (t->script->depth < HOOK_DEPTH_MAX)
    give_up(t, ERROR_CANCELLED, NULL);
  else
    cancel_later(t);
}

void hook_cancel_all(struct script *s) {
  for (struct list *node; (node = list_first(&s->tasks));)
    give_up(container_of(node, struct hook_task, node), ERROR_CANCELLED, NULL);
}

// --- suspending: in the coroutine ---

// Why what runs in L cannot suspend, or NULL.
static const char *obstacle(lua_State *L, const struct hook_task *t) {
  if (!t) return "it suspends: call it from a hook, a timer or a function of luamq.spawn";
  if (t->script->ends) return "it cannot suspend: the broker ends";
  if (t->closing) return "it cannot suspend while what is to be closed is being closed";
  if (L != t->L)
    return "it cannot suspend inside of a coroutine of the script's own; luamq.spawn makes one where it can";
  if (!t->call->done) return NULL;
  if (!lua_isyieldable(L))
    return "it cannot suspend here: a C function stands between it and the hook (table.sort, string.gsub, "
           "require, a metamethod that C called, a finalizer)";
  return NULL;
}

// Whether it is one of the modules that come with luamq, by the folder that they have in any installation.
static bool is_own_module(const char *source) {
  static const char *const folders[] = {"lua/luamq", "5.4/luamq"};
  const char *name = strrchr(source, '/');
  for (size_t i = 0; name && i < sizeof folders / sizeof *folders; i++) {
    size_t len = strlen(folders[i]);
    if ((size_t)(name - source) > len && !memcmp(name - len, folders[i], len)) return true;
  }
  return false;
}

// Pushes "broker.lua:12: ", the line of the script that called, and not that of a module in between.
static void push_where(lua_State *L) {
  lua_Debug frame;
  int level = 1;
  while (lua_getstack(L, level, &frame) && lua_getinfo(L, "S", &frame) && is_own_module(frame.source))
    level++;
  luaL_where(L, level);
}

int wait_misuse(lua_State *L, const char *name, const char *why) {
  push_where(L);
  lua_pushfstring(L, "%s: %s", name, why);
  lua_concat(L, 2);
  return lua_error(L);
}

void wait_check(lua_State *L, const char *name) {
  const struct hook_task *t = script_home(L)->task;
  const char *why = obstacle(L, t);
  if (why) wait_misuse(L, name, why);
  if (!t->call->done)
    wait_misuse(L, name, lua_pushfstring(L, "hook %s cannot suspend", hook_name(t->call->hook)));
}

static int went_on(lua_State *L, int status, lua_KContext context) {
  (void)status;
  struct wait *w = (struct wait *)context;
  return w->ops->finish(L, w);
}

int wait_for(lua_State *L, struct wait *w, const struct wait_ops *ops) {
  wait_check(L, ops->name);
  struct hook_task *t = script_home(L)->task;
  *w = (struct wait){.ops = ops, .task = t};
  list_init(&w->node);
  t->wait = w;
  return lua_yieldk(L, 0, (lua_KContext)w, went_on);
}

struct loop *wait_loop(lua_State *L) {
  struct script *s = script_current(L);
  if (!s || !s->shard) luaL_error(L, "no broker is running");
  return s->loop;
}
