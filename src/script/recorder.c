#include "script/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "packet/utf8.h"
#include "script/host.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "transport/crypto.h"
#include "transport/workers.h"

#define CHUNK_BYTES   (256u << 10) // that are written at once
#define PENDING_BYTES (8u << 20)   // that wait for a thread; what comes beyond is dropped
#define FLUSH_MS      1000         // that a line waits at most
#define REF_BYTES     65536        // of a client.ref; a larger one is left out

struct recorder {
  struct observer observer;
  struct host *host; // NULL: it has ended, and the last chunk is being written
  struct recorder_options options;
  struct timer timer, end;
  struct buf pending; // lines that no thread has yet
  uint64_t start_ms;  // of the loop's clock
  uint64_t bytes, lines;
  int fd;
  bool writing; // a thread has a chunk
  char path[];
};

struct chunk {
  struct job job;
  struct recorder *recorder;
  struct buf bytes;
  bool ran;
  int error; // of the system; 0: it was written
};

void recorder_options_of(const struct host *h, struct recorder_options *o) {
  const struct settings *set = &h->script->settings;
  *o = (struct recorder_options){.bytes = set->record_bytes,
                                 .payload_bytes = set->record_payload,
                                 .clients_of_100 = set->record_clients};
}

// --- writing ---

static int write_all(int fd, const struct buf *b) {
  for (size_t at = 0; at < b->len;) {
    ssize_t n = write(fd, b->ptr + at, b->len - at);
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) at += (size_t)n;
  }
  return 0;
}

static void run_chunk(struct job *j) {
  struct chunk *c = container_of(j, struct chunk, job);
  c->ran = true;
  c->error = write_all(c->recorder->fd, &c->bytes);
}

static void hand_over(struct recorder *r);
static void note(struct recorder *r, enum log_level level, const char *text, const char *error);

static void chunk_done(struct job *j) {
  struct chunk *c = container_of(j, struct chunk, job);
  struct recorder *r = c->recorder;
  if (!r->host || !c->error) return;
  note(r, LEVEL_ERROR, "the record ends: it cannot be written", strerror(c->error));
  r->pending.len = 0;
  recorder_end(r); // it is freed with the chunk
}

static void recorder_free(struct recorder *r) {
  write_all(r->fd, &r->pending); // what is left at the end
  close(r->fd);
  buf_release(&r->pending);
  mem_free(r);
}

static void free_chunk(struct job *j) {
  struct chunk *c = container_of(j, struct chunk, job);
  struct recorder *r = c->recorder;
  if (!c->ran) write_all(r->fd, &c->bytes); // the loop ends
  buf_release(&c->bytes);
  mem_free(c);
  r->writing = false;
  if (!r->host)
    recorder_free(r);
  else if (r->pending.len >= CHUNK_BYTES)
    hand_over(r);
}

// Gives the lines to a thread. One at a time, so that they stay in order.
static void hand_over(struct recorder *r) {
  static const struct job_ops ops = {.run = run_chunk, .done = chunk_done, .free = free_chunk};
  if (r->writing || !r->pending.len) return; // it goes on when the chunk is freed, or with the next line
  struct chunk *c = mem_calloc(1, sizeof *c);
  c->recorder = r;
  c->bytes = r->pending;
  r->pending = (struct buf)BUF_INIT;
  r->writing = true;
  if (workers_submit(r->host->loop, &c->job, &ops)) return;
  r->writing = false; // the queue is full: later
  r->pending = c->bytes;
  mem_free(c);
}

static void flush(struct timer *t) {
  struct recorder *r = container_of(t, struct recorder, timer);
  hand_over(r);
}

// --- lines ---

static void add_text(struct buf *b, struct slice text) {
  buf_add_byte(b, '"');
  for (size_t i = 0; i < text.len; i++) {
    uint8_t byte = text.ptr[i];
    if (byte == '"' || byte == '\\')
      buf_printf(b, "\\%c", (char)byte);
    else if (byte < ' ')
      buf_printf(b, "\\u%04x", (unsigned)byte);
    else
      buf_add_byte(b, byte);
  }
  buf_add_byte(b, '"');
}

static void add_name(struct buf *b, const char *name) { buf_printf(b, ",\"%s\":", name); }

static void add_string(struct buf *b, const char *name, struct slice text) {
  if (!text.ptr) return;
  add_name(b, name);
  add_text(b, text);
}

static void add_str(struct buf *b, const char *name, const char *text) {
  if (text) add_string(b, name, slice_str(text));
}

static void add_number(struct buf *b, const char *name, uint64_t n) {
  buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)n);
}

static void add_flag(struct buf *b, const char *name, bool on) {
  if (on) buf_printf(b, ",\"%s\":true", name);
}

// As text, or in base64 under a name of its own.
static void add_bytes(struct buf *b, const char *name, struct slice bytes) {
  if (utf8_valid(bytes)) {
    add_string(b, name, bytes);
    return;
  }
  buf_printf(b, ",\"%s64\":\"", name);
  crypto_base64_encode(bytes, b);
  buf_add_byte(b, '"');
}

