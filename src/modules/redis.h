// A Redis server, as all hooks of a Lua state share it: one connection, on which commands follow each other
// without waiting for replies. It is opened when a command wants it, and again after it was lost.
//
//   redis.c        what Lua sees of it: the module luamq.core.redis, for lua/luamq/redis.lua
//   redis_link.c   the connection, its greeting, and when it is tried again
//   redis_request.c   commands that are under way, their time and their replies
//   redis_feed.c   subscriptions
//
//   waiting ──(connection is up)──► sent ──(all replies are there)──► the call's result; wait_done
//      │                             │
//      └── its time is over: error   └── its time is over: error, and the replies that come later are dropped
//
// A request belongs to its link, and points at the call that waits for it (a userdata on the stack of a
// hook's coroutine) until that is answered or cancelled; so a late reply finds nobody, and never another
// one's call. A command that was sent is never sent again: whether a lost one was executed is not known.
#ifndef LUAMQ_MODULES_REDIS_H
#define LUAMQ_MODULES_REDIS_H

#include <hiredis/async.h>

#include "base/buf.h"
#include "base/timer.h"
#include "script/wait.h"
#include "transport/loop.h"
#include "transport/resolve.h"

#define REDIS_ERROR_BYTES 200

struct redis_options {
  char *host, *path;         // path of a unix socket; else NULL
  char *username, *password; // NULL: none
  unsigned port, database;
  uint32_t timeout_ms, connect_timeout_ms;
  uint32_t max_pending;
  uint32_t max_reply_bytes;
};

struct redis_error {
  char text[REDIS_ERROR_BYTES]; // empty: none
  char code[24];
};

struct redis_counts {
  uint64_t commands, replies, timeouts, refused, connections, failures;
};

enum redis_state { REDIS_DOWN, REDIS_RESOLVING, REDIS_GREETING, REDIS_UP };

struct redis_link {
  struct redis_options options;
  struct loop *loop;               // NULL until the first request
  redisAsyncContext *context;      // NULL while it is down
  redisReplyObjectFunctions *make; // hiredis's own, see redis_link.c
  struct event *readable, *writable;
  struct resolve *look_up; // NULL: none is under way
  struct resolve_result found;
  unsigned next_found; // of the addresses: which is to be tried next
  enum redis_state state;
  unsigned greetings; // replies to come before it is up
  uint64_t reads;     // how often something was read
  size_t reply_bytes; // of the reply that is being read
  struct timer connecting, retry;
  uint32_t backoff_ms;    // 0: the last connection was fine
  struct redis_error why; // it is down, or goes down
  bool why_known;         // of this connection
  struct list waiting, sent;
  uint32_t pending; // in both
  // Of a link that is for something else than requests; NULL otherwise.
  void (*opened)(struct redis_link *l); // it is up; it is opened again whenever it was lost
  void (*ended)(struct redis_link *l);  // it was closed
  struct ready close;
  bool closed;
  struct redis_counts counts;
};

struct redis_call { // a userdata; its user value is the link's
  struct wait wait;
  struct redis_request *request; // NULL: not made, or over
  struct buf replies;            // cells
  struct redis_error error;      // or why there are none
};

struct redis_request {
  struct list node; // of link->waiting or link->sent
  struct redis_link *link;
  struct redis_call *call; // NULL: nobody waits any longer
  struct timer timeout;
  struct buf commands;   // cells, each of them a command as it is sent
  unsigned count, left;  // commands, and replies to come
  uint64_t reads_before; // link->reads when it was sent
  bool sent, lost, too_large;
  struct buf replies;
};

// redis_link.c
void redis_link_init(struct redis_link *l);    // takes the options, which are there already
void redis_link_release(struct redis_link *l); // calls that are left are not told
// Opens it, unless it is open or was tried a moment ago.
void redis_link_want(struct redis_link *l);
// Ends the connection: what was sent fails with this text and code.
void redis_link_drop(struct redis_link *l, const char *code, const char *text);
// The connection is about to end: sees to it that `why` says the reason.
void redis_link_lost(struct redis_link *l);
// Ends all in the next turn; from then on requests fail.
void redis_link_close(struct redis_link *l);
void redis_error_set(struct redis_error *e, const char *code, const char *text);

// redis_request.c
// For a call that is about to wait, of so many commands; whoever made it adds them to `commands`.
struct redis_request *redis_request_new(struct redis_link *l, struct redis_call *call, unsigned count);
void redis_request_begin(struct redis_request *r); // it waits from now on; or it fails at once
void redis_request_send(struct redis_request *r);  // on a link that is up
void redis_request_fail(struct redis_request *r, const struct redis_error *why); // frees it
void redis_request_forget(struct redis_request *r); // its call does not wait any longer
void redis_request_free(struct redis_request *r);

#endif
