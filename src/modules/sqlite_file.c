#include <stdio.h>
#include <time.h>

#include "modules/sqlite.h"

#define PROGRESS_STEPS 1000 // of SQLite's machine, between looks at `stop`
#define BUSY_FIRST_MS  1
#define BUSY_MAX_MS    20

static void set_error(struct sqlite_request *r, const char *code, const char *text) {
  if (*r->error.text) return; // the first one counts
  snprintf(r->error.text, sizeof r->error.text, "%s", text);
  r->error.code = code;
}

static bool failed(const struct sqlite_request *r) { return *r->error.text != 0; }

// What SQLite says last.
static void fail(struct sqlite_file *f) {
  set_error(f->request, sqlite_code_name(sqlite3_extended_errcode(f->handle)), sqlite3_errmsg(f->handle));
}

// --- what SQLite asks while it runs ---

static int is_stopped(void *arg) {
  const struct sqlite_file *f = arg;
  return f->request && atomic_load(&f->request->stop);
}

// How long the first `tries` have waited.
static uint32_t waited_ms(int tries) {
  uint32_t all_ms = 0, next_ms = BUSY_FIRST_MS;
  for (int i = 0; i < tries; i++) {
    all_ms += next_ms;
    if (next_ms < BUSY_MAX_MS) next_ms++;
  }
  return all_ms;
}

static int locked(void *arg, int tries) {
  const struct sqlite_file *f = arg;
  uint32_t so_far_ms = waited_ms(tries), next_ms = waited_ms(tries + 1) - so_far_ms;
  if (is_stopped(arg) || so_far_ms + next_ms > f->options->busy_timeout_ms) return 0;
  nanosleep(&(struct timespec){.tv_nsec = (long)next_ms * 1000000}, NULL);
  return 1;
}

// --- the file ---

static bool execute(struct sqlite_file *f, const char *sql) {
  if (sqlite3_exec(f->handle, sql, NULL, NULL, NULL) == SQLITE_OK) return true;
  fail(f);
  return false;
}

static bool prepare_file(struct sqlite_file *f) {
  const struct sqlite_options *o = f->options;
  char pragma[64];
  snprintf(pragma, sizeof pragma, "PRAGMA synchronous = %s", o->synchronous);
  sqlite3_extended_result_codes(f->handle, 1);
  sqlite3_busy_handler(f->handle, locked, f);
  sqlite3_progress_handler(f->handle, PROGRESS_STEPS, is_stopped, f);
  bool writes_ahead = o->wal && !o->readonly;
  return execute(f, o->foreign_keys ? "PRAGMA foreign_keys = ON" : "PRAGMA foreign_keys = OFF") &&
         (!writes_ahead || execute(f, "PRAGMA journal_mode = WAL")) && execute(f, pragma);
}

