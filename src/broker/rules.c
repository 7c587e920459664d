#include "broker/rules.h"

#include <assert.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"

struct rule_group {        // rules with the same condition on names
  struct rule_group *next; // of the same name, or of the others
  struct filters plain, templates;
  uint8_t user_kind, client_kind; // enum rules_name_kind
  uint16_t user_len, client_len;
  uint8_t names[]; // user, client
};

struct rule_info {
  uint32_t line;
  uint8_t qos;
  bool allow;
};

struct named { // groups that a name, or how it begins, leads to
  struct rule_group *first;
  struct slice name; // the first group's
};

struct name_index {
  struct map exact, prefixes; // struct named
  uint16_t *lengths;          // of the prefixes, each once
  uint32_t length_count;
};

struct rules {
  struct rule_info *infos; // by number
  uint32_t count, cap;
  uint8_t named_operations;
  struct rule_group **groups;
  uint32_t group_count, group_cap;
  struct map by_condition; // struct rule_group, while rules are added
  struct name_index users, clients;
  struct rule_group *others;
  uint64_t seed;
  char *file; // or NULL
  uint32_t refs;
  struct rules_pool *pool; // that they are found in; or NULL
  struct buf source;       // by this
};

struct rules_view {
  uint32_t count;
  struct rule_group *groups[];
};

// --- cases: a bit for each operation, QoS and retain flag that a rule can be about ---

static uint32_t case_of(const struct rules_input *input) {
  unsigned at = input->operation == RULES_PUBLISH ? 0 : input->operation == RULES_SUBSCRIBE ? 6 : 12;
  return 1u << (at + 2 * input->qos + input->retain);
}

static bool is_about(const struct rule *rule, const struct rules_input *input) {
  if (!(rule->operations & input->operation)) return false;
  if (!rule->any_retain && rule->retain != input->retain) return false;
  if (rule->qos == RULES_ANY_QOS) return true;
  if (!rule->allow) return input->qos >= rule->qos;
  return input->operation != RULES_PUBLISH || input->qos <= rule->qos; // others are lowered
}

static uint32_t cases_of(const struct rule *rule) {
  uint32_t cases = 0;
  for (unsigned o = RULES_PUBLISH; o <= RULES_DELIVER; o <<= 1)
    for (uint8_t qos = 0; qos <= 2; qos++)
      for (unsigned retain = 0; retain <= 1; retain++) {
        struct rules_input input = {.operation = (enum rules_operation)o, .qos = qos, .retain = retain};
        if (is_about(rule, &input)) cases |= case_of(&input);
      }
  return cases;
}

// --- groups ---

static struct rules_name user_of(const struct rule_group *g) {
  return (struct rules_name){(enum rules_name_kind)g->user_kind, slice_of(g->names, g->user_len)};
}

static struct rules_name client_of(const struct rule_group *g) {
  return (struct rules_name){(enum rules_name_kind)g->client_kind,
                             slice_of(g->names + g->user_len, g->client_len)};
}

// The bytes from the kinds on tell the condition.
static struct slice condition_key(const void *value) {
  const struct rule_group *g = value;
  return slice_of(&g->user_kind, offsetof(struct rule_group, names) - offsetof(struct rule_group, user_kind) +
                                     g->user_len + g->client_len);
}

static struct rule_group *group_new(struct rules *r, const struct rule *rule) {
  size_t user_len = rule->user.text.len, client_len = rule->client.text.len;
  assert(user_len <= UINT16_MAX && client_len <= UINT16_MAX);
  struct rule_group *g = mem_calloc(1, sizeof *g + user_len + client_len);
  g->user_kind = (uint8_t)rule->user.kind;
  g->client_kind = (uint8_t)rule->client.kind;
  g->user_len = (uint16_t)user_len;
  g->client_len = (uint16_t)client_len;
  if (user_len) memcpy(g->names, rule->user.text.ptr, user_len);
  if (client_len) memcpy(g->names + user_len, rule->client.text.ptr, client_len);
  filters_init(&g->plain, r->seed);
  filters_init(&g->templates, r->seed);
  return g;
}

static void keep_group(struct rules *r, struct rule_group *g) {
  if (r->group_count == r->group_cap) {
    r->group_cap = r->group_cap ? 2 * r->group_cap : 4;
    r->groups = mem_realloc(r->groups, r->group_cap * sizeof *r->groups);
  }
  r->groups[r->group_count++] = g;
  map_put(&r->by_condition, g);
}

static struct rule_group *group_of(struct rules *r, const struct rule *rule) {
  struct rule_group *fresh = group_new(r, rule), *known = map_get(&r->by_condition, condition_key(fresh));
  if (!known) {
    keep_group(r, fresh);
    return fresh;
  }
  mem_free(fresh);
  return known;
}

static struct slice named_key(const void *value) { return ((const struct named *)value)->name; }

// --- names to groups ---

static void name_index_init(struct name_index *ix, uint64_t seed) {
  map_init(&ix->exact, named_key, seed);
  map_init(&ix->prefixes, named_key, seed);
}

