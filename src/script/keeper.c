#include "script/keeper.h"

#include <assert.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "script/message_fields.h"
#include "script/script_impl.h"

// --- the table ---

static struct keeper *keeper_new(void) {
  struct keeper *k = mem_alloc(sizeof *k);
  k->self = LUA_NOREF;
  for (int i = 0; i < KEEPER_OPERATIONS; i++)
    k->functions[i] = LUA_NOREF;
  return k;
}

const char *keeper_read(lua_State *L, int index, struct keeper **out) {
  struct keeper *k = *out = keeper_new();
  luaL_checkstack(L, 4, NULL);
  for (int i = 0; i < KEEPER_OPERATIONS; i++) {
    const char *name = hook_name((enum hook)(HOOK_NEXT_ID + i));
    if (lua_getfield(L, index, name) != LUA_TFUNCTION)
      return lua_pushfstring(L, "a table of session operations has a function %s, this one has a %s", name,
                             luaL_typename(L, -1));
    k->functions[i] = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  lua_pushvalue(L, index);
  k->self = luaL_ref(L, LUA_REGISTRYINDEX);
  return NULL;
}

void keeper_free(struct script *s, struct keeper *keeper) {
  if (!keeper) return;
  if (s && lua_checkstack(s->tool, 4)) {
    luaL_unref(s->tool, LUA_REGISTRYINDEX, keeper->self);
    for (int i = 0; i < KEEPER_OPERATIONS; i++)
      luaL_unref(s->tool, LUA_REGISTRYINDEX, keeper->functions[i]);
  }
  mem_free(keeper);
}

// --- packets ---

void keeper_push_packet(lua_State *L, const struct stored *entry, const struct store *store, uint16_t id,
                        uint64_t now_ms) {
  luaL_checkstack(L, 6, NULL);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, id);
  lua_setfield(L, -2, "id");
  struct message_object *o = message_object_push_held(L, script_home(L));
  if (!entry) entry = store_lookup(store, id);
  bool is_publish = entry && entry->type == PACKET_PUBLISH;
  if (entry && entry->message) {
    message_object_hold(o, entry, now_ms);
    lua_setfield(L, -2, "message");
  } else {
    lua_pop(L, 1);
  }
  lua_pushstring(L, is_publish ? "publish" : "pubrel");
  lua_setfield(L, -2, "type");
}

// Topic and payload of a table.
static const char *read_content(lua_State *L, int index, struct packet_message *m) {
  size_t len;
  if (lua_getfield(L, index, "topic") != LUA_TSTRING) return "the message of a packet has a topic";
  m->topic.ptr = (const uint8_t *)lua_tolstring(L, -1, &len);
  m->topic.len = len;
  int type = lua_getfield(L, index, "payload");
  if (type != LUA_TSTRING && type != LUA_TNIL) return "the payload of a message is a string";
  m->payload.ptr = (const uint8_t *)(type == LUA_TNIL ? "" : lua_tolstring(L, -1, &len));
  m->payload.len = type == LUA_TNIL ? 0 : len;
  return NULL;
}

// A message that Lua has made, or a borrowed one.
static const char *copy_message(lua_State *L, int index, uint64_t now_ms, struct stored *out) {
  struct packet_message m = {0};
  uint64_t given;
  const char *problem = read_content(L, index, &m);
  if (problem) return problem;
  lua_newtable(L);
  message_fields_copy(L, index);
  problem = message_fields_read(L, lua_gettop(L), MESSAGE_OPTIONS, &m, &given);
  if (!problem) problem = message_problem(&m);
  if (!problem && !m.qos) problem = "a packet in flight has QoS 1 or 2";
  if (problem) return problem;
  out->qos = m.qos & 3;
  out->retain = m.retain;
  out->message = message_new(&m, now_ms);
  return NULL;
}

