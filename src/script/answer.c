// What each hook may answer. A row a hook: its name, the function that reads an answer, and what stands in
// for one that is missing or failed. An answer is read inside of the protection, so these functions own
// nothing while they call Lua; a changed message is made last.
#include <lauxlib.h>

#include "packet/utf8.h"
#include "script/keeper.h"
#include "script/message_fields.h"
#include "script/property.h"
#include "script/script_impl.h"
#include "topic/topic.h"
#include "transport/tls.h"

// --- refusals: false [, reason [, text]], or false, { reason =, reason_string =, user_properties = } ---

static void refuse(struct hook_call *call, uint8_t reason) {
  call->answer.allowed = false;
  call->answer.reason = reason;
}

static const char *read_reason(lua_State *L, int index, struct hook_call *call) {
  int type = lua_type(L, index);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING) return lua_pushfstring(L, "a reason is a string, not a %s", lua_typename(L, type));
  size_t len;
  const char *name = lua_tolstring(L, index, &len);
  int reason = reason_by_name(slice_of(name, len));
  if (reason < 0) return lua_pushfstring(L, "unknown reason '%s'", name);
  call->answer.reason = (uint8_t)reason;
  return NULL;
}

static const char *check_told_text(lua_State *L, int index, struct slice *out) {
  int type = lua_type(L, index);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING)
    return lua_pushfstring(L, "the text of a refusal is a string, not a %s", lua_typename(L, type));
  const char *problem = property_check_text(L, index, out);
  return problem ? lua_pushfstring(L, "the text of a refusal: %s", problem) : NULL;
}

// The client is told of it if it speaks MQTT 5, the log in any case. The list at `pairs`, which may be nil,
// has been checked.
static void tell(lua_State *L, struct hook_call *call, struct slice text, int pairs) {
  bool has_pairs = !lua_isnil(L, pairs);
  if (!call->client || (!text.ptr && !has_pairs)) return;
  struct buf *told = call->answer.told = told_new();
  if (text.ptr) packet_add_value(told, PROPERTY_REASON_STRING, text);
  if (has_pairs) property_add_pairs(L, pairs, told);
}

static const char *check_refusal_names(lua_State *L, int index) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (!name) return "fields of a refusal have the form name = value";
    if (strcmp(name, "reason") != 0 && strcmp(name, "reason_string") != 0 &&
        strcmp(name, "user_properties") != 0)
      return lua_pushfstring(L, "unknown field of a refusal '%s'", name);
  }
  return NULL;
}

static const char *read_refusal_table(lua_State *L, int index, struct hook_call *call) {
  const char *problem = check_refusal_names(L, index);
  int fields = lua_gettop(L);
  if (problem) return problem;
  lua_getfield(L, index, "reason");
  lua_getfield(L, index, "reason_string");
  lua_getfield(L, index, "user_properties");
  struct slice text = {0};
  problem = read_reason(L, fields + 1, call);
  if (!problem) problem = check_told_text(L, fields + 2, &text);
  if (!problem && !lua_isnil(L, fields + 3)) problem = property_check_pairs(L, fields + 3);
  if (!problem) tell(L, call, text, fields + 3);
  return problem;
}

static const char *read_refusal(lua_State *L, int index, struct hook_call *call) {
  luaL_checkstack(L, 12, NULL);
  refuse(call, REASON_NOT_AUTHORIZED);
  if (lua_istable(L, index + 1)) return read_refusal_table(L, index + 1, call);
  struct slice text = {0};
  const char *problem = check_told_text(L, index + 2, &text);
  if (!problem) problem = read_reason(L, index + 1, call);
  if (problem) return problem;
  lua_pushnil(L);
  tell(L, call, text, lua_gettop(L));
  return NULL;
}

static const char *wrong_type(lua_State *L, int index, const char *expected) {
  return lua_pushfstring(L, "expected %s, got a %s", expected, lua_typename(L, lua_type(L, index)));
}

static const char *read_boolean(lua_State *L, int index, struct hook_call *call) {
  if (!lua_isboolean(L, index)) return wrong_type(L, index, "true or false");
  if (!lua_toboolean(L, index)) return read_refusal(L, index, call);
  call->answer.allowed = true;
  return NULL;
}