static void free_named(struct map *m) {
  uint32_t at = 0;
  for (struct named *n; (n = map_each(m, &at));)
    mem_free(n);
  map_release(m);
}

static void name_index_release(struct name_index *ix) {
  free_named(&ix->exact);
  free_named(&ix->prefixes);
  mem_free(ix->lengths);
}

static void put_named(struct map *m, struct rule_group *g, struct slice name) {
  struct named *n = map_get(m, name);
  if (!n) {
    n = mem_alloc(sizeof *n);
    *n = (struct named){.name = name};
    map_put(m, n);
  }
  g->next = n->first;
  n->first = g;
}

static void note_length(struct name_index *ix, uint16_t length) {
  for (uint32_t i = 0; i < ix->length_count; i++)
    if (ix->lengths[i] == length) return;
  ix->lengths = mem_realloc(ix->lengths, (ix->length_count + 1) * sizeof *ix->lengths);
  ix->lengths[ix->length_count++] = length;
}

// False: the name is neither told nor how it begins.
static bool put_group(struct name_index *ix, struct rule_group *g, struct rules_name name) {
  switch (name.kind) {
  case RULES_NAME_EXACT: put_named(&ix->exact, g, name.text); return true;
  case RULES_NAME_PREFIX:
    put_named(&ix->prefixes, g, name.text);
    note_length(ix, (uint16_t)name.text.len);
    return true;
  default: return false;
  }
}

// --- making them ---

struct rules *rules_new(const char *file, uint64_t seed) {
  struct rules *r = mem_calloc(1, sizeof *r);
  r->seed = seed;
  r->refs = 1;
  if (file) r->file = mem_dup(file, strlen(file) + 1);
  map_init(&r->by_condition, condition_key, seed);
  name_index_init(&r->users, seed);
  name_index_init(&r->clients, seed);
  return r;
}

static void rules_free(struct rules *r) {
  for (uint32_t i = 0; i < r->group_count; i++) {
    filters_release(&r->groups[i]->plain);
    filters_release(&r->groups[i]->templates);
    mem_free(r->groups[i]);
  }
  map_release(&r->by_condition);
  name_index_release(&r->users);
  name_index_release(&r->clients);
  mem_free(r->groups);
  mem_free(r->infos);
  mem_free(r->file);
  buf_release(&r->source);
  mem_free(r);
}

void rules_unref(struct rules *r) {
  if (!r || --r->refs) return;
  if (r->pool) map_remove(&r->pool->by_source, buf_slice(&r->source));
  rules_free(r);
}

static void note_info(struct rules *r, const struct rule *rule) {
  if (rule->number > r->cap) {
    r->cap = rule->number > 2 * r->cap ? rule->number : 2 * r->cap;
    r->infos = mem_realloc(r->infos, r->cap * sizeof *r->infos);
  }
  r->infos[rule->number - 1] = (struct rule_info){rule->line, rule->qos, rule->allow};
  r->count = rule->number;
  r->named_operations |= rule->named;
}

const char *rules_add(struct rules *r, const struct rule *rule) {
  struct pattern *p = NULL;
  assert(rule->number && rule->number >= r->count);
  if (rule->has_topic) {
    const char *problem = pattern_parse(rule->topic, rule->exact ? PATTERN_VERBATIM : PATTERN_FILTER, &p);
    if (problem) return problem;
  }
  note_info(r, rule);
  struct rule_group *g = group_of(r, rule);
  bool overlaps = !rule->allow && !rule->exact;
  filters_add(p && p->has_placeholder ? &g->templates : &g->plain, p, rule->number,
              overlaps ? FILTERS_OVERLAP : FILTERS_COVER, cases_of(rule));
  return NULL;
}

static bool is_of_many(const struct rule_group *g) {
  return g->user_kind != RULES_NAME_EXACT && g->client_kind != RULES_NAME_EXACT;
}

void rules_seal(struct rules *r) {
  map_release(&r->by_condition);
  for (uint32_t i = 0; i < r->group_count; i++) {
    struct rule_group *g = r->groups[i];
    filters_seal(&g->plain, FILTERS_SCANNED);
    filters_seal(&g->templates, FILTERS_SCANNED);
    if (is_of_many(g)) filters_remember(&g->plain);
    if (g->user_kind != RULES_NAME_EXACT && g->client_kind == RULES_NAME_EXACT) {
      put_named(&r->clients.exact, g, client_of(g).text);
    } else if (!put_group(&r->users, g, user_of(g)) && !put_group(&r->clients, g, client_of(g))) {
      g->next = r->others;
      r->others = g;
    }
  }
}

uint32_t rules_count(const struct rules *r) { return r->count; }

bool rules_concern(const struct rules *r, enum rules_operation o) {
  return o != RULES_DELIVER || r->named_operations & o;
}

// --- who ---

static bool name_fits(struct rules_name wanted, struct slice name) {
  switch (wanted.kind) {
  case RULES_NAME_ANY: return true;
  case RULES_NAME_NONE: return !name.ptr;
  case RULES_NAME_EXACT: return name.ptr && slice_eq(wanted.text, name);
  case RULES_NAME_PREFIX: return name.ptr && slice_starts(name, wanted.text);
  }
  return false;
}

