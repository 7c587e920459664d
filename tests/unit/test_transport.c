#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/address.h"
#include "transport/listener.h"
#include "transport/loop.h"
#include "transport/memory.h"

// --- a receiver for either kind of connection ---

struct receiver {
  struct conn *conn;
  struct buf got;
  ssize_t end; // what a read that gave no bytes returned: 0 or -errno; 1: none yet
  int readable, writable;
  bool close_at_end;
};

static void on_readable(struct conn *c) {
  struct receiver *r = c->owner;
  uint8_t first[3], second[1000];
  struct iovec iov[2] = {{first, sizeof first}, {second, sizeof second}};
  r->readable++;
  ssize_t n = conn_read(c, iov, 2);
  if (n > 0) {
    size_t part = (size_t)n < sizeof first ? (size_t)n : sizeof first;
    buf_add(&r->got, first, part);
    buf_add(&r->got, second, (size_t)n - part);
  } else if (n != -EAGAIN) {
    r->end = n;
    conn_watch_read(c, false);
    if (r->close_at_end) {
      r->conn = NULL;
      conn_close(c, false);
    }
  }
}

static void on_writable(struct conn *c) { ((struct receiver *)c->owner)->writable++; }

static const struct conn_handler receiving = {on_readable, on_writable};

static void receive_on(struct receiver *r, struct conn *c) {
  *r = (struct receiver){.conn = c, .end = 1, .got = BUF_INIT};
  conn_start(c, &receiving, r);
}

static void rest(struct loop *l) {
  int turns = 0;
  while (loop_turn(l, false))
    assert_true(++turns < 10000);
}

static size_t write_text(struct conn *c, const char *a, const char *b) {
  struct iovec iov[2] = {{(void *)(uintptr_t)a, strlen(a)}, {(void *)(uintptr_t)b, strlen(b)}};
  return conn_write(c, iov, 2, NULL);
}

// --- memory connections ---

static void bytes_go_both_ways(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  memory_send(peer, SLICE("hello"));
  memory_send(peer, SLICE(" world"));
  rest(l);
  assert_string_equal(buf_text(&r.got), "hello world");
  assert_int_equal(r.readable, 1);
  assert_int_equal(write_text(r.conn, "ab", "cd"), 0);
  assert_false(conn_blocked(r.conn));
  assert_true(slice_eq(memory_received(peer), SLICE("abcd")));
  memory_consume(peer, 3);
  assert_true(slice_eq(memory_received(peer), SLICE("d")));
  assert_false(memory_closed(peer));
  conn_close(r.conn, true);
  assert_true(memory_closed(peer));
  memory_send(peer, SLICE("late"));
  rest(l);
  memory_peer_free(peer);
  buf_release(&r.got);
  loop_free(l);
}

static void a_window_blocks_and_bytes_keep_their_order(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  memory_set_window(peer, 3);
  assert_int_equal(write_text(r.conn, "ab", "cdefgh"), 5);
  assert_true(conn_blocked(r.conn));
  rest(l);
  assert_true(slice_eq(memory_received(peer), SLICE("abc")));
  assert_int_equal(r.writable, 0);
  memory_consume(peer, 1);
  rest(l);
  assert_true(slice_eq(memory_received(peer), SLICE("bcd")));
  memory_consume(peer, 3);
  rest(l);
  assert_true(slice_eq(memory_received(peer), SLICE("efg")));
  assert_true(conn_blocked(r.conn));
  memory_send(peer, SLICE("x")); // reading goes on meanwhile
  rest(l);
  assert_string_equal(buf_text(&r.got), "x");
  memory_set_window(peer, 4);
  rest(l);
  assert_true(slice_eq(memory_received(peer), SLICE("efgh")));
  assert_false(conn_blocked(r.conn));
  assert_int_equal(r.writable, 1);
  memory_set_window(peer, 0);
  assert_int_equal(write_text(r.conn, "", "z"), 1);
  rest(l);
  conn_close(r.conn, true); // with bytes that wait
  assert_true(slice_eq(memory_received(peer), SLICE("efgh")));
  memory_peer_free(peer);
  buf_release(&r.got);
  loop_free(l);
}

static void a_shut_down_peer_still_receives(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  memory_send(peer, SLICE("last"));
  memory_shutdown(peer);
  memory_send(peer, SLICE("never"));
  rest(l);
  assert_string_equal(buf_text(&r.got), "last");
  assert_int_equal(r.end, 0);
  assert_int_equal(write_text(r.conn, "an", "swer"), 0);
  assert_true(slice_eq(memory_received(peer), SLICE("answer")));
  conn_close(r.conn, true);
  memory_peer_free(peer);
  buf_release(&r.got);
  loop_free(l);
}