static void add_property(struct buf *b, const struct packet_property *p) {
  const char *name = packet_property_name(p->id);
  if (p->id == PROPERTY_USER_PROPERTY || p->id == PROPERTY_SUBSCRIPTION_IDENTIFIER) return;
  if (p->value.ptr)
    add_bytes(b, name, p->value);
  else
    add_number(b, name, p->number);
}

static void add_user_properties(struct buf *b, const struct packet_properties *properties) {
  struct slice rest = properties->raw;
  bool any = false;
  for (struct packet_property p; packet_next_property(&rest, &p);) {
    if (p.id != PROPERTY_USER_PROPERTY) continue;
    buf_add_str(b, any ? ",[" : ",\"user_properties\":[[");
    any = true;
    add_text(b, p.name);
    buf_add_byte(b, ',');
    add_text(b, p.value);
    buf_add_byte(b, ']');
  }
  if (any) buf_add_byte(b, ']');
}

static void add_message(struct buf *b, const struct packet_message *m, uint32_t payload_bytes) {
  struct slice payload = m->payload, rest = m->properties.raw;
  bool cut = payload.len > payload_bytes;
  add_string(b, "topic", m->topic);
  add_number(b, "qos", m->qos);
  add_flag(b, "retain", m->retain);
  if (cut) add_number(b, "payload_length", payload.len);
  if (cut) payload.len = payload_bytes;
  if (payload.len) add_bytes(b, "payload", payload);
  for (struct packet_property p; packet_next_property(&rest, &p);)
    add_property(b, &p);
  add_user_properties(b, &m->properties);
}

// A changed one, as an object.
static void add_became(struct buf *b, const struct message *m, uint32_t payload_bytes) {
  struct packet_message view = message_view(m);
  add_name(b, "became");
  size_t comma = b->len;
  add_message(b, &view, payload_bytes);
  b->ptr[comma] = '{';
  buf_add_byte(b, '}');
}

static void add_login(struct buf *b, const struct client *c) {
  char remote[ADDRESS_TEXT_MAX];
  add_string(b, "user", client_username(c));
  add_number(b, "version", client_version(c));
  add_str(b, "address", address_format(client_remote_address(c), remote));
  add_flag(b, "clean", client_clean_session(c));
  add_number(b, "keep_alive", client_keep_alive(c));
  add_flag(b, "password", client_sent_password(c));
}

struct reference { // of a client that was let in
  struct client *client;
  struct buf *out;
};

// Protected: its ref may hold what is no data, and then it is left out.
static int encode_ref(lua_State *L) {
  struct reference *ref = lua_touserdata(L, 1);
  size_t len;
  client_object_push(L, script_of_client(ref->client), ref->client);
  if (lua_getfield(L, -1, "ref") == LUA_TNIL) return 0;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "cjson");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "encode");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 1);
  const char *json = lua_tolstring(L, -1, &len);
  if (len > REF_BYTES) return 0;
  add_name(ref->out, "ref");
  buf_add(ref->out, json, len);
  return 0;
}

static void add_ref(struct buf *b, struct client *c) {
  struct script *s = script_of_client(c);
  struct reference ref = {c, b};
  if (!lua_checkstack(s->tool, 8)) return;
  lua_State *outer = script_enter(s, s->tool);
  lua_pushcfunction(s->tool, encode_ref);
  lua_pushlightuserdata(s->tool, &ref);
  if (lua_pcall(s->tool, 1, 0, 0) != LUA_OK) lua_pop(s->tool, 1);
  script_leave(s, outer);
}

static void add_subscription(struct buf *b, const struct subscribe_item *item, uint32_t identifier) {
  add_string(b, "filter", item->asked);
  add_number(b, "qos", item->qos);
  if (item->options) add_number(b, "options", item->options);
  if (identifier) add_number(b, "identifier", identifier);
  if (item->owned) add_string(b, "became_filter", item->filter);
  if (item->code != SUBACK_FAILURE) add_number(b, "granted", item->code);
}

static void add_answer(struct buf *b, const struct decision *d) {
  const struct reply *reply = d->reply;
  const struct verdict *by = reply->reason == REASON_SUCCESS ? NULL : reply->by;
  add_str(b, "reason", reason_name(reply->reason));
  add_str(b, "error", reply->error);
  add_flag(b, "dropped", reply->drop);
  add_flag(b, "changed", d->changed);
  if (!by) return;
  add_str(b, "by", decider_name((enum decider)by->decider));
  add_str(b, "name", by->name);
  add_str(b, "place", by->place);
  if (by->rule) add_number(b, "rule", by->rule);
}

static void add_line(struct recorder *r, const struct decision *d) {
  struct buf *b = &r->pending;
  buf_printf(b, "{\"ms\":%llu,\"op\":\"%s\"", (unsigned long long)(r->host->loop->clock.now_ms - r->start_ms),
             operation_name(d->operation));
  add_string(b, "id", client_id(d->client));
  bool is_login = d->operation == OPERATION_CONNECT;
  if (is_login) add_login(b, d->client);
  if (is_login && d->reply->reason == REASON_SUCCESS) add_ref(b, d->client);
  if (d->message) add_message(b, d->message, r->options.payload_bytes);
  if (d->item) add_subscription(b, d->item, d->identifier);
  add_answer(b, d);
  if (d->changed) add_became(b, d->changed, r->options.payload_bytes);
  buf_add_str(b, "}\n");
  r->lines++;
  r->host->shard->stats.records++;
}

