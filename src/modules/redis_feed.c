// A subscription of Redis in Lua. Messages wait in a bounded queue for a coroutine that takes one after the
// other.
#include "modules/redis_feed.h"

#include <lauxlib.h>

#include "modules/module.h"
#include "modules/redis_module.h"
#include "script/cells.h"

#define FEED "luamq.redis.feed"

struct message {
  struct list node;
  struct buf cells; // payload, channel, pattern or nil
};

struct feed { // a userdata
  struct redis_link link;
  struct buf command;     // that subscribes
  struct list messages;   // of struct message
  uint32_t count;         // of them
  uint64_t dropped;       // there was no room for
  struct feed_call *call; // that waits for the next one; or NULL
};

struct feed_call { // a userdata; its user value is the feed's
  struct wait wait;
  struct feed *feed; // NULL: it has gone
  struct message *message;
};

static struct feed *feed_of(struct redis_link *l) { return container_of(l, struct feed, link); }
static struct feed_call *call_of(struct wait *w) { return container_of(w, struct feed_call, wait); }

static void free_message(struct message *m) {
  if (!m) return;
  buf_release(&m->cells);
  mem_free(m);
}

// --- messages ---

static void give(struct feed *f, struct message *m) {
  struct feed_call *call = f->call;
  f->call = NULL;
  call->message = m;
  wait_done(&call->wait);
}

static void keep(struct feed *f, struct message *m) {
  if (f->count == f->link.options.max_pending) {
    f->dropped++;
    free_message(m);
    return;
  }
  f->count++;
  list_append(&f->messages, &m->node);
}

static void add_text(struct buf *to, const redisReply *part) {
  if (part->type == REDIS_REPLY_STRING)
    cells_add_string(to, CELL_TEXT, slice_of(part->str, (size_t)part->len));
  else
    cells_add(to, CELL_NIL);
}

// {"message", channel, payload} or {"pmessage", pattern, channel, payload}; anything else tells of the
// subscription.
static struct message *read_message(const redisReply *reply) {
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3) return NULL;
  size_t last = reply->elements - 1;
  const char *what = reply->element[0]->str;
  bool is_message = what && (!strcmp(what, "message") || (!strcmp(what, "pmessage") && last == 3));
  if (!is_message) return NULL;
  struct message *m = mem_calloc(1, sizeof *m);
  list_init(&m->node);
  add_text(&m->cells, reply->element[last]);
  add_text(&m->cells, reply->element[last - 1]);
  if (last == 3) add_text(&m->cells, reply->element[1]);
  return m;
}

static void received(redisAsyncContext *context, void *reply, void *arg) {
  struct feed *f = arg;
  const redisReply *r = reply;
  f->link.reply_bytes = 0;
  if (!r || context->c.flags & REDIS_FREEING) return;
  if (r->type == REDIS_REPLY_ERROR) {
    redis_link_drop(&f->link, "refused", r->str);
    return;
  }
  struct message *m = read_message(r);
  if (!m) return;
  f->link.counts.replies++;
  if (f->call)
    give(f, m);
  else
    keep(f, m);
}

static void subscribe(struct redis_link *l) {
  struct feed *f = feed_of(l);
  redisEnableKeepAlive(&l->context->c);        // a peer that has gone would only be silent
  const char *command = buf_text(&f->command); // hiredis looks for channels up to a NUL
  redisAsyncFormattedCommand(l->context, received, f, command, f->command.len);
}

static void closed(struct redis_link *l) {
  struct feed *f = feed_of(l);
  if (f->call) give(f, NULL);
}

// --- in Lua ---

static void begin(struct wait *w) {
  struct feed_call *call = call_of(w);
  struct feed *f = call->feed;
  struct list *first = list_take(&f->messages);
  if (first) {
    f->count--;
    call->message = container_of(first, struct message, node);
  }
  if (first || f->link.closed)
    wait_done(w);
  else
    f->call = call;
}

static int finish(lua_State *L, struct wait *w) {
  struct feed_call *call = call_of(w);
  if (!call->message) return 0;
  struct slice run = buf_slice(&call->message->cells);
  int count = 0;
  for (struct cell c; cells_next(&run, &c); count++)
    cell_push(L, &c);
  return count;
}

static void leave(struct feed_call *call) {
  if (call->feed && call->feed->call == call) call->feed->call = NULL;
  free_message(call->message);
  call->message = NULL;
}

static void cancel(struct wait *w) { leave(call_of(w)); }

static int call_gc(lua_State *L) {
  leave(luaL_checkudata(L, 1, FEED ".call"));
  return 0;
}

// feed:receive() -> payload, channel, pattern | nothing: it is closed
static int l_receive(lua_State *L) {
  static const struct wait_ops ops = {"a message of redis", begin, finish, cancel};
  struct feed *f = luaL_checkudata(L, 1, FEED);
  wait_check(L, ops.name);
  if (f->call) return luaL_error(L, "somebody else waits for the next message");
  struct feed_call *call = lua_newuserdatauv(L, sizeof *call, 1);
  *call = (struct feed_call){.feed = f};
  luaL_setmetatable(L, FEED ".call");
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return wait_for(L, &call->wait, &ops);
}

int redis_feed_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  struct loop *loop = wait_loop(L);
  if (!loop->base) return redis_push_no_network(L);
  struct feed *f = lua_newuserdatauv(L, sizeof *f, 0);
  *f = (struct feed){.command = BUF_INIT};
  list_init(&f->messages);
  redis_link_init(&f->link);
  luaL_setmetatable(L, FEED);
  redis_read_options(L, 1, &f->link.options);
  redis_format_command(L, 2, &f->command);
  f->link.loop = loop;
  f->link.opened = subscribe;
  f->link.ended = closed;
  redis_link_want(&f->link);
  return 1;
}

static int l_close(lua_State *L) {
  redis_link_close(&((struct feed *)luaL_checkudata(L, 1, FEED))->link);
  return 0;
}

// feed:dropped() -> messages that there was no room for
static int l_dropped(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)((struct feed *)luaL_checkudata(L, 1, FEED))->dropped);
  return 1;
}

static int feed_gc(lua_State *L) {
  struct feed *f = luaL_checkudata(L, 1, FEED);
  if (f->call) f->call->feed = NULL;
  redis_link_release(&f->link);
  for (struct list *node; (node = list_take(&f->messages));)
    free_message(container_of(node, struct message, node));
  buf_release(&f->command);
  return 0;
}

void redis_feed_define(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"receive", l_receive}, {"close", l_close}, {"dropped", l_dropped}, {"__gc", feed_gc}, {NULL, NULL}};
  static const luaL_Reg call_methods[] = {{"__gc", call_gc}, {NULL, NULL}};
  module_define(L, FEED, methods);
  module_define(L, FEED ".call", call_methods);
}
