// Requests over HTTP that are under way in one Lua state: libcurl's multi interface, driven by the loop of
// its broker, and a queue before it.
//
//   pool ── hosts ── "https://auth.example:443" ── 256 active, waiting: job, job, job ...
//        └─ eligible: the hosts with a job that waits and room for it, in turn
//
// libcurl keeps connections and opens new ones as jobs need them; a job is given to it only while its host
// has less than `max_per_host` and all together less than `max_total` under way, so connections are bounded
// and a host that is slow holds up nobody but those who ask it. Not libcurl's own queue: a job at its head
// that has to wait for its host keeps those of other hosts waiting.
//
//   struct http_job job;
//   http_job_init(&job, easy, key, done);
//   http_pool_add(pool, loop, &job, 5000);      // later: done(&job, end, code), or
//   http_pool_remove(&job);
//
// The pool opens with its first job and closes its connections when there was none for `idle_ms`, and for
// ever with its Lua state. That is before the loop ends: a Lua state never outlives the loop of its brokers.
#ifndef LUAMQ_MODULES_HTTP_POOL_H
#define LUAMQ_MODULES_HTTP_POOL_H

#include <curl/curl.h>

#include "base/list.h"
#include "base/map.h"
#include "transport/loop.h"

struct http_pool;
struct http_host;

enum http_end {
  HTTP_FINISHED,  // by libcurl: its code tells how
  HTTP_LATE,      // its time was over before
  HTTP_UNSTARTED, // its time was over while it waited for a connection
};

struct http_job {
  CURL *easy;       // ready to be sent; the owner's
  struct slice key; // whose connections it needs; the owner's, valid as long as the job
  // It is over, and no longer in the pool. Called from the loop, never from http_pool_add.
  void (*done)(struct http_job *job, enum http_end end, CURLcode code);
  // the pool's
  struct list node;
  struct timer deadline;
  struct http_pool *pool; // NULL: it is in none
  struct http_host *host;
  bool active;
};

struct http_limits {
  uint32_t max_per_host, max_total; // connections in use
  uint32_t idle_ms;                 // how long one is kept that is not
};

struct http_counts {
  uint64_t requests, failed;     // that have ended, and those of them without an answer
  uint64_t queued;               // that had to wait for a connection
  uint64_t connections;          // that were opened
  uint32_t active, waiting_jobs; // now
};

struct http_pool {
  struct http_limits limits;
  struct http_counts counts;
  // private
  struct loop *loop; // NULL: it is closed
  CURLM *multi;
  struct map hosts;
  struct list eligible;    // of struct http_host
  struct list active;      // of struct http_job
  struct list authorities; // see http_ca.h
  struct timer timer;      // libcurl's
  struct timer idle;
  struct ready kick; // for what libcurl wants to be done at once
};

void http_pool_init(struct http_pool *p, const struct http_limits *limits);
// Jobs that are left are in no pool from then on, and their `done` is not called.
void http_pool_release(struct http_pool *p);

void http_job_init(struct http_job *job, CURL *easy, struct slice key,
                   void (*done)(struct http_job *job, enum http_end end, CURLcode code));
void http_pool_add(struct http_pool *p, struct loop *loop, struct http_job *job, uint32_t timeout_ms);
void http_pool_remove(struct http_job *job); // no effect when it is in none

#endif