// --- what is recorded ---

// By the id alone, so that all that a client does is in the record, and the same clients are in each one.
static bool is_chosen(const struct recorder *r, const struct client *c) {
  if (r->options.clients_of_100 >= 100) return true;
  return hash_bytes(0, client_id(c)) % 100 < r->options.clients_of_100;
}

static void decided(struct observer *o, const struct decision *d) {
  struct recorder *r = container_of(o, struct recorder, observer);
  if (!is_chosen(r, d->client)) return;
  if (r->pending.len > PENDING_BYTES) {
    r->host->shard->stats.records_dropped++;
    return;
  }
  size_t before = r->pending.len;
  add_line(r, d);
  r->bytes += r->pending.len - before;
  if (r->bytes >= r->options.bytes) {
    note(r, LEVEL_WARN, "the record ends: it has its size", NULL);
    recorder_end(r);
  } else if (r->pending.len >= CHUNK_BYTES) {
    hand_over(r);
  } else if (!timer_armed(&r->timer)) {
    timer_arm(&r->host->loop->timers, &r->timer, r->host->loop->clock.now_ms + FLUSH_MS);
  }
}

// --- life ---

static void note(struct recorder *r, enum log_level level, const char *text, const char *error) {
  struct script *s = r->host->script;
  if (!s || !log_begin(&s->log, level, slice_str(text))) return;
  log_string(&s->log, "file", slice_str(r->path));
  log_number(&s->log, "lines", (int64_t)r->lines);
  if (error) log_string(&s->log, "error", slice_str(error));
  log_end(&s->log);
}

// Nobody else may read it, no link is followed, and only a file waits for nothing.
static int open_file(const char *path, bool append, char *error, size_t error_size) {
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_APPEND;
  struct stat info;
  int fd = open(path, flags | (append ? 0 : O_EXCL), 0600);
  if (fd < 0) {
    snprintf(error, error_size, "cannot record to '%s': %s", path, strerror(errno));
    return -1;
  }
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && !(info.st_mode & 077)) return fd;
  bool regular = S_ISREG(info.st_mode);
  snprintf(error, error_size, "cannot record to '%s': %s", path,
           regular ? "others may read this file" : "not a regular file");
  close(fd);
  return -1;
}

// Who is there already, as if they had just come: what they do is about them.
static void add_present(struct recorder *r) {
  static const struct reply let_in;
  uint32_t at = 0;
  for (struct session *s; (s = memory_each_session(r->host->inner, &at)) && r->pending.len < PENDING_BYTES;) {
    struct decision d = {.operation = OPERATION_CONNECT, .client = s->client, .reply = &let_in};
    if (s->client && is_chosen(r, s->client)) add_line(r, &d);
  }
}

static void add_header(struct recorder *r) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  buf_printf(&r->pending, "{\"luamq\":\"%s\",\"record\":1,\"ms\":%llu}\n", LUAMQ_VERSION,
             (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000);
}

static void time_is_over(struct timer *t) { recorder_end(container_of(t, struct recorder, end)); }

struct recorder *recorder_new(struct host *h, const char *path, const struct recorder_options *o, char *error,
                              size_t error_size) {
  if (h->recorder) {
    snprintf(error, error_size, "there is a record already: '%s'", recorder_path(h->recorder));
    return NULL;
  }
  int fd = open_file(path, o->append, error, error_size);
  if (fd < 0) return NULL;
  struct recorder *r = mem_calloc(1, sizeof *r + strlen(path) + 1);
  memcpy(r->path, path, strlen(path) + 1);
  r->host = h;
  r->options = *o;
  r->fd = fd;
  r->start_ms = h->loop->clock.now_ms;
  r->observer.decided = decided;
  timer_init(&r->timer, flush);
  timer_init(&r->end, time_is_over);
  if (o->seconds) timer_arm(&h->loop->timers, &r->end, r->start_ms + o->seconds * UINT64_C(1000));
  observe(h, &r->observer);
  add_header(r);
  add_present(r);
  r->bytes = r->pending.len;
  h->recorder = r;
  note(r, LEVEL_INFO, "the record begins", NULL);
  return r;
}

void recorder_end(struct recorder *r) {
  struct host *h = r->host;
  note(r, LEVEL_INFO, "the record has ended", NULL);
  observe_end(&r->observer);
  timer_disarm(&h->loop->timers, &r->timer);
  timer_disarm(&h->loop->timers, &r->end);
  h->recorder = NULL;
  r->host = NULL;
  if (!r->writing) recorder_free(r);
}

const char *recorder_path(const struct recorder *r) { return r->path; }
uint64_t recorder_lines(const struct recorder *r) { return r->lines; }
