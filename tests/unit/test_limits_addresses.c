// What is known of remote addresses: open connections, the rate of connects, failed logins.
#include "decorator.h"

// --- connections and their rate, without a broker ---

struct book { // of addresses
  struct settings settings;
  struct stats stats;
  struct loop *loop;
  struct peers *peers;
};

static int set_up(void **state) {
  struct book *b = mem_calloc(1, sizeof *b);
  settings_init(&b->settings);
  b->loop = loop_new_virtual(1000000);
  b->peers = peers_new(&b->settings, &b->stats, b->loop, 1);
  *state = b;
  return 0;
}

static int tear_down(void **state) {
  struct book *b = *state;
  peers_free(b->peers);
  loop_free(b->loop);
  mem_free(b);
  return 0;
}

static void pass(struct book *b, uint64_t ms) {
  clock_advance(&b->loop->clock, ms);
  timers_run(&b->loop->timers, b->loop->clock.now_ms);
}

static struct address ipv6(uint8_t network, uint8_t host) {
  return (struct address){.family = AF_INET6, .ip = {0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, host}};
}

static void connections_of_an_address_are_bounded(void **state) {
  struct book *b = *state;
  b->settings.connections_per_address = 2;
  struct address one = peer_address(1), other = peer_address(2);
  assert_null(peers_admit(b->peers, &one));
  assert_null(peers_admit(b->peers, &one));
  assert_string_equal(peers_admit(b->peers, &one), "too many connections from the address");
  assert_int_equal(b->stats.connections_refused_address, 1);
  assert_null(peers_admit(b->peers, &other));
  peers_leave(b->peers, &one);
  assert_null(peers_admit(b->peers, &one));
}

static void an_ipv6_address_counts_as_its_network(void **state) {
  struct book *b = *state;
  b->settings.connections_per_address = 2;
  struct address first = ipv6(1, 1), second = ipv6(1, 2), third = ipv6(1, 3), elsewhere = ipv6(2, 3);
  assert_null(peers_admit(b->peers, &first));
  assert_null(peers_admit(b->peers, &second));
  assert_non_null(peers_admit(b->peers, &third));
  assert_null(peers_admit(b->peers, &elsewhere));
  assert_int_equal(b->stats.addresses, 2);
}

static void an_ipv4_address_is_not_an_ipv6_network_with_the_same_bytes(void **state) {
  struct book *b = *state;
  b->settings.connections_per_address = 1;
  struct address v4 = {.family = AF_INET, .ip = {1, 2, 3, 4}}, v6 = {.family = AF_INET6, .ip = {1, 2, 3, 4}};
  assert_null(peers_admit(b->peers, &v4));
  assert_null(peers_admit(b->peers, &v6));
}

static void memory_and_unix_sockets_are_never_counted(void **state) {
  struct book *b = *state;
  b->settings.connections_per_address = b->settings.connect_rate_per_address = 1;
  struct address none = {.family = AF_UNSPEC}, local = {.family = AF_UNIX};
  for (int i = 0; i < 10; i++) {
    assert_null(peers_admit(b->peers, &none));
    assert_null(peers_admit(b->peers, &local));
  }
  peers_leave(b->peers, &none);
  assert_int_equal(b->stats.addresses, 0);
}

static void connects_of_an_address_come_at_a_rate_with_bursts(void **state) {
  struct book *b = *state;
  b->settings.connect_rate_per_address = 10;
  struct address a = peer_address(1);
  for (int i = 0; i < 20; i++) // two seconds' worth
    assert_null(peers_admit(b->peers, &a));
  assert_string_equal(peers_admit(b->peers, &a), "the address connects too often");
  assert_int_equal(b->stats.connections_refused_rate, 1);
  pass(b, 100);
  assert_null(peers_admit(b->peers, &a));
  assert_non_null(peers_admit(b->peers, &a));
  pass(b, 3600000);
  for (int i = 0; i < 20; i++)
    assert_null(peers_admit(b->peers, &a));
  assert_non_null(peers_admit(b->peers, &a));
}

