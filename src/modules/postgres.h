// A PostgreSQL server, as all hooks of a Lua state share it: a pool of connections, each of which runs one
// query at a time. They are opened when queries want them.
//
//   postgres.c              what Lua sees of it: the module luamq.core.postgres, for lua/luamq/postgres.lua
//   postgres_pool.c         who gets a connection, and when one more is opened
//   postgres_connection.c   one connection: its beginning, readiness, and its end
//   postgres_query.c        the steps of a query on it, and what comes back
//   postgres_parameters.c   parameters as the server takes them
//   postgres_statements.c   statements that a connection has prepared
//
//   waiting ──(a connection is free)──► on it: [deallocate] prepare describe execute ──► the result;
//   wait_done
//
// A request is one query, or one who wants a connection for itself (a lease, for a transaction). It points at
// the call that waits for it (a userdata on the stack of a hook's coroutine) until that is answered or
// cancelled. A query whose call is cancelled runs to its end, and what it answers is dropped; one whose time
// is over takes its connection with it, and the server ends it by its own statement_timeout. A connection
// that comes back inside of a transaction is rolled back before anybody else gets it.
#ifndef LUAMQ_MODULES_POSTGRES_H
#define LUAMQ_MODULES_POSTGRES_H

#include <libpq-fe.h>

#include "base/buf.h"
#include "base/timer.h"
#include "script/rows.h"
#include "script/wait.h"
#include "transport/loop.h"
#include "transport/resolve.h"

#define PG_ERROR_BYTES  300
#define PG_KEYWORDS_MAX 100 // libpq knows fewer

struct event;
struct pg_call;
struct pg_lease;

struct pg_error {
  char text[PG_ERROR_BYTES]; // empty: none
  char code[16];             // an SQLSTATE, or a word
};

struct pg_options {
  char **names, **values; // of PQconnectStartParams, NULL at the end
  char *host;             // to be looked up, not in `values`; NULL: there is nothing to look up
  uint32_t connections, statements, max_pending;
  uint32_t timeout_ms, connect_timeout_ms;
  struct rows_limits limits;
};

struct pg_counts {
  uint64_t queries, errors, timeouts, refused, connections, failures, prepared;
};

struct pg_pool {
  struct pg_options options;
  struct loop *loop;            // NULL until the first request
  struct list idle, busy, gone; // connections
  struct ready sweep;           // frees those that have gone
  uint32_t count, opening;      // of all, and of those that are not open yet
  struct list waiting;          // requests
  uint32_t waiting_count;
  struct resolve *look_up;     // NULL: none is under way
  struct resolve_result found; // the addresses of `host`, until a connection fails
  struct timer retry;
  uint32_t backoff_ms; // 0: the last connection could be opened
  struct pg_error why; // the last one could not
  struct ready close;
  bool closed;
  struct pg_counts counts;
};

struct pg_statement {
  char *sql;
  size_t len;
  uint64_t used;   // a count of the connection
  uint32_t number; // its name is "luamq_<number>"
  unsigned parameters;
  Oid *types;
};

struct pg_statements {
  struct pg_statement *list;
  uint32_t count, limit;
  uint32_t last_number;
  uint64_t uses;
};

enum pg_step {
  PG_CONNECTING,
  PG_IDLE,
  PG_HELD, // by a lease, between its queries
  PG_DEALLOCATING,
  PG_PREPARING,
  PG_DESCRIBING,
  PG_EXECUTING,
  PG_ROLLING_BACK,
  PG_GONE, // it is freed in the next turn
};

struct pg_connection {
  struct list node; // of pool->idle or pool->busy
  struct pg_pool *pool;
  PGconn *pg;
  struct event *readable, *writable; // while it connects, one of them, for one time
  enum pg_step step;
  struct timer deadline;      // of connecting and of rolling back
  struct pg_request *request; // NULL: none is running
  struct pg_lease *lease;     // NULL: nobody holds it
  struct pg_statements statements;
  struct pg_statement fresh; // being prepared
  struct pg_error error;     // of the step that is running
  bool copies;               // the query turned out to be a COPY
};