static const char *read_message(lua_State *L, int index, uint64_t now_ms, struct stored *out) {
  uint8_t qos = 0;
  bool retain = false;
  struct message *held = message_object_held(L, index, &qos, &retain);
  if (!held || !qos) return copy_message(L, index, now_ms, out);
  out->message = message_ref(held);
  out->qos = qos & 3;
  out->retain = retain;
  return NULL;
}

static const char *read_id(lua_State *L, int index, uint16_t *out) {
  int is_integer;
  lua_Integer id = lua_tointegerx(L, index, &is_integer);
  if (lua_type(L, index) != LUA_TNUMBER || !is_integer || id < 1 || id > PACKET_ID_MAX)
    return "a packet id is between 1 and 65535";
  *out = (uint16_t)id;
  return NULL;
}

const char *keeper_read_packet(lua_State *L, int index, enum direction d, uint64_t now_ms,
                               struct stored *out) {
  luaL_checkstack(L, 8, NULL);
  *out = (struct stored){.qos = 2};
  if (!lua_istable(L, index)) return "a packet is a table with type, id and message";
  index = lua_absindex(L, index);
  lua_getfield(L, index, "id");
  const char *problem = read_id(L, -1, &out->id);
  if (problem) return problem;
  bool is_text = lua_getfield(L, index, "type") == LUA_TSTRING;
  bool is_publish = is_text && !strcmp(lua_tostring(L, -1), "publish");
  if (!is_publish && (!is_text || strcmp(lua_tostring(L, -1), "pubrel") != 0))
    return "type must be \"publish\" or \"pubrel\"";
  out->type = is_publish ? PACKET_PUBLISH : PACKET_PUBREL;
  if (!is_publish) return NULL;
  int type = lua_getfield(L, index, "message");
  if (type == LUA_TNIL && d == INCOMING) return NULL; // it was refused or dropped
  if (type != LUA_TTABLE && type != LUA_TUSERDATA) return "a publish has a message";
  return read_message(L, lua_gettop(L), now_ms, out);
}

// --- the operations: inside of the protection ---

void keeper_drop_packets(struct keeper_call *k) {
  for (uint32_t i = 0; i < k->count; i++)
    if (k->packets[i].message) message_unref(k->packets[i].message);
  mem_free(k->packets);
  k->packets = NULL;
  k->count = 0;
}

int keeper_push_arguments(lua_State *L, struct hook_call *call) {
  const struct keeper_call *k = call->operation;
  lua_rawgeti(L, LUA_REGISTRYINDEX, k->keeper->self);
  if (call->hook == HOOK_NEXT_ID) return 1;
  lua_pushstring(L, k->direction == INCOMING ? "incoming" : "outgoing");
  if (call->hook == HOOK_ALL_PACKETS) return 2;
  if (call->hook == HOOK_SAVE_PACKET)
    keeper_push_packet(L, k->packet, NULL, k->packet->id, shard_now_ms(call->script->shard));
  else
    lua_pushinteger(L, k->id);
  return 3;
}

const char *keeper_read_id(lua_State *L, int index, struct hook_call *call) {
  const char *problem = read_id(L, index, &call->operation->id);
  if (problem) return problem;
  if (store_lookup(&client_session(call->client)->outgoing, call->operation->id))
    return lua_pushfstring(L, "the packet id %d is in flight", call->operation->id);
  call->answer.allowed = true;
  return NULL;
}

// Anything but false, with which goes a text.
const char *keeper_read_done(lua_State *L, int index, struct hook_call *call) {
  call->answer.allowed = !lua_isboolean(L, index) || lua_toboolean(L, index);
  if (call->answer.allowed) return NULL;
  const char *text = lua_type(L, index + 1) == LUA_TSTRING ? lua_tostring(L, index + 1) : "no reason given";
  return lua_pushfstring(L, "false: %s", text);
}

static const char *read_one(lua_State *L, int index, const struct hook_call *call) {
  struct keeper_call *k = call->operation;
  const char *problem =
      keeper_read_packet(L, index, k->direction, shard_now_ms(call->script->shard), &k->packets[k->count]);
  if (!problem) k->count++;
  return problem;
}

