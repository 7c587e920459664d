#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "random_topic.h"
#include "topic/topic.h"
#include "topic/tree.h"

static char held; // something for values to point at

static struct tree_node *hold(struct tree *t, struct slice path) {
  struct tree_node *node = tree_insert(t, path);
  node->value = &held;
  return node;
}

static void let_go(struct tree *t, struct tree_node *node) {
  node->value = NULL;
  tree_prune(t, node);
}

static void assert_path(const struct tree_node *node, struct slice expected) {
  struct buf path = BUF_INIT;
  tree_path(node, &path);
  assert_true(slice_eq(buf_slice(&path), expected));
  buf_release(&path);
}

static void a_node_is_found_by_its_path(void **state) {
  (void)state;
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *abc = hold(&t, SLICE("a/b/c"));
  assert_int_equal(t.count, 3);
  assert_ptr_equal(tree_find(&t, SLICE("a/b/c")), abc);
  assert_ptr_equal(tree_find(&t, SLICE("a/b")), abc->parent);
  assert_ptr_equal(tree_insert(&t, SLICE("a/b/c")), abc);
  assert_null(tree_find(&t, SLICE("a/b/c/")));
  assert_null(tree_find(&t, SLICE("b")));
  assert_ptr_equal(tree_child(&t, t.root, SLICE("a")), abc->parent->parent);
  assert_path(abc, SLICE("a/b/c"));
  let_go(&t, abc);
  assert_int_equal(t.count, 0);
  tree_release(&t);
}

static void empty_levels_are_nodes(void **state) {
  (void)state;
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *slash = hold(&t, SLICE("/")), *slashes = hold(&t, SLICE("//"));
  assert_ptr_not_equal(slash, slashes);
  assert_ptr_equal(slashes->parent, slash);
  assert_path(slash, SLICE("/"));
  assert_path(slashes, SLICE("//"));
  tree_release(&t);
}

static void nodes_that_hold_something_are_not_pruned(void **state) {
  (void)state;
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *ab = hold(&t, SLICE("a/b")), *abcd = hold(&t, SLICE("a/b/c/d"));
  let_go(&t, abcd);
  assert_int_equal(t.count, 2);
  assert_ptr_equal(tree_find(&t, SLICE("a/b")), ab);
  let_go(&t, ab);
  assert_int_equal(t.count, 0);
  tree_release(&t);
}

static void a_pinned_node_stays_until_it_is_unpinned(void **state) {
  (void)state;
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *b = hold(&t, SLICE("a/b")), *c = hold(&t, SLICE("a/c"));
  tree_pin(b);
  tree_pin(b);
  let_go(&t, b);
  assert_ptr_equal(b->next, c);
  let_go(&t, c);
  assert_null(b->next);
  struct tree_node *d = hold(&t, SLICE("a/d"));
  assert_ptr_equal(b->next, d);
  let_go(&t, d);
  tree_unpin(&t, b);
  assert_int_equal(t.count, 2);
  tree_unpin(&t, b);
  assert_int_equal(t.count, 0);
  tree_release(&t);
}

static void wildcards_stand_first_and_are_flagged(void **state) {
  (void)state;
  static const char *const orders[][3] = {{"x", "+", "#"}, {"x", "#", "+"}, {"+", "x", "#"},
                                          {"#", "x", "+"}, {"+", "#", "x"}, {"#", "+", "x"}};
  for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
    struct tree t;
    tree_init(&t, i);
    for (int j = 0; j < 3; j++)
      hold(&t, slice_str(orders[i][j]));
    struct tree_node *hash = t.root->first, *plus = hash->next, *x = plus->next;
    assert_path(hash, SLICE("#"));
    assert_path(plus, SLICE("+"));
    assert_path(x, SLICE("x"));
    assert_null(x->next);
    assert_ptr_equal(tree_hash_child(t.root), hash);
    assert_ptr_equal(tree_plus_child(t.root), plus);
    let_go(&t, hash);
    assert_null(tree_hash_child(t.root));
    assert_ptr_equal(tree_plus_child(t.root), plus);
    let_go(&t, plus);
    assert_null(tree_plus_child(t.root));
    assert_ptr_equal(t.root->first, x);
    tree_release(&t);
  }
}