static void zero_is_no_limit(void **state) {
  struct book *b = *state;
  b->settings.connections_per_address = b->settings.connect_rate_per_address = 0;
  b->settings.failed_logins = 0;
  struct address a = peer_address(1);
  for (int i = 0; i < 50000; i++)
    assert_null(peers_admit(b->peers, &a));
  for (int i = 0; i < 1000; i++) {
    assert_true(peers_login_may(b->peers, &a));
    peers_login_done(b->peers, &a, LOGIN_FAILED);
  }
  assert_int_equal(b->stats.logins_failed, 1000);
}

static void an_address_is_forgotten_when_nothing_is_worth_knowing(void **state) {
  struct book *b = *state;
  struct address a = peer_address(1);
  peers_admit(b->peers, &a);
  pass(b, 3600000);
  assert_int_equal(b->stats.addresses, 1);
  peers_leave(b->peers, &a);
  pass(b, 1999);
  assert_int_equal(b->stats.addresses, 1);
  pass(b, 1);
  assert_int_equal(b->stats.addresses, 0);
  assert_int_equal(b->loop->timers.count, 0);
}

static void an_address_that_comes_back_is_remembered(void **state) {
  struct book *b = *state;
  b->settings.connect_rate_per_address = 1;
  struct address a = peer_address(1);
  for (int i = 0; i < 2; i++) {
    assert_null(peers_admit(b->peers, &a));
    peers_leave(b->peers, &a);
  }
  assert_non_null(peers_admit(b->peers, &a));
  pass(b, 1001);
  assert_null(peers_admit(b->peers, &a));
  pass(b, 5000);
  assert_int_equal(b->stats.addresses, 1); // it is open
  peers_leave(b->peers, &a);
}

