// http_parser reads the answer to the upgrade, wslay the frames behind it. Both call back in the course of
// ws_client_feed only; what they need to know of it is in `struct ws_client_impl`.
#include "client/ws_client.h"

#include <assert.h>
#include <http_parser.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <wslay/wslay.h>

#include "base/mem.h"

#define KEY_BYTES     16 // RFC 6455, 4.1
#define BASE64(bytes) (((bytes) + 2) / 3 * 4 + 1)
#define GUID          "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define RANDOM_BYTES  128 // of masks, got in one system call

enum answer {
  ANSWER_UPGRADE = 1,
  ANSWER_CONNECTION = 2,
  ANSWER_ACCEPT = 4,
  ANSWER_PROTOCOL = 8,
  ANSWER_EXTENSION = 16
};

struct ws_client_impl {
  http_parser parser;
  char accept[BASE64(SHA_DIGEST_LENGTH)]; // what the server has to answer
  struct buf name, value;                 // of the header that is being read
  bool in_value;                          // and it is its value
  unsigned answer;                        // enum answer: the headers that were right
  size_t answer_len;
  bool failed;
  wslay_event_context_ptr frames;
  struct slice in;    // of the feed under way
  uint8_t *to;        // where payload goes to
  bool control_frame; // the chunks are of one
  bool text_frame;    // one has come, and none may [MQTT-6.0.0-1]
  uint8_t random[RANDOM_BYTES];
  size_t random_left;
};

static bool fail(struct ws_client *w, const char *text) {
  if (!w->impl->failed) snprintf(w->error, sizeof w->error, "%s", text);
  w->impl->failed = true;
  return false;
}

static void randomize(void *bytes, size_t len) {
  if (getrandom(bytes, len, 0) == (ssize_t)len) return;
  perror("luamq: getrandom");
  abort();
}

// The request

static bool printable(const char *text, char first) {
  for (; *text; text++)
    if (*text < first || *text > '~') return false;
  return true;
}

bool ws_client_path_valid(const char *path) { return *path == '/' && printable(path, '!'); }

bool ws_client_header_valid(const char *name, const char *value) {
  return *name && printable(name, '!') && !strpbrk(name, "\"(),/:;<=>?@[\\]{}") && printable(value, ' ');
}

static void base64(char *out, const uint8_t *bytes, size_t len) {
  EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
}

static void expect_accept(struct ws_client_impl *impl, const char *key) {
  char text[BASE64(KEY_BYTES) + sizeof GUID];
  uint8_t digest[SHA_DIGEST_LENGTH];
  int len = snprintf(text, sizeof text, "%s" GUID, key);
  SHA1((const uint8_t *)text, (size_t)len, digest);
  base64(impl->accept, digest, sizeof digest);
}

static void put_host(struct buf *out, const struct ws_client_options *o) {
  bool ipv6 = strchr(o->host, ':') != NULL;
  buf_printf(out, ipv6 ? "Host: [%s]" : "Host: %s", o->host);
  if (o->port) buf_printf(out, ":%u", (unsigned)o->port);
  buf_add_str(out, "\r\n");
}

static void put_request(struct ws_client *w, const struct ws_client_options *o) {
  uint8_t random[KEY_BYTES];
  char key[BASE64(KEY_BYTES)];
  const char *path = o->path ? o->path : WS_CLIENT_PATH;
  assert(ws_client_path_valid(path));
  randomize(random, sizeof random);
  base64(key, random, sizeof random);
  expect_accept(w->impl, key);
  buf_printf(&w->out, "GET %s HTTP/1.1\r\n", path);
  put_host(&w->out, o);
  buf_printf(&w->out,
             "Upgrade: websocket\r\n"
             "Connection: Upgrade\r\n"
             "Sec-WebSocket-Key: %s\r\n"
             "Sec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Protocol: mqtt\r\n",
             key);
  if (o->origin) buf_printf(&w->out, "Origin: %s\r\n", o->origin);
  buf_add_slice(&w->out, o->headers);
  buf_add_str(&w->out, "\r\n");
}

// The answer

// One of the tokens in a list with commas.
static bool lists(const char *value, const char *token) {
  size_t len = strlen(token);
  while (*value) {
    value += strspn(value, " \t,");
    size_t n = strcspn(value, " \t,");
    if (n == len && strncasecmp(value, token, len) == 0) return true;
    value += n;
  }
  return false;
}