static void a_path_of_65536_levels_is_made_found_and_freed(void **state) {
  (void)state;
  char *slashes = mem_alloc(TOPIC_MAX);
  memset(slashes, '/', TOPIC_MAX);
  struct slice path = slice_of(slashes, TOPIC_MAX);
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *node = hold(&t, path);
  assert_int_equal(t.count, TOPIC_MAX + 1);
  assert_ptr_equal(tree_find(&t, path), node);
  assert_path(node, path);
  let_go(&t, node);
  assert_int_equal(t.count, 0);
  hold(&t, path);
  tree_release(&t);
  mem_free(slashes);
}

static void a_level_of_65535_bytes_is_kept(void **state) {
  (void)state;
  char *text = mem_alloc(TOPIC_MAX);
  memset(text, 'x', TOPIC_MAX);
  struct tree t;
  tree_init(&t, 1);
  struct tree_node *node = hold(&t, slice_of(text, TOPIC_MAX));
  assert_ptr_equal(tree_find(&t, slice_of(text, TOPIC_MAX)), node);
  assert_null(tree_find(&t, slice_of(text, TOPIC_MAX - 1)));
  assert_path(node, slice_of(text, TOPIC_MAX));
  tree_release(&t);
  mem_free(text);
}

// --- against a plain array ---

enum { PATHS = 400, STEPS = 40000 };

struct model { // paths that are held
  struct random_topic paths[PATHS];
  size_t count;
};

static size_t model_find(const struct model *m, struct slice path) {
  size_t i = 0;
  while (i < m->count && !slice_eq(random_slice(&m->paths[i]), path))
    i++;
  return i;
}

// The nodes that the held paths need: their prefixes, each counted once.
static size_t model_nodes(const struct model *m) {
  struct model prefixes = {.count = 0};
  for (size_t i = 0; i < m->count; i++) {
    for (size_t len = 0; len <= m->paths[i].len; len++) {
      if (len < m->paths[i].len && m->paths[i].text[len] != '/') continue;
      struct random_topic prefix = m->paths[i];
      prefix.len = len;
      if (model_find(&prefixes, random_slice(&prefix)) < prefixes.count) continue;
      assert_true(prefixes.count < PATHS);
      prefixes.paths[prefixes.count++] = prefix;
    }
  }
  return prefixes.count;
}

static size_t held_nodes(const struct tree *t) {
  size_t count = 0;
  for (const struct tree_node *node = t->root; node; node = tree_next(node))
    count += node->value != NULL;
  return count;
}

static void random_paths_come_and_go(void **state) {
  (void)state;
  struct model *m = mem_calloc(1, sizeof *m);
  struct tree t;
  struct rand r;
  tree_init(&t, 99);
  rand_init(&r, 3);
  for (int i = 0; i < STEPS; i++) {
    struct random_topic path = random_filter(&r);
    size_t at = model_find(m, random_slice(&path));
    struct tree_node *node = tree_find(&t, random_slice(&path));
    assert_int_equal(at < m->count, node && node->value);
    if (at < m->count) {
      let_go(&t, node);
      m->paths[at] = m->paths[--m->count];
    } else if (m->count < 60) {
      assert_path(hold(&t, random_slice(&path)), random_slice(&path));
      m->paths[m->count++] = path;
    }
    if (i % 100) continue;
    assert_int_equal(t.count, model_nodes(m));
    assert_int_equal(held_nodes(&t), m->count);
  }
  tree_release(&t);
  mem_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_node_is_found_by_its_path),
      cmocka_unit_test(empty_levels_are_nodes),
      cmocka_unit_test(nodes_that_hold_something_are_not_pruned),
      cmocka_unit_test(a_pinned_node_stays_until_it_is_unpinned),
      cmocka_unit_test(wildcards_stand_first_and_are_flagged),
      cmocka_unit_test(a_path_of_65536_levels_is_made_found_and_freed),
      cmocka_unit_test(a_level_of_65535_bytes_is_kept),
      cmocka_unit_test(random_paths_come_and_go),
  };
  return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
