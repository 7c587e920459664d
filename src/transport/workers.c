#include "transport/workers.h"

#include <assert.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/loop.h"

enum job_state { JOB_WAITS, JOB_RUNS, JOB_IS_OVER, JOB_IS_TOLD };

// The lock guards what the threads see. They own a job from the moment that they take it off the queue until
// they put it into `over`; everything else is done by the loop's thread.
struct workers {
  struct loop *loop;
  pthread_mutex_t lock;
  pthread_cond_t work; // the queue has a job, or it is time to go
  pthread_cond_t gone; // a thread has ended
  struct list queue, running, over;
  struct workers_limits limits;
  uint32_t waiting, running_count;
  uint32_t alive; // threads
  bool stopping;
  // Of the loop's thread alone.
  int woken_fd;         // an eventfd: `over` is not empty; -1 with a virtual clock
  struct event *woken;  // likewise NULL
  struct ready ready;   // there are jobs to tell of, or with a virtual clock to run
  struct list finished; // taken from `over`
  pthread_t *threads;
  uint32_t thread_count;
  uint64_t submitted, refused;
};

static const struct workers_limits default_limits[] = {
    [WORKERS_BUSY] = {WORKERS_THREADS, WORKERS_QUEUE, WORKERS_STOP_MS},
    [WORKERS_NETWORK] = {WORKERS_NETWORK_THREADS, WORKERS_QUEUE, WORKERS_NETWORK_STOP_MS},
};

static struct job *job_of(struct list *node) { return container_of(node, struct job, node); }

// --- in the threads ---

static bool may_take(const struct workers *w) { return w->waiting && w->running_count < w->limits.threads; }

// NULL: the workers end. Called with the lock.
static struct job *take_job(struct workers *w) {
  while (!w->stopping && !may_take(w))
    pthread_cond_wait(&w->work, &w->lock);
  if (w->stopping) return NULL;
  struct job *j = job_of(list_take(&w->queue));
  w->waiting--;
  w->running_count++;
  j->state = JOB_RUNS;
  list_append(&w->running, &j->node);
  return j;
}

// Called with the lock. The loop is woken once for all that end until it looks.
static void end_job(struct workers *w, struct job *j) {
  bool wakes = list_empty(&w->over) && !w->stopping;
  list_remove(&j->node);
  list_append(&w->over, &j->node);
  j->state = JOB_IS_OVER;
  w->running_count--;
  if (wakes) eventfd_write(w->woken_fd, 1);
}

// Where there are fewer processors than threads the loop, and whoever it serves, goes first.
static void step_back(void) {
  int before = getpriority(PRIO_PROCESS, 0); // of this thread, in Linux
  setpriority(PRIO_PROCESS, 0, before + WORKERS_NICE);
}

static void *work(void *arg) {
  struct workers *w = arg;
  pthread_setname_np(pthread_self(), "luamq-worker");
  step_back();
  pthread_mutex_lock(&w->lock);
  for (struct job *j; (j = take_job(w));) {
    pthread_mutex_unlock(&w->lock);
    j->ops->run(j);
    pthread_mutex_lock(&w->lock);
    end_job(w, j);
  }
  w->alive--;
  pthread_cond_signal(&w->gone);
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

// --- in the loop ---

static void tell(struct job *j) {
  bool cancelled = j->cancelled;
  j->state = JOB_IS_TOLD;
  if (!cancelled) j->ops->done(j);
  j->ops->free(j);
}

// What is left when the turn has taken its time has the next one.
static void tell_finished(struct workers *w) {
  uint64_t end_us = loop_now_us(w->loop) + LOOP_TURN_US;
  for (struct list *node; (node = list_take(&w->finished));) {
    tell(job_of(node));
    if (loop_now_us(w->loop) <= end_us || list_empty(&w->finished)) continue;
    loop_make_ready(w->loop, &w->ready);
    return;
  }
}

static void finished_ready(struct ready *r) { tell_finished(container_of(r, struct workers, ready)); }

static void woken(evutil_socket_t fd, short what, void *arg) {
  (void)what;
  struct workers *w = arg;
  eventfd_t count;
  loop_enter(w->loop);
  pthread_mutex_lock(&w->lock);
  eventfd_read(fd, &count);
  list_splice(&w->finished, &w->over);
  pthread_mutex_unlock(&w->lock);
  tell_finished(w);
  loop_leave(w->loop);
}

// With a virtual clock. Jobs that come meanwhile have the next turn.
static void run_here(struct ready *r) {
  struct workers *w = container_of(r, struct workers, ready);
  struct list now;
  list_init(&now);
  list_splice(&now, &w->queue);
  for (struct list *node; (node = list_take(&now));) {
    struct job *j = job_of(node);
    w->waiting--;
    j->ops->run(j);
    tell(j);
  }
}

static void init_monotonic(pthread_cond_t *cond) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &attributes);
  pthread_condattr_destroy(&attributes);
}

