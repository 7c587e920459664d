// Worker threads: what runs in them, what is told in the loop, and what is cancelled or refused. Jobs wait
// for gates that the test opens, so nothing depends on how long anything takes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "transport/loop.h"
#include "transport/workers.h"

struct gate { // closed, until the test opens it
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool open;
  int inside;
};

static void gate_init(struct gate *g) {
  *g = (struct gate){.open = false};
  pthread_mutex_init(&g->lock, NULL);
  pthread_cond_init(&g->changed, NULL);
}

static void gate_release(struct gate *g) {
  pthread_mutex_destroy(&g->lock);
  pthread_cond_destroy(&g->changed);
}

static void gate_pass(struct gate *g) {
  pthread_mutex_lock(&g->lock);
  g->inside++;
  pthread_cond_broadcast(&g->changed);
  while (!g->open)
    pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g) {
  pthread_mutex_lock(&g->lock);
  g->open = true;
  pthread_cond_broadcast(&g->changed);
  pthread_mutex_unlock(&g->lock);
}

static void gate_wait_inside(struct gate *g, int count) {
  pthread_mutex_lock(&g->lock);
  while (g->inside < count)
    pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
}

struct fixture {
  struct loop *loop;
  struct gate gate;
  int done, freed, last; // `last`: the number of the job that was told of last
};

struct task {
  struct job job;
  struct fixture *fixture;
  int number, ran;
  bool waits, in_loop, gets_signals;
  int nice;
  char thread[16];
  struct task *then; // submitted when it is done
  pthread_t loop_thread;
};

static void run(struct job *j) {
  struct task *t = container_of(j, struct task, job);
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, NULL, &blocked);
  t->gets_signals = !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGHUP);
  t->nice = getpriority(PRIO_PROCESS, 0);
  t->in_loop = pthread_equal(pthread_self(), t->loop_thread);
  pthread_getname_np(pthread_self(), t->thread, sizeof t->thread);
  if (t->waits) gate_pass(&t->fixture->gate);
  t->ran++;
}

static const struct job_ops ops;

static void done(struct job *j) {
  struct task *t = container_of(j, struct task, job);
  struct fixture *f = t->fixture;
  assert_int_equal(t->ran, 1);
  assert_int_equal(t->in_loop, f->loop->base == NULL);
  if (!t->in_loop) {
    assert_false(t->gets_signals);
    assert_true(t->nice > getpriority(PRIO_PROCESS, 0));
    assert_string_equal(t->thread, "luamq-worker");
  }
  f->done++;
  f->last = t->number;
  if (t->then) assert_true(workers_submit(f->loop, &t->then->job, &ops));
}

static void release(struct job *j) {
  struct task *t = container_of(j, struct task, job);
  t->fixture->freed++;
  mem_free(t);
}

static void open_gate(struct job *j) { gate_open(&container_of(j, struct task, job)->fixture->gate); }

static const struct job_ops ops = {.run = run, .done = done, .free = release};
static const struct job_ops network_ops = {
    .kind = WORKERS_NETWORK, .run = run, .done = done, .free = release};
static const struct job_ops ops_with_interrupt = {
    .run = run, .done = done, .free = release, .interrupt = open_gate};

static struct task *task_new(struct fixture *f, int number, bool waits) {
  struct task *t = mem_calloc(1, sizeof *t);
  t->fixture = f;
  t->number = number;
  t->waits = waits;
  t->loop_thread = pthread_self();
  return t;
}

static struct task *submit(struct fixture *f, int number, bool waits) {
  struct task *t = task_new(f, number, waits);
  assert_true(workers_submit(f->loop, &t->job, &ops));
  return t;
}

static void run_until_done(struct fixture *f, int count) {
  while (f->done < count)
    loop_turn(f->loop, true);
}

static void configure(struct fixture *f, uint32_t threads, uint32_t queue, uint32_t stop_ms) {
  workers_configure(f->loop, &(struct workers_limits){threads, queue, stop_ms});
}

static struct workers_counts counts(const struct fixture *f) {
  struct workers_counts now;
  workers_count(f->loop, &now);
  return now;
}

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->loop = loop_new();
  gate_init(&f->gate);
  *state = f;
  return f->loop ? 0 : -1;
}

static int set_up_virtual(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->loop = loop_new_virtual(0);
  gate_init(&f->gate);
  *state = f;
  return 0;
}

static void end_loop(struct fixture *f) {
  loop_free(f->loop);
  f->loop = NULL;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  if (f->loop) loop_free(f->loop);
  gate_release(&f->gate);
  mem_free(f);
  return 0;
}

// --- what they do ---

