// What is told of connections that are refused because there are too many.
#include "decorator.h"

#include "broker/admission.h"

struct fixture {
  struct harness *h;
  struct decorator d;
  struct backend_ops ops; // of the decorator, with an operation engine_error
  struct admission admission;
  int told;
};

static void count_error(struct backend *b, const char *error) {
  struct fixture *f = container_of(decorator_of(b), struct fixture, d);
  assert_string_equal(error, "too many connections");
  f->told++;
}

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->h = harness_new(NULL);
  decorator_init(&f->d, f->h);
  f->ops = *f->d.backend.ops;
  f->ops.engine_error = count_error;
  f->d.backend.ops = &f->ops;
  f->h->shard->settings.connections = 10;
  admission_init(&f->admission, f->h->shard);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  harness_free(f->h);
  mem_free(f);
  return 0;
}

// Peers that come and go at the limit write no log.
static void a_limit_that_is_reached_again_and_again_is_told_once_a_second(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 1000; i++) {
    assert_true(admission_allows(&f->admission, 9));
    assert_false(admission_allows(&f->admission, 10));
  }
  assert_int_equal(f->told, 1);
  assert_int_equal(f->h->shard->stats.connections_refused, 1000);
  harness_advance(f->h, 1000);
  assert_true(admission_allows(&f->admission, 9));
  assert_false(admission_allows(&f->admission, 10));
  assert_int_equal(f->told, 2);
}

static void a_limit_that_stays_reached_is_told_once(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 10; i++) {
    assert_false(admission_allows(&f->admission, 10));
    harness_advance(f->h, 1000);
  }
  assert_int_equal(f->told, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_limit_that_is_reached_again_and_again_is_told_once_a_second),
      test(a_limit_that_stays_reached_is_told_once),
  };
  return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
