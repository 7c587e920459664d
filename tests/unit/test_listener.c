// Listeners with options, and unix sockets, over real sockets and files in a directory of the test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "transport/listener.h"
#include "transport/loop.h"

#define TURNS 100000

struct place {
  struct loop *loop;
  struct listener *listener;
  struct conn *conn; // the last that was accepted
  int accepted;
  struct address remote;
  char directory[32], path[64], url[80], error[256];
};

static void accepted(void *arg, struct listener *l, struct conn *c, const struct address *remote) {
  (void)l;
  struct place *p = arg;
  if (p->conn) conn_close(p->conn, false);
  p->conn = c;
  p->remote = *remote;
  p->accepted++;
}

static void failed(void *arg, const char *error) {
  (void)arg;
  fail_msg("%s", error);
}

static const struct listener_handler handler = {accepted, failed};

static void start(struct place *p) {
  *p = (struct place){.directory = "/tmp/luamq-test-XXXXXX"};
  assert_non_null(mkdtemp(p->directory));
  snprintf(p->path, sizeof p->path, "%s/socket", p->directory);
  snprintf(p->url, sizeof p->url, "unix://%s", p->path);
  p->loop = loop_new();
  assert_non_null(p->loop);
}

static void stop(struct place *p) {
  if (p->conn) conn_close(p->conn, false);
  if (p->listener) listener_close(p->listener);
  loop_free(p->loop);
  unlink(p->path);
  assert_int_equal(rmdir(p->directory), 0);
}

static bool try_open(struct place *p, const struct listener_config *c) {
  struct listener *l = listener_open(p->loop, c, &handler, p, p->error, sizeof p->error);
  if (!l) return false;
  assert_null(p->listener);
  p->listener = l;
  return true;
}

static bool try_open_unix(struct place *p) {
  struct listener_config c;
  listener_config_init(&c, p->url);
  return try_open(p, &c);
}

static void close_listener(struct place *p) {
  listener_close(p->listener);
  p->listener = NULL;
}

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
  return sun;
}

static int dial(const char *path) {
  struct sockaddr_un sun = address_of(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
  return fd;
}

// A socket of somebody else at the path; `type` as in socket(2).
static int foreign(const char *path, int type, bool listening) {
  struct sockaddr_un sun = address_of(path);
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
  if (listening) assert_int_equal(listen(fd, 0), 0);
  return fd;
}

static void accept_one(struct place *p) {
  int before = p->accepted;
  for (int turn = 0; p->accepted == before; turn++) {
    assert_true(turn < TURNS);
    loop_turn(p->loop, false);
  }
}

static struct stat stat_of(const char *path) {
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  return st;
}

static bool exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0;
}

// --- unix sockets ---

static void a_unix_listener_accepts_and_knows_who_it_is(void **state) {
  (void)state;
  struct place p;
  start(&p);
  assert_true(try_open_unix(&p));
  assert_string_equal(listener_url(p.listener), p.url);
  int fd = dial(p.path);
  accept_one(&p);
  assert_int_equal(p.remote.family, AF_UNIX);
  assert_int_equal(p.remote.peer.uid, geteuid());
  assert_int_equal(p.remote.peer.gid, getegid());
  assert_int_equal(p.remote.peer.pid, getpid());
  assert_true(address_is_loopback(&p.remote));
  struct address local;
  char text[ADDRESS_TEXT_MAX];
  conn_local_address(p.conn, &local);
  assert_string_equal(address_format(&p.remote, text), "unix");
  assert_string_equal(address_format(&local, text), "unix");
  struct iovec iov = {(char[]){"hello"}, 5};
  assert_int_equal(conn_write(p.conn, &iov, 1, NULL), 0);
  conn_close(p.conn, true);
  p.conn = NULL;
  char got[8];
  assert_int_equal(recv(fd, got, 5, MSG_WAITALL), 5);
  assert_memory_equal(got, "hello", 5);
  assert_int_equal(recv(fd, got, sizeof got, 0), 0);
  close(fd);
  stop(&p);
}

static void the_file_has_the_mode_whatever_the_umask(void **state) {
  (void)state;
  static const mode_t modes[] = {0660, 0600, 0666, 0777, 0622};
  static const mode_t masks[] = {0, 022, 077, 0777};
  struct place p;
  start(&p);
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    for (size_t j = 0; j < sizeof masks / sizeof *masks; j++) {
      struct listener_config c;
      listener_config_init(&c, p.url);
      c.mode = modes[i];
      mode_t before = umask(masks[j]);
      bool opened = try_open(&p, &c);
      umask(before);
      assert_true(opened);
      assert_int_equal(stat_of(p.path).st_mode, S_IFSOCK | modes[i]);
      close_listener(&p);
      assert_false(exists(p.path));
    }
  }
  stop(&p);
}

