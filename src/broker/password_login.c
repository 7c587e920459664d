#include "broker/password_login.h"

#include <stdio.h>

#include "base/file_stamp.h"
#include "base/mem.h"
#include "broker/client.h"
#include "broker/password_file.h"
#include "broker/shard.h"
#include "transport/password.h"
#include "transport/workers.h"

#define WATCH_INTERVAL_MS 1000
#define LINES_MAX         10 // wrong lines of a file that are told

struct password_logins {
  struct shard *shard;
  struct list node; // in a list of those that are retired; or in none
  char *path;
  struct password_file *file; // NULL: it could not be read yet
  struct file_stamp stamp;
  struct reading *reading; // under way, or NULL
  struct timer watch;
  struct list checks; // under way, of struct check
};

// The client and the place in the list are the loop's also while it runs.
struct check {
  struct job job;
  struct list node;
  struct password_logins *logins;
  struct client *client;
  bool known; // otherwise the result does not count
  enum password_result result;
  size_t password_len, hash_len;
  uint8_t bytes[]; // password, hash
};

struct reading {
  struct job job;
  struct password_logins *logins;
  char *path;
  uint64_t seed;
  struct password_file *file;
  const char *error;
  struct buf lines; // texts about wrong ones, each with a NUL
  unsigned wrong;
};

static void tell_error(struct password_logins *l, const char *text) {
  struct backend *b = l->shard->backend;
  if (b->ops->engine_error) b->ops->engine_error(b, text);
}

// --- the file ---

static void told_line(void *arg, unsigned line, const char *problem) {
  struct reading *r = arg;
  if (r->wrong++ >= LINES_MAX) return;
  buf_printf(&r->lines, "%s:%u: %s", r->path, line, problem);
  buf_add_byte(&r->lines, 0);
}

static void run_reading(struct job *j) {
  struct reading *r = container_of(j, struct reading, job);
  r->file = password_file_read(r->path, r->seed, told_line, r, &r->error);
}

static void tell_lines(struct password_logins *l, const struct reading *r) {
  for (const char *at = (const char *)r->lines.ptr, *end = at + r->lines.len; at < end; at += strlen(at) + 1)
    tell_error(l, at);
  if (r->wrong <= LINES_MAX) return;
  char text[64];
  snprintf(text, sizeof text, "%u more lines of the password file are wrong", r->wrong - LINES_MAX);
  tell_error(l, text);
}

// The new one takes the place of the old one, if there is a new one.
static bool take_file(struct password_logins *l, struct reading *r) {
  tell_lines(l, r);
  if (!r->file) {
    struct buf text = BUF_INIT;
    buf_printf(&text, "password file %s: %s%s", l->path, r->error,
               l->file ? "; the users are those of before" : "");
    tell_error(l, buf_text(&text));
    buf_release(&text);
    return false;
  }
  password_file_free(l->file);
  l->file = r->file;
  r->file = NULL;
  return true;
}

static void done_reading(struct job *j) {
  struct reading *r = container_of(j, struct reading, job);
  struct password_logins *l = r->logins;
  struct backend *b = l->shard->backend;
  l->reading = NULL;
  if (!take_file(l, r)) {
    l->shard->stats.password_reload_failures++;
    return;
  }
  l->shard->stats.password_reloads++;
  if (b->ops->passwords_reloaded) b->ops->passwords_reloaded(b, l->path, password_file_count(l->file));
}

static void free_reading(struct job *j) {
  struct reading *r = container_of(j, struct reading, job);
  password_file_free(r->file);
  buf_release(&r->lines);
  mem_free(r->path);
  mem_free(r);
}

static struct reading *reading_new(struct password_logins *l) {
  struct reading *r = mem_calloc(1, sizeof *r);
  r->logins = l;
  r->path = mem_dup(l->path, strlen(l->path) + 1);
  r->seed = rand_next(&l->shard->rand);
  return r;
}

static bool is_retired(const struct password_logins *l) { return !list_empty(&l->node); }

// Clients that wait are not read, so nobody would notice that they have gone.
static void look_at_clients(struct password_logins *l) {
  list_each(node, &l->checks) client_check_peer(container_of(node, struct check, node)->client);
}

static void watch_due(struct timer *t) {
  static const struct job_ops ops = {.run = run_reading, .done = done_reading, .free = free_reading};
  struct password_logins *l = container_of(t, struct password_logins, watch);
  struct loop *loop = l->shard->loop;
  timer_arm(&loop->timers, t, loop->clock.now_ms + WATCH_INTERVAL_MS);
  look_at_clients(l);
  if (is_retired(l)) return;
  struct file_stamp now = file_stamp_of(l->path);
  if (l->reading || file_stamp_eq(&now, &l->stamp)) return;
  struct reading *r = reading_new(l);
  if (!workers_submit(loop, &r->job, &ops)) {
    free_reading(&r->job); // the next look comes
    return;
  }
  l->reading = r;
  l->stamp = now;
}

// --- checks ---

static void run_check(struct job *j) {
  struct check *check = container_of(j, struct check, job);
  check->result = password_verify(slice_of(check->bytes, check->password_len),
                                  slice_of(check->bytes + check->password_len, check->hash_len));
}

// The client is the caller's.
static struct client *end_check(struct check *check) {
  struct client *c = check->client;
  check->client = NULL;
  list_remove(&check->node);
  check->logins->shard->stats.password_checks_waiting--;
  return c;
}

static struct reply reply_of(const struct check *check) {
  if (check->known && check->result == PASSWORD_MATCHES) return (struct reply){.reason = REASON_SUCCESS};
  struct reply reply = {.reason = REASON_NOT_AUTHORIZED, .by = &verdict_of_credentials};
  if (check->result != PASSWORD_FAILED) return reply;
  reply.reason = REASON_SERVER_UNAVAILABLE;
  reply.error = "the password could not be checked";
  return reply;
}

