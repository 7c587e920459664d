#include <stdio.h>

#include "modules/redis.h"
#include "script/cells.h"

#define DEPTH_MAX 16 // of lists in a reply

// --- the end of a request ---

static void take_out(struct redis_request *r) {
  if (list_empty(&r->node)) return;
  list_remove(&r->node);
  r->link->pending--;
}

void redis_request_free(struct redis_request *r) {
  take_out(r);
  if (r->link->loop) timer_disarm(&r->link->loop->timers, &r->timeout);
  if (r->call) r->call->request = NULL;
  buf_release(&r->commands);
  buf_release(&r->replies);
  mem_free(r);
}

// The call goes on; the request may have replies to come, which nobody gets.
static void tell(struct redis_request *r, const struct redis_error *why) {
  struct redis_call *call = r->call;
  if (!call) return;
  call->request = NULL;
  r->call = NULL;
  if (why) {
    call->error = *why;
  } else {
    call->replies = r->replies;
    r->replies = BUF_INIT;
  }
  wait_done(&call->wait);
}

void redis_request_fail(struct redis_request *r, const struct redis_error *why) {
  tell(r, why);
  redis_request_free(r);
}

void redis_request_forget(struct redis_request *r) {
  if (r->call) r->call->request = NULL;
  r->call = NULL;
  if (!r->sent) redis_request_free(r);
}

// --- replies ---

static void add_reply(struct buf *to, const redisReply *reply, unsigned depth) {
  struct slice text = slice_of(reply->str, reply->str ? (size_t)reply->len : 0);
  switch (reply->type) {
  case REDIS_REPLY_INTEGER: cells_add_integer(to, reply->integer); break;
  case REDIS_REPLY_STRING:
  case REDIS_REPLY_STATUS: cells_add_string(to, CELL_TEXT, text); break;
  case REDIS_REPLY_ERROR: cells_add_string(to, CELL_ERROR, text); break;
  case REDIS_REPLY_ARRAY:
    if (depth == DEPTH_MAX) {
      cells_add(to, CELL_NIL);
      break;
    }
    cells_add_list(to, reply->elements);
    for (size_t i = 0; i < reply->elements; i++)
      add_reply(to, reply->element[i], depth + 1);
    break;
  default: cells_add(to, CELL_NIL);
  }
}

static void keep_reply(struct redis_request *r, const redisReply *reply) {
  if (!r->call || r->too_large) return;
  add_reply(&r->replies, reply, 0);
  r->too_large = r->replies.len > r->link->options.max_reply_bytes;
}

// A reply that is too large is that of the first; the others were only behind it.
static struct redis_error reason_of_loss(struct redis_link *l) {
  redis_link_lost(l);
  struct redis_error why = l->why;
  if (strcmp(why.code, "limit") == 0) snprintf(l->why.code, sizeof l->why.code, "connection");
  return why;
}

static void complete(struct redis_request *r) {
  struct redis_error why = {.text = ""};
  if (r->lost)
    why = reason_of_loss(r->link);
  else if (r->too_large)
    redis_error_set(&why, "limit", "the replies are larger than max_reply");
  tell(r, *why.text ? &why : NULL);
  redis_request_free(r);
}

// One call for each command of the request, in order. No reply: the connection is lost.
static void replied(redisAsyncContext *context, void *reply, void *arg) {
  (void)context;
  struct redis_request *r = arg;
  struct redis_link *l = r->link;
  l->reply_bytes = 0;
  if (reply) {
    l->counts.replies++;
    keep_reply(r, reply);
  } else {
    r->lost = true;
  }
  if (--r->left == 0) complete(r);
}

// --- its time ---

// A server that has sent nothing at all since then is taken for dead. Where others got replies it is slow.
static void timed_out(struct timer *t) {
  struct redis_request *r = container_of(t, struct redis_request, timeout);
  struct redis_link *l = r->link;
  struct redis_error why;
  l->counts.timeouts++;
  if (!r->sent) {
    if (*l->why.text)
      why = l->why;
    else
      redis_error_set(&why, "timeout", "no connection in time");
    redis_request_fail(r, &why);
    return;
  }
  redis_error_set(&why, "timeout", "no answer in time");
  tell(r, &why);
  if (l->reads == r->reads_before) redis_link_drop(l, "timeout", "no answer in time");
}

// --- its way ---

struct redis_request *redis_request_new(struct redis_link *l, struct redis_call *call, unsigned count) {
  struct redis_request *r = mem_alloc(sizeof *r);
  *r = (struct redis_request){.link = l, .call = call, .count = count, .left = count};
  list_init(&r->node);
  timer_init(&r->timeout, timed_out);
  return r;
}

void redis_request_begin(struct redis_request *r) {
  struct redis_link *l = r->link;
  struct redis_error why = {.text = ""};
  if (l->closed)
    redis_error_set(&why, "closed", "the database is closed");
  else if (l->pending >= l->options.max_pending)
    redis_error_set(&why, "busy", "too many commands are under way (max_pending)");
  if (*why.text) {
    l->counts.refused++;
    redis_request_fail(r, &why);
    return;
  }
  l->pending++;
  list_append(&l->waiting, &r->node);
  timer_arm(&l->loop->timers, &r->timeout, l->loop->clock.now_ms + l->options.timeout_ms);
  if (l->state == REDIS_UP)
    redis_request_send(r);
  else
    redis_link_want(l);
}

void redis_request_send(struct redis_request *r) {
  struct redis_link *l = r->link;
  struct slice rest = buf_slice(&r->commands);
  list_remove(&r->node);
  list_append(&l->sent, &r->node);
  r->sent = true;
  r->reads_before = l->reads;
  l->counts.commands += r->count;
  for (struct cell c; cells_next(&rest, &c);)
    redisAsyncFormattedCommand(l->context, replied, r, (const char *)c.text.ptr, c.text.len);
  buf_release(&r->commands);
}
