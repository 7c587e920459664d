#include "modules/sqlite.h"

static const struct {
  int code;
  const char *name;
} names[] = {
#define ROW(code)                                                                                            \
  { code, #code }
    ROW(SQLITE_ERROR),
    ROW(SQLITE_INTERNAL),
    ROW(SQLITE_PERM),
    ROW(SQLITE_ABORT),
    ROW(SQLITE_BUSY),
    ROW(SQLITE_LOCKED),
    ROW(SQLITE_NOMEM),
    ROW(SQLITE_READONLY),
    ROW(SQLITE_INTERRUPT),
    ROW(SQLITE_IOERR),
    ROW(SQLITE_CORRUPT),
    ROW(SQLITE_NOTFOUND),
    ROW(SQLITE_FULL),
    ROW(SQLITE_CANTOPEN),
    ROW(SQLITE_PROTOCOL),
    ROW(SQLITE_SCHEMA),
    ROW(SQLITE_TOOBIG),
    ROW(SQLITE_CONSTRAINT),
    ROW(SQLITE_MISMATCH),
    ROW(SQLITE_MISUSE),
    ROW(SQLITE_AUTH),
    ROW(SQLITE_RANGE),
    ROW(SQLITE_NOTADB),
    ROW(SQLITE_CONSTRAINT_CHECK),
    ROW(SQLITE_CONSTRAINT_FOREIGNKEY),
    ROW(SQLITE_CONSTRAINT_NOTNULL),
    ROW(SQLITE_CONSTRAINT_PRIMARYKEY),
    ROW(SQLITE_CONSTRAINT_ROWID),
    ROW(SQLITE_CONSTRAINT_TRIGGER),
    ROW(SQLITE_CONSTRAINT_UNIQUE),
    ROW(SQLITE_CONSTRAINT_DATATYPE),
#undef ROW
};

static const char *find(int code) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].code == code) return names[i].name;
  return NULL;
}

// Of the others of the extended ones, the code that they are a kind of.
const char *sqlite_code_name(int code) {
  const char *name = find(code);
  if (!name) name = find(code & 0xff);
  return name ? name : "SQLITE_ERROR";
}
