// Logins that are checked against a password file: who gets in, how many wait, who is given up, and the file
// that changes. The clock is virtual, so checks are made in the next turn of the loop.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "broker/client_impl.h"
#include "broker/password_login.h"
#include "transport/password.h"
#include "transport/workers.h"

#define HASH                                                                                                 \
  "$7$101$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28oFnUXXYqHD+"                  \
  "p0OgPZGQwZ1McNqj4PpuQ7A==" // of "hello"

struct fixture {
  struct harness *h;
  struct backend_ops ops; // of the memory backend, and what it is told
  char path[32];
  char told[512]; // errors, each with a new line
  int reloads;
  uint32_t users;
};

static struct fixture *fixture_of(struct backend *b) {
  return container_of((struct backend_ops *)(uintptr_t)b->ops, struct fixture, ops);
}

static void engine_error(struct backend *b, const char *error) {
  struct fixture *f = fixture_of(b);
  size_t used = strlen(f->told);
  snprintf(f->told + used, sizeof f->told - used, "%s\n", error);
}

static void passwords_reloaded(struct backend *b, const char *path, uint32_t users) {
  struct fixture *f = fixture_of(b);
  assert_string_equal(path, f->path);
  f->reloads++;
  f->users = users;
}

// By another name, as an editor does it.
static void write_file(const struct fixture *f, const char *text) {
  char other[40];
  snprintf(other, sizeof other, "%s.new", f->path);
  FILE *file = fopen(other, "we");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(rename(other, f->path), 0);
}

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->h = harness_new(NULL);
  f->ops = *f->h->memory->ops;
  f->ops.engine_error = engine_error;
  f->ops.passwords_reloaded = passwords_reloaded;
  f->h->memory->ops = &f->ops;
  strcpy(f->path, "/tmp/luamq-users-XXXXXX");
  int fd = mkstemp(f->path);
  assert_true(fd >= 0);
  close(fd);
  write_file(f, "ann:" HASH "\nbob:" HASH "\n");
  memory_set_access(f->h->memory, MEMORY_CREDENTIALS);
  memory_set_password_file(f->h->memory, f->path);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  assert_int_equal(f->h->shard->stats.password_checks_waiting, 0);
  harness_free(f->h);
  unlink(f->path);
  mem_free(f);
  return 0;
}

static struct packet_connect login(const char *id, const char *user, const char *password) {
  struct packet_connect c = peer_connect_defaults(id, true);
  c.has_username = user != NULL;
  c.has_password = password != NULL;
  if (user) c.username = slice_str(user);
  if (password) c.password = slice_str(password);
  return c;
}

// The code of CONNACK.
static uint8_t log_in(struct fixture *f, const char *user, const char *password) {
  struct packet_connect connect = login("c", user, password);
  return peer_connect_with(peer_open(f->h), &connect, NULL);
}

// A CONNECT that the broker has in its next turn.
static void send_login(struct peer *p, const char *id, const char *user, const char *password) {
  struct packet packet = {.type = PACKET_CONNECT, .connect = login(id, user, password)};
  struct buf bytes = BUF_INIT;
  packet_encode(&packet, MQTT_3_1_1, &bytes);
  memory_send(p->memory, buf_slice(&bytes));
  buf_release(&bytes);
}

static void expect_code(struct peer *p, uint8_t code) {
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  assert_int_equal(got.connack.code, code);
}

// Until `count` logins wait for their checks, and no further.
static void turn_until_waiting(struct fixture *f, uint64_t count) {
  while (f->h->shard->stats.password_checks_waiting < count)
    assert_true(shard_turn(f->h->shard, false));
}

static uint64_t waiting(const struct fixture *f) { return f->h->shard->stats.password_checks_waiting; }

// --- who gets in ---

static void who_has_a_line_gets_in_with_his_password(void **state) {
  struct fixture *f = *state;
  assert_int_equal(log_in(f, "ann", "hello"), 0);
  assert_int_equal(log_in(f, "bob", "hello"), 0);
  assert_int_equal(f->h->shard->stats.password_checks, 2);
  assert_int_equal(f->h->shard->stats.logins_failed, 0);
}

static void others_do_not(void **state) {
  struct fixture *f = *state;
  assert_int_equal(log_in(f, "ann", "hallo"), 5);
  assert_int_equal(log_in(f, "ann", ""), 5);
  assert_int_equal(log_in(f, "ann", NULL), 5);
  assert_int_equal(log_in(f, NULL, NULL), 5);
  assert_int_equal(log_in(f, "", "hello"), 5);
  assert_int_equal(f->h->shard->stats.logins_failed, 5);
}