const char *keeper_read_found(lua_State *L, int index, struct hook_call *call) {
  struct keeper_call *k = call->operation;
  k->packets = mem_alloc(sizeof *k->packets);
  const char *problem = read_one(L, index, call);
  if (!problem && k->packets->id != k->id) problem = "a packet with another id";
  call->answer.allowed = !problem;
  return problem;
}

const char *keeper_read_list(lua_State *L, int index, struct hook_call *call) {
  struct keeper_call *k = call->operation;
  if (!lua_istable(L, index)) return lua_pushfstring(L, "a list, not a %s", luaL_typename(L, index));
  lua_Unsigned count = lua_rawlen(L, index);
  if (count > PACKET_ID_MAX) return "more packets than there are ids";
  k->packets = mem_alloc(((size_t)count + 1) * sizeof *k->packets);
  int top = lua_gettop(L);
  for (lua_Unsigned i = 1; i <= count; i++) {
    lua_rawgeti(L, index, (lua_Integer)i);
    const char *problem = read_one(L, top + 1, call);
    if (problem) return lua_pushfstring(L, "packet %d: %s", (int)i, problem);
    lua_settop(L, top);
  }
  call->answer.allowed = true;
  return NULL;
}

// --- outside ---

static bool run(struct backend *b, struct client *c, enum hook hook, struct keeper_call *k) {
  struct script *s = script_of_backend(b);
  const struct keeper *kept = client_object_keeper(s, c);
  assert(kept);
  struct keeper keeper = *kept; // it may go with the client's object while its function runs
  struct hook_chain chain = {.functions = &keeper.functions[hook - HOOK_NEXT_ID], .count = 1};
  struct hook_call call = {.script = s, .hook = hook, .client = c, .chain = &chain, .operation = k};
  k->keeper = &keeper;
  return hook_run(&call);
}

static bool keeps(struct backend *b, struct client *c) {
  return client_object_keeper(script_of_backend(b), c) != NULL;
}

static bool next_id(struct backend *b, struct client *c, uint16_t *out) {
  struct keeper_call k = {.direction = OUTGOING};
  bool done = run(b, c, HOOK_NEXT_ID, &k);
  if (done) *out = k.id;
  return done;
}

static bool save(struct backend *b, struct client *c, enum direction d, const struct stored *packet) {
  return run(b, c, HOOK_SAVE_PACKET, &(struct keeper_call){.direction = d, .packet = packet});
}

static bool lookup(struct backend *b, struct client *c, enum direction d, uint16_t id, struct stored *out) {
  struct keeper_call k = {.direction = d, .id = id};
  bool done = run(b, c, HOOK_LOOKUP_PACKET, &k);
  if (k.count) *out = k.packets[0];
  mem_free(k.packets);
  return done;
}

static bool remove_packet(struct backend *b, struct client *c, enum direction d, uint16_t id) {
  return run(b, c, HOOK_DELETE_PACKET, &(struct keeper_call){.direction = d, .id = id});
}

static bool all(struct backend *b, struct client *c, enum direction d, struct stored **list,
                uint32_t *count) {
  struct keeper_call k = {.direction = d};
  if (!run(b, c, HOOK_ALL_PACKETS, &k)) return false;
  *list = k.packets;
  *count = k.count;
  return true;
}

void keeper_install(struct hook_call *call) {
  struct keeper *keeper = call->answer.keeper;
  call->answer.keeper = NULL;
  if (!keeper) return;
  if (client_closing(call->client) || script_of_client(call->client) != call->script) {
    keeper_free(call->script, keeper);
    return;
  }
  client_object_keep(call->script, call->client, keeper);
  client_keep(call->client, true);
}

const struct keeper_ops keeper_ops = {
    .keeps = keeps, .next_id = next_id, .save = save, .lookup = lookup, .remove = remove_packet, .all = all};
