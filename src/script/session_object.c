// `session`: the name of a session, which is looked up at each use. A field of one that has ended is nil, a
// method returns nil and `missing session`.
#include <lauxlib.h>

#include "base/mem.h"
#include "broker/share.h"
#include "script/keeper.h"
#include "script/message_fields.h"
#include "script/property.h"
#include "script/script_impl.h"

enum { SCRIPT_VALUE = 1 }; // the script's userdata

struct session_object {
  struct script *script;
  size_t id_len;
  uint8_t id[];
};

static const char *const fields[] = {
    "id", "client", "clean", "queued", "dropped", "subscriptions", "session_expiry_interval", NULL};
enum field {
  FIELD_ID = 1,
  FIELD_CLIENT,
  FIELD_CLEAN,
  FIELD_QUEUED,
  FIELD_DROPPED,
  FIELD_SUBSCRIPTIONS,
  FIELD_EXPIRY,
};

void session_object_push(lua_State *L, struct script *s, struct slice id) {
  struct session_object *o = object_new(L, s->home, OBJECT_SESSION, sizeof *o + id.len, 1);
  o->script = s;
  o->id_len = id.len;
  if (id.len) memcpy(o->id, id.ptr, id.len);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->self_ref);
  lua_setiuservalue(L, -2, SCRIPT_VALUE);
}

static struct session *find(const struct session_object *o) {
  return o->script->shard ? memory_session(o->script->inner, slice_of(o->id, o->id_len)) : NULL;
}

static int missing(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, ERROR_MISSING_SESSION);
  return 2;
}

static struct session_object *self(lua_State *L) { return object_self(L, "session"); }

// --- fields ---

