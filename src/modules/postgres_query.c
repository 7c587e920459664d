#include <stdio.h>
#include <stdlib.h>

#include "modules/postgres.h"
#include "modules/postgres_types.h"

// --- rows ---

static void add_bytes(struct buf *to, const char *text) {
  size_t len;
  unsigned char *bytes = mem_require(PQunescapeBytea((const unsigned char *)text, &len));
  cells_add_string(to, CELL_TEXT, slice_of(bytes, len));
  PQfreemem(bytes);
}

static void add_value(struct buf *to, Oid type, const char *text, size_t len) {
  switch ((enum pg_type)type) {
  case PG_BOOL: cells_add(to, *text == 't' ? CELL_TRUE : CELL_FALSE); break;
  case PG_INT2:
  case PG_INT4:
  case PG_INT8:
  case PG_OID: cells_add_integer(to, strtoll(text, NULL, 10)); break;
  case PG_FLOAT4:
  case PG_FLOAT8: cells_add_float(to, strtod(text, NULL)); break;
  case PG_BYTEA: add_bytes(to, text); break;
  default: cells_add_string(to, CELL_TEXT, slice_of(text, len));
  }
}

static void add_columns(struct rows *rows, const PGresult *result) {
  if (rows->columns) return;
  for (int i = 0; i < PQnfields(result); i++)
    rows_add_column(rows, slice_str(PQfname(result, i)));
}

static bool add_row(struct rows *rows, const PGresult *result, int row) {
  if (!rows_begin_row(rows)) return false;
  for (int i = 0; i < PQnfields(result); i++) {
    if (PQgetisnull(result, row, i))
      cells_add(&rows->cells, CELL_NIL);
    else
      add_value(&rows->cells, PQftype(result, i), PQgetvalue(result, row, i),
                (size_t)PQgetlength(result, row, i));
  }
  return rows_end(rows);
}

static void keep_rows(struct pg_connection *c, const PGresult *result) {
  struct rows *rows = &c->request->rows;
  if (rows->problem || !c->request->call) return;
  add_columns(rows, result);
  for (int i = 0; i < PQntuples(result); i++)
    if (!add_row(rows, result, i)) return;
  rows->affected = atoll(PQcmdTuples((PGresult *)result));
}

// --- steps ---

static void begin_step(struct pg_connection *c, enum pg_step step, int sent) {
  c->step = step;
  c->error = (struct pg_error){.text = ""};
  if (!sent)
    pg_connection_drop(c, "connection", PQerrorMessage(c->pg));
  else
    pg_connection_flush(c);
}

static void answer(struct pg_connection *c, const struct pg_error *why) {
  struct pg_request *r = c->request;
  c->request = NULL;
  if (why) c->pool->counts.errors++;
  pg_statement_release(&c->fresh);
  pg_request_answer(r, why);
  pg_connection_give_back(c);
}

static struct slice sql_of(const struct pg_request *r) {
  return slice_of(r->sql.ptr, r->sql.len - 1); // without its NUL
}

static void execute(struct pg_connection *c, const struct pg_statement *st) {
  struct pg_parameters p;
  struct pg_error why;
  if (!pg_parameters_init(&p, buf_slice(&c->request->parameters), st, &why)) {
    pg_parameters_release(&p);
    answer(c, &why);
    return;
  }
  char name[PG_NAME_BYTES];
  int sent =
      PQsendQueryPrepared(c->pg, pg_statement_name(st, name), p.count, p.values, p.lengths, p.formats, 0);
  pg_parameters_release(&p);
  if (sent) PQsetSingleRowMode(c->pg);
  begin_step(c, PG_EXECUTING, sent);
}

static void deallocate(struct pg_connection *c, const struct pg_statement *st) {
  char name[PG_NAME_BYTES], sql[PG_NAME_BYTES + 16];
  snprintf(sql, sizeof sql, "DEALLOCATE %s", pg_statement_name(st, name));
  begin_step(c, PG_DEALLOCATING, PQsendQuery(c->pg, sql));
}