static bool open_file(struct sqlite_file *f) {
  const struct sqlite_options *o = f->options;
  if (f->handle) return true;
  int flags =
      o->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | (o->create ? SQLITE_OPEN_CREATE : 0);
  int status =
      sqlite3_open_v2(o->path, &f->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  mem_require(f->handle);
  if (status != SQLITE_OK) fail(f);
  if (status == SQLITE_OK && prepare_file(f)) return true;
  sqlite3_close_v2(f->handle);
  f->handle = NULL;
  return false;
}

void sqlite_file_close(struct sqlite_file *f) {
  for (uint32_t i = 0; i < f->count; i++)
    sqlite3_finalize(f->prepared[i].statement);
  mem_free(f->prepared);
  sqlite3_close_v2(f->handle);
  f->prepared = NULL;
  f->count = 0;
  f->handle = NULL;
}

// --- statements that stay prepared, few enough to look at each ---

static struct sqlite_prepared *find(struct sqlite_file *f, struct slice sql) {
  for (uint32_t i = 0; i < f->count; i++)
    if (slice_eq(slice_str(sqlite3_sql(f->prepared[i].statement)), sql)) return &f->prepared[i];
  return NULL;
}

static struct sqlite_prepared *place_for_another(struct sqlite_file *f) {
  if (!f->prepared) f->prepared = mem_calloc(f->options->statements, sizeof *f->prepared);
  if (f->count < f->options->statements) return &f->prepared[f->count++];
  struct sqlite_prepared *oldest = f->prepared;
  for (uint32_t i = 1; i < f->count; i++)
    if (f->prepared[i].used < oldest->used) oldest = &f->prepared[i];
  sqlite3_finalize(oldest->statement);
  return oldest;
}

static bool is_blank(const char *text) { return text[strspn(text, " \t\r\n;")] == 0; }

// NULL: it cannot be prepared.
static sqlite3_stmt *prepare(struct sqlite_file *f, struct slice sql) {
  sqlite3_stmt *statement = NULL;
  const char *rest = "";
  int status = sqlite3_prepare_v3(f->handle, (const char *)sql.ptr, (int)sql.len + 1,
                                  SQLITE_PREPARE_PERSISTENT, &statement, &rest);
  if (status != SQLITE_OK)
    fail(f);
  else if (!statement)
    set_error(f->request, "SQLITE_MISUSE", "there is no statement");
  else if (!is_blank(rest))
    set_error(f->request, "SQLITE_MISUSE", "more than one statement");
  if (!failed(f->request)) return statement;
  sqlite3_finalize(statement);
  return NULL;
}

static sqlite3_stmt *prepared(struct sqlite_file *f, struct slice sql) {
  struct sqlite_prepared *p = find(f, sql);
  if (!p) {
    sqlite3_stmt *statement = prepare(f, sql);
    if (!statement) return NULL;
    p = place_for_another(f);
    p->statement = statement;
  }
  p->used = ++f->uses;
  return p->statement;
}

// --- one statement ---

static int bind(sqlite3_stmt *statement, int i, const struct cell *c) {
  const char *text = (const char *)c->text.ptr;
  switch (c->type) {
  case CELL_FALSE:
  case CELL_TRUE: return sqlite3_bind_int(statement, i, c->type == CELL_TRUE);
  case CELL_INTEGER: return sqlite3_bind_int64(statement, i, c->integer);
  case CELL_FLOAT: return sqlite3_bind_double(statement, i, c->number);
  case CELL_TEXT: return sqlite3_bind_text64(statement, i, text, c->text.len, SQLITE_STATIC, SQLITE_UTF8);
  case CELL_BYTES: return sqlite3_bind_blob64(statement, i, text, c->text.len, SQLITE_STATIC);
  default: return sqlite3_bind_null(statement, i);
  }
}

// Takes all parameters off the run, also of a statement that does not want as many.
static bool bind_all(struct sqlite_file *f, sqlite3_stmt *statement, int64_t given, struct slice *run) {
  int wanted = sqlite3_bind_parameter_count(statement);
  if (wanted != given) {
    char text[80];
    snprintf(text, sizeof text, "the statement has %d parameters, %d were given", wanted, (int)given);
    set_error(f->request, "SQLITE_RANGE", text);
  }
  for (int i = 1; i <= given; i++) {
    struct cell c;
    cells_next(run, &c);
    if (!failed(f->request) && bind(statement, i, &c) != SQLITE_OK) fail(f);
  }
  return !failed(f->request);
}

static bool add_value(struct rows *rows, sqlite3_stmt *statement, int i) {
  int type = sqlite3_column_type(statement, i);
  const void *bytes = type == SQLITE_BLOB ? sqlite3_column_blob(statement, i) : NULL;
  if (type == SQLITE_TEXT) bytes = sqlite3_column_text(statement, i);
  struct slice text = slice_of(bytes, bytes ? (size_t)sqlite3_column_bytes(statement, i) : 0);
  switch (type) {
  case SQLITE_INTEGER: cells_add_integer(&rows->cells, sqlite3_column_int64(statement, i)); break;
  case SQLITE_FLOAT: cells_add_float(&rows->cells, sqlite3_column_double(statement, i)); break;
  case SQLITE_TEXT: cells_add_string(&rows->cells, CELL_TEXT, text); break;
  case SQLITE_BLOB: cells_add_string(&rows->cells, CELL_BYTES, text); break;
  default: cells_add(&rows->cells, CELL_NIL);
  }
  return rows_end(rows);
}

static bool add_row(struct rows *rows, sqlite3_stmt *statement) {
  if (!rows_begin_row(rows)) return false;
  for (int i = 0; i < sqlite3_column_count(statement); i++)
    if (!add_value(rows, statement, i)) return false;
  return true;
}

static void step(struct sqlite_file *f, sqlite3_stmt *statement, struct rows *rows) {
  int status;
  int64_t changes = sqlite3_total_changes64(f->handle);
  for (int i = 0; i < sqlite3_column_count(statement); i++)
    rows_add_column(rows, slice_str(sqlite3_column_name(statement, i)));
  while ((status = sqlite3_step(statement)) == SQLITE_ROW && add_row(rows, statement)) {
  }
  if (status != SQLITE_ROW && status != SQLITE_DONE) fail(f);
  if (rows->problem) set_error(f->request, "limit", rows->problem);
  rows->affected = sqlite3_total_changes64(f->handle) - changes;
  if (sqlite3_stmt_readonly(statement)) rows->affected = rows->count;
}

// The next statement of the run. It is reset in any case: else it would hold its locks.
static bool run_next(struct sqlite_file *f, struct slice *run, struct rows *rows) {
  struct cell sql, given;
  cells_next(run, &sql);
  cells_next(run, &given);
  sql.text.len--; // its NUL
  sqlite3_stmt *statement = prepared(f, sql.text);
  if (!statement) return false;
  if (bind_all(f, statement, given.integer, run)) step(f, statement, rows);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return !failed(f->request);
}

// --- a request ---

static void run_batch(struct sqlite_file *f, struct sqlite_request *r) {
  struct slice run = buf_slice(&r->statements);
  if (!execute(f, "BEGIN IMMEDIATE")) return;
  for (uint32_t i = 0; i < r->count && run_next(f, &run, &r->results[i]); i++) {
  }
  if (!failed(r)) execute(f, "COMMIT");
}

static void run_script(struct sqlite_file *f, struct sqlite_request *r) {
  struct slice run = buf_slice(&r->statements);
  struct cell sql;
  cells_next(&run, &sql);
  execute(f, (const char *)sql.text.ptr);
}

// Nobody else may come into somebody's transaction.
static void end_transaction(struct sqlite_file *f, struct sqlite_request *r) {
  if (!f->handle || sqlite3_get_autocommit(f->handle)) return;
  set_error(r, "SQLITE_MISUSE", "a transaction was left open, and is rolled back");
  f->request = NULL; // no longer to be stopped
  sqlite3_exec(f->handle, "ROLLBACK", NULL, NULL, NULL);
}

void sqlite_file_run(struct sqlite_file *f, struct sqlite_request *r) {
  struct slice run = buf_slice(&r->statements);
  if (atomic_load(&r->stop)) return;
  f->request = r;
  if (r->kind == SQLITE_CLOSE)
    sqlite_file_close(f);
  else if (!open_file(f))
    ; // it has said why
  else if (r->kind == SQLITE_BATCH)
    run_batch(f, r);
  else if (r->kind == SQLITE_SCRIPT)
    run_script(f, r);
  else
    run_next(f, &run, r->results);
  end_transaction(f, r);
  f->request = NULL;
}