static struct workers *workers_of(struct loop *l, enum workers_kind kind) {
  struct workers **place = kind == WORKERS_NETWORK ? &l->network_workers : &l->workers;
  struct workers *w = *place;
  if (w) return w;
  w = mem_calloc(1, sizeof *w);
  w->loop = l;
  w->limits = default_limits[kind];
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->work, NULL);
  init_monotonic(&w->gone);
  list_init(&w->queue);
  list_init(&w->running);
  list_init(&w->over);
  list_init(&w->finished);
  ready_init(&w->ready, l->base ? finished_ready : run_here);
  w->woken_fd = -1;
  return *place = w;
}

// False: the system has no descriptor for it.
static bool open_wakeup(struct workers *w) {
  if (w->woken) return true;
  w->woken_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (w->woken_fd < 0) return false;
  w->woken = event_new(w->loop->base, w->woken_fd, EV_READ | EV_PERSIST, woken, w);
  event_add(w->woken, NULL);
  return true;
}

// Signals are for the loop.
static bool start_thread(struct workers *w) {
  sigset_t all, before;
  sigfillset(&all);
  w->threads = mem_realloc(w->threads, (w->thread_count + 1) * sizeof *w->threads);
  pthread_t *thread = &w->threads[w->thread_count];
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = pthread_create(thread, NULL, work, w) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!started) return false;
  w->thread_count++;
  pthread_mutex_lock(&w->lock);
  w->alive++;
  pthread_mutex_unlock(&w->lock);
  return true;
}

// One more thread where all of them are busy. False: there is none at all.
static bool have_thread(struct workers *w, uint32_t busy) {
  if (w->loop->base == NULL || busy < w->thread_count || w->thread_count >= w->limits.threads) return true;
  return (open_wakeup(w) && start_thread(w)) || w->thread_count;
}

static uint32_t busy_threads(struct workers *w) {
  pthread_mutex_lock(&w->lock);
  uint32_t busy = w->running_count + w->waiting;
  pthread_mutex_unlock(&w->lock);
  return busy;
}

static bool enqueue(struct workers *w, struct job *j) {
  pthread_mutex_lock(&w->lock);
  bool fits = w->waiting < w->limits.queue;
  if (fits) {
    list_append(&w->queue, &j->node);
    w->waiting++;
    pthread_cond_signal(&w->work);
  }
  pthread_mutex_unlock(&w->lock);
  return fits;
}

bool workers_submit(struct loop *l, struct job *j, const struct job_ops *ops) {
  struct workers *w = workers_of(l, ops->kind);
  *j = (struct job){.ops = ops, .workers = w, .state = JOB_WAITS};
  list_init(&j->node);
  if (!have_thread(w, busy_threads(w)) || !enqueue(w, j)) {
    w->refused++;
    return false;
  }
  if (!l->base) loop_make_ready(l, &w->ready);
  w->submitted++;
  return true;
}

