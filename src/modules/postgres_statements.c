#include <stdio.h>

#include "modules/postgres.h"

// Few enough to look at each.
struct pg_statement *pg_statement_find(struct pg_statements *s, struct slice sql) {
  for (uint32_t i = 0; i < s->count; i++) {
    struct pg_statement *st = &s->list[i];
    if (!slice_eq(slice_of(st->sql, st->len), sql)) continue;
    st->used = ++s->uses;
    return st;
  }
  return NULL;
}

struct pg_statement *pg_statement_oldest(struct pg_statements *s) {
  if (s->count < s->limit || !s->count) return NULL;
  struct pg_statement *oldest = s->list;
  for (uint32_t i = 1; i < s->count; i++)
    if (s->list[i].used < oldest->used) oldest = &s->list[i];
  return oldest;
}

// Number 0 is the server's unnamed statement, which the next one replaces.
void pg_statement_init(struct pg_statement *st, struct pg_statements *s, struct slice sql) {
  *st = (struct pg_statement){.sql = mem_dup(sql.ptr, sql.len), .len = sql.len};
  if (s->limit) st->number = ++s->last_number;
}

void pg_statement_describe(struct pg_statement *st, const PGresult *result) {
  st->parameters = (unsigned)PQnparams(result);
  st->types = mem_calloc(st->parameters + 1, sizeof *st->types);
  for (unsigned i = 0; i < st->parameters; i++)
    st->types[i] = PQparamtype(result, (int)i);
}

struct pg_statement *pg_statement_keep(struct pg_statements *s, struct pg_statement *fresh) {
  if (!s->list) s->list = mem_calloc(s->limit, sizeof *s->list);
  struct pg_statement *st = &s->list[s->count++];
  *st = *fresh;
  st->used = ++s->uses;
  *fresh = (struct pg_statement){.sql = NULL};
  return st;
}

void pg_statement_release(struct pg_statement *st) {
  mem_free(st->sql);
  mem_free(st->types);
  *st = (struct pg_statement){.sql = NULL};
}

void pg_statement_remove(struct pg_statements *s, struct pg_statement *st) {
  pg_statement_release(st);
  *st = s->list[--s->count];
}

void pg_statements_release(struct pg_statements *s) {
  while (s->count)
    pg_statement_remove(s, s->list);
  mem_free(s->list);
}

const char *pg_statement_name(const struct pg_statement *st, char name[PG_NAME_BYTES]) {
  if (st->number)
    snprintf(name, PG_NAME_BYTES, "luamq_%u", st->number);
  else
    *name = 0;
  return name;
}
