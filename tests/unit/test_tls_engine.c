// A broker in a process of its own with a TLS listener on a real socket: handshakes, and certificates that
// are loaded again on a signal and by themselves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "broker/engine.h"
#include "broker/memory.h"
#include "certificates.h"

struct fixture {
  struct certificates *files;
  pid_t broker;
  FILE *told; // by the broker, a line each
  uint16_t port;
};

// --- the broker's process ---

struct broker {
  FILE *out;
  struct engine *engine;
  struct backend_ops ops; // of the memory backend, and what it does not have
};

static FILE *out_of(struct backend *b) {
  return container_of((struct backend_ops *)(uintptr_t)b->ops, struct broker, ops)->out;
}

static void tell_error(struct backend *b, const char *error) { fprintf(out_of(b), "error %s\n", error); }

static void tell_reloaded(struct backend *b, const char *url) {
  (void)url;
  fputs("reloaded\n", out_of(b));
}

static void on_signal(void *arg, int number) {
  struct broker *b = arg;
  if (number == SIGHUP)
    engine_reload_tls(b->engine);
  else
    engine_stop(b->engine, 0);
}

static struct tls *load(struct fixture *f) {
  char error[256] = "";
  struct tls_config config;
  struct tls_identity identity = {certificates_path(f->files, "server.pem"),
                                  certificates_path(f->files, "server.key")};
  tls_config_init(&config);
  config.identities = &identity;
  config.identity_count = 1;
  struct tls *t = tls_new(&config, error, sizeof error);
  if (!t) fprintf(stderr, "%s\n", error);
  return t;
}

static void listen_on(struct engine *e, const char *url, struct tls *t, bool watch) {
  char error[256];
  struct listener_config config;
  listener_config_init(&config, url);
  config.tls = t;
  config.watch = watch;
  if (!engine_listen(e, &config, error, sizeof error)) fprintf(stderr, "%s\n", error);
}

static void serve(struct fixture *f, FILE *out, bool watch) {
  struct settings settings;
  struct broker b = {.out = out};
  struct loop *loop = loop_new();
  settings_init(&settings);
  struct shard *shard = shard_new(loop, &settings, 0);
  shard_set_backend(shard, memory_backend_new(shard));
  b.ops = *shard->backend->ops;
  b.ops.engine_error = tell_error;
  b.ops.certificates_reloaded = tell_reloaded;
  shard->backend->ops = &b.ops;
  b.engine = engine_new(shard);
  struct tls *t = load(f);
  listen_on(b.engine, "tls://127.0.0.1:0", t, watch);
  struct loop_signal *hup = loop_signal_new(loop, SIGHUP, on_signal, &b);
  struct loop_signal *term = loop_signal_new(loop, SIGTERM, on_signal, &b);
  fprintf(out, "%s\n", engine_url(b.engine, 0));
  engine_run(b.engine);
  const struct stats *s = &shard->stats;
  fprintf(out, "handshakes %d failed %d reloads %d failed %d\n", (int)s->tls_handshakes,
          (int)s->tls_handshakes_failed, (int)s->tls_reloads, (int)s->tls_reload_failures);
  loop_signal_free(hup);
  loop_signal_free(term);
  engine_free(b.engine);
  tls_unref(t);
  shard_free(shard);
  loop_free(loop);
}

// --- the test's ---

static void expect_told(struct fixture *f, const char *start) {
  char line[512];
  assert_non_null(fgets(line, sizeof line, f->told));
  line[strcspn(line, "\n")] = 0;
  if (strncmp(line, start, strlen(start)) != 0) fail_msg("told '%s' instead of '%s'", line, start);
  if (strncmp(line, "tls://127.0.0.1:", 16) == 0) f->port = (uint16_t)atoi(line + 16);
}

static void start_broker(struct fixture *f, bool watch) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  f->broker = fork();
  assert_true(f->broker >= 0);
  if (f->broker == 0) {
    close(ends[0]);
    FILE *out = fdopen(ends[1], "w");
    setvbuf(out, NULL, _IOLBF, 0);
    serve(f, out, watch);
    _exit(0);
  }
  close(ends[1]);
  f->told = fdopen(ends[0], "r");
  expect_told(f, "tls://");
  assert_int_not_equal(f->port, 0);
}

