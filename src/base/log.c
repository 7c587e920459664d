#include "base/log.h"

#include <time.h>

static const char *const level_names[LEVEL_COUNT] = {
    [LEVEL_DEBUG] = "debug", [LEVEL_INFO] = "info", [LEVEL_WARN] = "warn",
    [LEVEL_ERROR] = "error", [LEVEL_OFF] = "off",
};

void log_init(struct log *l, FILE *out) {
  *l = (struct log){.out = out, .level = LEVEL_INFO, .line = BUF_INIT, .detail = BUF_INIT};
}

void log_release(struct log *l) {
  buf_release(&l->line);
  buf_release(&l->detail);
}

int log_level_by_name(struct slice name) {
  for (int i = 0; i < LEVEL_COUNT; i++)
    if (slice_eq(name, slice_str(level_names[i]))) return i;
  return -1;
}

// --- escaping ---

// The length of the well-formed UTF-8 sequence at the front, and what it stands for; 0: there is none.
static size_t decode(struct slice s, uint32_t *rune) {
  uint8_t first = s.ptr[0];
  *rune = first;
  if (first < 0x80) return 1;
  size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || len > s.len) return 0;
  *rune = first & (0xffu >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((s.ptr[i] & 0xc0) != 0x80) return 0;
    *rune = *rune << 6 | (s.ptr[i] & 0x3f);
  }
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = *rune >= 0xd800 && *rune <= 0xdfff;
  return *rune < least[len] || *rune > 0x10ffff || surrogate ? 0 : len;
}

// Not so are control characters, also those of U+0080 to U+009F that terminals obey, and what ends a line or
// turns its direction.
static bool is_printable(uint32_t rune) {
  bool control = rune < ' ' || (rune >= 0x7f && rune < 0xa0);
  bool layout = (rune >= 0x2028 && rune <= 0x202e) || (rune >= 0x2066 && rune <= 0x2069);
  return !control && !layout;
}

static void add_escape(const struct log *l, struct buf *out, uint32_t unit) {
  if (unit == '\n')
    buf_add_str(out, "\\n");
  else if (unit == '\t')
    buf_add_str(out, "\\t");
  else if (unit == '"' || unit == '\\')
    buf_printf(out, "\\%c", (char)unit);
  else
    buf_printf(out, l->json ? "\\u%04x" : "\\x%02x", (unsigned)unit);
}

// JSON names what a sequence stands for, text its bytes.
static void add_escaped(const struct log *l, struct buf *out, struct slice s, bool quotes) {
  for (size_t at = 0, len; at < s.len; at += len) {
    uint32_t rune;
    len = decode(slice_from(s, at), &rune);
    bool special = quotes && (rune == '"' || rune == '\\');
    if (len && is_printable(rune) && !special) {
      buf_add(out, s.ptr + at, len);
      continue;
    }
    if (!len || !l->json) len = 1;
    add_escape(l, out, len == 1 ? s.ptr[at] : rune);
  }
}

static void add_quoted(struct log *l, struct slice s) {
  buf_add_byte(&l->line, '"');
  add_escaped(l, &l->line, s, true);
  buf_add_byte(&l->line, '"');
}

static bool is_bare(struct slice s) {
  for (size_t at = 0; at < s.len; at++)
    if (s.ptr[at] <= ' ' || s.ptr[at] >= 0x7f || strchr("\"\\=", s.ptr[at])) return false;
  return s.len > 0;
}

// --- records ---

static void add_time(struct buf *out) {
  struct timespec now;
  struct tm tm;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
             tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now.tv_nsec / 1000000));
}

bool log_begin(struct log *l, enum log_level level, struct slice text) {
  if (!log_wants(l, level)) return false;
  l->line.len = l->detail.len = 0;
  if (l->json) buf_add_str(&l->line, "{\"time\":\"");
  add_time(&l->line);
  if (l->json) {
    buf_printf(&l->line, "\",\"level\":\"%s\",\"text\":", level_names[level]);
    add_quoted(l, text);
  } else {
    buf_printf(&l->line, " %s ", level_names[level]);
    add_escaped(l, &l->line, text, false);
  }
  return true;
}

static void add_name(struct log *l, struct slice name) {
  buf_add_byte(&l->line, l->json ? ',' : ' ');
  if (l->json || !is_bare(name))
    add_quoted(l, name);
  else
    buf_add_slice(&l->line, name);
  buf_add_byte(&l->line, l->json ? ':' : '=');
}

void log_any_string(struct log *l, struct slice name, struct slice value) {
  add_name(l, name);
  if (l->json || !is_bare(value))
    add_quoted(l, value);
  else
    buf_add_slice(&l->line, value);
}

void log_any_literal(struct log *l, struct slice name, struct slice value) {
  add_name(l, name);
  buf_add_slice(&l->line, value);
}

void log_string(struct log *l, const char *name, struct slice value) {
  log_any_string(l, slice_str(name), value);
}

void log_number(struct log *l, const char *name, int64_t value) {
  add_name(l, slice_str(name));
  buf_printf(&l->line, "%lld", (long long)value);
}

void log_bool(struct log *l, const char *name, bool value) {
  log_any_literal(l, slice_str(name), value ? SLICE("true") : SLICE("false"));
}

void log_lines(struct log *l, const char *name, struct slice value) {
  if (l->json) {
    log_string(l, name, value);
    return;
  }
  while (value.len) {
    const uint8_t *end = memchr(value.ptr, '\n', value.len);
    size_t len = end ? (size_t)(end - value.ptr) : value.len;
    struct slice line = slice_of(value.ptr, len);
    while (line.len && line.ptr[0] == '\t')
      line = slice_from(line, 1);
    buf_add_str(&l->detail, "\n    ");
    add_escaped(l, &l->detail, line, false);
    value = slice_from(value, end ? len + 1 : len);
  }
}

void log_end(struct log *l) {
  buf_add_slice(&l->line, buf_slice(&l->detail));
  buf_add_str(&l->line, l->json ? "}\n" : "\n");
  fwrite(l->line.ptr, 1, l->line.len, l->out);
  fflush(l->out);
}

bool log_rate_allows(struct log_rate *r, uint64_t now_ms, uint32_t limit, uint32_t *missed) {
  if (now_ms / 1000 != r->second) {
    r->second = now_ms / 1000;
    r->count = 0;
  }
  if (r->count >= limit) {
    r->suppressed++;
    return false;
  }
  r->count++;
  *missed = r->suppressed;
  r->suppressed = 0;
  return true;
}