void job_cancel(struct job *j) {
  struct workers *w = j->workers;
  pthread_mutex_lock(&w->lock);
  assert(j->state != JOB_IS_TOLD && !j->cancelled);
  bool runs = j->state == JOB_RUNS;
  j->cancelled = true;
  if (!runs) list_remove(&j->node);
  if (j->state == JOB_WAITS) w->waiting--;
  pthread_mutex_unlock(&w->lock);
  if (!runs)
    j->ops->free(j);
  else if (j->ops->interrupt)
    j->ops->interrupt(j);
}

void workers_configure(struct loop *l, const struct workers_limits *limits) {
  assert(limits->threads && limits->queue);
  struct workers *w = workers_of(l, WORKERS_BUSY);
  pthread_mutex_lock(&w->lock);
  w->limits = *limits;
  pthread_cond_broadcast(&w->work);
  pthread_mutex_unlock(&w->lock);
}

void workers_count(const struct loop *l, struct workers_counts *out) {
  struct workers *w = l->workers;
  *out = (struct workers_counts){0};
  if (!w) return;
  pthread_mutex_lock(&w->lock);
  out->waiting = w->waiting;
  out->running = w->running_count;
  pthread_mutex_unlock(&w->lock);
  out->threads = w->thread_count;
  out->submitted = w->submitted;
  out->refused = w->refused;
}

uint64_t workers_refused(const struct loop *l) { return l->workers ? l->workers->refused : 0; }

// --- the end ---

static void free_jobs(struct list *jobs) {
  for (struct list *node; (node = list_take(jobs));)
    job_of(node)->ops->free(job_of(node));
}

static void stop_jobs(struct workers *w) {
  pthread_mutex_lock(&w->lock);
  w->stopping = true;
  pthread_cond_broadcast(&w->work);
  list_each(node, &w->running) {
    struct job *j = job_of(node);
    if (j->ops->interrupt && !j->cancelled) j->ops->interrupt(j);
  }
  pthread_mutex_unlock(&w->lock);
}

static struct timespec deadline_in(uint32_t ms) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  uint64_t ns = (uint64_t)at.tv_nsec + (uint64_t)ms * 1000000;
  return (struct timespec){.tv_sec = at.tv_sec + (time_t)(ns / 1000000000),
                           .tv_nsec = (long)(ns % 1000000000)};
}

// False: some have not come back in time. Those are detached with all the others.
static bool end_threads(struct workers *w) {
  struct timespec until = deadline_in(w->limits.stop_ms);
  pthread_mutex_lock(&w->lock);
  while (w->alive && pthread_cond_timedwait(&w->gone, &w->lock, &until) == 0)
    ;
  bool all = !w->alive;
  pthread_mutex_unlock(&w->lock);
  for (uint32_t i = 0; i < w->thread_count; i++)
    all ? pthread_join(w->threads[i], NULL) : pthread_detach(w->threads[i]);
  return all;
}

// What threads that are left behind still run must not be unloaded with a Lua state: a reference to each
// library.
static void keep_code(void *function) {
  Dl_info info;
  if (dladdr(function, &info) && info.dli_fname)
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

static void leave_behind(struct workers *w) {
  keep_code((void *)(uintptr_t)work);
  list_each(node, &w->running) keep_code((void *)(uintptr_t)job_of(node)->ops->run);
}

void workers_free(struct workers *w) {
  if (!w) return;
  stop_jobs(w);
  bool all = end_threads(w);
  list_remove(&w->ready.node);
  if (w->woken) event_free(w->woken);
  if (w->woken_fd >= 0) close(w->woken_fd);
  pthread_mutex_lock(&w->lock);
  if (!all) leave_behind(w);
  list_splice(&w->finished, &w->over);
  list_splice(&w->finished, &w->queue);
  pthread_mutex_unlock(&w->lock);
  free_jobs(&w->finished);
  mem_free(w->threads);
  if (!all) return; // they have the rest
  pthread_mutex_destroy(&w->lock);
  pthread_cond_destroy(&w->work);
  pthread_cond_destroy(&w->gone);
  mem_free(w);
}