static void stop_broker(struct fixture *f, const char *counted) {
  int status;
  kill(f->broker, SIGTERM);
  expect_told(f, counted);
  assert_int_equal(waitpid(f->broker, &status, 0), f->broker);
  f->broker = 0;
  assert_int_equal(status, 0);
}

static int connect_socket(const struct fixture *f) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in sa = {
      .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
  return fd;
}

// Connects by TLS and MQTT; the server's certificate has this name.
static void expect_served(const struct fixture *f, const char *common_name) {
  static const uint8_t connect_packet[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
  uint8_t answer[4];
  char name[64];
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL *ssl = SSL_new(context);
  int fd = connect_socket(f);
  SSL_set_fd(ssl, fd);
  assert_int_equal(SSL_connect(ssl), 1);
  X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(ssl)), NID_commonName, name,
                            sizeof name);
  assert_string_equal(name, common_name);
  assert_int_equal(SSL_write(ssl, connect_packet, sizeof connect_packet), sizeof connect_packet);
  assert_int_equal(SSL_read(ssl, answer, sizeof answer), 4);
  assert_memory_equal(answer, "\x20\x02\x00\x00", 4);
  assert_int_equal(SSL_write(ssl, "\xe0\x00", 2), 2); // DISCONNECT
  assert_true(SSL_read(ssl, answer, 1) <= 0);         // and the end
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(fd);
}

static void renew(struct fixture *f, const char *common_name) {
  certificates_issue(f->files, "renewed",
                     &(struct issue){.common_name = common_name, .with_key_of = "server"});
  certificates_copy(f->files, "renewed.pem", "server.pem");
}

static int set_up(void **state) {
  struct fixture *f = mem_calloc(1, sizeof *f);
  f->files = certificates_new();
  certificates_issue(f->files, "server", &(struct issue){0});
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  if (f->broker) kill(f->broker, SIGKILL);
  if (f->told) fclose(f->told);
  certificates_free(f->files);
  mem_free(f);
  return 0;
}

static void handshakes_are_served_and_counted(void **state) {
  struct fixture *f = *state;
  char byte;
  start_broker(f, false);
  expect_served(f, "server");
  int fd = connect_socket(f);
  assert_int_equal(send(fd, "this is not TLS", 15, 0), 15);
  assert_true(recv(fd, &byte, 1, 0) >= 0);
  close(fd);
  expect_served(f, "server");
  stop_broker(f, "handshakes 2 failed 1 reloads 0 failed 0");
}

static void certificates_are_loaded_again_when_asked_to(void **state) {
  struct fixture *f = *state;
  start_broker(f, false);
  expect_served(f, "server");
  renew(f, "newer");
  expect_served(f, "server");
  kill(f->broker, SIGHUP);
  expect_told(f, "reloaded");
  expect_served(f, "newer");
  stop_broker(f, "handshakes 3 failed 0 reloads 1 failed 0");
}

static void files_that_are_watched_are_loaded_when_they_change(void **state) {
  struct fixture *f = *state;
  char error[256];
  start_broker(f, true);
  certificates_copy(f->files, "ca.pem", "server.pem");
  snprintf(error, sizeof error,
           "error tls://127.0.0.1:%d: certificates not reloaded: the key in %s does not ", f->port,
           certificates_path(f->files, "server.key"));
  expect_told(f, error);
  expect_served(f, "server");
  renew(f, "newer");
  expect_told(f, "reloaded");
  expect_served(f, "newer");
  stop_broker(f, "handshakes 2 failed 0 reloads 1 failed 1");
}

static void an_expired_certificate_is_told(void **state) {
  struct fixture *f = *state;
  char error[256];
  certificates_issue(f->files, "server", &(struct issue){.from_days = -3, .to_days = -1});
  start_broker(f, false);
  snprintf(error, sizeof error, "error tls://127.0.0.1:%d: the certificate has expired: %s", f->port,
           certificates_path(f->files, "server.pem"));
  expect_told(f, error);
  expect_served(f, "server");
  stop_broker(f, "handshakes 1 failed 0 reloads 0 failed 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
      T(handshakes_are_served_and_counted),
      T(certificates_are_loaded_again_when_asked_to),
      T(files_that_are_watched_are_loaded_when_they_change),
      T(an_expired_certificate_is_told),
#undef T
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