static void the_file_has_owner_and_group(void **state) {
  (void)state;
  struct place p;
  start(&p);
  struct listener_config c;
  listener_config_init(&c, p.url);
  bool root = geteuid() == 0;
  c.uid = root ? 12345 : geteuid();
  c.gid = root ? 23456 : getegid();
  assert_true(try_open(&p, &c));
  assert_int_equal(stat_of(p.path).st_uid, c.uid);
  assert_int_equal(stat_of(p.path).st_gid, c.gid);
  stop(&p);
}

static void an_owner_that_cannot_be_set_leaves_no_file(void **state) {
  (void)state;
  if (geteuid() == 0) skip();
  struct place p;
  start(&p);
  struct listener_config c;
  listener_config_init(&c, p.url);
  c.uid = 0;
  assert_false(try_open(&p, &c));
  assert_non_null(strstr(p.error, "cannot set owner and group"));
  assert_false(exists(p.path));
  stop(&p);
}

static void a_stale_socket_is_replaced(void **state) {
  (void)state;
  struct place p;
  start(&p);
  close(foreign(p.path, SOCK_STREAM, true));
  assert_true(exists(p.path));
  assert_true(try_open_unix(&p));
  close(dial(p.path));
  accept_one(&p);
  stop(&p);
}

static void assert_refused(struct place *p, const char *why) {
  struct stat before = stat_of(p->path);
  char expected[256];
  snprintf(expected, sizeof expected, "cannot listen on %s: %s", p->url, why);
  assert_false(try_open_unix(p));
  assert_string_equal(p->error, expected);
  assert_int_equal(stat_of(p->path).st_ino, before.st_ino);
  unlink(p->path);
}

static void a_socket_in_use_is_left_alone(void **state) {
  (void)state;
  struct place p;
  start(&p);
  int fd = foreign(p.path, SOCK_STREAM, true);
  assert_refused(&p, "another program uses this socket");
  close(fd);
  fd = foreign(p.path, SOCK_DGRAM, false);
  assert_refused(&p, "another program uses this socket");
  close(fd);
  fd = foreign(p.path, SOCK_STREAM, true);
  int waiting = dial(p.path); // fills the backlog
  assert_refused(&p, "another program uses this socket");
  close(waiting);
  close(fd);
  stop(&p);
}