// --- authenticate, setup ---

static const char *read_settings(lua_State *L, int index, struct hook_call *call) {
  struct client_settings settings = *client_settings(call->client);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) return "settings of a client have the form name = value";
    size_t len;
    const char *name = lua_tolstring(L, -2, &len);
    if (!strcmp(name, "acl")) continue;
    int row = settings_client_row(slice_of(name, len));
    if (!row) return lua_pushfstring(L, "unknown setting of a client '%s'", name);
    const char *problem = settings_client_set(L, call->script, row, lua_gettop(L), &settings);
    if (problem) return lua_pushfstring(L, "%s: %s", name, problem);
    call->answer.has_settings = true;
  }
  call->answer.settings = settings;
  return NULL;
}

// The rules are made last: they are C's own.
static const char *read_login(lua_State *L, int index, struct hook_call *call) {
  const char *problem = read_settings(L, index, call);
  if (!problem && lua_getfield(L, index, "acl") != LUA_TNIL)
    problem = rules_of_client(L, call->script, -1, &call->answer.rules);
  if (problem) return problem;
  call->answer.allowed = true;
  return NULL;
}

static const char *read_authenticate(lua_State *L, int index, struct hook_call *call) {
  if (lua_istable(L, index)) return read_login(L, index, call);
  if (lua_isboolean(L, index)) return read_boolean(L, index, call);
  return wrong_type(L, index, "true, false or a table of client settings");
}

// Data for the client, at `index`.
static const char *read_auth_data(lua_State *L, int index, struct hook_call *call) {
  if (lua_isnil(L, index)) return NULL;
  if (lua_type(L, index) != LUA_TSTRING) return wrong_type(L, index, "a string as data");
  size_t len;
  const char *bytes = lua_tolstring(L, index, &len);
  if (len > UINT16_MAX) return "data longer than 65535 bytes";
  call->answer.told = told_new();
  packet_add_value(call->answer.told, PROPERTY_AUTHENTICATION_DATA, slice_of(bytes, len));
  return NULL;
}

static const char *read_auth(lua_State *L, int index, struct hook_call *call) {
  if (lua_isboolean(L, index) && !lua_toboolean(L, index)) return read_refusal(L, index, call);
  bool continues = lua_type(L, index) == LUA_TSTRING;
  if (continues && strcmp(lua_tostring(L, index), "continue") != 0)
    return lua_pushfstring(L, "the only answer that is a string is \"continue\", got '%s'",
                           lua_tostring(L, index));
  if (!continues && !lua_isboolean(L, index)) return wrong_type(L, index, "true, false or \"continue\"");
  const char *problem = read_auth_data(L, index + 1, call);
  if (problem) return problem;
  call->answer.allowed = true;
  call->answer.continues = continues;
  return NULL;
}

static const char *read_setup(lua_State *L, int index, struct hook_call *call) {
  if (!lua_istable(L, index)) return read_boolean(L, index, call);
  const char *problem = keeper_read(L, index, &call->answer.keeper);
  call->answer.allowed = !problem;
  return problem;
}

static const char *read_adopt(lua_State *L, int index, struct hook_call *call) {
  if (lua_istable(L, index)) return read_setup(L, index, call);
  call->answer.allowed = true;
  return NULL;
}

// --- subscribe, unsubscribe ---

// A QoS at most the one that was asked for.
static const char *read_granted(lua_State *L, int index, struct hook_call *call) {
  int is_integer;
  lua_Integer qos = lua_tointegerx(L, index, &is_integer);
  if (lua_type(L, index) != LUA_TNUMBER || !is_integer || qos < 0 || qos > 2) return "a QoS is 0, 1 or 2";
  if (qos < call->answer.qos) call->answer.qos = (uint8_t)qos;
  return NULL;
}

// Another filter in the place of the one that was sent, checked like one from the wire.
static const char *read_other_filter(lua_State *L, int index, struct hook_call *call) {
  int type = lua_getfield(L, index, "topic");
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING) return wrong_type(L, -1, "a string as topic");
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  struct slice filter = slice_of(text, len);
  if (!utf8_valid(filter) || !topic_filter_valid(filter)) return "topic: not a valid topic filter";
  subscribe_item_set_filter(call->item, filter);
  return NULL;
}

