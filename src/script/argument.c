// What each hook gets. A row a hook: the function that pushes its arguments and returns how many.
#include <lauxlib.h>

#include "script/decision.h"
#include "script/keeper.h"
#include "script/script_impl.h"

static void push_client(lua_State *L, const struct hook_call *call) {
  if (call->client)
    client_object_push(L, call->script, call->client);
  else
    lua_pushnil(L);
}

static void push_message(lua_State *L, struct hook_call *call) {
  const struct script *s = call->script;
  uint32_t expiry_s = call->stored ? message_expires_in(call->stored, shard_now_ms(s->shard)) : MESSAGE_NEVER;
  if (call->message)
    call->lent[0] = message_object_push(L, s->home, call->message, expiry_s);
  else
    lua_pushnil(L);
}

static void push_packet(lua_State *L, struct hook_call *call) {
  if (call->packet)
    call->lent[1] = packet_object_push(L, call->script->home, call->packet, call->version);
  else
    lua_pushnil(L);
}

static void push_text(lua_State *L, const char *text) { lua_pushstring(L, text); } // nil for NULL

static int push_authenticate(lua_State *L, struct hook_call *call) {
  const struct credentials *given = call->given;
  push_client(L, call);
  if (given->has_username)
    object_push_slice(L, given->username);
  else
    lua_pushnil(L);
  if (given->has_password)
    object_push_slice(L, given->password);
  else
    lua_pushnil(L);
  return 3;
}

static int push_auth(lua_State *L, struct hook_call *call) {
  const struct auth_step *step = call->step;
  push_client(L, call);
  object_push_slice(L, step->method);
  if (step->has_data)
    object_push_slice(L, step->data);
  else
    lua_pushnil(L);
  return 3;
}

static int push_setup(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  object_push_slice(L, call->id);
  lua_pushboolean(L, call->clean);
  return 3;
}

static int push_client_alone(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  return 1;
}

static int push_subscribe(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  call->lent[0] = subscription_object_push(L, call->script->home, call->item, client_version(call->client),
                                           call->identifier);
  return 2;
}

static int push_unsubscribe(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  object_push_slice(L, call->item->filter);
  if (call->item->share.len)
    object_push_slice(L, call->item->share);
  else
    lua_pushnil(L);
  return 3;
}

static int push_client_and_message(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  push_message(L, call);
  return 2;
}

static int push_client_and_packet(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  push_packet(L, call);
  return 2;
}

static int push_terminate(lua_State *L, struct hook_call *call) {
  push_client(L, call);
  push_text(L, call->error);
  return 2;
}

static int push_psk(lua_State *L, struct hook_call *call) {
  object_push_slice(L, call->id);
  return 1;
}

static int push_log(lua_State *L, struct hook_call *call) {
  push_text(L, event_name(call->event));
  push_client(L, call);
  push_packet(L, call);
  push_message(L, call);
  push_text(L, call->error);
  if (!call->refused) return 5;
  decision_push(L, call->refused);
  return 6;
}

static int push_error(lua_State *L, struct hook_call *call) {
  push_text(L, call->error);
  return 1;
}

// A URL with the bound address; NULL behind the last. At the start of those that will accept when it is over.
static const char *url_at(const struct hook_call *call, unsigned i) {
  const struct script *s = call->script;
  if (call->hook != HOOK_START) return engine_url(s->engine, i);
  return i < s->listener_count ? listener_url(s->listeners[i].listener) : NULL;
}

static void push_listeners(lua_State *L, const struct hook_call *call) {
  const char *url;
  lua_newtable(L);
  for (unsigned i = 0; (url = url_at(call, i)); i++) {
    lua_pushstring(L, url);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

// `broker.saved`: what the script before has answered to `save`.
static int push_broker(lua_State *L, struct hook_call *call) {
  const struct script *s = call->script;
  lua_createtable(L, 0, 2);
  push_listeners(L, call);
  lua_setfield(L, -2, "listeners");
  if (s->saved_ref != LUA_NOREF && call->hook == HOOK_START) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->saved_ref);
    lua_setfield(L, -2, "saved");
  }
  return 1;
}

static int push_line(lua_State *L, struct hook_call *call) {
  object_push_slice(L, call->id);
  return 1;
}

static int push_nothing(lua_State *L, struct hook_call *call) {
  (void)L, (void)call;
  return 0;
}

int argument_push(lua_State *L, struct hook_call *call) {
  static int (*const rows[HOOK_COUNT])(lua_State *, struct hook_call *) = {
      [HOOK_AUTHENTICATE] = push_authenticate,
      [HOOK_AUTH] = push_auth,
      [HOOK_SETUP] = push_setup,
      [HOOK_RESTORE] = push_client_alone,
      [HOOK_SUBSCRIBE] = push_subscribe,
      [HOOK_UNSUBSCRIBE] = push_unsubscribe,
      [HOOK_PUBLISH] = push_client_and_message,
      [HOOK_DEQUEUE] = push_client_and_message,
      [HOOK_FULL_QUEUE] = push_client_and_message,
      [HOOK_TERMINATE] = push_terminate,
      [HOOK_PACKET] = push_client_and_packet,
      [HOOK_PSK] = push_psk,
      [HOOK_LOG] = push_log,
      [HOOK_ERROR] = push_error,
      [HOOK_START] = push_broker,
      [HOOK_STOP] = push_broker,
      [HOOK_SELFTEST] = push_nothing,
      [HOOK_SAVE] = push_nothing,
      [HOOK_ADOPT] = push_client_alone,
      [HOOK_TIMER] = push_nothing,
      [HOOK_SPAWN] = push_nothing,
      [HOOK_PROMPT] = push_line,
      [HOOK_NEXT_ID] = keeper_push_arguments,
      [HOOK_SAVE_PACKET] = keeper_push_arguments,
      [HOOK_LOOKUP_PACKET] = keeper_push_arguments,
      [HOOK_DELETE_PACKET] = keeper_push_arguments,
      [HOOK_ALL_PACKETS] = keeper_push_arguments,
  };
  return rows[call->hook](L, call);
}
