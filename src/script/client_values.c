// The life of `client` values, and what goes from those of one script to those of the next.
#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/client_object.h"
#include "script/keeper.h"
#include "script/plain.h"

#define LOSSES_A_SECOND 10 // that are logged

struct client_values {         // what C keeps of a client that has an object
  struct client_object *first; // NULL: they have been collected
  struct list tasks;           // hooks of this client that are suspended, by struct hook_task's client_node
  struct held_delivery *held;  // see client_object_held
};

static struct client_snapshot *snapshot_new(const struct client *c) {
  struct slice id = client_id(c), username = client_username(c);
  struct client_snapshot *s = mem_alloc(sizeof *s + id.len + username.len);
  s->remote = *client_remote_address(c);
  s->has_username = username.ptr != NULL;
  s->id_len = id.len;
  s->username_len = username.len;
  if (id.len) memcpy(s->bytes, id.ptr, id.len);
  if (username.ptr) memcpy(s->bytes + id.len, username.ptr, username.len);
  return s;
}

// It may be collected from here on.
static void let_go(struct client_object *o) {
  keeper_free(o->script, o->keeper);
  o->keeper = NULL;
  if (o->script && lua_checkstack(o->script->tool, 4)) luaL_unref(o->script->tool, LUA_REGISTRYINDEX, o->ref);
  o->ref = LUA_NOREF;
}

static void released(void *values) {
  for (struct client_object *o = ((struct client_values *)values)->first, *next; o; o = next) {
    next = o->next;
    if (!o->collected) o->snapshot = snapshot_new(o->client);
    o->client = NULL;
    list_remove(&o->node);
    let_go(o);
  }
  mem_free(values);
}

static struct client_object *first_of(const struct client *c) {
  const struct client_values *values = client_script(c);
  return values ? values->first : NULL;
}

static void set_first(struct client *c, struct client_object *o) {
  struct client_values *values = client_script(c);
  if (!values) {
    values = mem_calloc(1, sizeof *values);
    list_init(&values->tasks);
    client_set_script(c, values, released);
  }
  values->first = o;
}

static struct client_object *find(const struct client *c, const struct script *s) {
  struct client_object *o = first_of(c);
  while (o && (o->script != s || o->ref == LUA_NOREF))
    o = o->next;
  return o;
}

// Of the newest script before `s`, whose values go over to it.
static struct client_object *find_older(const struct client *c, const struct script *s) {
  struct client_object *found = NULL;
  for (struct client_object *o = first_of(c); o; o = o->next)
    if (o->script && o->script->host == s->host && o->ref != LUA_NOREF && o->script->number < s->number &&
        (!found || o->script->number > found->script->number))
      found = o;
  return found;
}

// --- what goes from one script to the next ---

static void tell_loss(struct script *s, const struct client *c, const struct plain_loss *loss) {
  uint32_t missed = 0;
  if (!log_rate_allows(&s->lost_refs, s->loop->clock.now_ms, LOSSES_A_SECOND, &missed)) return;
  struct slice text = s->host->is_shadow ? SLICE("the shadow: not all of client.ref is plain data")
                                         : SLICE("reload: not all of client.ref is plain data");
  if (!log_begin(&s->log, LEVEL_WARN, text)) return;
  logger_add_client(&s->log, c);
  log_string(&s->log, "lost", slice_str(loss->first));
  if (loss->count > 1) log_number(&s->log, "others", loss->count - 1);
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

// The bytes of `ref` of an older object, in the host's buffer; empty for nil.
static struct slice write_ref(struct script *s, const struct client_object *older, const struct client *c) {
  lua_State *L = older->script->tool;
  struct buf *bytes = &s->host->plain;
  struct plain_loss loss = {.name = "ref"};
  bytes->len = 0;
  if (!lua_checkstack(L, 8)) return buf_slice(bytes);
  lua_rawgeti(L, LUA_REGISTRYINDEX, older->ref);
  if (lua_getiuservalue(L, -1, CLIENT_REF_VALUE) != LUA_TNIL) plain_write(L, -1, bytes, &loss);
  lua_pop(L, 2);
  if (loss.count) tell_loss(s, c, &loss);
  return buf_slice(bytes);
}

// A hook of the older script may be about to set it: then it is taken over again.
static void settle(struct client_object *o, struct client_object *older) {
  o->settled = true;
  if (older && !script_is_suspended(older->script)) let_go(older);
}

// Pushes the ref of another value of the client, as far as it is plain data. May raise.
static void push_ref(lua_State *L, struct script *s, const struct client_object *from) {
  struct slice bytes = write_ref(s, from, from->client);
  if (bytes.len)
    plain_push(L, bytes);
  else
    lua_pushnil(L);
}

// The object is at the top. May raise.
static void take_over(lua_State *L, struct script *s, struct client_object *o) {
  struct client_object *older = find_older(o->client, s);
  if (older) {
    push_ref(L, s, older);
    if (o->settled) { // by a finalizer that ran meanwhile: the older one may be gone
      lua_pop(L, 1);
      return;
    }
    lua_setiuservalue(L, -2, CLIENT_REF_VALUE);
  }
  if (!older || !client_is_busy(o->client)) settle(o, older);
}

// Likewise. A shadow has the ref that its own authenticate has set. A client that had logged in before the
// shadow began has the one that it would have after a reload.
static void take_over_in_shadow(lua_State *L, struct script *s, struct client_object *o) {
  const struct client_object *in_force = find(o->client, s->host->watched->script);
  o->settled = true;
  if (!in_force || !client_session(o->client) || !hook_defined(s, HOOK_AUTHENTICATE)) return;
  push_ref(L, s, in_force);
  lua_setiuservalue(L, -2, CLIENT_REF_VALUE);
}

// Pushes a value of its own for the client; or the one that a finalizer, which ran meanwhile, has made.
static struct client_object *push_new(lua_State *L, struct script *s, struct client *c) {
  struct client_object *o = object_new(L, s->home, OBJECT_CLIENT, sizeof *o, CLIENT_VALUES);
  *o = (struct client_object){.ref = LUA_NOREF};
  list_init(&o->node);
  struct client_object *other = find(c, s);
  if (other) {
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, other->ref);
    return other;
  }
  lua_pushvalue(L, -1);
  int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  o->ref = ref;
  o->client = c;
  o->script = s;
  o->next = first_of(c);
  o->settled = !o->next;
  list_append(&s->clients, &o->node);
  set_first(c, o);
  return o;
}