static const char *read_subscription_change(lua_State *L, int index, struct hook_call *call, bool has_qos) {
  luaL_checkstack(L, 6, NULL);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) return "fields of a subscription have the form name = value";
    const char *name = lua_tostring(L, -2);
    bool is_qos = has_qos && !strcmp(name, "qos");
    if (!is_qos && strcmp(name, "topic") != 0)
      return lua_pushfstring(L, "unknown field of a subscription '%s'", name);
    const char *problem = is_qos ? read_granted(L, lua_gettop(L), call) : NULL;
    if (problem) return problem;
  }
  const char *problem = read_other_filter(L, index, call);
  if (problem) return problem;
  call->answer.allowed = true;
  return NULL;
}

static const char *read_subscribe(lua_State *L, int index, struct hook_call *call) {
  call->answer.qos = call->item->qos;
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN: return read_boolean(L, index, call);
  case LUA_TTABLE: return read_subscription_change(L, index, call, true);
  case LUA_TNUMBER: call->answer.allowed = true; return read_granted(L, index, call);
  default: return wrong_type(L, index, "true, false, a QoS or a table with topic and qos");
  }
}

static const char *read_unsubscribe(lua_State *L, int index, struct hook_call *call) {
  if (lua_istable(L, index)) return read_subscription_change(L, index, call, false);
  if (lua_isboolean(L, index)) return read_boolean(L, index, call);
  return wrong_type(L, index, "true, false or a table with topic");
}

// --- publish, dequeue: a table of fields to change ---

static const char *read_change(lua_State *L, int index, struct hook_call *call) {
  struct packet_message change = *call->message;
  uint64_t given;
  const char *problem = message_fields_read(L, index, MESSAGE_CHANGE, &change, &given);
  if (!problem) problem = message_problem(&change);
  if (problem) return problem;
  call->answer.allowed = true;
  call->answer.message =
      message_in_place_of(call->stored, &change, given & PROPERTY_BIT(PROPERTY_MESSAGE_EXPIRY_INTERVAL),
                          shard_now_ms(call->script->shard));
  return NULL;
}

static const char *read_publish(lua_State *L, int index, struct hook_call *call) {
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN: return read_boolean(L, index, call);
  case LUA_TTABLE: return read_change(L, index, call);
  case LUA_TSTRING:
    if (strcmp(lua_tostring(L, index), "drop") != 0)
      return lua_pushfstring(L, "the only answer that is a string is \"drop\", got '%s'",
                             lua_tostring(L, index));
    call->answer.allowed = call->answer.drop = true;
    return NULL;
  default: return wrong_type(L, index, "true, false, \"drop\" or a table of fields");
  }
}

static const char *read_dequeue(lua_State *L, int index, struct hook_call *call) {
  if (lua_istable(L, index)) return read_change(L, index, call);
  if (lua_isboolean(L, index)) return read_boolean(L, index, call);
  return wrong_type(L, index, "true, false or a table of fields");
}

// --- full_queue ---

static const char *read_full_queue(lua_State *L, int index, struct hook_call *call) {
  if (lua_type(L, index) != LUA_TSTRING) return wrong_type(L, index, "the name of a policy");
  int policy = full_queue_by_name(slice_str(lua_tostring(L, index)));
  if (policy < 0) return lua_pushfstring(L, "unknown policy '%s'", lua_tostring(L, index));
  call->answer.allowed = call->answer.has_policy = true;
  call->answer.policy = (enum full_queue)policy;
  return NULL;
}

// --- psk: a key in hex; what is wrong with one never shows it ---

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *read_key(lua_State *L, int index, struct hook_call *call) {
  size_t len;
  const char *text = lua_tolstring(L, index, &len);
  if (!len || len % 2 || len > 2 * TLS_PSK_MAX) return "a key is hex text of 1 to 64 bytes";
  for (size_t i = 0; i < len; i += 2) {
    int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return "a key is hex text, and this one has other characters";
    call->key[i / 2] = (uint8_t)(high << 4 | low);
  }
  call->answer.allowed = true;
  call->answer.key_len = (unsigned)len / 2;
  return NULL;
}

