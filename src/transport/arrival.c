#include "transport/arrival.h"

#include <errno.h>

#include "base/mem.h"
#include "transport/proxy.h"

enum stage { STAGE_PROXY, STAGE_TLS, STAGE_WEBSOCKET, STAGE_DONE };
static const char *const stage_names[] = {"PROXY header", ARRIVAL_TLS, ARRIVAL_WEBSOCKET, NULL};

struct arrival {
  struct list node;
  struct arrivals *all;
  struct tls *tls; // what is still to come; or NULL
  struct websocket *websocket;
  struct conn *conn; // the outermost layer so far
  struct timer deadline;
  struct address remote;
  enum stage stage;
  bool trusted;  // the socket's peer is a proxy whose word is taken
  bool admitted; // and counted
  uint16_t header_len;
  uint8_t header[]; // PROXY_MAX where a header is read
};

static void arrival_free(struct arrival *a) {
  timer_disarm(&a->all->loop->timers, &a->deadline);
  list_remove(&a->node);
  a->all->count--;
  tls_unref(a->tls);
  if (a->websocket) websocket_unref(a->websocket);
  mem_free(a);
}

static void end(struct arrival *a, bool orderly) {
  if (a->admitted) a->all->handler->leave(a->all->arg, &a->remote);
  conn_close(a->conn, orderly);
  arrival_free(a);
}

static void fail(struct arrival *a, const char *stage, const char *why, bool orderly) {
  a->all->handler->failed(a->all->arg, &a->remote, stage, why);
  end(a, orderly);
}

static void deadline_passed(struct timer *t) {
  struct arrival *a = container_of(t, struct arrival, deadline);
  fail(a, stage_names[a->stage], "handshake timeout", false);
}

// False: it was refused, and is gone.
static bool admit(struct arrival *a) {
  if (a->admitted) return true;
  const char *refused = a->all->handler->admit(a->all->arg, &a->remote);
  a->admitted = !refused;
  if (refused) fail(a, NULL, refused, false);
  return !refused;
}

// --- stages: 0 done, -EAGAIN, or failed; then `why` says so ---

// Reads what surely belongs to the header, so that the next layer's bytes stay where they are.
static int read_proxy_header(struct arrival *a, const char **why) {
  struct proxy_header header;
  for (;;) {
    size_t need;
    ssize_t n = proxy_parse(slice_of(a->header, a->header_len), &header, &need);
    if (n > 0) break;
    *why = "malformed";
    if (n < 0) return -EPROTO;
    struct iovec iov = {a->header + a->header_len, need};
    n = conn_read(a->conn, &iov, 1);
    *why = n ? conn_failure(a->conn, n) : "connection closed by peer";
    if (n <= 0) return n ? (int)n : -ECONNRESET;
    a->header_len += (uint16_t)n;
  }
  if (header.has_source) a->remote = header.source;
  a->trusted = false; // it has had its say
  return 0;
}

static int shake_hands(struct arrival *a, const char **why) {
  int error = a->conn->ops->handshake(a->conn);
  if (error && error != -EAGAIN) *why = conn_failure(a->conn, error);
  return error;
}

static const struct conn_handler handler;

// The next stage that the route asks for, behind a PROXY header; the connection that does it is put around
// the one before.
static void enter(struct arrival *a, enum stage stage) {
  if (stage <= STAGE_TLS && a->tls) {
    a->stage = STAGE_TLS;
    a->conn = tls_accept(a->tls, a->all->loop, a->conn);
    conn_start(a->conn, &handler, a);
    return;
  }
  if (stage <= STAGE_WEBSOCKET && a->websocket) {
    a->stage = STAGE_WEBSOCKET;
    a->conn = websocket_accept(a->websocket, a->all->loop, a->conn);
    conn_start(a->conn, &handler, a);
    return;
  }
  a->stage = STAGE_DONE;
}

static void arrive(struct arrival *a) {
  struct arrivals *all = a->all;
  struct conn *c = a->conn;
  struct address remote = a->remote;
  arrival_free(a);
  all->handler->arrived(all->arg, c, &remote);
}

// Whose address is known is admitted before more is done for it. What a trusted proxy forwards by WebSocket
// tells its address with the request only.
static bool is_known(const struct arrival *a) {
  return a->stage > STAGE_PROXY && (a->stage == STAGE_DONE || !(a->trusted && a->websocket));
}

static void step(struct arrival *a) {
  while (!is_known(a) || admit(a)) {
    if (a->stage == STAGE_DONE) {
      arrive(a);
      return;
    }
    const char *why = NULL;
    int error = a->stage == STAGE_PROXY ? read_proxy_header(a, &why) : shake_hands(a, &why);
    if (error == -EAGAIN) return;
    if (error) {
      fail(a, stage_names[a->stage], why, true);
      return;
    }
    if (a->stage == STAGE_WEBSOCKET && a->trusted) websocket_forwarded(a->conn, &a->remote);
    enter(a, a->stage + 1);
  }
}

static void on_event(struct conn *c) { step(c->owner); }

static const struct conn_handler handler = {on_event, on_event};

void arrivals_init(struct arrivals *a, struct loop *l, const struct arrival_handler *h, void *arg) {
  *a = (struct arrivals){.loop = l, .handler = h, .arg = arg};
  list_init(&a->list);
}

void arrivals_close(struct arrivals *a) {
  while (!list_empty(&a->list))
    end(container_of(a->list.next, struct arrival, node), false);
}

static bool is_plain(const struct route *r) { return !r->proxy_protocol && !r->tls && !r->websocket; }

static void arrive_at_once(struct arrivals *all, struct conn *c, const struct address *remote) {
  const char *refused = all->handler->admit(all->arg, remote);
  if (!refused) {
    all->handler->arrived(all->arg, c, remote);
    return;
  }
  all->handler->failed(all->arg, remote, NULL, refused);
  conn_close(c, false);
}

void arrival_start(struct arrivals *all, const struct route *route, struct conn *c,
                   const struct address *remote) {
  if (is_plain(route)) {
    arrive_at_once(all, c, remote);
    return;
  }
  struct arrival *a = mem_calloc(1, sizeof *a + (route->proxy_protocol ? PROXY_MAX : 0));
  a->all = all;
  a->tls = route->tls ? tls_ref(route->tls) : NULL;
  a->websocket = route->websocket ? websocket_ref(route->websocket) : NULL;
  a->conn = c;
  a->remote = *remote;
  a->trusted = networks_contain(route->trusted_proxies, remote);
  timer_init(&a->deadline, deadline_passed);
  timer_arm(&all->loop->timers, &a->deadline, all->loop->clock.now_ms + route->timeout_ms);
  list_init(&a->node);
  list_append(&all->list, &a->node);
  all->count++;
  conn_start(c, &handler, a);
  if (!route->proxy_protocol) enter(a, STAGE_TLS);
  if (a->stage == STAGE_PROXY && !a->trusted) {
    fail(a, stage_names[STAGE_PROXY], "from an address that is not trusted", false);
    return;
  }
  step(a);
}
