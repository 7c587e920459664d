#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/redis.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS   1000

void redis_error_set(struct redis_error *e, const char *code, const char *text) {
  snprintf(e->code, sizeof e->code, "%s", code);
  snprintf(e->text, sizeof e->text, "%s", text);
}

static struct redis_link *link_of(const redisAsyncContext *context) { return context->data; }

// --- why it is down ---

static void fail_waiting(struct redis_link *l, const struct redis_error *why) {
  struct list failed;
  list_init(&failed);
  list_splice(&failed, &l->waiting);
  while (!list_empty(&failed))
    redis_request_fail(container_of(list_first(&failed), struct redis_request, node), why);
}

static void set_why(struct redis_link *l, const char *code, const char *text) {
  const struct redis_options *o = &l->options;
  char full[REDIS_ERROR_BYTES];
  if (o->path)
    snprintf(full, sizeof full, "redis at %s: %s", o->path, text);
  else
    snprintf(full, sizeof full, "redis at %s:%u: %s", o->host, o->port, text);
  redis_error_set(&l->why, code, full);
  l->why_known = true;
}

// What waits is tried again on another connection, as long as it has time.
static void down(struct redis_link *l) {
  bool was_up = l->state == REDIS_UP;
  l->state = REDIS_DOWN;
  l->context = NULL;
  timer_disarm(&l->loop->timers, &l->connecting);
  if (l->closed) return;
  bool another = l->next_found < l->found.count; // address
  if (was_up || another) {
    l->backoff_ms = 0;
    if (l->opened) l->backoff_ms = BACKOFF_FIRST_MS; // nothing else slows it down
  } else {
    uint32_t next_ms = l->backoff_ms ? l->backoff_ms * 2 : BACKOFF_FIRST_MS;
    l->backoff_ms = next_ms < BACKOFF_MAX_MS ? next_ms : BACKOFF_MAX_MS;
    l->counts.failures++;
  }
  timer_arm(&l->loop->timers, &l->retry, l->loop->clock.now_ms + l->backoff_ms);
}

void redis_link_lost(struct redis_link *l) {
  if (!l->why_known) set_why(l, "connection", l->context->errstr[0] ? l->context->errstr : "connection lost");
}

void redis_link_drop(struct redis_link *l, const char *code, const char *text) {
  if (!l->context) return;
  set_why(l, code, text);
  redisAsyncFree(l->context); // fails what was sent, now or when hiredis has left its own functions
}

// --- hiredis's adapter to the loop ---

static void read_now(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct redis_link *l = arg;
  struct loop *loop = l->loop;
  const redisAsyncContext *context = l->context;
  loop_enter(loop);
  l->reads++;
  redisAsyncHandleRead(l->context);
  if (l->context == context &&
      l->context->c.reader->len - l->context->c.reader->pos > l->options.max_reply_bytes)
    redis_link_drop(l, "limit", "a reply is larger than max_reply");
  loop_leave(loop);
}

static void write_now(evutil_socket_t fd, short what, void *arg) {
  (void)fd, (void)what;
  struct redis_link *l = arg;
  struct loop *loop = l->loop;
  loop_enter(loop);
  redisAsyncHandleWrite(l->context);
  loop_leave(loop);
}

static void add_read(void *l) { event_add(((struct redis_link *)l)->readable, NULL); }
static void del_read(void *l) { event_del(((struct redis_link *)l)->readable); }
static void add_write(void *l) { event_add(((struct redis_link *)l)->writable, NULL); }
static void del_write(void *l) { event_del(((struct redis_link *)l)->writable); }

// The last that hiredis says of a connection, however it ends.
static void cleanup(void *arg) {
  struct redis_link *l = arg;
  redis_link_lost(l);
  event_free(l->readable);
  event_free(l->writable);
  l->readable = l->writable = NULL;
  down(l);
}

