#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "modules/postgres.h"
#include "modules/postgres_types.h"

static void add_float(struct buf *to, double number) {
  if (isinf(number))
    buf_add_str(to, number > 0 ? "Infinity" : "-Infinity");
  else
    buf_printf(to, "%.17g", number);
}

// The text form of a value, with a NUL behind it.
static void add_text(struct buf *to, const struct cell *c) {
  switch (c->type) {
  case CELL_FALSE:
  case CELL_TRUE: buf_add_byte(to, c->type == CELL_TRUE ? 't' : 'f'); break;
  case CELL_INTEGER: buf_printf(to, "%" PRId64, c->integer); break;
  case CELL_FLOAT: add_float(to, c->number); break;
  default: buf_add_slice(to, c->text);
  }
  buf_add_byte(to, 0);
}

static bool add(struct pg_parameters *p, const struct cell *c, Oid type) {
  int i = p->count++;
  p->offsets[i] = p->text.len;
  if (c->type == CELL_NIL) return true;
  bool is_binary = c->type == CELL_BYTES || (c->type == CELL_TEXT && type == PG_BYTEA);
  bool is_text = c->type == CELL_TEXT && !is_binary;
  if (is_text && c->text.len && memchr(c->text.ptr, 0, c->text.len)) return false;
  add_text(&p->text, c);
  p->lengths[i] = (int)(p->text.len - p->offsets[i] - 1);
  p->formats[i] = is_binary;
  p->values[i] = ""; // until the text has its place
  return true;
}

static bool wrong_count(const struct pg_statement *s, int given, struct pg_error *why) {
  char text[80];
  snprintf(text, sizeof text, "the statement has %u parameters, %d were given", s->parameters, given);
  pg_error_set(why, "08P01", text);
  return false;
}

static int count_cells(struct slice cells) {
  int count = 0;
  for (struct cell c; cells_next(&cells, &c);)
    count++;
  return count;
}

bool pg_parameters_init(struct pg_parameters *p, struct slice cells, const struct pg_statement *s,
                        struct pg_error *why) {
  *p = (struct pg_parameters){.text = BUF_INIT};
  int count = count_cells(cells);
  if ((unsigned)count != s->parameters) return wrong_count(s, count, why);
  p->values = mem_calloc((size_t)count + 1, sizeof *p->values);
  p->lengths = mem_calloc((size_t)count + 1, sizeof *p->lengths);
  p->formats = mem_calloc((size_t)count + 1, sizeof *p->formats);
  p->offsets = mem_calloc((size_t)count + 1, sizeof *p->offsets);
  for (struct cell c; cells_next(&cells, &c);) {
    if (add(p, &c, s->types[p->count])) continue;
    char text[80];
    snprintf(text, sizeof text, "parameter %d has a zero byte, and is no bytea", p->count);
    pg_error_set(why, "22021", text);
    return false;
  }
  for (int i = 0; i < count; i++)
    if (p->values[i]) p->values[i] = (const char *)p->text.ptr + p->offsets[i];
  return true;
}

void pg_parameters_release(struct pg_parameters *p) {
  mem_free(p->values);
  mem_free(p->lengths);
  mem_free(p->formats);
  mem_free(p->offsets);
  buf_release(&p->text);
}
