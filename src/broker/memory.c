#include "broker/memory.h"

#include <assert.h>

#include "broker/memory_impl.h"

struct login {
  uint16_t name_len, password_len;
  uint8_t bytes[]; // name, password
};

// --- authenticate ---

static struct slice login_name(const void *value) {
  const struct login *l = value;
  return slice_of(l->bytes, l->name_len);
}

void memory_add_credentials(struct backend *b, struct slice username, struct slice password) {
  assert(username.len <= UINT16_MAX && password.len <= UINT16_MAX);
  struct login *l = mem_alloc(sizeof *l + username.len + password.len);
  l->name_len = (uint16_t)username.len;
  l->password_len = (uint16_t)password.len;
  if (username.len) memcpy(l->bytes, username.ptr, username.len);
  if (password.len) memcpy(l->bytes + username.len, password.ptr, password.len);
  mem_free(map_put(&memory_of(b)->logins, l));
}

void memory_clear_credentials(struct backend *b) {
  struct map *logins = &memory_of(b)->logins;
  uint32_t at = 0;
  for (struct login *l; (l = map_each(logins, &at));)
    mem_free(l);
  map_release(logins);
}

// The same file stays as it is, with the logins that wait for it.
void memory_set_password_file(struct backend *b, const char *path) {
  struct memory *m = memory_of(b);
  if (m->password_logins && path && !strcmp(password_logins_path(m->password_logins), path)) return;
  password_logins_retire(m->password_logins, &m->retired_logins);
  m->password_logins = path ? password_logins_new(b->shard, path) : NULL;
}

void memory_set_access(struct backend *b, enum memory_access access) { memory_of(b)->access = access; }

static bool password_matches(const struct memory *m, const struct credentials *given) {
  static const struct login nobody;
  const struct login *l = given->has_username ? map_get(&m->logins, given->username) : NULL;
  // An unknown name is compared as well, so that the time does not tell it from a known one.
  const struct login *with = l ? l : &nobody;
  bool equal = slice_eq_secret(given->password, slice_of(with->bytes + with->name_len, with->password_len));
  return l && given->has_password && equal;
}

bool memory_has_password_file(const struct backend *b) { return memory_of(b)->password_logins != NULL; }

static enum backend_status authenticate(struct backend *b, struct client *c, const struct credentials *given,
                                        struct reply *reply) {
  const struct memory *m = memory_of(b);
  bool nameless = !given->has_username && !given->has_password;
  bool wants_password =
      m->access == MEMORY_CREDENTIALS || (m->access == MEMORY_CREDENTIALS_OR_ANONYMOUS && !nameless);
  if (m->password_logins && wants_password) return password_logins_check(m->password_logins, c, given, reply);
  bool allowed = false;
  switch (m->access) {
  case MEMORY_OPEN: allowed = true; break;
  case MEMORY_ANONYMOUS: allowed = nameless; break;
  case MEMORY_CREDENTIALS: allowed = password_matches(m, given); break;
  case MEMORY_CREDENTIALS_OR_ANONYMOUS: allowed = nameless || password_matches(m, given); break;
  }
  if (!allowed) reply_refuse(reply, REASON_NOT_AUTHORIZED, &verdict_of_credentials);
  return BACKEND_DONE;
}

static void cancel(struct backend *b, struct client *c) {
  struct memory *m = memory_of(b);
  if (m->password_logins) password_logins_cancel(m->password_logins, c);
  password_logins_cancel_retired(&m->retired_logins, c);
}

// --- life ---

static struct slice session_key(const void *value) { return session_id(value); }

static void drop_retained(void *arg, void *value) {
  (void)arg;
  message_unref(value);
}

static enum backend_status restore(struct backend *b, struct client *c) { // the queue is where it was
  (void)b, (void)c;
  return BACKEND_DONE;
}

static enum backend_status accept_message(struct backend *b, struct client *c, struct message **m,
                                          struct reply *reply) {
  (void)b;
  access_check_publish(c, *m, reply);
  return BACKEND_DONE;
}

static void log_nothing(struct backend *b, const struct log_record *record) { (void)b, (void)record; }

static void memory_free(struct backend *b) {
  struct memory *m = memory_of(b);
  password_logins_free(m->password_logins);
  password_logins_free_retired(&m->retired_logins);
  fanouts_release(&m->fanouts);
  memory_release_sessions(m);
  memory_clear_credentials(b);
  shares_release(&m->shares);
  index_free(m->index);
  retained_release(&m->retained, drop_retained, NULL);
  mem_free(m);
}

static const struct backend_ops memory_ops = {
    .authenticate = authenticate,
    .setup = memory_setup,
    .restore = restore,
    .expire = memory_expire,
    .subscribe = memory_subscribe,
    .unsubscribe = memory_unsubscribe,
    .accept = accept_message,
    .publish = memory_publish,
    .dequeue = memory_dequeue,
    .cancel = cancel,
    .terminate = memory_terminate,
    .log = log_nothing,
    .free = memory_free,
};

struct backend *memory_backend_new(struct shard *shard) {
  struct memory *m = mem_calloc(1, sizeof *m);
  m->backend = (struct backend){&memory_ops, shard};
  map_init(&m->sessions, session_key, rand_next(&shard->rand));
  map_init(&m->logins, login_name, rand_next(&shard->rand));
  m->index = index_new(rand_next(&shard->rand));
  shares_init(&m->shares, shard, m->index);
  fanouts_init(&m->fanouts, shard->loop, m->index, &m->shares, memory_deliver_slice, m);
  retained_init(&m->retained, rand_next(&shard->rand));
  list_init(&m->takeovers);
  list_init(&m->retired_logins);
  return &m->backend;
}

struct session *memory_session(const struct backend *b, struct slice id) {
  return map_get(&memory_of(b)->sessions, id);
}

struct session *memory_each_session(const struct backend *b, uint32_t *at) {
  return map_each(&memory_of(b)->sessions, at);
}

void memory_set_fanout_slice(struct backend *b, uint32_t sessions) { memory_of(b)->fanouts.slice = sessions; }

const struct shares *memory_shares(const struct backend *b) { return &memory_of(b)->shares; }

struct retained *memory_retained(struct backend *b) {
  return &memory_of(b)->retained;
}