static void attach(struct redis_link *l, redisAsyncContext *context) {
  context->data = l;
  context->ev.data = l;
  context->ev.addRead = add_read;
  context->ev.delRead = del_read;
  context->ev.addWrite = add_write;
  context->ev.delWrite = del_write;
  context->ev.cleanup = cleanup;
  l->readable = event_new(l->loop->base, context->c.fd, EV_READ | EV_PERSIST, read_now, l);
  l->writable = event_new(l->loop->base, context->c.fd, EV_WRITE | EV_PERSIST, write_now, l);
  event_add(l->writable, NULL);
}

// --- the size of replies: hiredis makes its objects through these, and takes NULL for no memory ---

static bool is_within(const redisReadTask *task, size_t bytes) {
  struct redis_link *l = task->privdata;
  l->reply_bytes += bytes;
  if (l->reply_bytes <= l->options.max_reply_bytes) return true;
  set_why(l, "limit", "a reply is larger than max_reply");
  return false;
}

static const redisReplyObjectFunctions *maker(const redisReadTask *task) {
  return ((struct redis_link *)task->privdata)->make;
}

static void *make_string(const redisReadTask *task, char *text, size_t len) {
  return is_within(task, sizeof(redisReply) + len) ? maker(task)->createString(task, text, len) : NULL;
}
static void *make_array(const redisReadTask *task, int count) {
  size_t bytes = sizeof(redisReply) + (count > 0 ? (size_t)count : 0) * sizeof(redisReply *);
  return is_within(task, bytes) ? maker(task)->createArray(task, count) : NULL;
}
static void *make_integer(const redisReadTask *task, long long value) {
  return is_within(task, sizeof(redisReply)) ? maker(task)->createInteger(task, value) : NULL;
}
static void *make_nil(const redisReadTask *task) {
  return is_within(task, sizeof(redisReply)) ? maker(task)->createNil(task) : NULL;
}

static void watch_size(struct redis_link *l, redisReader *reader) {
  static const redisReplyObjectFunctions counted = {make_string, make_array, make_integer, make_nil,
                                                    freeReplyObject};
  l->make = reader->fn;
  l->reply_bytes = 0;
  reader->fn = (redisReplyObjectFunctions *)&counted;
  reader->privdata = l;
}

// --- its beginning ---

static void up(struct redis_link *l) {
  l->state = REDIS_UP;
  l->counts.connections++;
  l->backoff_ms = 0;
  l->why = (struct redis_error){.text = ""};
  l->next_found = l->found.count;
  timer_disarm(&l->loop->timers, &l->connecting);
  struct list now;
  list_init(&now);
  list_splice(&now, &l->waiting);
  while (!list_empty(&now))
    redis_request_send(container_of(list_first(&now), struct redis_request, node));
  if (l->opened) l->opened(l);
}

// "WRONGPASS invalid username-password pair": its first word is the code. Waiting would not help.
static void greeting_refused(struct redis_link *l, const redisReply *reply) {
  char code[24] = "";
  sscanf(reply->str, "%23s", code);
  redis_link_drop(l, code, reply->str);
  if (strcmp(code, "LOADING") != 0) fail_waiting(l, &l->why);
}

static void greeted(redisAsyncContext *context, void *reply, void *arg) {
  (void)arg;
  struct redis_link *l = link_of(context);
  const redisReply *r = reply;
  l->reply_bytes = 0;
  if (!r || l->context->c.flags & REDIS_FREEING) return;
  if (r->type == REDIS_REPLY_ERROR)
    greeting_refused(l, r);
  else if (--l->greetings == 0)
    up(l);
}

// The last of them tells as well that the server takes commands.
static void greet(struct redis_link *l) {
  const struct redis_options *o = &l->options;
  l->greetings = 1 + (o->password != NULL);
  if (o->password && o->username)
    redisAsyncCommand(l->context, greeted, NULL, "AUTH %s %s", o->username, o->password);
  else if (o->password)
    redisAsyncCommand(l->context, greeted, NULL, "AUTH %s", o->password);
  redisAsyncCommand(l->context, greeted, NULL, "SELECT %u", o->database);
}

static void connect_to(struct redis_link *l, const char *address) {
  const struct redis_options *o = &l->options;
  redisAsyncContext *context =
      mem_require(o->path ? redisAsyncConnectUnix(o->path) : redisAsyncConnect(address, (int)o->port));
  l->context = context;
  l->state = REDIS_GREETING;
  if (context->err) {
    set_why(l, "connection", context->errstr);
    redisAsyncFree(context);
    down(l);
    return;
  }
  attach(l, context);
  watch_size(l, context->c.reader);
  greet(l);
}

