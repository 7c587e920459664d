#include "topic/pattern.h"

#include "base/mem.h"
#include "topic/topic.h"

static bool is_byte(struct slice level, uint8_t byte) { return level.len == 1 && level.ptr[0] == byte; }

// --- from text ---

static const char *check_percents(struct slice text) {
  for (size_t i = 0; i < text.len; i++) {
    if (text.ptr[i] != '%') continue;
    uint8_t what = ++i < text.len ? text.ptr[i] : 0;
    if (what != 'c' && what != 'u' && what != '%')
      return "unknown placeholder: there are %c, the client id, %u, the user name, and %% for a percent sign";
  }
  return NULL;
}

static bool has_placeholder(struct slice level) {
  for (size_t i = 0; i + 1 < level.len; i++)
    if (level.ptr[i] == '%' && level.ptr[++i] != '%') return true;
  return false;
}

static enum pattern_kind kind_of(struct slice level, enum pattern_form form) {
  if (form != PATTERN_VERBATIM && is_byte(level, '#')) return PATTERN_HASH;
  if (form != PATTERN_VERBATIM && is_byte(level, '+')) return PATTERN_PLUS;
  return form != PATTERN_PLAIN && has_placeholder(level) ? PATTERN_TEMPLATE : PATTERN_LITERAL;
}

// Copies a literal level without the doubled `%`.
static struct slice unescape(uint8_t *to, struct slice level) {
  size_t len = 0;
  for (size_t i = 0; i < level.len; i++) {
    if (level.ptr[i] == '%') i++;
    to[len++] = level.ptr[i];
  }
  return slice_of(to, len);
}

// Levels are copied one behind the other, each with a slash: literal ones at the beginning are the head.
static void take_apart(struct pattern *p, struct slice text, enum pattern_form form) {
  uint8_t *at = (uint8_t *)(p->levels + p->count);
  const uint8_t *start = at;
  struct slice level;
  bool more = true, in_head = true;
  for (uint32_t i = 0; topic_next_level(&text, &more, &level); i++) {
    struct pattern_level *out = &p->levels[i];
    out->kind = kind_of(level, form);
    out->text = out->kind == PATTERN_LITERAL && form != PATTERN_PLAIN
                    ? unescape(at, level)
                    : slice_of(memcpy(at, level.ptr, level.len), level.len);
    at += out->text.len;
    in_head = in_head && out->kind == PATTERN_LITERAL;
    if (in_head) {
      p->head = slice_of(start, (size_t)(at - start));
      p->head_levels = i + 1;
    }
    if (out->kind == PATTERN_TEMPLATE) p->has_placeholder = true;
    *at++ = '/';
  }
}

const char *pattern_parse(struct slice text, enum pattern_form form, struct pattern **out) {
  if (!topic_filter_valid(text)) return "not a valid topic filter";
  if (text.len > PATTERN_MAX) return "longer than 65000 bytes";
  const char *problem = form == PATTERN_PLAIN ? NULL : check_percents(text);
  if (problem) return problem;
  if (form != PATTERN_VERBATIM && slice_eq(text, SLICE("+/#")))
    text = SLICE("#"); // the same, see topic_match
  uint32_t count = topic_levels(text);
  if (count > PATTERN_LEVELS_MAX) return "more than 128 levels";
  struct pattern *p = mem_alloc(sizeof *p + count * sizeof p->levels[0] + text.len + 1);
  *p = (struct pattern){.count = count};
  take_apart(p, text, form);
  *out = p;
  return NULL;
}

void pattern_free(struct pattern *p) { mem_free(p); }

struct slice pattern_value(struct slice text) {
  for (size_t i = 0; i < text.len; i++)
    if (text.ptr[i] == '/' || text.ptr[i] == '+' || text.ptr[i] == '#') return slice_of(NULL, 0);
  return text.len ? text : slice_of(NULL, 0);
}

// --- one level ---

// Takes the value off the front of `rest`.
static bool take_value(struct slice *rest, struct slice value) {
  if (!value.ptr || !slice_starts(*rest, value)) return false;
  *rest = slice_from(*rest, value.len);
  return true;
}

static bool take_byte(struct slice *rest, uint8_t byte) {
  if (!rest->len || rest->ptr[0] != byte) return false;
  *rest = slice_from(*rest, 1);
  return true;
}

static struct slice value_of(uint8_t placeholder, const struct pattern_values *v) {
  return placeholder == 'c' ? v->client : v->user;
}

