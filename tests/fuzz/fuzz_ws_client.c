// What a server may send to the client's side of a WebSocket. The first byte tells whether the rest is the
// answer to the upgrade, or what follows one that is right. Fed at once, or in two parts at any place, or
// byte by byte, it must come to the same payload, the same end, and as many bytes of answers while there is
// none.
#include "base/mem.h"
#include "client/ws_client.h"
#include "fuzz.h"
#include "ws_answer.h"

#define WHOLE SIZE_MAX

struct outcome {
  struct buf payload;
  char error[128];
  size_t answered; // bytes
  bool ready;
};

static void upgrade(struct ws_client *w) {
  uint8_t nothing[WS_ANSWER_MAX];
  char text[WS_ANSWER_MAX];
  CHECK(ws_client_feed(w, ws_answer(buf_text(&w->out), text), nothing) == 0);
  CHECK(w->ready);
}

// Feeds `in` up to `first` at once, then the rest in parts of `step`.
static struct outcome run(struct slice in, bool upgraded, size_t first, size_t step) {
  struct outcome o = {0};
  struct ws_client *w = ws_client_new(&(struct ws_client_options){.host = "h", .port = 1});
  if (upgraded) upgrade(w);
  w->out.len = 0;
  for (size_t want = first; in.len; want = step) {
    size_t len = want < in.len ? want : in.len;
    uint8_t *copy = mem_dup(in.ptr, len), *to = mem_alloc(len);
    ssize_t n = ws_client_feed(w, slice_of(copy, len), to);
    CHECK(n >= -1 && n <= (ssize_t)len);
    CHECK((n == -1) <= (w->error[0] != 0));
    if (n > 0) buf_add(&o.payload, to, (size_t)n);
    mem_free(copy);
    mem_free(to);
    if (n < 0) break;
    in = slice_from(in, len);
  }
  memcpy(o.error, w->error, sizeof o.error);
  o.answered = w->out.len;
  o.ready = w->ready;
  if (w->ready) ws_client_write(w, SLICE("x"));
  ws_client_close(w);
  ws_client_free(w);
  return o;
}

static bool malformed(const struct outcome *o) { return strcmp(o->error, "malformed WebSocket frame") == 0; }

// Whether the text of a close frame is UTF-8 wslay sees only in what comes at once, but before the frame's
// end.
static void require_same(const struct outcome *a, const struct outcome *b) {
  CHECK(slice_eq(buf_slice(&a->payload), buf_slice(&b->payload)));
  CHECK(a->ready == b->ready);
  if (malformed(a) || malformed(b)) return;
  CHECK(strcmp(a->error, b->error) == 0);
  CHECK(a->answered == b->answered || a->error[0]); // a close may overtake a pong
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || size > 2 * WS_CLIENT_ANSWER_MAX) return 0;
  bool upgraded = data[0] & 1;
  struct slice in = slice_of(data + 1, size - 1);
  struct outcome whole = run(in, upgraded, WHOLE, WHOLE);
  struct outcome split = run(in, upgraded, 1 + (data[0] >> 1) % in.len, WHOLE);
  struct outcome dripped = run(in, upgraded, 1, 1);
  require_same(&whole, &split);
  require_same(&whole, &dripped);
  buf_release(&whole.payload);
  buf_release(&split.payload);
  buf_release(&dripped.payload);
  return 0;
}
