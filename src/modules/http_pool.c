#include "modules/http_pool.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/mem.h"
#include "modules/http_ca.h"

struct http_host {
  struct slice key;      // the bytes stand behind it
  struct list node;      // in the pool's eligible ones, or in no list
  struct list waiting;   // of struct http_job
  uint32_t active, jobs; // jobs: active or waiting
  uint8_t bytes[];
};

// --- hosts ---

static struct slice host_key(const void *value) { return ((const struct http_host *)value)->key; }

static struct http_host *host_of(struct http_pool *p, struct slice key) {
  struct http_host *h = map_get(&p->hosts, key);
  if (h) return h;
  h = mem_alloc(sizeof *h + key.len);
  *h = (struct http_host){.key = slice_of(h->bytes, key.len)};
  if (key.len) memcpy(h->bytes, key.ptr, key.len);
  list_init(&h->node);
  list_init(&h->waiting);
  map_put(&p->hosts, h);
  return h;
}

// Puts it among those that are asked in turn, or takes it away.
static void host_place(struct http_pool *p, struct http_host *h) {
  bool eligible = !list_empty(&h->waiting) && h->active < p->limits.max_per_host;
  if (!eligible)
    list_remove(&h->node);
  else if (list_empty(&h->node))
    list_append(&p->eligible, &h->node);
}

static void host_leave(struct http_pool *p, struct http_host *h) {
  if (--h->jobs) {
    host_place(p, h);
    return;
  }
  list_remove(&h->node);
  map_remove(&p->hosts, h->key);
  mem_free(h);
}

// --- jobs ---

static struct http_job *job_of(struct list *node) { return container_of(node, struct http_job, node); }

static bool is_idle(const struct http_pool *p) { return !p->counts.active && !p->counts.waiting_jobs; }

// Takes it out of everything. No function of libcurl that calls back is under way.
static void leave(struct http_job *job) {
  struct http_pool *p = job->pool;
  struct http_host *h = job->host;
  assert(p && h);
  timer_disarm(&p->loop->timers, &job->deadline);
  list_remove(&job->node);
  if (job->active) {
    curl_multi_remove_handle(p->multi, job->easy);
    p->counts.active--;
    h->active--;
  } else {
    p->counts.waiting_jobs--;
  }
  job->pool = NULL;
  job->host = NULL;
  job->active = false;
  host_leave(p, h);
  if (is_idle(p)) timer_arm(&p->loop->timers, &p->idle, p->loop->clock.now_ms + p->limits.idle_ms);
}

static void start(struct http_pool *p, struct http_job *job) {
  struct http_host *h = job->host;
  list_remove(&job->node);
  list_append(&p->active, &job->node);
  p->counts.waiting_jobs--;
  p->counts.active++;
  h->active++;
  job->active = true;
  curl_easy_setopt(job->easy, CURLOPT_PRIVATE, job);
  curl_easy_setopt(job->easy, CURLOPT_MAXAGE_CONN, (long)(p->limits.idle_ms / 1000));
  CURLMcode code = curl_multi_add_handle(p->multi, job->easy);
  assert(code == CURLM_OK);
  (void)code;
}

// One of each host in turn.
static void start_waiting(struct http_pool *p) {
  while (p->counts.active < p->limits.max_total && !list_empty(&p->eligible)) {
    struct http_host *h = container_of(list_take(&p->eligible), struct http_host, node);
    start(p, job_of(list_first(&h->waiting)));
    host_place(p, h);
  }
}

static void finish(struct http_job *job, enum http_end end, CURLcode code) {
  struct http_pool *p = job->pool;
  long opened = 0;
  p->counts.requests++;
  if (end != HTTP_FINISHED || code != CURLE_OK) p->counts.failed++;
  if (job->active) curl_easy_getinfo(job->easy, CURLINFO_NUM_CONNECTS, &opened);
  p->counts.connections += (uint64_t)opened;
  leave(job);
  job->done(job, end, code);
}

static void late(struct timer *t) {
  struct http_job *job = container_of(t, struct http_job, deadline);
  struct http_pool *p = job->pool;
  finish(job, job->active ? HTTP_LATE : HTTP_UNSTARTED, CURLE_OPERATION_TIMEDOUT);
  start_waiting(p);
}

void http_job_init(struct http_job *job, CURL *easy, struct slice key,
                   void (*done)(struct http_job *job, enum http_end end, CURLcode code)) {
  *job = (struct http_job){.easy = easy, .key = key, .done = done};
  list_init(&job->node);
  timer_init(&job->deadline, late);
}

// --- libcurl in the loop ---

