#include "topic/filters.h"

#include <assert.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "topic/topic.h"

#define KNOWN_SLOTS     64u // a power of two
#define KNOWN_TOPIC_MAX 112u

struct branch { // of a node of the tree
  struct branch *next_made;
  struct filter *first; // that end here, by number
  struct template_edge *templates;
  uint32_t lowest, cases;  // of here and below
  uint32_t lowest_overlap; // of those that overlap
};

struct template_edge { // to a child that is a template
  struct template_edge *next;
  const struct pattern_level *level;
  struct tree_node *child;
};

struct known { // an answer
  const struct filter *found;
  uint32_t cases; // 0: none yet
  uint16_t topic_len;
  uint8_t topic[KNOWN_TOPIC_MAX];
};

static const struct pattern_values no_values;

void filters_init(struct filters *f, uint64_t seed) { *f = (struct filters){.seed = seed}; }

void filters_release(struct filters *f) {
  for (struct branch *b = f->branches, *next; b; b = next) {
    next = b->next_made;
    for (struct template_edge *e = b->templates, *after; e; e = after) {
      after = e->next;
      mem_free(e);
    }
    mem_free(b);
  }
  if (f->tree.root) tree_release(&f->tree);
  for (uint32_t i = 0; i < f->count; i++)
    pattern_free(f->list[i].pattern);
  mem_free(f->list);
  mem_free(f->known);
}

void filters_add(struct filters *f, struct pattern *p, uint32_t number, enum filters_how how,
                 uint32_t cases) {
  assert(!f->count || f->list[f->count - 1].number <= number);
  if (f->count == f->cap) {
    f->cap = f->cap ? 2 * f->cap : 4;
    f->list = mem_realloc(f->list, f->cap * sizeof *f->list);
  }
  f->list[f->count++] = (struct filter){.pattern = p, .number = number, .cases = cases, .how = how};
  f->cases |= cases;
  if (p && p->has_placeholder) f->has_placeholder = true;
}

// --- the tree ---

// The edge of a template begins with a byte that no level of a topic has.
static void add_edge_text(struct buf *out, const struct pattern_level *level) {
  if (level->kind == PATTERN_TEMPLATE) buf_add_byte(out, 0);
  buf_add_slice(out, level->text);
}

static struct tree_node *node_of(struct filters *f, const struct pattern *p, struct buf *path) {
  path->len = 0;
  for (uint32_t i = 0; i < p->count; i++) {
    if (i) buf_add_byte(path, '/');
    add_edge_text(path, &p->levels[i]);
  }
  return tree_insert(&f->tree, buf_slice(path));
}

static struct branch *branch_of(struct filters *f, struct tree_node *node) {
  if (!node->value) {
    struct branch *b = node->value = mem_calloc(1, sizeof *b);
    b->lowest = b->lowest_overlap = UINT32_MAX;
    b->next_made = f->branches;
    f->branches = b;
  }
  return node->value;
}

static void link_template(struct branch *parent, const struct pattern_level *level, struct tree_node *child) {
  for (const struct template_edge *e = parent->templates; e; e = e->next)
    if (e->child == child) return;
  struct template_edge *e = mem_alloc(sizeof *e);
  *e = (struct template_edge){parent->templates, level, child};
  parent->templates = e;
}

// Numbers only grow, so the first one that comes to a node is its lowest.
static void plant(struct filters *f, struct filter *filter, struct buf *path) {
  const struct pattern *p = filter->pattern;
  struct tree_node *node = node_of(f, p, path);
  struct filter **end = &branch_of(f, node)->first;
  while (*end)
    end = &(*end)->next;
  *end = filter;
  for (uint32_t i = p->count; node; node = node->parent) {
    struct branch *b = branch_of(f, node);
    if (filter->number < b->lowest) b->lowest = filter->number;
    if (filter->how == FILTERS_OVERLAP && filter->number < b->lowest_overlap)
      b->lowest_overlap = filter->number;
    b->cases |= filter->cases;
    if (i && p->levels[--i].kind == PATTERN_TEMPLATE)
      link_template(branch_of(f, node->parent), &p->levels[i], node);
  }
}

void filters_seal(struct filters *f, uint32_t scanned) {
  if (f->count <= scanned) return;
  struct buf path = BUF_INIT;
  tree_init(&f->tree, f->seed);
  branch_of(f, f->tree.root);
  struct filter **everything = &f->everything;
  for (uint32_t i = 0; i < f->count; i++) {
    struct filter *filter = &f->list[i];
    if (filter->pattern)
      plant(f, filter, &path);
    else
      everything = &(*everything = filter)->next;
  }
  buf_release(&path);
}

void filters_remember(struct filters *f) {
  if (f->tree.root && !f->has_placeholder) f->known = mem_calloc(KNOWN_SLOTS, sizeof *f->known);
}

// --- the walk ---

struct walk {
  const struct filters *filters;
  const struct filters_query *query;
  const struct pattern_values *values;
  const struct filter *found;
  uint32_t below;
};

static bool fits(const struct filter *filter, const struct filters_query *q, const struct pattern_values *v) {
  if (!(filter->cases & q->cases)) return false;
  if (!filter->pattern) return true;
  return filter->how == FILTERS_OVERLAP && q->is_filter ? pattern_overlaps(filter->pattern, v, q->topic)
                                                        : pattern_covers(filter->pattern, v, q->topic);
}