static void a_password_that_no_hash_has_is_not_kept(void **state) {
  struct fixture *f = *state;
  char longest[PASSWORD_MAX + 2];
  memset(longest, 'a', sizeof longest);
  longest[PASSWORD_MAX + 1] = '\0';
  assert_int_equal(log_in(f, "ann", longest), 5);
  assert_int_equal(f->h->shard->stats.password_checks, 0);
  longest[PASSWORD_MAX] = '\0';
  assert_int_equal(log_in(f, "ann", longest), 5);
  assert_int_equal(f->h->shard->stats.password_checks, 1);
}

// With the right password of somebody else too; and a hash is computed for it all the same.
static void a_name_that_is_not_there_costs_a_check(void **state) {
  struct fixture *f = *state;
  assert_int_equal(log_in(f, "eve", "hello"), 5);
  assert_int_equal(f->h->shard->stats.password_checks, 1);
}

static void a_file_without_users_lets_in_nobody(void **state) {
  struct fixture *f = *state;
  write_file(f, "# nobody yet\n\n");
  harness_advance(f->h, 1000);
  assert_int_equal(f->reloads, 1);
  assert_int_equal(log_in(f, "ann", "hello"), 5);
}

static void anonymous_clients_get_in_where_they_may(void **state) {
  struct fixture *f = *state;
  memory_set_access(f->h->memory, MEMORY_CREDENTIALS_OR_ANONYMOUS);
  assert_int_equal(log_in(f, NULL, NULL), 0);
  assert_int_equal(log_in(f, "ann", "hello"), 0);
  assert_int_equal(log_in(f, "ann", "x"), 5);
  assert_int_equal(log_in(f, "eve", NULL), 5);
}

// --- limits ---

static void more_logins_than_may_wait_are_refused_as_busy(void **state) {
  struct fixture *f = *state;
  f->h->shard->settings.password_checks = 2;
  struct peer *first = peer_open(f->h), *second = peer_open(f->h), *third = peer_open(f->h);
  send_login(first, "1", "ann", "hello");
  send_login(second, "2", "bob", "hello");
  send_login(third, "3", "ann", "hello");
  harness_run(f->h);
  expect_code(first, 0);
  expect_code(second, 0);
  expect_code(third, 3);
  peer_expect_closed(third);
  assert_int_equal(f->h->shard->stats.logins_refused_busy, 1);
  assert_int_equal(f->h->shard->stats.logins_failed, 0);
  assert_int_equal(log_in(f, "ann", "hello"), 0);
}

static void a_full_queue_of_the_workers_refuses_as_busy(void **state) {
  struct fixture *f = *state;
  workers_configure(f->h->loop, &(struct workers_limits){1, 1, 1000});
  struct peer *first = peer_open(f->h), *second = peer_open(f->h);
  send_login(first, "1", "ann", "hello");
  send_login(second, "2", "bob", "hello");
  harness_run(f->h);
  expect_code(first, 0);
  expect_code(second, 3);
  assert_int_equal(f->h->shard->stats.logins_refused_busy, 1);
  assert_string_equal(f->told, "worker threads: 1 jobs refused, as too many are waiting\n");
}

static void others_are_served_while_a_login_waits(void **state) {
  struct fixture *f = *state;
  memory_set_access(f->h->memory, MEMORY_CREDENTIALS_OR_ANONYMOUS);
  struct peer *other = peer_connect(f->h, "other", true);
  struct peer *p = peer_open(f->h);
  send_login(p, "1", "ann", "hello");
  turn_until_waiting(f, 1);
  memory_send(other->memory, SLICE("\xc0\x00"));
  shard_turn(f->h->shard, false);
  assert_true(memory_received(other->memory).len == 2); // PINGRESP
  harness_run(f->h);
  expect_code(p, 0);
}

// --- clients that go ---

static void a_client_that_goes_gives_up_its_check(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h), *stays = peer_open(f->h);
  send_login(p, "1", "ann", "hello");
  send_login(stays, "2", "bob", "hello");
  turn_until_waiting(f, 2);
  struct client *c = container_of(f->h->shard->clients.next, struct client, node);
  client_close(c, NULL);
  shard_finish_turn(f->h->shard);
  assert_int_equal(waiting(f), 1);
  peer_expect_closed(p);
  harness_run(f->h);
  expect_code(stays, 0);
  assert_int_equal(f->h->shard->stats.connections, 1);
}

static void a_broker_that_ends_gives_up_all_checks(void **state) {
  struct fixture *f = *state;
  struct peer *peers[10];
  for (int i = 0; i < 10; i++)
    peers[i] = peer_open(f->h);
  for (int i = 0; i < 10; i++)
    send_login(peers[i], "c", "ann", "hello");
  turn_until_waiting(f, 10);
  shard_close_clients(f->h->shard);
  shard_finish_turn(f->h->shard);
  assert_int_equal(waiting(f), 0);
}

