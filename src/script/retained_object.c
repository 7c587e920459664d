// `luamq.retained(filter)`: what is retained now. The messages are collected first, with references that an
// object of Lua holds, and turned into tables afterwards: so an error loses nothing, and the index is not
// walked while Lua runs.
#include <lauxlib.h>

#include "base/mem.h"
#include "script/property.h"
#include "script/script_impl.h"
#include "topic/topic.h"

struct found {
  struct message **list;
  size_t count, cap;
};

static void found_release(struct found *f) {
  for (size_t i = 0; i < f->count; i++)
    message_unref(f->list[i]);
  mem_free(f->list);
  *f = (struct found){0};
}

static void found_add(struct found *f, struct message *m) {
  if (f->count == f->cap) {
    f->cap = f->cap ? 2 * f->cap : 16;
    f->list = mem_realloc(f->list, f->cap * sizeof(struct message *));
  }
  f->list[f->count++] = message_ref(m);
}

// What has not expired.
static void find_all(struct found *f, struct retained *index, struct slice filter, uint64_t now_ms) {
  struct retained_cursor cursor;
  retained_open(&cursor, index, filter);
  for (;;) {
    uint32_t budget = UINT32_MAX;
    struct message *m = retained_next(&cursor, &budget);
    if (!m && budget) break;
    if (m && !message_expired(m, now_ms)) found_add(f, m);
  }
  retained_close(&cursor);
}

static void push_message(lua_State *L, const struct message *m, uint64_t now_ms) {
  struct packet_properties properties = message_properties(m);
  lua_createtable(L, 0, 4);
  object_push_slice(L, message_topic(m));
  lua_setfield(L, -2, "topic");
  object_push_slice(L, message_payload(m));
  lua_setfield(L, -2, "payload");
  lua_pushinteger(L, m->qos);
  lua_setfield(L, -2, "qos");
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "retain");
  property_set_fields(L, &properties);
  if (m->expiry_s == MESSAGE_NEVER) return;
  lua_pushinteger(L, message_expires_in(m, now_ms));
  lua_setfield(L, -2, "message_expiry_interval");
}

int retained_list(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  struct slice filter = slice_of(text, len);
  luaL_argcheck(L, topic_filter_valid(filter), 1, "invalid topic filter");
  struct script *s = script_current(L);
  if (!s || !s->inner) return luaL_error(L, "no broker is running");
  struct found *f = object_new(L, s->home, OBJECT_RETAINED, sizeof *f, 0);
  *f = (struct found){0};
  uint64_t now_ms = shard_now_ms(s->shard);
  find_all(f, memory_retained(s->inner), filter, now_ms);
  lua_createtable(L, f->count < INT_MAX ? (int)f->count : 0, 0);
  for (size_t i = 0; i < f->count; i++) {
    push_message(L, f->list[i], now_ms);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  found_release(f);
  return 1;
}

static int collect(lua_State *L) {
  found_release(object_self(L, "retained"));
  return 0;
}

void retained_object_define(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__gc", collect}, {NULL, NULL}};
  object_define(L, home, OBJECT_RETAINED, &(struct object_methods){.name = "retained", .meta = meta});
}
