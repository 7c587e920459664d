// `session`: the name of a session, which is looked up at each use. A field of one that has ended is nil, a
// method returns nil and `missing session`.
#include <lauxlib.h>

#include "broker/share.h"
#include "packet/utf8.h"
#include "script/keeper.h"
#include "script/message_fields.h"
#include "script/property.h"
#include "script/script_impl.h"

#define IDENTIFIER_MAX 268435455 // of a subscription [MQTT5 3.8.2.1.2]

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

// Those of the queue, the next one first. First as many empty objects as there are messages, then what they
// hold: making them may run finalizers, and these may deliver more.
static int all_messages(lua_State *L) {
  const struct session_object *o = self(L);
  const struct session *s = find(o);
  if (!s) return missing(L);
  struct message_object **objects;
  uint32_t room;
  do {
    lua_settop(L, 1);
    room = s->queue.count;
    objects = lua_newuserdatauv(L, (room + 1) * sizeof *objects, 0);
    lua_createtable(L, (int)room, 0);
    for (uint32_t i = 0; i < room; i++) {
      objects[i] = message_object_push_held(L, o->script->home);
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
  } while (s->queue.count != room);
  uint64_t now_ms = shard_now_ms(o->script->shard);
  struct queue_place place = {s->queue.head, s->queue.first};
  const struct delivery *d;
  for (uint32_t i = 0; (d = queue_each(&s->queue, &place)); i++)
    message_object_hold(
        objects[i], &(struct stored){.message = d->message, .qos = d->qos & 3, .retain = d->retain}, now_ms);
  return 1;
}

// --- subscriptions ---

struct wanted { // what a script asks for
  struct subscribe_item item;
  uint32_t identifier;
};

static bool flag_field(lua_State *L, int table, const char *name) {
  int type = lua_getfield(L, table, name);
  if (type != LUA_TNIL && type != LUA_TBOOLEAN)
    luaL_argerror(L, table,
                  lua_pushfstring(L, "%s: expected true or false, got a %s", name, lua_typename(L, type)));
  bool is_set = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is_set;
}

static lua_Integer number_field(lua_State *L, int table, const char *name, lua_Integer most) {
  int is_integer;
  int type = lua_getfield(L, table, name);
  lua_Integer number = lua_tointegerx(L, -1, &is_integer);
  lua_pop(L, 1);
  if (type == LUA_TNIL) return 0;
  if (type != LUA_TNUMBER || !is_integer || number < 0 || number > most)
    luaL_argerror(L, table,
                  lua_pushfstring(L, "%s: expected an integer between 0 and %I", name, (LUAI_UACINT)most));
  return number;
}

// A text that stays on the stack.
static struct slice text_field(lua_State *L, int table, const char *name) {
  size_t len = 0;
  int type = lua_getfield(L, table, name);
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_argerror(L, table,
                  lua_pushfstring(L, "%s: expected a string, got a %s", name, lua_typename(L, type)));
  const char *text = lua_tolstring(L, -1, &len);
  return slice_of(text, len);
}

static void check_names(lua_State *L, int table) {
  static const char *const names[] = {"topic",           "qos",        "no_local", "retain_as_published",
                                      "retain_handling", "identifier", "share",    NULL};
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0)
      i++;
    if (!names[i]) luaL_argerror(L, table, lua_pushfstring(L, "unknown field of a subscription '%s'", name));
  }
}

static void check_filter(lua_State *L, int index, struct subscribe_item *item) {
  struct slice name, filter;
  if (!item->share.len && share_parse(item->filter, &name, &filter)) {
    item->share = name;
    item->filter = filter;
    luaL_argcheck(L, name.len, index, "not a valid topic filter");
  }
  bool valid = utf8_valid(item->filter) && topic_filter_valid(item->filter);
  luaL_argcheck(L, valid, index, "not a valid topic filter");
  luaL_argcheck(L, !item->share.len || share_valid(item->share, item->filter), index,
                "not a valid name of a group");
  bool is_local = item->share.len && item->options & SUBSCRIPTION_NO_LOCAL; // [MQTT5-3.8.3-4]
  luaL_argcheck(L, !is_local, index, "a shared subscription cannot be no_local");
}

