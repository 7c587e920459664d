// What lua/luamq/password.lua is made of: hashes of passwords, which worker threads make and compare while
// the hook that wants them is suspended; and what is wrong with a password file.
#include <lauxlib.h>

#include "base/mem.h"
#include "broker/password_file.h"
#include "script/script_impl.h"
#include "script/wait.h"
#include "transport/password.h"
#include "transport/workers.h"

#define PROBLEMS_MAX 100 // that are told of a file

struct problems {
  struct buf text; // each with a NUL
  const char *path;
  unsigned count;
};

// --- a password file ---

static void told(void *arg, unsigned line, const char *problem) {
  struct problems *p = arg;
  if (p->count++ >= PROBLEMS_MAX) return;
  buf_printf(&p->text, "%s:%u: %s", p->path, line, problem);
  buf_add_byte(&p->text, 0);
}

static int push_problems(lua_State *L) {
  const struct problems *p = lua_touserdata(L, 1);
  lua_newtable(L);
  lua_Integer n = 0;
  for (const char *at = (const char *)p->text.ptr, *end = at + p->text.len; at < end; at += strlen(at) + 1) {
    lua_pushstring(L, at);
    lua_rawseti(L, 2, ++n);
  }
  if (p->count > PROBLEMS_MAX) {
    lua_pushfstring(L, "%s: %d more lines are wrong", p->path, (int)(p->count - PROBLEMS_MAX));
    lua_rawseti(L, 2, ++n);
  }
  return 1;
}

// A file whose lines are all wrong is told by them.
static int problems(lua_State *L) {
  struct problems p = {.path = luaL_checkstring(L, 1)};
  const char *error = NULL;
  lua_settop(L, 1);
  lua_pushcfunction(L, push_problems);
  password_file_free(password_file_read(p.path, 0, told, &p, &error));
  if (error && !p.count) {
    luaL_pushfail(L);
    lua_pushstring(L, error);
    return 2;
  }
  lua_pushlightuserdata(L, &p);
  int status = lua_pcall(L, 1, 1, 0);
  buf_release(&p.text);
  return status == LUA_OK ? 1 : lua_error(L);
}

// --- hash and verify ---

// On the stack of the coroutine, with the strings that it points into.
struct hashing {
  struct wait wait;
  struct loop *loop;
  struct hashing_job *job; // under way, or NULL
  struct slice password, hash;
  const struct password_scheme *scheme; // NULL: it is a comparison
  uint32_t cost;
  // what came of it
  const char *problem, *code; // or NULL
  enum password_result result;
  char made[PASSWORD_HASH_MAX];
};

struct hashing_job {
  struct job job;
  struct hashing *hashing; // not for the thread
  const struct password_scheme *scheme;
  uint32_t cost;
  const char *problem;
  enum password_result result;
  struct buf made;
  size_t password_len, hash_len;
  uint8_t bytes[]; // password, hash
};

static void run_hashing(struct job *j) {
  struct hashing_job *h = container_of(j, struct hashing_job, job);
  struct slice password = slice_of(h->bytes, h->password_len);
  if (h->scheme)
    h->problem = password_hash(h->scheme, h->cost, password, &h->made);
  else
    h->result = password_verify(password, slice_of(h->bytes + h->password_len, h->hash_len));
}

static void done_hashing(struct job *j) {
  struct hashing_job *h = container_of(j, struct hashing_job, job);
  struct hashing *to = h->hashing;
  to->job = NULL;
  to->problem = h->result == PASSWORD_FAILED ? "the password could not be checked" : h->problem;
  to->code = "server_unavailable";
  to->result = h->result;
  if (!to->problem && h->scheme) snprintf(to->made, sizeof to->made, "%s", buf_text(&h->made));
  wait_done(&to->wait);
}

static void free_hashing(struct job *j) {
  struct hashing_job *h = container_of(j, struct hashing_job, job);
  explicit_bzero(h->bytes, h->password_len);
  buf_release(&h->made);
  mem_free(h);
}

