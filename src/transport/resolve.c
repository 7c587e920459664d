#include "transport/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "transport/workers.h"

struct resolve {
  struct job job;
  char *host;
  void (*found)(void *arg, const struct resolve_result *result);
  void *arg;
  struct resolve_result result;
};

static struct resolve *resolve_of(struct job *j) { return container_of(j, struct resolve, job); }

bool resolve_is_address(const char *host) {
  struct in6_addr any;
  char name[RESOLVE_BYTES];
  snprintf(name, sizeof name, "%s", host);
  name[strcspn(name, "%")] = 0; // fe80::1%eth0
  return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

static void add(struct resolve_result *to, const struct addrinfo *from) {
  if (to->count == RESOLVE_MAX) return;
  char *text = to->addresses[to->count];
  if (getnameinfo(from->ai_addr, from->ai_addrlen, text, RESOLVE_BYTES, NULL, 0, NI_NUMERICHOST) == 0)
    to->count++;
}

static void run(struct job *j) {
  struct resolve *r = resolve_of(j);
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *all = NULL;
  int status = getaddrinfo(r->host, NULL, &hints, &all);
  for (const struct addrinfo *one = all; one; one = one->ai_next)
    add(&r->result, one);
  if (all) freeaddrinfo(all);
  if (!r->result.count) r->result.problem = status ? gai_strerror(status) : "the name has no address";
}

static void done(struct job *j) {
  struct resolve *r = resolve_of(j);
  r->found(r->arg, &r->result);
}

static void release(struct job *j) {
  struct resolve *r = resolve_of(j);
  mem_free(r->host);
  mem_free(r);
}

struct resolve *resolve_start(struct loop *l, const char *host,
                              void (*found)(void *arg, const struct resolve_result *result), void *arg) {
  static const struct job_ops ops = {.run = run, .done = done, .free = release};
  struct resolve *r = mem_calloc(1, sizeof *r);
  r->host = mem_dup(host, strlen(host) + 1);
  r->found = found;
  r->arg = arg;
  if (workers_submit(l, &r->job, &ops)) return r;
  release(&r->job);
  return NULL;
}

void resolve_cancel(struct resolve *r) {
  if (r) job_cancel(&r->job);
}