static void there_is_no_thread_until_there_is_a_job(void **state) {
  struct fixture *f = *state;
  loop_turn(f->loop, false);
  assert_null(f->loop->workers);
  configure(f, 4, 100, 1000);
  assert_int_equal(counts(f).threads, 0);
  submit(f, 1, false);
  assert_int_equal(counts(f).threads, 1);
  run_until_done(f, 1);
}

static void all_jobs_run_in_threads_and_are_told_in_the_loop(void **state) {
  struct fixture *f = *state;
  for (int i = 1; i <= 1000; i++)
    submit(f, i, false);
  run_until_done(f, 1000);
  assert_int_equal(f->freed, 1000);
  assert_int_equal(counts(f).threads, WORKERS_THREADS);
  assert_int_equal(counts(f).submitted, 1000);
  assert_int_equal(counts(f).waiting + counts(f).running, 0);
}

static void one_thread_keeps_the_order(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 1000);
  for (int i = 1; i <= 100; i++)
    submit(f, i, false);
  for (int i = 1; i <= 100; i++)
    run_until_done(f, i);
  assert_int_equal(f->last, 100);
}

static void as_many_jobs_run_at_once_as_there_may_be_threads(void **state) {
  struct fixture *f = *state;
  configure(f, 3, 100, 1000);
  for (int i = 1; i <= 10; i++)
    submit(f, i, true);
  gate_wait_inside(&f->gate, 3);
  assert_int_equal(counts(f).running, 3);
  assert_int_equal(counts(f).waiting, 7);
  gate_open(&f->gate);
  run_until_done(f, 10);
}

static void fewer_threads_hold_for_the_jobs_that_come(void **state) {
  struct fixture *f = *state;
  configure(f, 2, 100, 1000);
  submit(f, 1, true);
  submit(f, 2, true);
  gate_wait_inside(&f->gate, 2);
  configure(f, 1, 100, 1000);
  for (int i = 3; i <= 10; i++)
    submit(f, i, false);
  gate_open(&f->gate);
  run_until_done(f, 10);
  assert_int_equal(f->last, 10);
}

static void a_job_that_is_done_may_submit_another(void **state) {
  struct fixture *f = *state;
  struct task *first = task_new(f, 1, false);
  first->then = task_new(f, 2, false);
  assert_true(workers_submit(f->loop, &first->job, &ops));
  run_until_done(f, 2);
  assert_int_equal(f->last, 2);
}

static void a_full_queue_refuses_and_leaves_the_job_to_the_caller(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 2, 1000);
  submit(f, 1, true);
  gate_wait_inside(&f->gate, 1);
  submit(f, 2, false);
  submit(f, 3, false);
  struct task *t = task_new(f, 4, false);
  assert_false(workers_submit(f->loop, &t->job, &ops));
  assert_int_equal(workers_refused(f->loop), 1);
  gate_open(&f->gate);
  run_until_done(f, 3);
  assert_true(workers_submit(f->loop, &t->job, &ops));
  run_until_done(f, 4);
}

static void jobs_that_wait_for_a_network_have_threads_of_their_own(void **state) {
  struct fixture *f = *state;
  for (int i = 1; i <= WORKERS_NETWORK_THREADS; i++) {
    struct task *t = task_new(f, i, true);
    assert_true(workers_submit(f->loop, &t->job, &network_ops));
  }
  gate_wait_inside(&f->gate, WORKERS_NETWORK_THREADS);
  submit(f, 100, false);
  run_until_done(f, 1);
  assert_int_equal(f->last, 100);
  assert_int_equal(counts(f).threads, 1);
  gate_open(&f->gate);
  run_until_done(f, WORKERS_NETWORK_THREADS + 1);
}

// --- cancelled ---

static void a_job_that_waits_is_freed_when_it_is_cancelled(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 1000);
  submit(f, 1, true);
  gate_wait_inside(&f->gate, 1);
  struct task *t = submit(f, 2, false);
  job_cancel(&t->job);
  assert_int_equal(f->freed, 1);
  assert_int_equal(counts(f).waiting, 0);
  gate_open(&f->gate);
  run_until_done(f, 1);
  assert_int_equal(f->freed, 2);
}

static void a_job_that_runs_is_forgotten_and_freed_when_it_has_run(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 1000);
  struct task *t = submit(f, 1, true);
  gate_wait_inside(&f->gate, 1);
  job_cancel(&t->job); // returns while it runs
  assert_int_equal(f->freed, 0);
  gate_open(&f->gate);
  submit(f, 2, false);
  run_until_done(f, 1);
  assert_int_equal(f->last, 2);
  assert_int_equal(f->freed, 2);
}