static struct hashing_job *hashing_job_new(struct hashing *from) {
  size_t password_len = from->password.len, hash_len = from->hash.len;
  struct hashing_job *h = mem_calloc(1, sizeof *h + password_len + hash_len);
  h->hashing = from;
  h->scheme = from->scheme;
  h->cost = from->cost;
  h->password_len = password_len;
  h->hash_len = hash_len;
  if (password_len) memcpy(h->bytes, from->password.ptr, password_len);
  if (hash_len) memcpy(h->bytes + password_len, from->hash.ptr, hash_len);
  return h;
}

static void start_hashing(struct wait *w) {
  static const struct job_ops ops = {.run = run_hashing, .done = done_hashing, .free = free_hashing};
  struct hashing *h = container_of(w, struct hashing, wait);
  h->job = hashing_job_new(h);
  if (workers_submit(h->loop, &h->job->job, &ops)) return;
  free_hashing(&h->job->job);
  h->job = NULL;
  h->problem = "too many jobs are waiting for a worker thread";
  h->code = "server_busy";
  wait_done(w);
}

static int finish_hashing(lua_State *L, struct wait *w) {
  const struct hashing *h = container_of(w, struct hashing, wait);
  if (h->problem) {
    luaL_pushfail(L);
    lua_pushstring(L, h->problem);
    lua_pushstring(L, h->code);
    return 3;
  }
  if (h->scheme)
    lua_pushstring(L, h->made);
  else
    lua_pushboolean(L, h->result == PASSWORD_MATCHES);
  return 1;
}

static void cancel_hashing(struct wait *w) {
  struct hashing *h = container_of(w, struct hashing, wait);
  if (h->job) job_cancel(&h->job->job);
  h->job = NULL;
}

static struct slice check_slice(lua_State *L, int index) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  return slice_of(text, len);
}

static struct hashing *hashing_new(lua_State *L, const struct wait_ops *ops) {
  wait_check(L, ops->name);
  struct hashing *h = lua_newuserdatauv(L, sizeof *h, 0);
  *h = (struct hashing){.loop = wait_loop(L), .password = check_slice(L, 1)};
  return h;
}

static int hash(lua_State *L) {
  static const struct wait_ops ops = {"luamq.password.hash", start_hashing, finish_hashing, cancel_hashing};
  const struct password_scheme *scheme = password_scheme(luaL_checkstring(L, 2));
  lua_Integer cost = luaL_checkinteger(L, 3);
  luaL_argcheck(L, scheme, 2, "unknown kind");
  luaL_argcheck(L, cost >= scheme->least_cost && cost <= scheme->most_cost, 3, "cost out of range");
  struct hashing *h = hashing_new(L, &ops);
  h->scheme = scheme;
  h->cost = (uint32_t)cost;
  return wait_for(L, &h->wait, &ops);
}

static int verify(lua_State *L) {
  static const struct wait_ops ops = {"luamq.password.verify", start_hashing, finish_hashing, cancel_hashing};
  struct slice of = check_slice(L, 2);
  struct hashing *h = hashing_new(L, &ops);
  h->hash = of;
  return wait_for(L, &h->wait, &ops);
}

// Text about what cannot be verified or hashed; nil where there is nothing wrong.
static int hash_problem(lua_State *L) {
  lua_pushstring(L, password_hash_problem(check_slice(L, 1)));
  return 1;
}

static int text_problem(lua_State *L) {
  lua_pushstring(L, password_problem(check_slice(L, 1)));
  return 1;
}

// { yescrypt = { default = 5, least = 1, most = 8 }, ... }
static void push_kinds(lua_State *L) {
  const struct password_scheme *scheme;
  lua_newtable(L);
  for (unsigned i = 0; (scheme = password_scheme_at(i)); i++) {
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, scheme->default_cost);
    lua_setfield(L, -2, "default");
    lua_pushinteger(L, scheme->least_cost);
    lua_setfield(L, -2, "least");
    lua_pushinteger(L, scheme->most_cost);
    lua_setfield(L, -2, "most");
    lua_setfield(L, -2, scheme->name);
  }
}

void password_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"problems", problems},         {"hash", hash}, {"verify", verify}, {"hash_problem", hash_problem},
      {"text_problem", text_problem}, {NULL, NULL}};
  luaL_newlib(L, functions);
  push_kinds(L);
  lua_setfield(L, -2, "kinds");
}
