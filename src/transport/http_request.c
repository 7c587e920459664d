#include "transport/http_request.h"

#include <assert.h>
#include <http_parser.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"

struct span { // of the head, which may move while it grows
  uint16_t at, len;
};

struct field {
  struct span name, value;
};

struct http_request {
  http_parser parser;
  size_t max, head_len; // head_len 0: not whole
  bool full;            // more fields than HTTP_FIELDS_MAX
  struct buf bytes;
  struct buf fields; // of struct field
  struct span target;
};

// --- what the parser tells, in pieces ---

static struct http_request *request_of(const http_parser *parser) { return parser->data; }

// A piece goes on where the last one of the same thing ended.
static void extend(struct http_request *r, struct span *s, const char *at, size_t len) {
  size_t offset = (size_t)((const uint8_t *)at - r->bytes.ptr);
  if (s->len && offset == s->at + (size_t)s->len)
    s->len += (uint16_t)len;
  else
    *s = (struct span){(uint16_t)offset, (uint16_t)len};
}

static struct field *last_field(const struct http_request *r) {
  return r->fields.len ? (struct field *)(void *)(r->fields.ptr + r->fields.len) - 1 : NULL;
}

static int on_url(http_parser *parser, const char *at, size_t len) {
  struct http_request *r = request_of(parser);
  extend(r, &r->target, at, len);
  return 0;
}

static int on_name(http_parser *parser, const char *at, size_t len) {
  struct http_request *r = request_of(parser);
  struct field *f = last_field(r);
  size_t offset = (size_t)((const uint8_t *)at - r->bytes.ptr);
  if (!f || offset != f->name.at + (size_t)f->name.len) {
    r->full = r->fields.len == HTTP_FIELDS_MAX * sizeof *f;
    if (r->full) return -1; // the parser stops
    buf_add(&r->fields, &(struct field){0}, sizeof *f);
    f = last_field(r);
  }
  extend(r, &f->name, at, len);
  return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len) {
  struct http_request *r = request_of(parser);
  extend(r, &last_field(r)->value, at, len);
  return 0;
}

enum { NOTHING_FOLLOWS = 2 }; // the parser's: of this request; it stops right behind the head

static int on_head(http_parser *parser) {
  (void)parser;
  return NOTHING_FOLLOWS;
}

static const http_parser_settings callbacks = {.on_url = on_url,
                                               .on_header_field = on_name,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_head};

// --- feeding ---

struct http_request *http_request_new(size_t max) {
  assert(max <= HTTP_REQUEST_LIMIT);
  struct http_request *r = mem_calloc(1, sizeof *r);
  http_parser_init(&r->parser, HTTP_REQUEST);
  r->parser.data = r;
  r->max = max;
  return r;
}

void http_request_free(struct http_request *r) {
  if (!r) return;
  buf_release(&r->bytes);
  buf_release(&r->fields);
  mem_free(r);
}

size_t http_request_room(const struct http_request *r) { return r->max - r->bytes.len; }

static struct slice slice_at(const struct http_request *r, struct span s) {
  return slice_of(r->bytes.ptr + s.at, s.len);
}

// What the parser lets pass, as some builds of it do: folded lines, blanks in a name or in front of its colon
// [RFC 9112 5.1, 5.2], another byte in place of the last line feed.
static bool is_strict(const struct http_request *r) {
  const uint8_t *head = r->bytes.ptr;
  if (memmem(head, r->head_len, "\n ", 2) || memmem(head, r->head_len, "\n\t", 2)) return false;
  const struct field *fields = (const void *)r->fields.ptr;
  for (size_t i = 0; i < r->fields.len / sizeof *fields; i++)
    if (memchr(head + fields[i].name.at, ' ', fields[i].name.len)) return false;
  return head[r->head_len - 1] == '\n';
}

enum http_fed http_request_feed(struct http_request *r, struct slice in) {
  assert(!r->head_len && in.len <= http_request_room(r));
  size_t before = r->bytes.len;
  buf_add_slice(&r->bytes, in);
  if (!in.len) return HTTP_MORE;
  size_t parsed = http_parser_execute(&r->parser, &callbacks, (const char *)r->bytes.ptr + before, in.len);
  if (r->full) return HTTP_TOO_LONG;
  if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK) return HTTP_MALFORMED;
  if (r->parser.upgrade) {
    r->head_len = before + parsed;
    return is_strict(r) ? HTTP_WHOLE : HTTP_MALFORMED;
  }
  return http_request_room(r) ? HTTP_MORE : HTTP_TOO_LONG;
}

// --- asking ---

const char *http_request_method(const struct http_request *r) {
  return http_method_str((enum http_method)r->parser.method);
}

unsigned http_request_version(const struct http_request *r) {
  return r->parser.http_major * 10u + r->parser.http_minor;
}

struct slice http_request_path(const struct http_request *r) {
  struct slice target = slice_at(r, r->target);
  struct http_parser_url url;
  http_parser_url_init(&url);
  if (http_parser_parse_url((const char *)target.ptr, target.len, false, &url) ||
      !(url.field_set & 1 << UF_PATH))
    return slice_of(NULL, 0);
  return slice_of(target.ptr + url.field_data[UF_PATH].off, url.field_data[UF_PATH].len);
}

struct slice http_request_rest(const struct http_request *r) {
  return slice_from(buf_slice(&r->bytes), r->head_len);
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

struct slice http_trim(struct slice text) {
  while (text.len && is_blank(text.ptr[0]))
    text = slice_from(text, 1);
  while (text.len && is_blank(text.ptr[text.len - 1]))
    text.len--;
  return text;
}

// The next field of that name from index *at on, and *at behind it. False: there is none.
static bool next_field(const struct http_request *r, const char *name, size_t *at, struct slice *value) {
  const struct field *fields = (const void *)r->fields.ptr;
  size_t len = strlen(name);
  while (*at < r->fields.len / sizeof *fields) {
    const struct field *f = &fields[(*at)++];
    struct slice found = slice_at(r, f->name);
    if (found.len != len || strncasecmp((const char *)found.ptr, name, len) != 0) continue;
    *value = http_trim(slice_at(r, f->value));
    return true;
  }
  return false;
}

unsigned http_request_field(const struct http_request *r, const char *name, struct slice *last) {
  unsigned count = 0;
  for (size_t at = 0; next_field(r, name, &at, last);)
    count++;
  return count;
}

static bool is_token(struct slice s, const char *token, enum http_case how) {
  if (s.len != strlen(token)) return false;
  const char *text = (const char *)s.ptr;
  return (how == HTTP_ANY_CASE ? strncasecmp : strncmp)(text, token, s.len) == 0;
}

static bool list_has(struct slice list, const char *token, enum http_case how) {
  for (;;) {
    const uint8_t *comma = list.len ? memchr(list.ptr, ',', list.len) : NULL;
    size_t len = comma ? (size_t)(comma - list.ptr) : list.len;
    if (is_token(http_trim(slice_of(list.ptr, len)), token, how)) return true;
    if (!comma) return false;
    list = slice_from(list, len + 1);
  }
}

bool http_request_lists(const struct http_request *r, const char *name, const char *token,
                        enum http_case how) {
  struct slice value;
  for (size_t at = 0; next_field(r, name, &at, &value);)
    if (list_has(value, token, how)) return true;
  return false;
}