static void a_job_that_is_over_and_not_told_yet_is_freed_when_it_is_cancelled(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 1000);
  struct task *t = submit(f, 1, false);
  while (counts(f).waiting + counts(f).running)
    ; // it has run, and no turn of the loop has been
  job_cancel(&t->job);
  assert_int_equal(f->freed, 1);
  submit(f, 2, false);
  run_until_done(f, 1);
  assert_int_equal(f->last, 2);
}

static void a_cancelled_job_is_asked_to_come_to_an_end(void **state) {
  struct fixture *f = *state;
  struct task *t = task_new(f, 1, true);
  assert_true(workers_submit(f->loop, &t->job, &ops_with_interrupt));
  gate_wait_inside(&f->gate, 1);
  job_cancel(&t->job);
  while (f->freed < 1)
    loop_turn(f->loop, true);
  assert_int_equal(f->done, 0);
}

// --- the end ---

static void jobs_that_wait_are_dropped_at_the_end(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 60000);
  struct task *t = task_new(f, 1, true);
  assert_true(workers_submit(f->loop, &t->job, &ops_with_interrupt));
  gate_wait_inside(&f->gate, 1);
  for (int i = 2; i <= 10; i++)
    submit(f, i, false);
  end_loop(f); // interrupts the one that runs
  assert_int_equal(f->freed, 10);
  assert_int_equal(f->done, 0);
}

// The thread is left behind, and still has what it needs.
static void a_job_that_does_not_come_to_an_end_does_not_hold_up_the_end(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 100, 1);
  static struct task forever; // what a thread that is left behind uses is never freed
  static struct fixture its_own;
  gate_init(&its_own.gate);
  forever = (struct task){.fixture = &its_own, .waits = true, .loop_thread = pthread_self()};
  assert_true(workers_submit(f->loop, &forever.job, &ops));
  gate_wait_inside(&its_own.gate, 1);
  submit(f, 2, false);
  end_loop(f);
  assert_int_equal(f->freed, 1);
  assert_int_equal(its_own.freed, 0);
  gate_open(&its_own.gate);
}

// --- with a virtual clock ---

static void with_a_virtual_clock_jobs_run_in_the_next_turn(void **state) {
  struct fixture *f = *state;
  struct task *first = submit(f, 1, false);
  first->then = task_new(f, 4, false);
  struct task *second = submit(f, 2, false);
  submit(f, 3, false);
  assert_int_equal(first->ran, 0);
  job_cancel(&second->job);
  assert_int_equal(f->freed, 1);
  assert_true(loop_turn(f->loop, false));
  assert_int_equal(f->done, 2);
  assert_int_equal(f->last, 3);
  assert_true(loop_turn(f->loop, false));
  assert_int_equal(f->last, 4);
  assert_false(loop_turn(f->loop, false));
  assert_int_equal(counts(f).threads, 0);
}

static void with_a_virtual_clock_too_the_queue_is_bounded(void **state) {
  struct fixture *f = *state;
  configure(f, 1, 2, 1000);
  submit(f, 1, false);
  submit(f, 2, false);
  struct task *t = task_new(f, 3, false);
  assert_false(workers_submit(f->loop, &t->job, &ops));
  loop_turn(f->loop, false);
  assert_true(workers_submit(f->loop, &t->job, &ops));
  end_loop(f);
  assert_int_equal(f->freed, 3);
  assert_int_equal(f->done, 2);
}

#define test(name)      cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define test_here(name) cmocka_unit_test_setup_teardown(name, set_up_virtual, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(there_is_no_thread_until_there_is_a_job),
      test(all_jobs_run_in_threads_and_are_told_in_the_loop),
      test(one_thread_keeps_the_order),
      test(as_many_jobs_run_at_once_as_there_may_be_threads),
      test(fewer_threads_hold_for_the_jobs_that_come),
      test(a_job_that_is_done_may_submit_another),
      test(a_full_queue_refuses_and_leaves_the_job_to_the_caller),
      test(jobs_that_wait_for_a_network_have_threads_of_their_own),
      test(a_job_that_waits_is_freed_when_it_is_cancelled),
      test(a_job_that_runs_is_forgotten_and_freed_when_it_has_run),
      test(a_job_that_is_over_and_not_told_yet_is_freed_when_it_is_cancelled),
      test(a_cancelled_job_is_asked_to_come_to_an_end),
      test(jobs_that_wait_are_dropped_at_the_end),
      test(a_job_that_does_not_come_to_an_end_does_not_hold_up_the_end),
      test_here(with_a_virtual_clock_jobs_run_in_the_next_turn),
      test_here(with_a_virtual_clock_too_the_queue_is_bounded),
  };
  return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