static void a_file_that_is_no_socket_is_left_alone(void **state) {
  (void)state;
  struct place p;
  start(&p);
  close(open(p.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  assert_refused(&p, "there is a file that is not a socket");
  assert_int_equal(symlink("nowhere", p.path), 0);
  assert_refused(&p, "there is a file that is not a socket");
  stop(&p);
}

static void closing_removes_no_file_of_others(void **state) {
  (void)state;
  struct place p;
  start(&p);
  assert_true(try_open_unix(&p));
  char aside[80];
  snprintf(aside, sizeof aside, "%s.old", p.path);
  assert_int_equal(rename(p.path, aside), 0); // so that its inode stays in use
  int fd = foreign(p.path, SOCK_STREAM, true);
  close_listener(&p);
  assert_true(exists(p.path));
  close(dial(p.path));
  close(fd);
  unlink(aside);
  stop(&p);
}

static void paths_that_cannot_be_are_errors(void **state) {
  (void)state;
  struct place p;
  start(&p);
  struct listener_config c;
  listener_config_init(&c, "unix://relative");
  assert_false(try_open(&p, &c));
  assert_non_null(strstr(p.error, "absolute path"));
  listener_config_init(&c, "unix:///nowhere/at/all");
  assert_false(try_open(&p, &c));
  assert_non_null(strstr(p.error, "No such file"));
  char url[200] = "unix:///tmp/";
  memset(url + 12, 'x', 108 - 5);
  listener_config_init(&c, url);
  assert_false(try_open(&p, &c));
  assert_non_null(strstr(p.error, "too long"));
  stop(&p);
}

static void the_longest_path_works(void **state) {
  (void)state;
  struct place p;
  char path[108], url[128];
  start(&p);
  size_t len = (size_t)snprintf(path, sizeof path, "%s/", p.directory);
  memset(path + len, 'x', sizeof path - 1 - len);
  path[sizeof path - 1] = 0;
  snprintf(url, sizeof url, "unix://%s", path);
  struct listener_config c;
  listener_config_init(&c, url);
  assert_true(try_open(&p, &c));
  assert_string_equal(listener_url(p.listener), url);
  close(dial(path));
  accept_one(&p);
  close_listener(&p);
  assert_false(exists(path));
  stop(&p);
}

// --- tcp ---

static int dial_port(const struct place *p) {
  int port = atoi(strrchr(listener_url(p->listener), ':') + 1);
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  if (connect(fd, (struct sockaddr *)&in, sizeof in) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

static bool is_port(int fd, const struct sockaddr_in *in) {
  struct sockaddr_in own;
  socklen_t len = sizeof own;
  return getsockname(fd, (struct sockaddr *)&own, &len) == 0 && own.sin_port == in->sin_port;
}

// The broker's end of a connection, as nobody but the process's list of descriptors tells.
static int other_end(int fd) {
  struct sockaddr_in peer;
  socklen_t len = sizeof peer;
  assert_int_equal(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
  for (int other = 3; other < 256; other++) {
    struct sockaddr_in back;
    socklen_t back_len = sizeof back;
    if (other == fd || getpeername(other, (struct sockaddr *)&back, &back_len)) continue;
    if (back.sin_family == AF_INET && is_port(fd, &back) && is_port(other, &peer)) return other;
  }
  fail_msg("no other end");
  return -1;
}

static int option_of(int fd, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
  return value;
}

static void connections_inherit_keepalive_and_nodelay(void **state) {
  (void)state;
  static const struct {
    int keepalive;
    bool nodelay;
  } rows[] = {{LISTENER_KEEPALIVE_SYSTEM, true}, {0, true}, {45, true}, {45, false}};
  struct place p;
  start(&p);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct listener_config c;
    listener_config_init(&c, "tcp://127.0.0.1:0");
    c.keepalive = rows[i].keepalive;
    c.nodelay = rows[i].nodelay;
    assert_true(try_open(&p, &c));
    int fd = dial_port(&p);
    assert_true(fd >= 0);
    accept_one(&p);
    int end = other_end(fd);
    assert_int_equal(option_of(end, SOL_SOCKET, SO_KEEPALIVE), rows[i].keepalive != 0);
    if (rows[i].keepalive > 0) assert_int_equal(option_of(end, IPPROTO_TCP, TCP_KEEPIDLE), rows[i].keepalive);
    assert_int_equal(option_of(end, IPPROTO_TCP, TCP_NODELAY) != 0, rows[i].nodelay);
    close(fd);
    conn_close(p.conn, false);
    p.conn = NULL;
    close_listener(&p);
  }
  stop(&p);
}

static void a_port_is_shared_only_by_those_who_agree(void **state) {
  (void)state;
  struct place p;
  char url[80];
  start(&p);
  struct listener_config c;
  listener_config_init(&c, "tcp://127.0.0.1:0");
  c.reuse_port = true;
  assert_true(try_open(&p, &c));
  struct listener *first = p.listener;
  p.listener = NULL;
  snprintf(url, sizeof url, "%s", listener_url(first));
  c.url = url;
  assert_true(try_open(&p, &c));
  close_listener(&p);
  c.reuse_port = false;
  assert_false(try_open(&p, &c));
  assert_non_null(strstr(p.error, "in use"));
  listener_close(first);
  stop(&p);
}

static void dual_stack_takes_ipv4_too(void **state) {
  (void)state;
  struct place p;
  start(&p);
  struct listener_config c;
  listener_config_init(&c, "tcp://[::]:0");
  if (!try_open(&p, &c)) { // no IPv6 here
    stop(&p);
    skip();
  }
  assert_int_equal(dial_port(&p), -ECONNREFUSED);
  close_listener(&p);
  c.dual_stack = true;
  assert_true(try_open(&p, &c));
  int fd = dial_port(&p);
  assert_true(fd >= 0);
  accept_one(&p);
  char text[ADDRESS_TEXT_MAX];
  assert_int_equal(strncmp(address_format(&p.remote, text), "127.0.0.1:", 10), 0);
  assert_true(address_is_loopback(&p.remote));
  close(fd);
  stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_unix_listener_accepts_and_knows_who_it_is),
      cmocka_unit_test(the_file_has_the_mode_whatever_the_umask),
      cmocka_unit_test(the_file_has_owner_and_group),
      cmocka_unit_test(an_owner_that_cannot_be_set_leaves_no_file),
      cmocka_unit_test(a_stale_socket_is_replaced),
      cmocka_unit_test(a_socket_in_use_is_left_alone),
      cmocka_unit_test(a_file_that_is_no_socket_is_left_alone),
      cmocka_unit_test(closing_removes_no_file_of_others),
      cmocka_unit_test(paths_that_cannot_be_are_errors),
      cmocka_unit_test(the_longest_path_works),
      cmocka_unit_test(connections_inherit_keepalive_and_nodelay),
      cmocka_unit_test(a_port_is_shared_only_by_those_who_agree),
      cmocka_unit_test(dual_stack_takes_ipv4_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
