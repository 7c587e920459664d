// Worker threads of a loop: for what would hold the loop up, such as hashing a password, a query of a file's
// database, or a look-up of a name by the system. There is no thread until the first job comes, and never
// more than were configured; jobs beyond that wait in a queue, which is bounded.
//
//   struct check { struct job job; char password[80]; bool matches; };
//
//   static void run(struct job *j)  { ... in a thread: computes, and puts what it found into the struct ... }
//   static void done(struct job *j) { ... in the loop: tells whoever waits ... }
//   static void release(struct job *j) { mem_free(container_of(j, struct check, job)); }
//   static const struct job_ops ops = {.run = run, .done = done, .free = release};
//
//   if (!workers_submit(loop, &check->job, &ops)) ... the queue is full: it is still the caller's
//
// A job that was submitted belongs to the workers: `free` is called once in any case, after `done`, or in its
// place where the job was cancelled or the loop ends. All functions here and all operations but `run` belong
// to the thread of the loop. While a job runs its memory is the thread's: others look at it in `done`. `run`
// sees no Lua and nothing of the loop. It has to come to an end by itself, soon, or when `interrupt` asks for
// it.
//
// The threads have a lower priority than the loop (WORKERS_NICE), and get no signals.
//
// With a virtual clock there are no threads: jobs run in the next turn of the loop, in the order in which
// they came.
#ifndef LUAMQ_TRANSPORT_WORKERS_H
#define LUAMQ_TRANSPORT_WORKERS_H

#include "base/api.h"
#include "base/list.h"

#include <stdint.h>

#define WORKERS_THREADS 2    // unless configured
#define WORKERS_QUEUE   4096 // jobs that wait, likewise
#define WORKERS_NICE    10   // how much nicer than the loop they are
#define WORKERS_STOP_MS 5000 // that loop_free waits for jobs which run, likewise

struct job;
struct loop;
struct workers;

// What a job keeps busy. Those that wait for others, maybe for seconds, have threads of their own: a name
// server that is slow does not hold up logins.
enum workers_kind { WORKERS_BUSY, WORKERS_NETWORK };

#define WORKERS_NETWORK_THREADS 16
#define WORKERS_NETWORK_STOP_MS 100

struct job_ops {
  enum workers_kind kind;
  void (*run)(struct job *j);
  void (*done)(struct job *j); // it has run; may submit others, but not cancel this one
  void (*free)(struct job *j);
  // Optional: makes `run` return soon, called from the loop while it runs or has just run. Of a cancelled job
  // only.
  void (*interrupt)(struct job *j);
};

struct job { // private
  const struct job_ops *ops;
  struct workers *workers;
  struct list node;
  unsigned char state;
  bool cancelled;
};

// False, and the job stays the caller's: too many are waiting, or the system gives no thread.
LUAMQ_API bool workers_submit(struct loop *l, struct job *j, const struct job_ops *ops);
// Nobody waits for it any longer: `done` is not called. One that runs is forgotten, and freed when it has
// run; this never waits for it. Not to be called once `done` was.
LUAMQ_API void job_cancel(struct job *j);

// Those of WORKERS_BUSY, at any time; fewer threads than before holds for jobs that start from now on.
struct workers_limits {
  uint32_t threads, queue; // at least 1
  uint32_t stop_ms;
};
void workers_configure(struct loop *l, const struct workers_limits *limits);

struct workers_counts {
  uint32_t waiting, running, threads;
  uint64_t submitted, refused; // since the start
};
void workers_count(const struct loop *l, struct workers_counts *out); // of WORKERS_BUSY
uint64_t workers_refused(const struct loop *l);                       // quick

// By loop_free. Jobs that wait are dropped, those that run are waited for up to `stop_ms`. One that takes
// longer is left to itself: the process is about to end.
void workers_free(struct workers *w); // NULL is fine

#endif