void client_object_push(lua_State *L, struct script *s, struct client *c) {
  struct client_object *o = find(c, s);
  if (o)
    lua_rawgeti(L, LUA_REGISTRYINDEX, o->ref);
  else
    o = push_new(L, s, c);
  if (o->settled) return;
  if (s->host->is_shadow)
    take_over_in_shadow(L, s, o);
  else
    take_over(L, s, o);
}

struct client_object *client_object_find(const struct client *c, const struct script *s) {
  return find(c, s);
}

static int protected_push(lua_State *L) {
  client_object_push(L, lua_touserdata(L, 1), lua_touserdata(L, 2));
  return 0;
}

static bool has_ref(const struct client_object *o) {
  lua_State *L = o->script->tool;
  if (!lua_checkstack(L, 4)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, o->ref);
  bool has = lua_getiuservalue(L, -1, CLIENT_REF_VALUE) != LUA_TNIL;
  lua_pop(L, 2);
  return has;
}

static void make_and_take_over(struct script *s, struct client *c) {
  lua_State *L = s->tool, *outer = script_enter(s, L);
  lua_pushcfunction(L, protected_push);
  lua_pushlightuserdata(L, s);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    lua_pop(L, 1);
    tell_loss(s, c, &(struct plain_loss){.count = 1, .first = "ref: not enough memory"});
  }
  script_leave(s, outer);
}

void client_object_hand_over(struct script *s, struct client *c) {
  struct client_object *older = find_older(c, s);
  if (!older) return;
  if (find(c, s) || has_ref(older)) {
    if (lua_checkstack(s->tool, 8)) make_and_take_over(s, c);
  } else if (!script_is_suspended(older->script)) {
    let_go(older); // the new one is made when a hook needs it
  }
}

void client_objects_end(struct script *s) {
  struct script *heir = s->host->script;
  for (struct list *node; (node = list_take(&s->clients));) {
    struct client_object *o = container_of(node, struct client_object, node);
    if (heir && heir != s) client_object_hand_over(heir, o->client);
    let_go(o);
    o->script = NULL;
  }
}

// The client, if it is still there, forgets it.
static void leave_client(struct client_object *o) {
  struct client_object **at = &((struct client_values *)client_script(o->client))->first;
  while (*at != o)
    at = &(*at)->next;
  *at = o->next;
  o->client = NULL;
  list_remove(&o->node);
}

struct list *client_object_tasks(struct client *c) {
  return &((struct client_values *)client_script(c))->tasks;
}

struct held_delivery **client_object_held(struct client *c) {
  return &((struct client_values *)client_script(c))->held;
}

void client_object_keep(struct script *s, struct client *c, struct keeper *keeper) {
  struct client_object *o = find(c, s);
  assert(o);
  keeper_free(s, o->keeper);
  o->keeper = keeper;
}

const struct keeper *client_object_keeper(const struct script *s, const struct client *c) {
  const struct client_object *o = find(c, s);
  return o ? o->keeper : NULL;
}

int client_object_collect(lua_State *L) {
  struct client_object *o = object_self(L, "client");
  if (o->client && o->ref == LUA_NOREF) leave_client(o);
  mem_free(o->snapshot);
  rules_unref(o->rules);
  o->snapshot = NULL;
  o->rules = NULL;
  o->collected = true;
  return 0;
}