static struct address numbered(uint32_t i) {
  return (struct address){.family = AF_INET, .ip = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
}

static void fail_once(struct book *b, const struct address *a) {
  assert_null(peers_admit(b->peers, a));
  assert_true(peers_login_may(b->peers, a));
  peers_login_done(b->peers, a, LOGIN_FAILED);
  peers_leave(b->peers, a);
}

static void a_flood_of_addresses_takes_bounded_memory(void **state) {
  struct book *b = *state;
  for (uint32_t i = 0; i < 2 * PEERS_IDLE_MAX; i++) {
    struct address a = numbered(i);
    assert_null(peers_admit(b->peers, &a));
    peers_leave(b->peers, &a);
  }
  assert_int_equal(b->stats.addresses, PEERS_IDLE_MAX);
  pass(b, 2000);
  assert_int_equal(b->stats.addresses, 0);
}

static void a_flood_forgets_addresses_without_failures_first(void **state) {
  struct book *b = *state;
  b->settings.failed_logins = 1;
  struct address guesser = peer_address(1);
  fail_once(b, &guesser);
  for (uint32_t i = 0; i < 2 * PEERS_IDLE_MAX; i++) {
    struct address a = numbered(i);
    assert_null(peers_admit(b->peers, &a));
    peers_leave(b->peers, &a);
  }
  assert_null(peers_admit(b->peers, &guesser));
  assert_false(peers_login_may(b->peers, &guesser)); // it is still known
  peers_leave(b->peers, &guesser);
  for (uint32_t i = 0; i < PEERS_IDLE_MAX + 10; i++) {
    struct address a = numbered(i);
    fail_once(b, &a);
  }
  assert_int_equal(b->stats.addresses, PEERS_IDLE_MAX);
  pass(b, 10 * 60 * 1000); // and failures after a quiet time
  pass(b, 2000);
  assert_int_equal(b->stats.addresses, 0);
}

static void what_was_not_admitted_may_leave(void **state) {
  struct book *b = *state;
  struct address a = peer_address(1);
  peers_leave(b->peers, &a);
  assert_true(peers_login_may(b->peers, &a));
  peers_login_done(b->peers, &a, LOGIN_FAILED);
  assert_int_equal(b->stats.addresses, 0);
}

// --- failed logins, with a broker ---

struct fixture {
  struct harness *h;
  struct decorator d;
};

static int set_up_broker(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  struct settings settings;
  settings_init(&settings);
  settings.failed_logins = 3;
  settings.login_delay_maximum_ms = 8000;
  f->h = harness_new(&settings);
  decorator_init(&f->d, f->h);
  f->d.refuse_authenticate = true;
  *state = f;
  return 0;
}

static int tear_down_broker(void **state) {
  struct fixture *f = *state;
  harness_end_peers(f->h);
  assert_int_equal(f->h->shard->stats.logins_waiting, 0);
  harness_free(f->h);
  mem_free(f);
  return 0;
}

static void send_connect(struct peer *p) {
  struct packet_connect connect = peer_connect_defaults("guesser", true);
  peer_send_packet(p, &(struct packet){.type = PACKET_CONNECT, .connect = connect});
}

static struct peer *guess(struct fixture *f) {
  struct peer *p = peer_open_from(f->h, 1);
  send_connect(p);
  return p;
}

static uint8_t answer(struct peer *p) {
  struct packet got;
  peer_expect(p, PACKET_CONNACK, &got);
  return got.connack.code;
}

static void expect_refused(struct peer *p) {
  assert_int_equal(answer(p), CONNACK_NOT_AUTHORIZED);
  peer_expect_closed(p);
}

static void use_up_free_failures(struct fixture *f) {
  for (int i = 0; i < 3; i++)
    expect_refused(guess(f));
}

static void after_free_failures_each_login_waits_twice_as_long(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  for (uint32_t delay = 1000; delay <= 8000; delay *= 2) {
    struct peer *p = guess(f);
    harness_advance(f->h, delay - 1);
    peer_expect_nothing(p);
    harness_advance(f->h, 1);
    expect_refused(p);
  }
  struct peer *p = guess(f); // and no longer than the maximum
  harness_advance(f->h, 7999);
  peer_expect_nothing(p);
  harness_advance(f->h, 1);
  expect_refused(p);
  assert_int_equal(f->h->shard->stats.logins_held, 5);
  assert_int_equal(f->h->shard->stats.logins_failed, 8);
}

static void the_delay_counts_from_the_last_failure(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  harness_advance(f->h, 1000);
  expect_refused(guess(f));
  harness_advance(f->h, 500);
  struct peer *p = guess(f);
  harness_advance(f->h, 1499);
  peer_expect_nothing(p);
  harness_advance(f->h, 1);
  expect_refused(p);
}

static void parallel_logins_are_let_on_one_at_a_time(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *p[3];
  for (int i = 0; i < 3; i++)
    p[i] = guess(f);
  assert_int_equal(f->h->shard->stats.logins_waiting, 3);
  harness_advance(f->h, 1000);
  expect_refused(p[0]);
  peer_expect_nothing(p[1]);
  harness_advance(f->h, 2000);
  expect_refused(p[1]);
  harness_advance(f->h, 3999);
  peer_expect_nothing(p[2]);
  harness_advance(f->h, 1);
  expect_refused(p[2]);
}

static void a_peer_that_has_gone_does_not_keep_its_held_login(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *gone = guess(f), *reset = guess(f), *stays = guess(f);
  assert_int_equal(f->h->shard->stats.logins_waiting, 3);
  memory_shutdown(gone->memory);
  harness_run(f->h);
  peer_expect_closed(gone);
  peer_drop(reset);
  assert_int_equal(f->h->shard->stats.logins_waiting, 1);
  peer_send_hex(stays, "c0 00");
  peer_expect_nothing(stays);
  harness_advance(f->h, 1000);
  expect_refused(stays);
}

static void what_follows_a_held_login_is_bounded_and_waits(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  f->d.refuse_authenticate = false;
  struct peer *p = guess(f);
  struct buf pings = BUF_INIT;
  for (int i = 0; i < 100000; i++)
    buf_add(&pings, "\xc0", 2);
  peer_send(p, buf_slice(&pings));
  buf_release(&pings);
  peer_expect_nothing(p);
  assert_in_range(f->h->shard->stats.bytes_received, 16384, 16384 + 4 * 64);
  harness_advance(f->h, 1000);
  assert_int_equal(answer(p), 0);
  for (int i = 0; i < 100000; i++)
    peer_expect(p, PACKET_PINGRESP, NULL);
}

static void a_login_without_an_answer_yet_holds_the_next(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  harness_advance(f->h, 1000);
  f->d.hold_authenticate = true;
  struct peer *a = guess(f), *b = guess(f);
  assert_int_equal(f->d.pending_count, 1);
  harness_advance(f->h, 3000);
  assert_int_equal(f->d.pending_count, 1);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  expect_refused(a);
  harness_advance(f->h, 1999);
  assert_int_equal(f->d.pending_count, 0);
  harness_advance(f->h, 1);
  assert_int_equal(f->d.pending_count, 1);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  expect_refused(b);
}

static void guesses_that_were_sent_together_are_not_all_free(void **state) {
  struct fixture *f = *state;
  f->d.hold_authenticate = true;
  struct peer *first = guess(f);
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
  expect_refused(first);
  struct peer *p[4];
  for (int i = 0; i < 4; i++)
    p[i] = guess(f);
  assert_int_equal(f->d.pending_count, 2); // with the one that failed these are three
  for (int i = 0; i < 2; i++) {
    decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
    expect_refused(p[i]);
  }
  assert_int_equal(f->d.pending_count, 0);
  harness_advance(f->h, 1000);
  assert_int_equal(f->d.pending_count, 1);
  f->d.hold_authenticate = false;
  decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_NOT_AUTHORIZED});
}