static bool group_fits(const struct rule_group *g, const struct rules_who *who) {
  return name_fits(user_of(g), who->user) && name_fits(client_of(g), who->client);
}

// Adds those of the chain that fit, or only counts them.
static uint32_t collect(struct rule_group *first, const struct rules_who *who, struct rule_group **out) {
  uint32_t count = 0;
  for (struct rule_group *g = first; g; g = g->next)
    if (group_fits(g, who)) {
      if (out) out[count] = g;
      count++;
    }
  return count;
}

static struct rule_group *named_groups(const struct map *m, struct slice name) {
  const struct named *n = map_get(m, name);
  return n ? n->first : NULL;
}

static uint32_t collect_named(const struct name_index *ix, struct slice name, const struct rules_who *who,
                              struct rule_group **out) {
  if (!name.ptr) return 0;
  uint32_t count = collect(named_groups(&ix->exact, name), who, out);
  for (uint32_t i = 0; i < ix->length_count; i++) {
    if (ix->lengths[i] > name.len) continue;
    struct slice prefix = slice_of(name.ptr, ix->lengths[i]);
    count += collect(named_groups(&ix->prefixes, prefix), who, out ? out + count : NULL);
  }
  return count;
}

static uint32_t collect_all(const struct rules *r, const struct rules_who *who, struct rule_group **out) {
  uint32_t count = collect_named(&r->users, who->user, who, out);
  count += collect_named(&r->clients, who->client, who, out ? out + count : NULL);
  return count + collect(r->others, who, out ? out + count : NULL);
}

struct rules_view *rules_view_new(const struct rules *r, const struct rules_who *who) {
  uint32_t count = collect_all(r, who, NULL);
  struct rules_view *v = mem_alloc(sizeof *v + count * sizeof v->groups[0]);
  v->count = collect_all(r, who, v->groups);
  return v;
}

void rules_view_free(struct rules_view *v) { mem_free(v); }

// --- deciding ---

static void say(const struct rules *r, uint32_t number, struct rules_decision *out) {
  const struct rule_info *info = &r->infos[number - 1];
  out->verdict = info->allow ? RULES_ALLOW : RULES_DENY;
  out->qos = info->qos < 2 ? info->qos : 2;
  out->number = number;
  out->line = info->line;
}

void rules_decide(struct rules *r, const struct rules_view *v, const struct pattern_values *names,
                  const struct rules_input *input, struct rules_decision *out) {
  struct filters_query q = {.topic = input->topic,
                            .is_filter = input->operation == RULES_SUBSCRIBE,
                            .cases = case_of(input),
                            .values = names};
  const struct filter *found = NULL;
  uint32_t below = UINT32_MAX;
  for (uint32_t i = 0; i < v->count; i++) {
    const struct filter *plain = filters_find(&v->groups[i]->plain, &q, below);
    if (plain) found = plain, below = plain->number;
    const struct filter *template = filters_find(&v->groups[i]->templates, &q, below);
    if (template) found = template, below = template->number;
  }
  *out = (struct rules_decision){.file = r->file};
  if (found) say(r, found->number, out);
}

void rules_check(struct rules *r, const struct rules_who *who, const struct rules_input *input,
                 struct rules_decision *out) {
  struct rules_view *v = rules_view_new(r, who);
  struct pattern_values names = {pattern_value(who->client), pattern_value(who->user)};
  rules_decide(r, v, &names, input, out);
  rules_view_free(v);
}

// --- rules that are there once ---

static struct slice source_key(const void *value) {
  return buf_slice(&((const struct rules *)value)->source);
}

void rules_pool_init(struct rules_pool *pool, uint64_t seed) { map_init(&pool->by_source, source_key, seed); }

void rules_pool_release(struct rules_pool *pool) {
  uint32_t at = 0;
  for (struct rules *r; (r = map_each(&pool->by_source, &at));)
    r->pool = NULL;
  map_release(&pool->by_source);
}

struct rules *rules_pool_get(struct rules_pool *pool, struct slice source) {
  struct rules *r = map_get(&pool->by_source, source);
  if (r) r->refs++;
  return r;
}

void rules_pool_put(struct rules_pool *pool, struct rules *r, struct slice source) {
  r->pool = pool;
  buf_reserve_exact(&r->source, source.len);
  buf_add_slice(&r->source, source);
  map_put(&pool->by_source, r);
}

// --- for people ---

const char *rules_decision_text(const struct rules_decision *d, char out[RULES_TEXT_MAX]) {
  if (d->number)
    snprintf(out, RULES_TEXT_MAX, "rule %u%s", d->number, d->own ? " of its own" : "");
  else
    snprintf(out, RULES_TEXT_MAX, "no rule applies");
  return out;
}

const char *rules_decision_place(const struct rules_decision *d, char out[RULES_PLACE_MAX]) {
  *out = 0;
  if (d->file && d->line) snprintf(out, RULES_PLACE_MAX, "%s:%u", d->file, d->line);
  return out;
}
