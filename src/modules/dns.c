// The module `luamq.core.dns`, for lua/luamq/dns.lua:
//
//   lookup(name, family) -> addresses      family: "a", "aaaa", "any"
//   reverse(address) -> name
//                    -> nil, message, code
//
// They suspend. The system's own functions do the work, so that nsswitch.conf and the file of hosts count;
// they block, so threads call them (transport/workers.h). A thread cannot be stopped: one whose asker has
// gone goes on by itself, with memory of its own.
#include <errno.h>
#include <lauxlib.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/api.h"
#include "base/buf.h"
#include "base/mem.h"
#include "script/wait.h"
#include "transport/loop.h"
#include "transport/workers.h"

#define TYPE           "luamq.dns.question"
#define NAME_MAX_BYTES 1025 // NI_MAXHOST of glibc

struct question;

struct findings {
  int problem;        // EAI_..., 0: none
  int number;         // errno of EAI_SYSTEM
  struct buf answers; // texts, a zero byte behind each
};

struct lookup { // the workers'
  struct job job;
  struct question *question; // it is cancelled before that one ends
  bool reverse;
  int family;
  char name[NAME_MAX_BYTES]; // or an address
  struct findings found;
};

struct question {
  struct wait wait;
  struct loop *loop;
  struct lookup *lookup; // NULL: it is over
  const char *name;      // on the stack of who waits
  bool reverse, busy;
  int family;
  struct findings found;
};

// --- in a thread ---

static void keep(struct lookup *l, const struct sockaddr *address, socklen_t len, int flags) {
  char text[NAME_MAX_BYTES];
  l->found.problem = getnameinfo(address, len, text, sizeof text, NULL, 0, flags);
  if (l->found.problem == 0) buf_add(&l->found.answers, text, strlen(text) + 1);
}

static struct addrinfo hints_of(int family, int flags) {
  return (struct addrinfo){.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
}

static void find_addresses(struct lookup *l) {
  struct addrinfo hints = hints_of(l->family, 0), *found = NULL;
  l->found.problem = getaddrinfo(l->name, NULL, &hints, &found);
  for (struct addrinfo *a = found; a && l->found.problem == 0; a = a->ai_next)
    keep(l, a->ai_addr, a->ai_addrlen, NI_NUMERICHOST);
  if (found) freeaddrinfo(found);
}

static void find_name(struct lookup *l) {
  struct addrinfo hints = hints_of(AF_UNSPEC, AI_NUMERICHOST), *found = NULL;
  l->found.problem = getaddrinfo(l->name, NULL, &hints, &found);
  if (l->found.problem == 0) keep(l, found->ai_addr, found->ai_addrlen, NI_NAMEREQD);
  if (found) freeaddrinfo(found);
}

static void run(struct job *job) {
  struct lookup *l = container_of(job, struct lookup, job);
  if (l->reverse)
    find_name(l);
  else
    find_addresses(l);
  l->found.number = errno;
}

// --- in the loop ---

static void release(struct job *job) {
  struct lookup *l = container_of(job, struct lookup, job);
  buf_release(&l->found.answers);
  mem_free(l);
}

static void done(struct job *job) {
  struct lookup *l = container_of(job, struct lookup, job);
  struct question *q = l->question;
  q->lookup = NULL;
  q->found = l->found;
  l->found.answers = BUF_INIT;
  wait_done(&q->wait);
}

static void start(struct wait *w) {
  static const struct job_ops ops = {.kind = WORKERS_NETWORK, .run = run, .done = done, .free = release};
  struct question *q = container_of(w, struct question, wait);
  struct lookup *l = mem_alloc(sizeof *l);
  *l = (struct lookup){.question = q, .reverse = q->reverse, .family = q->family};
  snprintf(l->name, sizeof l->name, "%s", q->name);
  q->busy = !workers_submit(q->loop, &l->job, &ops);
  if (!q->busy) {
    q->lookup = l;
    return;
  }
  release(&l->job);
  wait_done(w);
}

static void drop(struct question *q) {
  if (q->lookup) job_cancel(&q->lookup->job);
  q->lookup = NULL;
  buf_release(&q->found.answers);
}

static void cancel(struct wait *w) { drop(container_of(w, struct question, wait)); }

static int collect(lua_State *L) {
  drop(lua_touserdata(L, 1));
  return 0;
}

// --- answers ---

static const struct {
  int problem;
  const char *code, *text;
} problems[] = {
    {EAI_NONAME, "not_found", "the name is not known"},
    {EAI_NODATA, "not_found", "the name has no such address"},
    {EAI_ADDRFAMILY, "not_found", "the name has no such address"},
    {EAI_AGAIN, "try_again", "no name server answers"},
};

static int push_failure(lua_State *L, const char *text, const char *code) {
  luaL_pushfail(L);
  lua_pushstring(L, text);
  lua_pushstring(L, code);
  return 3;
}

static int push_problem(lua_State *L, const struct question *q) {
  int problem = q->found.problem;
  if (q->busy) return push_failure(L, "too many look-ups are under way", "busy");
  if (problem == EAI_NONAME && q->reverse) return push_failure(L, "the address has no name", "not_found");
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
    if (problems[i].problem == problem) return push_failure(L, problems[i].text, problems[i].code);
  return push_failure(L, problem == EAI_SYSTEM ? strerror(q->found.number) : gai_strerror(problem), "failed");
}

static int push_answers(lua_State *L, const struct question *q) {
  const char *at = (const char *)q->found.answers.ptr, *end = at + q->found.answers.len;
  if (q->reverse) {
    lua_pushstring(L, at);
    return 1;
  }
  lua_newtable(L);
  for (lua_Integer i = 1; at < end; at += strlen(at) + 1) {
    lua_pushstring(L, at);
    lua_rawseti(L, -2, i++);
  }
  return 1;
}

static int finish(lua_State *L, struct wait *w) {
  struct question *q = container_of(w, struct question, wait);
  int count = q->busy || q->found.problem ? push_problem(L, q) : push_answers(L, q);
  drop(q);
  return count;
}

// --- questions ---

static const struct wait_ops lookup_ops = {"luamq.dns.lookup", start, finish, cancel};
static const struct wait_ops reverse_ops = {"luamq.dns.reverse", start, finish, cancel};

static int ask(lua_State *L, const struct wait_ops *ops, int family) {
  bool reverse = ops == &reverse_ops;
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  wait_check(L, ops->name);
  struct loop *loop = wait_loop(L);
  if (!loop->base)
    return push_failure(L, "no network in a test: give a fake answer with broker:fake('dns', function ...)",
                        "no_network");
  if (len == 0 || len >= NAME_MAX_BYTES || strlen(name) != len)
    return push_failure(L, reverse ? "not an address" : "not a name", "not_found");
  struct question *q = lua_newuserdatauv(L, sizeof *q, 0);
  *q = (struct question){.loop = loop, .name = name, .reverse = reverse, .family = family};
  luaL_setmetatable(L, TYPE);
  return wait_for(L, &q->wait, ops);
}

static int lookup(lua_State *L) {
  static const char *const names[] = {"any", "a", "aaaa", NULL};
  static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
  int family = families[luaL_checkoption(L, 2, "any", names)];
  return ask(L, &lookup_ops, family);
}

static int reverse(lua_State *L) { return ask(L, &reverse_ops, AF_UNSPEC); }

LUAMQ_API int luaopen_luamq_core_dns(lua_State *L);

int luaopen_luamq_core_dns(lua_State *L) {
  static const luaL_Reg functions[] = {{"lookup", lookup}, {"reverse", reverse}, {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, functions);
  return 1;
}