// A placeholder, at the very front: `%%` is a character like others.
static bool begins_open(const struct pattern_level *level) {
  if (level->kind != PATTERN_TEMPLATE) return level->kind != PATTERN_LITERAL;
  return level->text.ptr[0] == '%' && level->text.ptr[1] != '%';
}

bool pattern_level_is(const struct pattern_level *level, const struct pattern_values *v, struct slice given,
                      bool first) {
  if (first && given.len && given.ptr[0] == '$' && begins_open(level)) return false;
  struct slice text = level->text;
  for (size_t i = 0; i < text.len; i++) {
    bool literal = text.ptr[i] != '%' || text.ptr[++i] == '%';
    if (!(literal ? take_byte(&given, text.ptr[i]) : take_value(&given, value_of(text.ptr[i], v))))
      return false;
  }
  return !given.len;
}

// Whether a template can stand for anything.
static bool has_values(const struct pattern_level *level, const struct pattern_values *v, bool first) {
  for (size_t i = 0; i + 1 < level->text.len; i++) {
    if (level->text.ptr[i] != '%') continue;
    uint8_t what = level->text.ptr[++i];
    struct slice value = value_of(what, v);
    if (what == '%') continue;
    if (!value.ptr || (i == 1 && first && value.ptr[0] == '$')) return false;
  }
  return true;
}

// --- levels ---

static bool level_covers(const struct pattern_level *level, const struct pattern_values *v,
                         struct slice given, bool first) {
  switch (level->kind) {
  case PATTERN_LITERAL: return slice_eq(level->text, given);
  case PATTERN_TEMPLATE: return pattern_level_is(level, v, given, first);
  default: return !is_byte(given, '#');
  }
}

static bool covers_by_levels(const struct pattern *p, const struct pattern_values *v, struct slice topic) {
  bool more = true;
  struct slice level;
  if (topic.ptr[0] == '$' && begins_open(&p->levels[0])) return false; // [MQTT-4.7.2-1]
  for (uint32_t i = 0; i < p->count; i++) {
    if (p->levels[i].kind == PATTERN_HASH) return true; // also where the topic ends [MQTT 4.7.1.2]
    if (!topic_next_level(&topic, &more, &level)) return false;
    if (!level_covers(&p->levels[i], v, level, !i)) return false;
  }
  return !more;
}

bool pattern_covers(const struct pattern *p, const struct pattern_values *v, struct slice topic) {
  if (!slice_starts(topic, p->head)) return false;
  if (p->head_levels == p->count) return topic.len == p->head.len;
  if (p->head_levels && p->head_levels + 1 == p->count && p->levels[p->head_levels].kind == PATTERN_HASH)
    return topic.len == p->head.len || topic.ptr[p->head.len] == '/';
  return covers_by_levels(p, v, topic);
}

static bool starts_with_dollar(const struct pattern_level *level) {
  return level->text.len && level->text.ptr[0] == '$';
}

static bool level_overlaps(const struct pattern_level *level, const struct pattern_values *v,
                           struct slice given, bool first) {
  bool open = is_byte(given, '+') || is_byte(given, '#');
  if (first && open && starts_with_dollar(level)) return false; // [MQTT-4.7.2-1]
  switch (level->kind) {
  case PATTERN_LITERAL: return open || slice_eq(level->text, given);
  case PATTERN_TEMPLATE: return open ? has_values(level, v, first) : pattern_level_is(level, v, given, first);
  default: return true;
  }
}

// What a pattern that cannot stand for anything has behind a `#` of the filter counts as well.
static bool rest_has_values(const struct pattern *p, const struct pattern_values *v, uint32_t from) {
  for (uint32_t i = from; i < p->count; i++)
    if (p->levels[i].kind == PATTERN_TEMPLATE && !has_values(&p->levels[i], v, !i)) return false;
  return true;
}

bool pattern_overlaps(const struct pattern *p, const struct pattern_values *v, struct slice filter) {
  bool more = true;
  struct slice level;
  if (filter.ptr[0] == '$' && begins_open(&p->levels[0])) return false; // [MQTT-4.7.2-1]
  for (uint32_t i = 0; i < p->count; i++) {
    if (p->levels[i].kind == PATTERN_HASH) return true;
    if (!topic_next_level(&filter, &more, &level)) return false;
    if (!level_overlaps(&p->levels[i], v, level, !i)) return false;
    if (is_byte(level, '#')) return rest_has_values(p, v, i + 1);
  }
  return !more || slice_eq(filter, SLICE("#")); // "a/#" has "a" in it
}