static void logins_that_wait_end_when_the_file_is_another_one(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  send_login(p, "1", "ann", "hello");
  turn_until_waiting(f, 1);
  memory_set_password_file(f->h->memory, f->path); // the same one: nothing happens
  assert_int_equal(waiting(f), 1);
  memory_set_password_file(f->h->memory, NULL);
  turn_until_waiting(f, 0);
  expect_code(p, 0);
}

// --- the file changes ---

static void a_file_that_changes_is_read_again(void **state) {
  struct fixture *f = *state;
  assert_int_equal(log_in(f, "eve", "hello"), 5);
  write_file(f, "eve:" HASH "\n");
  harness_advance(f->h, 1000);
  assert_int_equal(f->reloads, 1);
  assert_int_equal(f->users, 1);
  assert_int_equal(f->h->shard->stats.password_reloads, 1);
  assert_int_equal(log_in(f, "eve", "hello"), 0);
  assert_int_equal(log_in(f, "ann", "hello"), 5);
  harness_advance(f->h, 10000);
  assert_int_equal(f->reloads, 1);
  assert_string_equal(f->told, "");
}

static void who_was_taken_out_stays_connected(void **state) {
  struct fixture *f = *state;
  struct peer *p = peer_open(f->h);
  send_login(p, "1", "ann", "hello");
  harness_run(f->h);
  expect_code(p, 0);
  write_file(f, "eve:" HASH "\n");
  harness_advance(f->h, 2000);
  peer_expect_nothing(p);
}

static void wrong_lines_are_left_out_and_told_without_what_is_in_them(void **state) {
  struct fixture *f = *state;
  write_file(f, "ann:plain\nbob:" HASH "\nsecret\nbob:" HASH "\n");
  harness_advance(f->h, 1000);
  assert_int_equal(f->reloads, 1);
  char expected[512];
  snprintf(
      expected, sizeof expected,
      "%s:1: not a hash of a password\n%s:3: expected name:hash\n%s:4: a line for this user stands above\n",
      f->path, f->path, f->path);
  assert_string_equal(f->told, expected);
  assert_int_equal(log_in(f, "bob", "hello"), 0);
  assert_int_equal(log_in(f, "ann", "plain"), 5);
}

static void a_file_that_cannot_be_used_changes_nothing(void **state) {
  struct fixture *f = *state;
  char expected[256];
  unlink(f->path);
  harness_advance(f->h, 3000);
  snprintf(expected, sizeof expected,
           "password file %s: No such file or directory; the users are those of before\n", f->path);
  assert_string_equal(f->told, expected); // once
  assert_int_equal(f->h->shard->stats.password_reload_failures, 1);
  assert_int_equal(log_in(f, "ann", "hello"), 0);
  f->told[0] = '\0';
  write_file(f, "ann:hello\n");
  harness_advance(f->h, 1000);
  assert_non_null(strstr(f->told, ": no line of it is right; the users are those of before\n"));
  assert_int_equal(log_in(f, "ann", "hello"), 0);
}

static void a_file_that_comes_later_is_used(void **state) {
  struct fixture *f = *state;
  memory_set_password_file(f->h->memory, NULL);
  unlink(f->path);
  memory_set_password_file(f->h->memory, f->path);
  assert_int_equal(log_in(f, "ann", "hello"), 3); // fails, and is no wrong guess
  assert_int_equal(f->h->shard->stats.logins_failed, 0);
  write_file(f, "ann:" HASH "\r\n");
  harness_advance(f->h, 1000);
  assert_int_equal(log_in(f, "ann", "hello"), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(who_has_a_line_gets_in_with_his_password),
      test(others_do_not),
      test(a_password_that_no_hash_has_is_not_kept),
      test(a_name_that_is_not_there_costs_a_check),
      test(a_file_without_users_lets_in_nobody),
      test(anonymous_clients_get_in_where_they_may),
      test(more_logins_than_may_wait_are_refused_as_busy),
      test(a_full_queue_of_the_workers_refuses_as_busy),
      test(others_are_served_while_a_login_waits),
      test(a_client_that_goes_gives_up_its_check),
      test(a_broker_that_ends_gives_up_all_checks),
      test(logins_that_wait_end_when_the_file_is_another_one),
      test(a_file_that_changes_is_read_again),
      test(who_was_taken_out_stays_connected),
      test(wrong_lines_are_left_out_and_told_without_what_is_in_them),
      test(a_file_that_cannot_be_used_changes_nothing),
      test(a_file_that_comes_later_is_used),
  };
  return cmocka_run_group_tests_name("password login", tests, NULL, NULL);
}