static void a_reset_fails_writes_and_reads(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  memory_set_window(peer, 1);
  assert_int_equal(write_text(r.conn, "ab", ""), 1);
  memory_send(peer, SLICE("arrived before"));
  memory_reset(peer);
  rest(l);
  assert_string_equal(buf_text(&r.got), "arrived before");
  assert_int_equal(r.end, -ECONNRESET);
  assert_false(conn_blocked(r.conn)); // thrown away
  assert_int_equal(write_text(r.conn, "more", ""), 0);
  assert_true(slice_eq(memory_received(peer), SLICE("a")));
  conn_close(r.conn, false);
  memory_peer_free(peer);
  buf_release(&r.got);
  loop_free(l);
}

static void a_peer_may_go_first(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  r.close_at_end = true;
  memory_peer_free(peer);
  rest(l);
  assert_null(r.conn);
  assert_int_equal(r.end, -ECONNRESET);
  buf_release(&r.got);
  loop_free(l);
}

static void nothing_is_read_while_nobody_watches(void **state) {
  (void)state;
  struct loop *l = loop_new_virtual(0);
  struct memory_peer *peer;
  struct receiver r;
  receive_on(&r, memory_open(l, &peer));
  conn_watch_read(r.conn, false);
  memory_send(peer, SLICE("x"));
  memory_shutdown(peer);
  assert_false(loop_turn(l, false));
  assert_int_equal(r.readable, 0);
  conn_watch_read(r.conn, true);
  rest(l);
  assert_string_equal(buf_text(&r.got), "x");
  assert_int_equal(r.end, 0);
  conn_close(r.conn, false);
  memory_peer_free(peer);
  buf_release(&r.got);
  loop_free(l);
}

// --- tcp ---

enum { TURNS = 200000 }; // far more than any of this needs

struct server {
  struct loop *loop;
  struct listener *listener;
  struct receiver clients[16];
  int accepted, failed;
  struct address remote; // of the last one
  char error[128];
};

static void accepted(void *arg, struct listener *l, struct conn *c, const struct address *remote) {
  (void)l;
  struct server *s = arg;
  assert_true(s->accepted < 16);
  s->remote = *remote;
  receive_on(&s->clients[s->accepted++], c);
}

static void failed(void *arg, const char *error) {
  struct server *s = arg;
  s->failed++;
  snprintf(s->error, sizeof s->error, "%s", error);
}

static const struct listener_handler listening = {accepted, failed};

static void serve(struct server *s) {
  char error[256];
  memset(s, 0, sizeof *s);
  s->loop = loop_new();
  assert_non_null(s->loop);
  struct listener_config config;
  listener_config_init(&config, "tcp://127.0.0.1:0");
  s->listener = listener_open(s->loop, &config, &listening, s, error, sizeof error);
  assert_non_null(s->listener);
}

static void stop(struct server *s) {
  for (int i = 0; i < s->accepted; i++) {
    if (s->clients[i].conn) conn_close(s->clients[i].conn, false);
    buf_release(&s->clients[i].got);
  }
  if (s->listener) listener_close(s->listener);
  loop_free(s->loop);
}

static struct sockaddr_in server_address(const struct server *s) {
  const char *port = strrchr(listener_url(s->listener), ':') + 1;
  assert_int_not_equal(atoi(port), 0);
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return in;
}

// The kernel completes it from the backlog: a blocking connect does not need the listener's turn.
static int dial(const struct server *s) {
  struct sockaddr_in in = server_address(s);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
  return fd;
}