static const char *read_psk(lua_State *L, int index, struct hook_call *call) {
  if (lua_type(L, index) == LUA_TSTRING) return read_key(L, index, call);
  if (lua_isboolean(L, index) && !lua_toboolean(L, index)) return NULL;
  return wrong_type(L, index, "a key as hex text, or nothing where the identity is not known");
}

// --- selftest: nil or true; false [, text] keeps the script from coming into force ---

static const char *read_selftest(lua_State *L, int index, struct hook_call *call) {
  if (!lua_isboolean(L, index)) return wrong_type(L, index, "true, or false and a text");
  call->answer.allowed = lua_toboolean(L, index);
  if (call->answer.allowed) return NULL;
  const char *text = lua_type(L, index + 1) == LUA_TSTRING ? lua_tostring(L, index + 1) : "it answered false";
  snprintf(call->text, call->text_size, "hook selftest: %s", text);
  return NULL;
}

// --- save: any value ---

static const char *read_save(lua_State *L, int index, struct hook_call *call) {
  lua_pushvalue(L, index);
  call->answer.value = luaL_ref(L, LUA_REGISTRYINDEX);
  call->answer.allowed = call->answer.has_value = true;
  return NULL;
}

// --- prompt: whether the text is incomplete ---

static const char *read_prompt(lua_State *L, int index, struct hook_call *call) {
  call->answer.allowed = true;
  call->answer.continues = lua_toboolean(L, index);
  return NULL;
}

// --- rows ---

static const struct row {
  const char *name;
  const char *(*read)(lua_State *L, int index, struct hook_call *call); // NULL: answers nothing
  bool needed;                                                          // no answer denies
  uint8_t reason_of_error;
} rows[HOOK_COUNT] = {
    [HOOK_AUTHENTICATE] = {"authenticate", read_authenticate, true, REASON_SERVER_UNAVAILABLE},
    [HOOK_AUTH] = {"auth", read_auth, true, REASON_SERVER_UNAVAILABLE},
    [HOOK_SETUP] = {"setup", read_setup, false, REASON_SERVER_UNAVAILABLE},
    [HOOK_RESTORE] = {.name = "restore"},
    [HOOK_SUBSCRIBE] = {"subscribe", read_subscribe, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_UNSUBSCRIBE] = {"unsubscribe", read_unsubscribe, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_PUBLISH] = {"publish", read_publish, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_DEQUEUE] = {"dequeue", read_dequeue, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_TERMINATE] = {.name = "terminate"},
    [HOOK_PACKET] = {"packet", read_boolean, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_FULL_QUEUE] = {"full_queue", read_full_queue, false, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_PSK] = {.name = "psk", .read = read_psk},
    [HOOK_LOG] = {.name = "log"},
    [HOOK_ERROR] = {.name = "error"},
    [HOOK_START] = {.name = "start"},
    [HOOK_STOP] = {.name = "stop"},
    [HOOK_SELFTEST] = {.name = "selftest", .read = read_selftest},
    [HOOK_SAVE] = {.name = "save", .read = read_save},
    [HOOK_ADOPT] = {"adopt", read_adopt, false, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_TIMER] = {.name = "timer"},
    [HOOK_SPAWN] = {.name = "spawn"},
    [HOOK_PROMPT] = {.name = "prompt", .read = read_prompt},
    [HOOK_NEXT_ID] = {"next_id", keeper_read_id, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_SAVE_PACKET] = {"save_packet", keeper_read_done, false, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_LOOKUP_PACKET] = {"lookup_packet", keeper_read_found, false, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_DELETE_PACKET] = {"delete_packet", keeper_read_done, false, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
    [HOOK_ALL_PACKETS] = {"all_packets", keeper_read_list, true, REASON_IMPLEMENTATION_SPECIFIC_ERROR},
};

const char *hook_name(enum hook h) { return rows[h].name; }

bool answer_is_needed(enum hook h) { return rows[h].needed; }
bool answer_counts(enum hook h) { return rows[h].read != NULL; }
uint8_t answer_reason_of_error(enum hook h) { return rows[h].reason_of_error; }
const char *answer_read(lua_State *L, int index, struct hook_call *call) {
  return rows[call->hook].read(L, index, call);
}
