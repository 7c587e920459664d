// WebSocket over TLS over memory: three layers, each with bytes of its own that wait.
#include "tls_fixture.h"
#include "web_server.h"

static void upgrade(struct web_server *s, struct tls_pair *p) {
  struct buf answer = BUF_INIT;
  tls_pair_client_write(p, WEB_REQUEST, sizeof WEB_REQUEST - 1);
  tls_pair_run(p);
  assert_true(s->open);
  tls_pair_client_read(p, &answer);
  assert_string_equal(buf_text(&answer), WEB_ANSWER);
  buf_release(&answer);
}

static struct slice payload_of(struct slice in, struct buf *out) {
  struct naive_frame f;
  for (size_t header; (header = naive_frame_read(in, &f)); in = slice_from(in, header + (size_t)f.len)) {
    assert_true(f.opcode == 2 && f.payload.len == f.len);
    buf_add_slice(out, f.payload);
  }
  return buf_slice(out);
}

static void exchange(struct web_server *s, struct tls_pair *p, struct slice bytes, bool all_at_once) {
  struct buf frame = BUF_INIT, frames = BUF_INIT, got = BUF_INIT;
  struct iovec iov[] = {{(void *)(uintptr_t)bytes.ptr, 10},
                        {(void *)(uintptr_t)(bytes.ptr + 10), bytes.len - 10}};
  size_t waits = conn_write(s->conn, iov, 2, NULL);
  assert_int_equal(waits == 0, all_at_once);
  naive_add_frame(&frame, BINARY, bytes, 1);
  tls_pair_client_write(p, frame.ptr, frame.len);
  tls_pair_run(p);
  assert_false(conn_blocked(s->conn));
  assert_int_equal(s->writable, all_at_once ? 0 : 1);
  assert_true(slice_eq(buf_slice(&s->got), bytes));
  tls_pair_client_read(p, &frames);
  assert_true(slice_eq(payload_of(buf_slice(&frames), &got), bytes));
  buf_release(&frame);
  buf_release(&frames);
  buf_release(&got);
}

static void bytes_go_both_ways_whatever_waits_below(void **state) {
  static const size_t windows[] = {3, 1000, 50000, SIZE_MAX};
  struct fixture *f = *state;
  struct buf bytes = BUF_INIT;
  for (uint32_t n = 0; n < 50000; n++)
    buf_add(&bytes, &n, sizeof n);
  f->tls = load(&f->config);
  each_version(version) for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
    struct web_server s;
    struct tls_pair p;
    open_version(&p, f->tls, f->client, *version);
    tls_pair_shake(&p);
    web_server_open_over(&s, NULL, p.loop, p.conn);
    p.conn = s.conn; // the outermost layer is what is closed
    upgrade(&s, &p);
    assert_string_equal(tls_version(s.conn), *version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
    memory_set_window(p.peer, windows[i]);
    exchange(&s, &p, buf_slice(&bytes), windows[i] == SIZE_MAX);
    tls_pair_release(&p);
    buf_release(&s.got);
  }
  buf_release(&bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(bytes_go_both_ways_whatever_waits_below, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