static void prepare(struct pg_connection *c) {
  char name[PG_NAME_BYTES];
  pg_statement_release(&c->fresh);
  pg_statement_init(&c->fresh, &c->statements, sql_of(c->request));
  c->pool->counts.prepared++;
  int sent =
      PQsendPrepare(c->pg, pg_statement_name(&c->fresh, name), (const char *)c->request->sql.ptr, 0, NULL);
  begin_step(c, PG_PREPARING, sent);
}

static void describe(struct pg_connection *c) {
  char name[PG_NAME_BYTES];
  begin_step(c, PG_DESCRIBING, PQsendDescribePrepared(c->pg, pg_statement_name(&c->fresh, name)));
}

void pg_query_begin(struct pg_connection *c) {
  struct pg_statement *st = pg_statement_find(&c->statements, sql_of(c->request));
  struct pg_statement *oldest = st ? NULL : pg_statement_oldest(&c->statements);
  c->pool->counts.queries += !c->request->retried;
  if (st)
    execute(c, st);
  else if (oldest)
    deallocate(c, oldest);
  else
    prepare(c);
}

// --- what comes back ---

// The server's statement_timeout may be a little earlier than the loop: that is the same to a script.
static const char *code_of(const PGresult *result) {
  const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (!state) return "connection";
  return strcmp(state, "57014") == 0 ? "timeout" : state;
}

static void keep_error(struct pg_connection *c, const PGresult *result) {
  const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (!*c->error.text) pg_error_set_line(&c->error, code_of(result), text ? text : PQerrorMessage(c->pg));
}

void pg_query_result(struct pg_connection *c, const PGresult *result) {
  switch (PQresultStatus(result)) {
  case PGRES_SINGLE_TUPLE:
  case PGRES_TUPLES_OK:
    if (c->request) keep_rows(c, result);
    break;
  case PGRES_COMMAND_OK:
    if (c->step == PG_DESCRIBING) pg_statement_describe(&c->fresh, result);
    if (c->step == PG_EXECUTING) c->request->rows.affected = atoll(PQcmdTuples((PGresult *)result));
    break;
  case PGRES_EMPTY_QUERY: break;
  case PGRES_COPY_IN:
  case PGRES_COPY_OUT:
  case PGRES_COPY_BOTH: c->copies = true; break;
  default: keep_error(c, result);
  }
}

// The statement that was prepared is not what the server has any longer: a table was changed, or somebody has
// thrown it away. Inside of a transaction the script has to know.
static bool is_stale(const struct pg_connection *c, const struct pg_statement *st) {
  bool stale = !strcmp(c->error.code, "0A000") || !strcmp(c->error.code, "26000");
  return stale && st && !c->request->retried && PQtransactionStatus(c->pg) == PQTRANS_IDLE;
}

static void executed(struct pg_connection *c) {
  struct pg_statement *st = pg_statement_find(&c->statements, sql_of(c->request));
  struct pg_error why = c->error;
  if (is_stale(c, st)) {
    c->request->retried = true;
    st->used = 0; // the server's one stays, under a name that is not used again
    pg_statement_remove(&c->statements, st);
    rows_clear(&c->request->rows);
    prepare(c);
    return;
  }
  answer(c, *why.text ? &why : NULL);
}

static void described(struct pg_connection *c) {
  if (c->statements.limit)
    execute(c, pg_statement_keep(&c->statements, &c->fresh));
  else
    execute(c, &c->fresh);
}

void pg_query_step_over(struct pg_connection *c) {
  struct pg_error why = c->error;
  enum pg_step step = c->step;
  if (step == PG_DEALLOCATING && !*why.text)
    pg_statement_remove(&c->statements, pg_statement_oldest(&c->statements));
  if (step == PG_ROLLING_BACK && *why.text)
    pg_connection_drop(c, "connection", why.text);
  else if (step == PG_ROLLING_BACK)
    pg_connection_give_back(c);
  else if (step == PG_EXECUTING)
    executed(c);
  else if (*why.text)
    answer(c, &why);
  else if (step == PG_DEALLOCATING)
    prepare(c);
  else if (step == PG_PREPARING)
    describe(c);
  else
    described(c);
}