static void free_if_done(struct password_logins *l) {
  if (is_retired(l) && list_empty(&l->checks)) password_logins_free(l);
}

static void done_check(struct job *j) {
  struct check *check = container_of(j, struct check, job);
  struct password_logins *l = check->logins;
  struct backend *b = l->shard->backend;
  struct reply reply = reply_of(check);
  struct client *c = end_check(check);
  if (b->ops->password_checked) b->ops->password_checked(b, c, &reply);
  client_resume(c, &reply);
  client_unref(c);
  free_if_done(l);
}

static void free_check(struct job *j) {
  struct check *check = container_of(j, struct check, job);
  explicit_bzero(check->bytes, check->password_len);
  mem_free(check);
}

static struct check *check_new(struct password_logins *l, struct slice password, struct slice hash) {
  struct check *check = mem_calloc(1, sizeof *check + password.len + hash.len);
  check->logins = l;
  check->password_len = password.len;
  check->hash_len = hash.len;
  if (password.len) memcpy(check->bytes, password.ptr, password.len);
  memcpy(check->bytes + password.len, hash.ptr, hash.len);
  return check;
}

static enum backend_status refuse(struct reply *reply, uint8_t reason, const char *error) {
  *reply = (struct reply){.reason = reason, .error = error, .by = &verdict_of_credentials};
  return BACKEND_DONE;
}

static enum backend_status refuse_busy(struct password_logins *l, struct reply *reply) {
  static const struct verdict by_checks = {DECIDER_LIMIT, .name = "limits.password_checks"};
  l->shard->stats.logins_refused_busy++;
  *reply = (struct reply){.reason = REASON_SERVER_BUSY, .error = ERROR_PASSWORD_CHECKS, .by = &by_checks};
  return BACKEND_DONE;
}

static enum backend_status submit(struct password_logins *l, struct client *c, struct check *check,
                                  struct reply *reply) {
  static const struct job_ops ops = {.run = run_check, .done = done_check, .free = free_check};
  if (!workers_submit(l->shard->loop, &check->job, &ops)) {
    free_check(&check->job);
    return refuse_busy(l, reply);
  }
  check->client = client_ref(c);
  list_append(&l->checks, &check->node);
  l->shard->stats.password_checks++;
  l->shard->stats.password_checks_waiting++;
  return BACKEND_PENDING;
}

// One that is longer has no hash, and is not kept for a check.
static bool is_checked(const struct credentials *given) {
  return given->has_password && given->password.len <= PASSWORD_MAX;
}

enum backend_status password_logins_check(struct password_logins *l, struct client *c,
                                          const struct credentials *given, struct reply *reply) {
  const struct shard *s = l->shard;
  if (!l->file) return refuse(reply, REASON_SERVER_UNAVAILABLE, "the password file could not be read");
  if (!given->has_username || !is_checked(given) || !password_file_count(l->file))
    return refuse(reply, REASON_NOT_AUTHORIZED, NULL);
  if (s->stats.password_checks_waiting >= s->settings.password_checks) return refuse_busy(l, reply);
  struct slice hash = password_file_hash(l->file, given->username);
  bool known = hash.ptr != NULL;
  struct check *check =
      check_new(l, given->password, known ? hash : password_file_decoy(l->file, given->username));
  check->known = known;
  return submit(l, c, check, reply);
}

static void give_up(struct check *check, const char *error) {
  struct client *c = end_check(check);
  job_cancel(&check->job);
  client_resume(c, &(struct reply){.reason = REASON_SERVER_UNAVAILABLE, .error = error});
  client_unref(c);
}

void password_logins_cancel(struct password_logins *l, struct client *c) {
  list_each(node, &l->checks) {
    struct check *check = container_of(node, struct check, node);
    if (check->client != c) continue;
    give_up(check, ERROR_CLIENT_CLOSED);
    free_if_done(l);
    return;
  }
}

// --- life ---

struct password_logins *password_logins_new(struct shard *s, const char *path) {
  struct password_logins *l = mem_calloc(1, sizeof *l);
  l->shard = s;
  list_init(&l->node);
  l->path = mem_dup(path, strlen(path) + 1);
  list_init(&l->checks);
  l->stamp = file_stamp_of(path);
  struct reading *r = reading_new(l);
  run_reading(&r->job);
  take_file(l, r);
  free_reading(&r->job);
  timer_init(&l->watch, watch_due);
  timer_arm(&s->loop->timers, &l->watch, s->loop->clock.now_ms + WATCH_INTERVAL_MS);
  return l;
}

const char *password_logins_path(const struct password_logins *l) { return l->path; }

void password_logins_free(struct password_logins *l) {
  if (!l) return;
  timer_disarm(&l->shard->loop->timers, &l->watch);
  if (l->reading) job_cancel(&l->reading->job);
  list_each(node, &l->checks) give_up(container_of(node, struct check, node), ERROR_CLOSING);
  password_file_free(l->file);
  list_remove(&l->node);
  mem_free(l->path);
  mem_free(l);
}

void password_logins_retire(struct password_logins *l, struct list *retired) {
  if (!l) return;
  if (l->reading) job_cancel(&l->reading->job);
  l->reading = NULL;
  list_append(retired, &l->node);
  free_if_done(l);
}

void password_logins_free_retired(struct list *retired) {
  for (struct list *node; (node = list_first(retired));)
    password_logins_free(container_of(node, struct password_logins, node));
}

void password_logins_cancel_retired(struct list *retired, struct client *c) {
  list_each(node, retired) password_logins_cancel(container_of(node, struct password_logins, node), c);
}