// The names are those of headers; what they have to hold is compared as RFC 6455, 4.1 says.
static unsigned judge(const struct ws_client_impl *impl, const char *name, const char *value) {
  if (strcasecmp(name, "Upgrade") == 0) return lists(value, "websocket") ? ANSWER_UPGRADE : 0;
  if (strcasecmp(name, "Connection") == 0) return lists(value, "upgrade") ? ANSWER_CONNECTION : 0;
  if (strcasecmp(name, "Sec-WebSocket-Accept") == 0)
    return strcmp(value, impl->accept) == 0 ? ANSWER_ACCEPT : 0;
  if (strcasecmp(name, "Sec-WebSocket-Protocol") == 0)
    return strcmp(value, "mqtt") == 0 ? ANSWER_PROTOCOL : 0;
  return strcasecmp(name, "Sec-WebSocket-Extensions") == 0 ? ANSWER_EXTENSION : 0;
}

static void header_complete(struct ws_client_impl *impl) {
  if (impl->name.len) impl->answer |= judge(impl, buf_text(&impl->name), buf_text(&impl->value));
  impl->name.len = impl->value.len = 0;
  impl->in_value = false;
}

static int on_header_field(http_parser *p, const char *at, size_t len) {
  struct ws_client *w = p->data;
  if (w->impl->in_value) header_complete(w->impl);
  buf_add(&w->impl->name, at, len);
  return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t len) {
  struct ws_client *w = p->data;
  w->impl->in_value = true;
  buf_add(&w->impl->value, at, len);
  return 0;
}

static bool accepted(struct ws_client *w) {
  static const struct {
    unsigned answer;
    const char *error;
  } needed[] = {
      {ANSWER_UPGRADE, "the server did not upgrade to WebSocket"},
      {ANSWER_CONNECTION, "the server did not upgrade the connection"},
      {ANSWER_ACCEPT, "the server's Sec-WebSocket-Accept is wrong or missing"},
      {ANSWER_PROTOCOL, "the server did not choose the sub-protocol 'mqtt'"},
  };
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (!(w->impl->answer & needed[i].answer)) return fail(w, needed[i].error);
  if (w->impl->answer & ANSWER_EXTENSION)
    return fail(w, "the server uses an extension that nobody asked for");
  return true;
}

static int on_headers_complete(http_parser *p) {
  struct ws_client *w = p->data;
  header_complete(w->impl);
  if (p->status_code != HTTP_STATUS_SWITCHING_PROTOCOLS) {
    char text[96];
    snprintf(text, sizeof text, "the server answered %u %s instead of upgrading to WebSocket", p->status_code,
             http_status_str(p->status_code));
    fail(w, text);
    return -1;
  }
  return accepted(w) ? 2 : -1; // 2: neither body nor another answer follows
}

static const http_parser_settings answer_settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

// Takes what belongs to the answer off the front of impl->in.
static bool take_answer(struct ws_client *w) {
  struct ws_client_impl *impl = w->impl;
  size_t n = http_parser_execute(&impl->parser, &answer_settings, (const char *)impl->in.ptr, impl->in.len);
  impl->answer_len += n;
  if (impl->failed) return false;
  if (impl->parser.upgrade) {
    w->ready = true;
    impl->in = slice_from(impl->in, n);
    return true;
  }
  if (HTTP_PARSER_ERRNO(&impl->parser) != HPE_OK) return fail(w, "what answers does not speak HTTP");
  if (impl->answer_len > WS_CLIENT_ANSWER_MAX) return fail(w, "the server's answer is too long");
  impl->in = slice_from(impl->in, impl->in.len);
  return true;
}

// Frames

static ssize_t give_input(wslay_event_context_ptr ctx, uint8_t *to, size_t size, int flags, void *arg) {
  struct ws_client *w = arg;
  struct slice *in = &w->impl->in;
  (void)flags;
  if (!in->len) {
    wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
    return -1;
  }
  size_t n = in->len < size ? in->len : size;
  memcpy(to, in->ptr, n);
  *in = slice_from(*in, n);
  return (ssize_t)n;
}

static ssize_t take_output(wslay_event_context_ptr ctx, const uint8_t *bytes, size_t len, int flags,
                           void *arg) {
  struct ws_client *w = arg;
  (void)ctx, (void)flags;
  buf_add(&w->out, bytes, len);
  return (ssize_t)len;
}

static int give_mask(wslay_event_context_ptr ctx, uint8_t *to, size_t len, void *arg) {
  struct ws_client_impl *impl = ((struct ws_client *)arg)->impl;
  (void)ctx;
  assert(len <= RANDOM_BYTES);
  if (impl->random_left < len) {
    randomize(impl->random, sizeof impl->random);
    impl->random_left = sizeof impl->random;
  }
  impl->random_left -= len;
  memcpy(to, impl->random + impl->random_left, len);
  return 0;
}

