// A file's database, in a worker thread: SQLite waits for the disk and for locks, so it is never called in
// the loop.
//
//   sqlite.c            what Lua sees of it: the module luamq.core.sqlite, for lua/luamq/sqlite.lua
//   sqlite_queue.c      requests in the loop: one after the other, as jobs of the workers
//   sqlite_file.c       in the thread: opens the file, runs statements, keeps what it has prepared
//   sqlite_codes.c      the names of SQLite's codes
//
//   queue ──(nothing else runs)──► job in a thread ──► done, in the loop: the call's result; wait_done
//
// A request points at the call that waits for it (a userdata on the stack of a hook's coroutine) until that
// is answered or cancelled. One that is cancelled, or takes too long, is taken off the queue, or told to stop
// while it runs: then it is rolled back, unless it was through already.
//
// The database is counted: the userdata of Lua holds it, and the request that runs. While a request runs,
// `file` and what is the thread's of the request belong to the thread.
#ifndef LUAMQ_MODULES_SQLITE_H
#define LUAMQ_MODULES_SQLITE_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "base/timer.h"
#include "script/rows.h"
#include "script/wait.h"
#include "transport/loop.h"
#include "transport/workers.h"

#define SQLITE_ERROR_BYTES 300

struct sqlite_call;

struct sqlite_error {
  char text[SQLITE_ERROR_BYTES]; // empty: none
  const char *code;
};

struct sqlite_options {
  char *path;
  bool readonly, create, wal, foreign_keys;
  char *synchronous; // as the pragma takes it
  uint32_t timeout_ms, busy_timeout_ms, max_pending, statements;
  struct rows_limits limits;
};

struct sqlite_prepared {
  sqlite3_stmt *statement; // which knows its SQL
  uint64_t used;
};

struct sqlite_file {
  const struct sqlite_options *options;
  sqlite3 *handle; // NULL: it is not open
  struct sqlite_prepared *prepared;
  uint32_t count; // of prepared
  uint64_t uses;
  struct sqlite_request *request; // that runs
};

struct sqlite_database {
  struct sqlite_options options;
  struct sqlite_file file;
  struct loop *loop; // of the program; NULL: not used yet, or time is virtual
  unsigned refs;
  struct list queue;
  uint32_t pending; // in the queue, and the one that runs
  struct sqlite_request *running;
  bool closed; // what is in the queue still runs
  struct {
    uint64_t requests, errors, timeouts, refused;
  } counts;
};

enum sqlite_kind {
  SQLITE_QUERY,  // one statement
  SQLITE_BATCH,  // several, in a transaction
  SQLITE_SCRIPT, // text with any number of them
  SQLITE_CLOSE,
};

struct sqlite_request {
  struct job job;
  struct list node;
  struct sqlite_database *database;
  struct loop *loop;
  struct sqlite_call *call; // NULL: nobody waits any longer
  struct timer timeout;
  atomic_bool stop; // it is to come to an end
  // The thread's while it runs.
  enum sqlite_kind kind;
  struct buf statements; // cells: of each its SQL, the number of its parameters, and these
  uint32_t count;
  struct rows *results; // one a statement
  struct sqlite_error error;
};

struct sqlite_call { // a userdata; its user value is the database's
  struct wait wait;
  struct sqlite_request *request; // NULL: not made, or over
  struct rows *results;
  uint32_t count;
  enum sqlite_kind kind;
  struct sqlite_error error;
};

// sqlite_codes.c
const char *sqlite_code_name(int code); // "SQLITE_BUSY"

// sqlite_queue.c
struct sqlite_database *sqlite_database_new(void); // its options are to be filled in
void sqlite_database_close(struct sqlite_database *d,
                           struct loop *loop); // when the queue is through; may be NULL
void sqlite_database_leave(
    struct sqlite_database *d); // Lua has no use for it; calls that are left are not told
struct sqlite_request *sqlite_request_new(struct sqlite_database *d, struct loop *loop, enum sqlite_kind kind,
                                          uint32_t count);
void sqlite_request_begin(struct sqlite_request *r);  // it is in the queue from now on; or it fails at once
void sqlite_request_forget(struct sqlite_request *r); // its call does not wait any longer
void sqlite_request_free(struct sqlite_request *r);
void sqlite_results_free(struct rows *results, uint32_t count);

// sqlite_file.c
void sqlite_file_run(struct sqlite_file *f, struct sqlite_request *r);
void sqlite_file_close(struct sqlite_file *f);

#endif