// The filters that end at the node. A name that came here is covered by them; with a filter it has to be
// seen.
static void take(struct walk *w, const struct tree_node *node) {
  const struct branch *b = node->value;
  for (const struct filter *filter = b->first; filter && filter->number < w->below; filter = filter->next) {
    if (!(filter->cases & w->query->cases)) continue;
    if (w->query->is_filter && !fits(filter, w->query, w->values)) continue;
    w->found = filter;
    w->below = filter->number;
    return;
  }
}

static bool is_worth(const struct walk *w, const struct tree_node *node) {
  const struct branch *b = node->value;
  return b->lowest < w->below && b->cases & w->query->cases;
}

// A wildcard of the query is covered by a wildcard only: elsewhere it is about what overlaps.
static bool may_overlap(const struct walk *w, const struct tree_node *node) {
  const struct branch *b = node->value;
  return b->lowest_overlap < w->below && b->cases & w->query->cases;
}

static void take_all_below(struct walk *w, const struct tree_node *node) {
  if (!may_overlap(w, node)) return;
  take(w, node);
  for (const struct tree_node *child = node->first; child; child = child->next)
    take_all_below(w, child);
}

static void walk(struct walk *w, const struct tree_node *node, struct slice rest, bool more);

static void walk_child(struct walk *w, const struct tree_node *child, struct slice rest, bool more) {
  if (child && is_worth(w, child)) walk(w, child, rest, more);
}

static void walk_templates(struct walk *w, const struct tree_node *node, struct slice level,
                           struct slice rest, bool more) {
  const struct branch *b = node->value;
  for (const struct template_edge *e = b->templates; e; e = e->next)
    if (pattern_level_is(e->level, w->values, level, !node->parent)) walk_child(w, e->child, rest, more);
}

static void walk_all(struct walk *w, const struct tree_node *node, struct slice rest, bool more) {
  walk_child(w, tree_plus_child(node), rest, more);
  if (!may_overlap(w, node)) return;
  for (const struct tree_node *child = node->first; child; child = child->next)
    if (may_overlap(w, child)) walk(w, child, rest, more);
}

// Whether it has children beside wildcards, which stand first.
static bool has_named(const struct tree_node *node) {
  const struct tree_node *child = node->first;
  if (node->has_hash) child = child->next;
  if (node->has_plus) child = child->next;
  return child;
}

// As deep as a pattern has levels, PATTERN_LEVELS_MAX. Of filters it finds more than those that fit.
static void walk(struct walk *w, const struct tree_node *node, struct slice rest, bool more) {
  bool is_dollar = !node->parent && rest.len && rest.ptr[0] == '$'; // [MQTT-4.7.2-1]
  const struct tree_node *hash = is_dollar ? NULL : tree_hash_child(node);
  if (hash && is_worth(w, hash)) take(w, hash);
  struct slice level;
  if (!topic_next_level(&rest, &more, &level)) {
    take(w, node);
    return;
  }
  if (w->query->is_filter && level.len == 1 && level.ptr[0] == '#') {
    take_all_below(w, node);
  } else if (w->query->is_filter && level.len == 1 && level.ptr[0] == '+') {
    walk_all(w, node, rest, more);
  } else {
    if (has_named(node)) walk_child(w, tree_child(&w->filters->tree, node, level), rest, more);
    if (!is_dollar) walk_child(w, tree_plus_child(node), rest, more);
    walk_templates(w, node, level, rest, more);
  }
}

// --- finding ---

static const struct filter *scan(const struct filters *f, const struct filters_query *q,
                                 const struct pattern_values *v, uint32_t below) {
  for (uint32_t i = 0; i < f->count && f->list[i].number < below; i++)
    if (fits(&f->list[i], q, v)) return &f->list[i];
  return NULL;
}

static const struct filter *find_in_tree(const struct filters *f, const struct filters_query *q,
                                         const struct pattern_values *v, uint32_t below) {
  struct walk w = {.filters = f, .query = q, .values = v, .below = below};
  for (const struct filter *any = f->everything; any && any->number < w.below; any = any->next)
    if (any->cases & q->cases) w.found = any, w.below = any->number;
  if (is_worth(&w, f->tree.root)) walk(&w, f->tree.root, q->topic, true);
  return w.found;
}

// The answer for a name, whoever asks.
static const struct filter *find_known(struct filters *f, const struct filters_query *q) {
  struct slice topic = q->topic;
  struct known *known = &f->known[hash_bytes(f->seed ^ q->cases, topic) & (KNOWN_SLOTS - 1)];
  if (known->cases == q->cases && slice_eq(slice_of(known->topic, known->topic_len), topic))
    return known->found;
  known->found = find_in_tree(f, q, &no_values, UINT32_MAX);
  known->cases = q->cases;
  known->topic_len = (uint16_t)topic.len;
  memcpy(known->topic, topic.ptr, topic.len);
  return known->found;
}

const struct filter *filters_find(struct filters *f, const struct filters_query *q, uint32_t below) {
  const struct pattern_values *v = q->values ? q->values : &no_values;
  if (!(f->cases & q->cases)) return NULL;
  if (!f->tree.root) return scan(f, q, v, below);
  if (!f->known || q->is_filter || q->topic.len > KNOWN_TOPIC_MAX) return find_in_tree(f, q, v, below);
  const struct filter *found = find_known(f, q);
  return found && found->number < below ? found : NULL;
}
