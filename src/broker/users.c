#include "broker/users.h"

#include <assert.h>

#include "base/mem.h"

struct user {
  uint32_t clients;
  uint16_t name_len;
  uint8_t name[];
};

static struct slice user_name(const void *value) {
  const struct user *u = value;
  return slice_of(u->name, u->name_len);
}

void users_init(struct users *u, uint64_t seed) { map_init(&u->by_name, user_name, seed); }

void users_release(struct users *u) {
  uint32_t at = 0;
  for (struct user *user; (user = map_each(&u->by_name, &at));)
    mem_free(user);
  map_release(&u->by_name);
}

uint32_t users_count(const struct users *u, struct slice name) {
  const struct user *user = map_get(&u->by_name, name);
  return user ? user->clients : 0;
}

void users_enter(struct users *u, struct slice name) {
  struct user *user = map_get(&u->by_name, name);
  if (!user) {
    user = mem_alloc(sizeof *user + name.len);
    user->clients = 0;
    user->name_len = (uint16_t)name.len;
    if (name.len) memcpy(user->name, name.ptr, name.len);
    map_put(&u->by_name, user);
  }
  user->clients++;
}

void users_leave(struct users *u, struct slice name) {
  struct user *user = map_get(&u->by_name, name);
  assert(user && user->clients);
  if (--user->clients) return;
  map_remove(&u->by_name, name);
  mem_free(user);
}