#define turn_until(server, condition)                                                                        \
  do {                                                                                                       \
    for (int turn_ = 0; !(condition); turn_++) {                                                             \
      if (turn_ == TURNS) fail_msg("never came true: %s", #condition);                                       \
      loop_turn((server)->loop, false);                                                                      \
    }                                                                                                        \
  } while (0)

static void a_listener_tells_its_port_and_accepts(void **state) {
  (void)state;
  struct server s;
  serve(&s);
  assert_true(strncmp(listener_url(s.listener), "tcp://127.0.0.1:", 16) == 0);
  int fd = dial(&s);
  turn_until(&s, s.accepted == 1);
  struct receiver *r = &s.clients[0];
  struct sockaddr_in in = server_address(&s);
  struct address local;
  conn_local_address(r->conn, &local);
  assert_int_equal(local.port, ntohs(in.sin_port));
  assert_true(address_is_loopback(&s.remote));
  assert_int_not_equal(s.remote.port, 0);
  assert_int_equal(write(fd, "ping", 4), 4);
  turn_until(&s, r->got.len == 4);
  assert_string_equal(buf_text(&r->got), "ping");
  assert_int_equal(write_text(r->conn, "po", "ng"), 0);
  char answer[4];
  assert_int_equal(recv(fd, answer, 4, MSG_WAITALL), 4);
  assert_memory_equal(answer, "pong", 4);
  close(fd);
  turn_until(&s, r->end == 0);
  stop(&s);
}

static void a_slow_reader_gets_every_byte(void **state) {
  (void)state;
  struct server s;
  serve(&s);
  int fd = dial(&s);
  turn_until(&s, s.accepted == 1);
  enum { SIZE = 16 * 1024 * 1024 }; // more than the kernel buffers
  uint8_t *bytes = mem_alloc(SIZE);
  for (size_t i = 0; i < SIZE; i++)
    bytes[i] = (uint8_t)(i * 7 + i / 251);
  struct iovec iov[2] = {{bytes, 1000}, {bytes + 1000, SIZE - 1000}};
  size_t waits = conn_write(s.clients[0].conn, iov, 2, NULL);
  assert_true(waits > 0);
  assert_true(conn_blocked(s.clients[0].conn));
  size_t got = 0;
  static uint8_t part[65536];
  fcntl(fd, F_SETFL, O_NONBLOCK);
  for (int turns = 0; got < SIZE; turns++) {
    assert_true(turns < TURNS);
    loop_turn(s.loop, false);
    ssize_t n = read(fd, part, sizeof part);
    if (n <= 0) continue;
    assert_memory_equal(part, bytes + got, (size_t)n);
    got += (size_t)n;
  }
  turn_until(&s, s.clients[0].writable == 1);
  assert_false(conn_blocked(s.clients[0].conn));
  close(fd);
  mem_free(bytes);
  stop(&s);
}

static void an_orderly_close_loses_no_bytes(void **state) {
  (void)state;
  struct server s;
  serve(&s);
  int fd = dial(&s);
  turn_until(&s, s.accepted == 1);
  conn_watch_read(s.clients[0].conn, false);
  assert_int_equal(write(fd, "unread", 6), 6); // must not turn the close into a reset
  assert_int_equal(write_text(s.clients[0].conn, "good", "bye"), 0);
  conn_close(s.clients[0].conn, true);
  s.clients[0].conn = NULL;
  char last[16];
  assert_int_equal(recv(fd, last, 7, MSG_WAITALL), 7);
  assert_memory_equal(last, "goodbye", 7);
  assert_int_equal(recv(fd, last, sizeof last, 0), 0);
  close(fd);
  stop(&s);
}

static void a_reset_socket_is_told(void **state) {
  (void)state;
  struct server s;
  serve(&s);
  int fd = dial(&s);
  turn_until(&s, s.accepted == 1);
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(fd);
  turn_until(&s, s.clients[0].end <= 0);
  assert_int_equal(s.clients[0].end, -ECONNRESET);
  assert_int_equal(write_text(s.clients[0].conn, "x", ""), 0);
  assert_true(s.clients[0].conn->broken);
  stop(&s);
}

static struct listener *open_url(struct server *s, const char *url, char error[256]) {
  struct listener_config config;
  listener_config_init(&config, url);
  return listener_open(s->loop, &config, &listening, s, error, 256);
}

static void a_listener_that_cannot_open_says_why(void **state) {
  (void)state;
  struct server s;
  char error[256] = "", url[100];
  serve(&s);
  snprintf(url, sizeof url, "%s", listener_url(s.listener));
  assert_null(open_url(&s, url, error));
  assert_non_null(strstr(error, url));
  assert_non_null(strstr(error, "in use"));
  assert_null(open_url(&s, "tcp://127.0.0.1:nine", error));
  assert_non_null(strstr(error, "port"));
  assert_null(open_url(&s, "tcp://192.0.2.1:0", error));
  stop(&s);
}

// --- out of file descriptors, in a process of its own ---

static void limit_descriptors(int more) {
  int next = dup(0);
  close(next);
  struct rlimit limit = {(rlim_t)(next + more), (rlim_t)(next + more)};
  setrlimit(RLIMIT_NOFILE, &limit);
}

#define must(condition)                                                                                      \
  do {                                                                                                       \
    if (condition) break;                                                                                    \
    fprintf(stderr, "test_transport.c:%d: not true: %s\n", __LINE__, #condition);                            \
    _exit(1);                                                                                                \
  } while (0)

#define must_come(server, condition)                                                                         \
  do {                                                                                                       \
    for (int turn_ = 0; !(condition); turn_++) {                                                             \
      must(turn_ < TURNS);                                                                                   \
      loop_turn((server)->loop, false);                                                                      \
    }                                                                                                        \
  } while (0)

static void run_out(void) {
  struct server s;
  serve(&s);
  int dialled[4];
  for (int i = 0; i < 4; i++)
    dialled[i] = dial(&s); // they wait in the backlog
  limit_descriptors(2);
  must_come(&s, s.failed);
  must(s.accepted == 2);
  must(strcmp(s.error, "accept: Too many open files") == 0);
  // The listener does not spin: with nothing to do a turn that may wait waits for the retry, and one that may
  // not calls nobody.
  for (int i = 0; i < 1000; i++)
    loop_turn(s.loop, false);
  must(s.failed == 1 && s.accepted == 2);
  must(s.loop->timers.count == 1);
  uint64_t now = s.loop->clock.now_ms;
  must(timers_next(&s.loop->timers) > now);
  must(timers_next(&s.loop->timers) <= now + 1000);
  // A descriptor is freed: those who wait are accepted when the listener is told.
  close(dialled[0]);
  listener_retry(s.listener);
  must_come(&s, s.accepted == 3);
  must_come(&s, s.failed == 2);
  must(s.accepted == 3);
  // Or when its time has come.
  conn_close(s.clients[0].conn, false);
  s.clients[0].conn = NULL;
  loop_turn(s.loop, false);
  must(s.accepted == 3);
  timers_run(&s.loop->timers, s.loop->clock.now_ms + 1000);
  must_come(&s, s.accepted == 4);
  must(s.failed <= 3); // at the limit Linux says so even when nobody waits
  for (int i = 1; i < 4; i++)
    close(dialled[i]);
  stop(&s);
}

static void without_descriptors_a_listener_waits_and_goes_on(void **state) {
  (void)state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    run_out();
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

// --- the loop ---

static struct loop *timed;
static int fired;

static void on_fired(struct timer *t) {
  (void)t;
  fired++;
}

static void a_virtual_loop_rests_until_it_is_moved(void **state) {
  (void)state;
  timed = loop_new_virtual(1000);
  struct timer t;
  timer_init(&t, on_fired);
  fired = 0;
  timer_arm(&timed->timers, &t, 1010);
  assert_false(loop_turn(timed, true));
  clock_advance(&timed->clock, 9);
  assert_false(loop_turn(timed, true));
  clock_advance(&timed->clock, 1);
  assert_true(loop_turn(timed, true));
  assert_int_equal(fired, 1);
  assert_false(loop_turn(timed, true));
  loop_free(timed);
}

static void a_waiting_turn_wakes_for_a_timer(void **state) {
  (void)state;
  timed = loop_new();
  struct timer soon, sooner;
  timer_init(&soon, on_fired);
  timer_init(&sooner, on_fired);
  fired = 0;
  timer_arm(&timed->timers, &soon, timed->clock.now_ms + 20);
  timer_arm(&timed->timers, &sooner, timed->clock.now_ms + 5);
  for (int turns = 0; fired < 2; turns++) {
    assert_true(turns < 100); // it waits between them
    loop_turn(timed, true);
  }
  assert_true(timed->clock.now_ms >= soon.due_ms);
  loop_free(timed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_both_ways),
      cmocka_unit_test(a_window_blocks_and_bytes_keep_their_order),
      cmocka_unit_test(a_shut_down_peer_still_receives),
      cmocka_unit_test(a_reset_fails_writes_and_reads),
      cmocka_unit_test(a_peer_may_go_first),
      cmocka_unit_test(nothing_is_read_while_nobody_watches),
      cmocka_unit_test(a_listener_tells_its_port_and_accepts),
      cmocka_unit_test(a_slow_reader_gets_every_byte),
      cmocka_unit_test(an_orderly_close_loses_no_bytes),
      cmocka_unit_test(a_reset_socket_is_told),
      cmocka_unit_test(a_listener_that_cannot_open_says_why),
      cmocka_unit_test(without_descriptors_a_listener_waits_and_goes_on),
      cmocka_unit_test(a_virtual_loop_rests_until_it_is_moved),
      cmocka_unit_test(a_waiting_turn_wakes_for_a_timer),
  };
  return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