static void on_frame(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *frame,
                     void *arg) {
  struct ws_client_impl *impl = ((struct ws_client *)arg)->impl;
  impl->control_frame = wslay_is_ctrl_frame(frame->opcode);
  if (frame->opcode != WSLAY_TEXT_FRAME) return;
  impl->text_frame = true;
  wslay_event_shutdown_read(ctx);
}

static void on_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *chunk,
                     void *arg) {
  struct ws_client_impl *impl = ((struct ws_client *)arg)->impl;
  (void)ctx;
  if (impl->control_frame || impl->text_frame) return;
  memcpy(impl->to, chunk->data, chunk->data_length);
  impl->to += chunk->data_length;
}

static const struct wslay_event_callbacks frame_callbacks = {
    .recv_callback = give_input,
    .send_callback = take_output,
    .genmask_callback = give_mask,
    .on_frame_recv_start_callback = on_frame,
    .on_frame_recv_chunk_callback = on_chunk,
};

// wslay fails for want of memory: what the peer does wrong ends in a close frame.
static void must(int result) { mem_require(result == 0 ? (void *)&frame_callbacks : NULL); }

static void close_with(struct ws_client *w, uint16_t status) {
  if (!wslay_event_get_write_enabled(w->impl->frames)) return;
  must(wslay_event_queue_close(w->impl->frames, status, NULL, 0));
  must(wslay_event_send(w->impl->frames));
}

static bool closed(struct ws_client *w, unsigned status) {
  char text[64];
  if (status == WSLAY_CODE_NORMAL_CLOSURE || status == WSLAY_CODE_NO_STATUS_RCVD)
    return fail(w, "connection closed");
  snprintf(text, sizeof text, "connection closed with WebSocket status %u", status);
  return fail(w, text);
}

static bool take_frames(struct ws_client *w) {
  struct ws_client_impl *impl = w->impl;
  int result = wslay_event_recv(impl->frames);
  bool unframed = result == WSLAY_ERR_CALLBACK_FAILURE; // what it says of headers that cannot be read
  must(unframed ? 0 : result);
  must(wslay_event_send(impl->frames)); // answers
  if (impl->text_frame) {
    close_with(w, WSLAY_CODE_UNSUPPORTED_DATA);
    return fail(w, "the server sent a WebSocket text frame");
  }
  if (wslay_event_get_close_received(impl->frames))
    return closed(w, wslay_event_get_status_code_received(impl->frames));
  if (!wslay_event_get_read_enabled(impl->frames)) return fail(w, "malformed WebSocket frame");
  return true;
}

// Life

struct ws_client *ws_client_new(const struct ws_client_options *o) {
  struct ws_client *w = mem_calloc(1, sizeof *w);
  struct ws_client_impl *impl = w->impl = mem_calloc(1, sizeof *impl);
  http_parser_init(&impl->parser, HTTP_RESPONSE);
  impl->parser.data = w;
  must(wslay_event_context_client_init(&impl->frames, &frame_callbacks, w));
  wslay_event_config_set_no_buffering(impl->frames, 1);
  put_request(w, o);
  return w;
}

void ws_client_free(struct ws_client *w) {
  if (!w) return;
  wslay_event_context_free(w->impl->frames);
  buf_release(&w->impl->name);
  buf_release(&w->impl->value);
  mem_free(w->impl);
  buf_release(&w->out);
  mem_free(w);
}

ssize_t ws_client_feed(struct ws_client *w, struct slice in, uint8_t *to) {
  struct ws_client_impl *impl = w->impl;
  if (impl->failed) return -1;
  impl->in = in;
  impl->to = to;
  bool ok = w->ready || take_answer(w);
  if (ok && w->ready && impl->in.len) ok = take_frames(w);
  ssize_t n = impl->to - to;
  return n || ok ? n : -1; // payload in front of an end comes first; the next call tells the end
}

void ws_client_write(struct ws_client *w, struct slice payload) {
  assert(w->ready);
  struct wslay_event_msg message = {
      .opcode = WSLAY_BINARY_FRAME, .msg = payload.ptr, .msg_length = payload.len};
  if (!wslay_event_get_write_enabled(w->impl->frames)) return;
  must(wslay_event_queue_msg(w->impl->frames, &message));
  must(wslay_event_send(w->impl->frames));
}

void ws_client_close(struct ws_client *w) {
  if (w->ready) close_with(w, WSLAY_CODE_NORMAL_CLOSURE);
}