struct pg_request {
  struct list node; // of pool->waiting
  struct pg_pool *pool;
  struct pg_call *call;             // NULL: nobody waits any longer
  struct pg_connection *connection; // NULL: it has none yet
  struct timer timeout;
  bool wants_lease; // a connection for call->lease; no query
  bool retried;
  struct buf sql, parameters; // cells
  struct rows rows;
};

struct pg_call { // a userdata; user value 1 is the pool's, 2 the lease's
  struct wait wait;
  struct pg_request *request; // NULL: not made, or over
  struct pg_lease *lease;     // that asks, or gets a connection; or NULL
  struct rows rows;
  struct pg_error error;
};

struct pg_lease {                   // a userdata; its user value is the pool's
  struct pg_connection *connection; // NULL: given back, or lost
};

void pg_error_set(struct pg_error *e, const char *code, const char *text);
// What a server or libpq says: its first line.
void pg_error_set_line(struct pg_error *e, const char *code, const char *text);

// postgres_pool.c
void pg_pool_init(struct pg_pool *p);
void pg_pool_release(struct pg_pool *p); // calls that are left are not told
void pg_pool_close(struct pg_pool *p);   // in the next turn
void pg_pool_serve(struct pg_pool *p);   // gives connections to those who wait
void pg_pool_opened(struct pg_pool *p);
void pg_lease_end(struct pg_lease *lease);
void pg_pool_failed(struct pg_pool *p, const struct pg_error *why); // to open one
struct pg_request *pg_request_new(struct pg_pool *p, struct pg_call *call);
// It waits for a connection from now on, or has that of a lease; or it fails at once.
void pg_request_begin(struct pg_request *r);
void pg_request_answer(struct pg_request *r, const struct pg_error *why); // NULL: with its rows. Frees it
void pg_request_forget(struct pg_request *r);                             // its call does not wait any longer
void pg_request_free(struct pg_request *r);

// postgres_connection.c
void pg_connection_open(struct pg_pool *p);
// Ends it; its request fails.
void pg_connection_drop(struct pg_connection *c, const char *code, const char *text);
void pg_connection_flush(struct pg_connection *c);
// Nobody needs it: it is rolled back if need be, and then for those who wait.
void pg_connection_give_back(struct pg_connection *c);
void pg_connection_free(struct pg_connection *c); // one that has gone

// postgres_query.c
void pg_query_begin(struct pg_connection *c); // c->request, which it has just got
void pg_query_result(struct pg_connection *c, const PGresult *result);
void pg_query_step_over(struct pg_connection *c); // all of its results were there

// postgres_parameters.c
struct pg_parameters {
  const char **values;
  int *lengths, *formats;
  size_t *offsets;
  int count;
  struct buf text;
};
// The cells as parameters of these types. False, and why: they do not fit. To be released in any case.
bool pg_parameters_init(struct pg_parameters *p, struct slice cells, const struct pg_statement *s,
                        struct pg_error *why);
void pg_parameters_release(struct pg_parameters *p);

// postgres_statements.c
struct pg_statement *pg_statement_find(struct pg_statements *s, struct slice sql); // NULL: it is not prepared
struct pg_statement *
pg_statement_oldest(struct pg_statements *s); // that must go for another; NULL: there is room
void pg_statement_init(struct pg_statement *st, struct pg_statements *s, struct slice sql);
void pg_statement_describe(struct pg_statement *st, const PGresult *result);
struct pg_statement *pg_statement_keep(struct pg_statements *s, struct pg_statement *fresh); // takes it
void pg_statement_remove(struct pg_statements *s, struct pg_statement *st);
void pg_statement_release(struct pg_statement *st);
void pg_statements_release(struct pg_statements *s);
#define PG_NAME_BYTES 24
const char *pg_statement_name(const struct pg_statement *st, char name[PG_NAME_BYTES]);

#endif