static void a_success_forgets_and_lets_all_on(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *p[3];
  f->d.refuse_authenticate = false;
  for (int i = 0; i < 3; i++) {
    p[i] = peer_open_from(f->h, 1);
    struct packet_connect connect = peer_connect_defaults((const char *[]){"a", "b", "c"}[i], true);
    peer_send_packet(p[i], &(struct packet){.type = PACKET_CONNECT, .connect = connect});
    peer_expect_nothing(p[i]);
  }
  harness_advance(f->h, 1000);
  for (int i = 0; i < 3; i++)
    assert_int_equal(answer(p[i]), 0);
  f->d.refuse_authenticate = true;
  use_up_free_failures(f);
}

static void a_quiet_time_forgets(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  harness_advance(f->h, 10 * 60 * 1000 - 1);
  struct peer *p[2] = {guess(f), guess(f)};
  expect_refused(p[0]);
  peer_expect_nothing(p[1]);
  harness_advance(f->h, 2000);
  expect_refused(p[1]);
  harness_advance(f->h, 10 * 60 * 1000);
  use_up_free_failures(f);
}

static void who_waits_too_long_is_turned_away(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *p[5];
  for (int i = 0; i < 5; i++)
    p[i] = guess(f);
  harness_advance(f->h, 7999); // of which 1, 2 and 4 seconds were for the first three
  for (int i = 0; i < 3; i++)
    expect_refused(p[i]);
  for (int i = 3; i < 5; i++)
    peer_expect_nothing(p[i]);
  harness_advance(f->h, 1);
  for (int i = 3; i < 5; i++) {
    assert_int_equal(answer(p[i]), CONNACK_SERVER_UNAVAILABLE);
    peer_expect_closed(p[i]);
  }
  assert_int_equal(f->h->shard->stats.logins_turned_away, 2);
  assert_int_equal(f->h->shard->stats.connects_refused, 8);
}

static void who_waits_may_have_sent_more_and_loses_nothing(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  f->d.refuse_authenticate = false;
  struct peer *p = guess(f);
  peer_send_hex(p, "c0 00");
  peer_expect_nothing(p);
  harness_advance(f->h, 1000);
  assert_int_equal(answer(p), 0);
  peer_expect(p, PACKET_PINGRESP, NULL);
}

