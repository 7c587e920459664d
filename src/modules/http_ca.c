#include "modules/http_ca.h"

#include <openssl/err.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "transport/workers.h"

#define PROBLEM_MAX 256

struct load { // the workers'
  struct job job;
  struct http_ca *ca;
  X509_STORE *store;
  char problem[PROBLEM_MAX];
  char path[];
};

struct http_ca {
  struct list node;    // in the list of those that are known, or in none
  struct list waiting; // of struct http_ca_wait
  unsigned refs;
  struct load *load; // under way; or NULL
  X509_STORE *store; // NULL: it is not loaded, or could not be
  struct stat file;  // when it was loaded
  char problem[PROBLEM_MAX];
  char path[];
};

// --- in a thread ---

static void describe(struct load *l) {
  unsigned long code = ERR_peek_last_error();
  const char *reason = code ? ERR_reason_error_string(code) : NULL;
  snprintf(l->problem, sizeof l->problem, "cannot load authorities from %s: %s", l->path,
           reason ? reason : "not a file of certificates");
}

// As libcurl does: a certificate in the file is trusted itself, also where it is no root.
static void run(struct job *job) {
  struct load *l = container_of(job, struct load, job);
  ERR_clear_error();
  l->store = mem_require(X509_STORE_new());
  X509_STORE_set_flags(l->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
  if (X509_STORE_load_file(l->store, l->path)) return;
  describe(l);
  X509_STORE_free(l->store);
  l->store = NULL;
  ERR_clear_error();
}

// --- in the loop ---

static void release(struct job *job) {
  struct load *l = container_of(job, struct load, job);
  X509_STORE_free(l->store);
  mem_free(l);
}

static void forget(struct http_ca *ca) {
  if (list_empty(&ca->node)) return;
  list_remove(&ca->node);
  http_ca_unref(ca);
}

static void tell(struct http_ca *ca) {
  ca->refs++;
  for (struct list *node; (node = list_take(&ca->waiting));) {
    struct http_ca_wait *w = container_of(node, struct http_ca_wait, node);
    w->loaded(w);
  }
  if (!ca->store) forget(ca);
  http_ca_unref(ca);
}

static void done(struct job *job) {
  struct load *l = container_of(job, struct load, job);
  struct http_ca *ca = l->ca;
  ca->load = NULL;
  ca->store = l->store;
  l->store = NULL;
  memcpy(ca->problem, l->problem, sizeof ca->problem);
  tell(ca);
}

static void start(struct http_ca *ca, struct loop *loop) {
  static const struct job_ops ops = {.run = run, .done = done, .free = release};
  size_t size = strlen(ca->path) + 1;
  struct load *l = mem_alloc(sizeof *l + size);
  *l = (struct load){.ca = ca};
  memcpy(l->path, ca->path, size);
  if (workers_submit(loop, &l->job, &ops)) {
    ca->load = l;
    return;
  }
  release(&l->job);
  snprintf(ca->problem, sizeof ca->problem, "cannot load authorities: too many jobs wait for a thread");
}

static bool is_same(const struct stat *a, const struct stat *b) {
  return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct http_ca *find(struct list *known, const char *path) {
  list_each(node, known) {
    struct http_ca *ca = container_of(node, struct http_ca, node);
    if (!strcmp(ca->path, path)) return ca;
  }
  return NULL;
}

static struct http_ca *make(struct list *known, const char *path, const struct stat *file) {
  size_t size = strlen(path) + 1;
  struct http_ca *ca = mem_alloc(sizeof *ca + size);
  *ca = (struct http_ca){.refs = 1, .file = *file};
  memcpy(ca->path, path, size);
  list_init(&ca->waiting);
  list_init(&ca->node);
  list_append(known, &ca->node);
  return ca;
}

struct http_ca *http_ca_get(struct list *known, struct loop *loop, const char *path) {
  struct stat file = {0};
  struct http_ca *ca = find(known, path);
  stat(path, &file); // without a file the load tells why
  if (ca && !is_same(&ca->file, &file)) {
    forget(ca);
    ca = NULL;
  }
  if (ca) {
    ca->refs++;
    return ca;
  }
  ca = make(known, path, &file);
  ca->refs++;
  start(ca, loop);
  if (!ca->load) forget(ca);
  return ca;
}

void http_ca_unref(struct http_ca *ca) {
  if (!ca || --ca->refs) return;
  if (ca->load) job_cancel(&ca->load->job);
  X509_STORE_free(ca->store);
  mem_free(ca);
}

void http_ca_forget_all(struct list *known) {
  list_each(node, known) forget(container_of(node, struct http_ca, node));
}

bool http_ca_loaded(const struct http_ca *ca) { return !ca->load; }

void http_ca_wait(struct http_ca *ca, struct http_ca_wait *wait) { list_append(&ca->waiting, &wait->node); }

const char *http_ca_problem(const struct http_ca *ca) { return ca->store ? NULL : ca->problem; }

X509_STORE *http_ca_store(struct http_ca *ca) { return ca->store; }