static void fail_look_up(struct redis_link *l, const char *problem) {
  set_why(l, "connection", problem);
  down(l);
}

// One that comes too late is good for the next connection.
static void found(void *arg, const struct resolve_result *result) {
  struct redis_link *l = arg;
  l->look_up = NULL;
  l->found = *result;
  l->next_found = 0;
  if (l->state != REDIS_RESOLVING) return;
  if (result->problem)
    fail_look_up(l, result->problem);
  else
    connect_to(l, l->found.addresses[l->next_found++]);
}

// When all addresses were tried the name is looked up again.
static void open_by_name(struct redis_link *l) {
  if (l->next_found < l->found.count) {
    connect_to(l, l->found.addresses[l->next_found++]);
    return;
  }
  if (!l->look_up) l->look_up = resolve_start(l->loop, l->options.host, found, l);
  if (!l->look_up) fail_look_up(l, "no worker thread can look up the name");
}

static void open_link(struct redis_link *l) {
  const struct redis_options *o = &l->options;
  l->state = REDIS_RESOLVING;
  l->why_known = false;
  timer_arm(&l->loop->timers, &l->connecting, l->loop->clock.now_ms + o->connect_timeout_ms);
  if (o->path || resolve_is_address(o->host))
    connect_to(l, o->host);
  else
    open_by_name(l);
}

void redis_link_want(struct redis_link *l) {
  if (l->state == REDIS_DOWN && !timer_armed(&l->retry) && !l->closed) open_link(l);
}

static void connecting_timed_out(struct timer *t) {
  struct redis_link *l = container_of(t, struct redis_link, connecting);
  bool connected = l->context && l->context->c.flags & REDIS_CONNECTED;
  if (l->context) {
    redis_link_drop(l, "timeout", connected ? "no answer to the greeting in time" : "no connection in time");
  } else {
    set_why(l, "timeout", "the name was not found in time");
    down(l);
  }
}

static void retry(struct timer *t) {
  struct redis_link *l = container_of(t, struct redis_link, retry);
  if (!list_empty(&l->waiting) || l->opened) open_link(l);
}

// --- its end ---

static void close_now(struct ready *r) {
  struct redis_link *l = container_of(r, struct redis_link, close);
  static const struct redis_error closed = {"the database is closed", "closed"};
  fail_waiting(l, &closed);
  if (l->ended) l->ended(l);
  redis_link_drop(l, closed.code, closed.text);
  resolve_cancel(l->look_up);
  l->look_up = NULL;
  timer_disarm(&l->loop->timers, &l->connecting);
  timer_disarm(&l->loop->timers, &l->retry);
}

void redis_link_close(struct redis_link *l) {
  if (l->closed) return;
  l->closed = true;
  if (l->loop) loop_make_ready(l->loop, &l->close);
}

void redis_link_init(struct redis_link *l) {
  timer_init(&l->connecting, connecting_timed_out);
  timer_init(&l->retry, retry);
  ready_init(&l->close, close_now);
  list_init(&l->waiting);
  list_init(&l->sent);
}

static void forget_calls(struct list *requests) {
  list_each(node, requests) redis_request_forget(container_of(node, struct redis_request, node));
}

static void free_options(struct redis_options *o) {
  if (o->password) explicit_bzero(o->password, strlen(o->password));
  mem_free(o->host);
  mem_free(o->path);
  mem_free(o->username);
  mem_free(o->password);
}

void redis_link_release(struct redis_link *l) {
  l->closed = true;
  forget_calls(&l->waiting);
  forget_calls(&l->sent);
  if (l->context) redisAsyncFree(l->context);
  resolve_cancel(l->look_up);
  if (l->loop) timer_disarm(&l->loop->timers, &l->connecting);
  if (l->loop) timer_disarm(&l->loop->timers, &l->retry);
  ready_cancel(&l->close);
  free_options(&l->options);
}