static void the_wait_does_not_count_as_connect_timeout(void **state) {
  struct fixture *f = *state;
  f->h->shard->settings.connect_timeout_ms = 500;
  use_up_free_failures(f);
  struct peer *p = guess(f);
  harness_advance(f->h, 1000);
  expect_refused(p);
  assert_int_equal(f->h->shard->stats.connects_timed_out, 0);
}

static void who_goes_away_while_it_waits_is_forgotten(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *a = guess(f), *b = guess(f);
  shard_close_clients(f->h->shard);
  harness_run(f->h);
  peer_expect_closed(a);
  peer_expect_closed(b);
  assert_int_equal(f->h->shard->stats.logins_waiting, 0);
}

static void other_addresses_do_not_wait(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  struct peer *other = peer_open_from(f->h, 2), *memory = peer_open(f->h);
  send_connect(other);
  expect_refused(other);
  send_connect(memory);
  expect_refused(memory);
}

static void what_could_not_be_decided_is_no_failure(void **state) {
  struct fixture *f = *state;
  f->d.hold_authenticate = true;
  for (int i = 0; i < 5; i++) {
    struct peer *p = guess(f);
    decorator_resume(&f->d, f->h, (struct reply){.reason = REASON_SERVER_UNAVAILABLE, .error = "hook error"});
    assert_int_equal(answer(p), CONNACK_SERVER_UNAVAILABLE);
    peer_expect_closed(p);
  }
  assert_int_equal(f->h->shard->stats.logins_failed, 0);
  assert_int_equal(f->h->shard->stats.logins_held, 0);
}

static void a_wait_is_told_to_the_log(void **state) {
  struct fixture *f = *state;
  use_up_free_failures(f);
  decorator_clear_log(&f->d);
  struct peer *p = guess(f);
  decorator_expect_line(&f->d, "[client error] failed logins: it has to wait\n");
  harness_advance(f->h, 1000);
  expect_refused(p);
}

#define test(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define test_broker(name) cmocka_unit_test_setup_teardown(name, set_up_broker, tear_down_broker)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(connections_of_an_address_are_bounded),
      test(an_ipv6_address_counts_as_its_network),
      test(an_ipv4_address_is_not_an_ipv6_network_with_the_same_bytes),
      test(memory_and_unix_sockets_are_never_counted),
      test(connects_of_an_address_come_at_a_rate_with_bursts),
      test(zero_is_no_limit),
      test(an_address_is_forgotten_when_nothing_is_worth_knowing),
      test(an_address_that_comes_back_is_remembered),
      test(a_flood_of_addresses_takes_bounded_memory),
      test(a_flood_forgets_addresses_without_failures_first),
      test(what_was_not_admitted_may_leave),
      test_broker(after_free_failures_each_login_waits_twice_as_long),
      test_broker(the_delay_counts_from_the_last_failure),
      test_broker(parallel_logins_are_let_on_one_at_a_time),
      test_broker(a_peer_that_has_gone_does_not_keep_its_held_login),
      test_broker(what_follows_a_held_login_is_bounded_and_waits),
      test_broker(a_login_without_an_answer_yet_holds_the_next),
      test_broker(guesses_that_were_sent_together_are_not_all_free),
      test_broker(a_success_forgets_and_lets_all_on),
      test_broker(a_quiet_time_forgets),
      test_broker(who_waits_too_long_is_turned_away),
      test_broker(who_waits_may_have_sent_more_and_loses_nothing),
      test_broker(the_wait_does_not_count_as_connect_timeout),
      test_broker(who_goes_away_while_it_waits_is_forgotten),
      test_broker(other_addresses_do_not_wait),
      test_broker(what_could_not_be_decided_is_no_failure),
      test_broker(a_wait_is_told_to_the_log),
  };
  return cmocka_run_group_tests_name("limits of addresses", tests, NULL, NULL);
}
