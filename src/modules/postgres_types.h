// The built-in types that are more than text to Lua. Their numbers are fixed in PostgreSQL's catalogue.
#ifndef LUAMQ_MODULES_POSTGRES_TYPES_H
#define LUAMQ_MODULES_POSTGRES_TYPES_H

enum pg_type {
  PG_BOOL = 16,
  PG_BYTEA = 17,
  PG_INT8 = 20,
  PG_INT2 = 21,
  PG_INT4 = 23,
  PG_OID = 26,
  PG_FLOAT4 = 700,
  PG_FLOAT8 = 701,
};

#endif