static struct wanted check_table(lua_State *L, int index) {
  struct wanted w = {
      .item = {.filter = text_field(L, index, "topic"), .share = text_field(L, index, "share")}};
  check_names(L, index);
  w.item.qos = (uint8_t)number_field(L, index, "qos", 2);
  w.identifier = (uint32_t)number_field(L, index, "identifier", IDENTIFIER_MAX);
  if (flag_field(L, index, "no_local")) w.item.options |= SUBSCRIPTION_NO_LOCAL;
  if (flag_field(L, index, "retain_as_published")) w.item.options |= SUBSCRIPTION_RETAIN_AS_PUBLISHED;
  w.item.options |=
      (uint8_t)(number_field(L, index, "retain_handling", 2) << SUBSCRIPTION_RETAIN_HANDLING_SHIFT);
  return w;
}

// `filter [, qos]`, or a table as in session.subscriptions.
static struct wanted check_wanted(lua_State *L) {
  luaL_checkstack(L, 8, NULL);
  struct wanted w = {0};
  if (lua_istable(L, 2)) {
    w = check_table(L, 2);
  } else {
    size_t len;
    const char *filter = luaL_checklstring(L, 2, &len);
    lua_Integer qos = luaL_optinteger(L, 3, 0);
    luaL_argcheck(L, qos >= 0 && qos <= 2, 3, "a QoS is 0, 1 or 2");
    w.item.filter = slice_of(filter, len);
    w.item.qos = (uint8_t)qos;
  }
  check_filter(L, 2, &w.item);
  w.item.code = w.item.qos;
  return w;
}

// `session:subscribe(filter, qos)`, `session:subscribe { topic =, qos =, ... }`
static int subscribe(lua_State *L) {
  const struct session_object *o = self(L);
  struct wanted w = check_wanted(L);
  struct session *s = find(o);
  if (!s) return missing(L);
  lua_State *outer = script_enter(o->script, L);
  memory_subscribe_session(o->script->inner, s, &w.item, w.identifier);
  script_leave(o->script, outer);
  if (w.item.code <= 2) {
    lua_pushinteger(L, w.item.code);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, reason_name(w.item.reason));
  return 2;
}

// `session:unsubscribe(filter)`, `session:unsubscribe { topic =, share = }`
static int unsubscribe(lua_State *L) {
  const struct session_object *o = self(L);
  struct wanted w = check_wanted(L);
  struct session *s = find(o);
  if (!s) return missing(L);
  lua_State *outer = script_enter(o->script, L);
  bool existed = memory_unsubscribe_session(o->script->inner, s, &w.item);
  script_leave(o->script, outer);
  lua_pushboolean(L, existed);
  return 1;
}

// --- making one ---

// `luamq.create_session(id [, expiry])`
int session_create(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  struct slice id = slice_of(text, len);
  luaL_argcheck(L, len && len <= UINT16_MAX && utf8_valid(id), 1, "not a valid client id");
  lua_Integer expiry_s = luaL_optinteger(L, 2, SESSION_FOR_EVER);
  luaL_argcheck(L, expiry_s >= 1 && expiry_s <= SESSION_FOR_EVER, 2, "expected 1 to 4294967295 seconds");
  struct script *s = script_current(L);
  if (!s || !s->shard) return luaL_error(L, "no broker is running");
  const char *problem = "there is a session of this id";
  if (!memory_session(s->inner, id))
    problem = memory_create_session(s->inner, id, (uint32_t)expiry_s) ? NULL : "too many stored sessions";
  if (!problem) {
    session_object_push(L, s, id);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, problem);
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

static const struct session_object *session_or_null(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return NULL;
  bool is_one = lua_rawequal(L, -1, lua_upvalueindex(1));
  lua_pop(L, 1);
  return is_one ? lua_touserdata(L, index) : NULL;
}

// Lua asks also when one of the two is another userdata.
static int session_equal(lua_State *L) {
  const struct session_object *a = session_or_null(L, 1), *b = session_or_null(L, 2);
  lua_pushboolean(L, a && b && a->script == b->script &&
                         slice_eq(slice_of(a->id, a->id_len), slice_of(b->id, b->id_len)));
  return 1;
}

void session_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_session},
                                  {"__newindex", object_read_only},
                                  {"__tostring", session_text},
                                  {"__eq", session_equal},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"next_id", next_id},           {"lookup_packet", lookup_packet},
                                     {"save_packet", save_packet},   {"delete_packet", delete_packet},
                                     {"all_packets", all_packets},   {"deliver", deliver},
                                     {"all_messages", all_messages}, {"subscribe", subscribe},
                                     {"unsubscribe", unsubscribe},   {NULL, NULL}};
  object_define(
      L, home, OBJECT_SESSION,
      &(struct object_methods){.name = "session", .meta = meta, .methods = methods, .fields = fields});
}