static void collect(struct http_pool *p) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(p->multi, &left))) {
    struct http_job *job;
    CURLcode code = message->data.result; // the message goes with the handle
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &job);
    finish(job, HTTP_FINISHED, code);
  }
  start_waiting(p);
}

static void act(struct http_pool *p, curl_socket_t fd, int what) {
  int running;
  loop_enter(p->loop);
  curl_multi_socket_action(p->multi, fd, what, &running);
  collect(p);
  loop_leave(p->loop);
}

static void on_ready(evutil_socket_t fd, short events, void *arg) {
  int what = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
  act(arg, fd, what);
}

static void timed(struct timer *t) { act(container_of(t, struct http_pool, timer), CURL_SOCKET_TIMEOUT, 0); }

static void kicked(struct ready *r) { act(container_of(r, struct http_pool, kick), CURL_SOCKET_TIMEOUT, 0); }

// libcurl: what it wants to know of a socket. It closes the socket itself.
static int watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket) {
  (void)easy;
  struct http_pool *p = arg;
  struct event *e = of_socket;
  if (e) event_del(e);
  if (what == CURL_POLL_REMOVE) {
    mem_free(e);
    return 0;
  }
  if (!e) {
    e = mem_alloc(sizeof *e);
    curl_multi_assign(p->multi, fd, e);
  }
  short events = EV_PERSIST;
  if (what & CURL_POLL_IN) events |= EV_READ;
  if (what & CURL_POLL_OUT) events |= EV_WRITE;
  event_assign(e, p->loop->base, fd, events, on_ready, p);
  event_add(e, NULL);
  return 0;
}

// libcurl: when it wants to be called though no socket is ready.
static int set_timer(CURLM *multi, long in_ms, void *arg) {
  (void)multi;
  struct http_pool *p = arg;
  timer_disarm(&p->loop->timers, &p->timer);
  ready_cancel(&p->kick);
  if (in_ms == 0) loop_make_ready(p->loop, &p->kick);
  if (in_ms > 0) timer_arm(&p->loop->timers, &p->timer, p->loop->clock.now_ms + (uint64_t)in_ms);
  return 0;
}

// --- its life ---

static void pool_open(struct http_pool *p, struct loop *loop) {
  p->loop = loop;
  p->multi = mem_require(curl_multi_init());
  curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, watch);
  curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
  curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, set_timer);
  curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
  curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)p->limits.max_total);
}

static void pool_close(struct http_pool *p) {
  if (!p->loop) return;
  curl_multi_cleanup(p->multi); // takes its sockets from the loop, by `watch`
  timer_disarm(&p->loop->timers, &p->timer);
  timer_disarm(&p->loop->timers, &p->idle);
  ready_cancel(&p->kick);
  p->multi = NULL;
  p->loop = NULL;
}

static void unused(struct timer *t) { pool_close(container_of(t, struct http_pool, idle)); }

void http_pool_init(struct http_pool *p, const struct http_limits *limits) {
  *p = (struct http_pool){.limits = *limits};
  map_init(&p->hosts, host_key, 0);
  list_init(&p->eligible);
  list_init(&p->active);
  list_init(&p->authorities);
  timer_init(&p->timer, timed);
  timer_init(&p->idle, unused);
  ready_init(&p->kick, kicked);
}

void http_pool_release(struct http_pool *p) {
  for (struct list *node; (node = list_first(&p->active));)
    leave(job_of(node));
  uint32_t at = 0;
  for (struct http_host *h; (h = map_each(&p->hosts, &at)); at = 0)
    leave(job_of(list_first(&h->waiting)));
  pool_close(p);
  http_ca_forget_all(&p->authorities);
  map_release(&p->hosts);
}

void http_pool_add(struct http_pool *p, struct loop *loop, struct http_job *job, uint32_t timeout_ms) {
  assert(loop && !job->pool);
  if (is_idle(p) && p->loop != loop) pool_close(p);
  if (!p->loop) pool_open(p, loop);
  assert(p->loop == loop);
  struct http_host *h = host_of(p, job->key);
  timer_disarm(&loop->timers, &p->idle);
  timer_arm(&loop->timers, &job->deadline, loop->clock.now_ms + timeout_ms);
  job->pool = p;
  job->host = h;
  h->jobs++;
  list_append(&h->waiting, &job->node);
  p->counts.waiting_jobs++;
  host_place(p, h);
  start_waiting(p);
  if (!job->active) p->counts.queued++;
}

void http_pool_remove(struct http_job *job) {
  struct http_pool *p = job->pool;
  if (!p) return;
  leave(job);
  start_waiting(p);
}
