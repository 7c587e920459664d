// Authorities that servers are verified against: files, each of which a worker thread loads once. The
// system's has more than a hundred of them and takes some 40 ms, in which the loop would stand still.
//
//   struct http_ca *ca = http_ca_get(&pool->authorities, loop, path);    // a reference
//   if (!http_ca_loaded(ca)) http_ca_wait(ca, &wait);                    // later: wait.loaded(&wait)
//   const char *problem = http_ca_problem(ca);                           // NULL: http_ca_store is there
//   http_ca_unref(ca);
//
// A file that has changed, or could not be loaded, is loaded again by the next who asks.
#ifndef LUAMQ_MODULES_HTTP_CA_H
#define LUAMQ_MODULES_HTTP_CA_H

#include <openssl/x509_vfy.h>
#include <stdbool.h>

#include "base/list.h"
#include "transport/loop.h"

struct http_ca;

struct http_ca_wait {
  struct list node; // in no list: nobody waits
  void (*loaded)(struct http_ca_wait *wait);
};

// `known` is a list of those that are kept.
struct http_ca *http_ca_get(struct list *known, struct loop *loop, const char *path);
void http_ca_unref(struct http_ca *ca); // NULL is fine
void http_ca_forget_all(struct list *known);

bool http_ca_loaded(const struct http_ca *ca);
void http_ca_wait(struct http_ca *ca, struct http_ca_wait *wait);
static inline void http_ca_cancel(struct http_ca_wait *wait) { list_remove(&wait->node); }
const char *http_ca_problem(const struct http_ca *ca);
X509_STORE *http_ca_store(struct http_ca *ca); // the authority's

#endif