// A subscription as a table, whose topic is at the top, into the list below it. Options of MQTT 5 are there
// for a session whose client speaks it, or where they were used.
static void add_subscription(lua_State *L, const struct session *s, uint8_t options, uint32_t id,
                             struct slice share) {
  bool has_options = s->client && client_version(s->client) == MQTT_5;
  lua_createtable(L, 0, 6);
  lua_insert(L, -2);
  lua_setfield(L, -2, "topic");
  lua_pushinteger(L, options & SUBSCRIPTION_QOS);
  lua_setfield(L, -2, "qos");
  if (has_options || options & ~SUBSCRIPTION_QOS) subscription_set_options(L, options);
  if (id) {
    lua_pushinteger(L, id);
    lua_setfield(L, -2, "identifier");
  }
  if (share.len) {
    object_push_slice(L, share);
    lua_setfield(L, -2, "share");
  }
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

static void push_subscriptions(lua_State *L, const struct script *script, const struct session *s) {
  lua_newtable(L);
  for (const struct subscription *at = s->subscriber.first; at; at = at->next_of_subscriber) {
    struct buf *text = object_text(L);
    subscription_filter(at, text);
    object_push_text(L, text);
    add_subscription(L, s, at->options, at->id, slice_of(NULL, 0));
  }
  const struct shares *shares = memory_shares(script->inner);
  for (const struct share_member *at = NULL; (at = shares_next(shares, s, at));) {
    object_push_slice(L, share_filter(at->pair.group));
    add_subscription(L, s, at->options, at->id, share_name(at->pair.group));
  }
}

static void push_field(lua_State *L, struct script *script, const struct session *s, enum field field) {
  switch (field) {
  case FIELD_CLEAN: lua_pushboolean(L, s->expiry_s == 0); return;
  case FIELD_QUEUED: lua_pushinteger(L, s->queue.count); return;
  case FIELD_DROPPED: lua_pushinteger(L, s->dropped); return;
  case FIELD_SUBSCRIPTIONS: push_subscriptions(L, script, s); return;
  case FIELD_EXPIRY: lua_pushinteger(L, s->expiry_s); return;
  case FIELD_CLIENT:
    if (!s->client) break;
    client_object_push(L, script, s->client);
    return;
  case FIELD_ID: break;
  }
  lua_pushnil(L);
}

static int index_session(lua_State *L) {
  const struct session_object *o = self(L);
  int field = object_field(L);
  if (!field) return 1;
  const struct session *s = find(o);
  if (field == FIELD_ID)
    object_push_slice(L, slice_of(o->id, o->id_len));
  else if (s)
    push_field(L, o->script, s, (enum field)field);
  else
    lua_pushnil(L);
  return 1;
}

// --- methods: packet ids and packets in flight ---

static struct store *check_direction(lua_State *L, struct session *s) {
  static const char *const names[] = {"incoming", "outgoing", NULL};
  int direction = luaL_checkoption(L, 2, NULL, names);
  if (!s) return NULL;
  return direction ? &s->outgoing : &s->incoming;
}

static uint16_t check_id(lua_State *L, int index) {
  lua_Integer id = luaL_checkinteger(L, index);
  luaL_argcheck(L, id >= 1 && id <= PACKET_ID_MAX, index, "a packet id is between 1 and 65535");
  return (uint16_t)id;
}

static int next_id(lua_State *L) {
  struct session *s = find(self(L));
  if (!s) return missing(L);
  uint16_t id = store_next_id(&s->outgoing);
  if (id) {
    lua_pushinteger(L, id);
    return 1;
  }
  lua_pushnil(L);
  lua_pushliteral(L, "all packet ids are in flight");
  return 2;
}

static int lookup_packet(lua_State *L) {
  const struct session_object *o = self(L);
  struct session *s = find(o);
  const struct store *store = check_direction(L, s);
  uint16_t id = check_id(L, 3);
  if (!s) return missing(L);
  if (store_lookup(store, id))
    keeper_push_packet(L, NULL, store, id, shard_now_ms(o->script->shard));
  else
    lua_pushnil(L);
  return 1;
}

static int delete_packet(lua_State *L) {
  struct session *s = find(self(L));
  struct store *store = check_direction(L, s);
  uint16_t id = check_id(L, 3);
  if (!s) return missing(L);
  session_delete(s, &self(L)->script->shard->pool, store, id); // a missing one is no error
  lua_pushboolean(L, 1);
  return 1;
}

static int all_packets(lua_State *L) {
  const struct session_object *o = self(L);
  struct session *s = find(o);
  const struct store *store = check_direction(L, s);
  if (!s) return missing(L);
  struct stored *list;
  int room;
  do { // a finalizer that runs meanwhile may add to the store
    room = store->count;
    list = lua_newuserdatauv(L, ((size_t)room + 1) * sizeof *list, 0);
  } while (store->count > room);
  int count = store->count;
  uint64_t now_ms = shard_now_ms(o->script->shard);
  store_all(store, list);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    keeper_push_packet(L, NULL, store, list[i].id, now_ms);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

// --- messages ---

// `session:save_packet(direction, { type = "publish", id = 7, message = { topic =, payload =, qos = } })`
static int save_packet(lua_State *L) {
  struct session_object *o = self(L);
  luaL_checktype(L, 3, LUA_TTABLE);
  struct session *s = find(o);
  struct store *store = check_direction(L, s);
  if (!s) return missing(L);
  struct stored packet;
  enum direction d = store == &s->incoming ? INCOMING : OUTGOING;
  const char *problem = keeper_read_packet(L, 3, d, shard_now_ms(o->script->shard), &packet);
  if (problem) return luaL_argerror(L, 3, problem);
  session_save(s, &o->script->shard->pool, store, packet);
  lua_pushboolean(L, 1);
  return 1;
}

// `session:deliver(topic, payload, { qos =, retain =, content_type =, ... })`
static int deliver(lua_State *L) {
  struct session_object *o = self(L);
  struct packet_message m = message_check_arguments(L, 2);
  const char *problem = message_problem(&m);
  struct session *s = find(o);
  if (!s) return missing(L);
  bool done = false;
  if (!problem) {
    lua_State *outer = script_enter(o->script, L);
    struct message *message = message_new(&m, shard_now_ms(o->script->shard));
    done = memory_deliver(o->script->inner, s, message, m.qos, m.retain);
    message_unref(message);
    script_leave(o->script, outer);
  }
  if (done) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, problem ? problem : ERROR_QUEUE_FULL);
  return 2;
}

static int session_text(lua_State *L) {
  const struct session_object *o = self(L);
  struct buf *text = object_text(L);
  buf_add_str(text, "<Session ID=");
  packet_format_string(slice_of(o->id, o->id_len), text);
  buf_add_byte(text, '>');
  return object_push_text(L, text);
}

static int session_equal(lua_State *L) {
  lua_settop(L, 2);
  const struct session_object *a = self(L);
  lua_insert(L, 1);
  const struct session_object *b = self(L);
  lua_pushboolean(L,
                  a->script == b->script && slice_eq(slice_of(a->id, a->id_len), slice_of(b->id, b->id_len)));
  return 1;
}

void session_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_session},
                                  {"__newindex", object_read_only},
                                  {"__tostring", session_text},
                                  {"__eq", session_equal},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"next_id", next_id},
                                     {"lookup_packet", lookup_packet},
                                     {"save_packet", save_packet},
                                     {"delete_packet", delete_packet},
                                     {"all_packets", all_packets},
                                     {"deliver", deliver},
                                     {NULL, NULL}};
  object_define(
      L, home, OBJECT_SESSION,
      &(struct object_methods){.name = "session", .meta = meta, .methods = methods, .fields = fields});
}
