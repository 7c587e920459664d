// luamq.reload: waits for the outcome. What called goes on in the old script, which ends after it.
#include <lauxlib.h>

#include "script/reload.h"
#include "script/script_impl.h"
#include "script/wait.h"

struct reload_call {
  struct wait wait;
  struct reload_wish wish;
  struct host *host;
  bool failed;
  struct buf why; // it failed
};

static void told(struct reload_wish *w, const char *why) {
  struct reload_call *r = container_of(w, struct reload_call, wish);
  r->failed = why != NULL;
  if (why) buf_add_str(&r->why, why);
  wait_done(&r->wait);
}

static void start(struct wait *w) {
  struct reload_call *r = container_of(w, struct reload_call, wait);
  host_reload(r->host, &r->wish);
}

static void cancel(struct wait *w) {
  struct reload_call *r = container_of(w, struct reload_call, wait);
  reload_forget(&r->wish);
  buf_release(&r->why);
}

static int finish(lua_State *L, struct wait *w) {
  struct reload_call *r = container_of(w, struct reload_call, wait);
  if (!r->failed) {
    lua_pushboolean(L, 1);
    return 1;
  }
  struct buf *text = object_text(L); // it stays with the state when there is no memory for the string
  buf_add_slice(text, buf_slice(&r->why));
  buf_release(&r->why);
  luaL_pushfail(L);
  object_push_text(L, text);
  return 2;
}

int reload_call(lua_State *L) {
  static const struct wait_ops ops = {"luamq.reload", start, finish, cancel};
  wait_check(L, ops.name);
  const struct script *s = script_current(L);
  if (!s->is_started && !s->is_retired) return luaL_error(L, "luamq.reload: the script is not in force yet");
  struct reload_call *r = lua_newuserdatauv(L, sizeof *r, 0);
  *r = (struct reload_call){.wish.done = told, .host = s->host};
  list_init(&r->wish.node);
  return wait_for(L, &r->wait, &ops);
}
