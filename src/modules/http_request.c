#include "modules/http_request.h"

#include <lauxlib.h>
#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/mem.h"
#include "modules/http_ca.h"
#include "modules/http_error.h"
#include "modules/http_pool.h"
#include "script/wait.h"

#define TYPE           "luamq.http.request"
#define HEAD_MAX_BYTES 65536

struct request { // its user value is the table of the request: it holds what libcurl does not copy
  struct wait wait;
  struct http_job job;
  struct http_pool *pool;
  struct loop *loop;
  struct curl_slist *headers;
  const char *authorities; // a file; NULL: nobody is verified
  struct http_ca *ca;
  struct http_ca_wait ca_wait;
  struct buf head, body;
  size_t max_bytes;
  uint32_t timeout_ms;
  const char *origin;
  bool too_large;
  enum http_end end;
  CURLcode code;
  char problem[CURL_ERROR_SIZE]; // libcurl's own words
};

static void release(struct request *r) {
  http_pool_remove(&r->job);
  http_ca_cancel(&r->ca_wait);
  curl_easy_cleanup(r->job.easy);
  r->job.easy = NULL;
  http_ca_unref(r->ca);
  r->ca = NULL;
  curl_slist_free_all(r->headers);
  r->headers = NULL;
  buf_release(&r->head);
  buf_release(&r->body);
}

static int collect(lua_State *L) {
  release(lua_touserdata(L, 1));
  return 0;
}

// --- what comes ---

static size_t keep(struct request *r, struct buf *to, size_t max_bytes, const char *bytes, size_t len) {
  r->too_large = to->len + len > max_bytes;
  if (r->too_large) return 0; // ends it
  buf_add(to, bytes, len);
  return len;
}

static size_t take_head(char *bytes, size_t size, size_t count, void *arg) {
  struct request *r = arg;
  struct slice line = slice_of(bytes, size * count);
  if (slice_starts(line, SLICE("HTTP/"))) r->head.len = 0; // the last answer counts, not "100 Continue"
  return keep(r, &r->head, HEAD_MAX_BYTES, bytes, line.len);
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg) {
  struct request *r = arg;
  return keep(r, &r->body, r->max_bytes, bytes, size * count);
}

// --- what is asked ---

// A field of the table at 1, which holds the string. NULL: there is none.
static const char *text(lua_State *L, const char *name) {
  const char *value = lua_getfield(L, 1, name) == LUA_TNIL ? NULL : luaL_checkstring(L, -1);
  lua_pop(L, 1);
  return value;
}

static long number(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  long value = (long)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool flag(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static void set_text(lua_State *L, CURL *easy, CURLoption option, const char *name) {
  const char *value = text(L, name);
  if (value) curl_easy_setopt(easy, option, value);
}

static void set_method(lua_State *L, CURL *easy) {
  const char *method = text(L, "method");
  if (lua_getfield(L, 1, "body") == LUA_TSTRING) {
    size_t len;
    const char *body = lua_tolstring(L, -1, &len);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
  }
  lua_pop(L, 1);
  if (!strcmp(method, "HEAD"))
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  else
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_headers(lua_State *L, struct request *r) {
  lua_getfield(L, 1, "headers");
  luaL_checktype(L, -1, LUA_TTABLE);
  lua_Integer count = luaL_len(L, -1);
  for (lua_Integer i = 1; i <= count; i++, lua_pop(L, 1)) {
    lua_rawgeti(L, -1, i);
    r->headers = mem_require(curl_slist_append(r->headers, luaL_checkstring(L, -1)));
  }
  lua_pop(L, 1);
  curl_easy_setopt(r->job.easy, CURLOPT_HTTPHEADER, r->headers);
}

// libcurl: its own authorities, which are none, are replaced by those that were loaded.
static CURLcode use_authorities(CURL *easy, void *context, void *arg) {
  (void)easy;
  struct request *r = arg;
  SSL_CTX_set1_cert_store(context, http_ca_store(r->ca));
  return CURLE_OK;
}

// libcurl uses no connection again for a request with another folder of authorities, and reads nothing of a
// folder before it looks for one. So the name of our file is the folder: connections differ as files do.
static void set_authorities(struct request *r, const char *file) {
  CURL *easy = r->job.easy;
  r->authorities = file;
  curl_easy_setopt(easy, CURLOPT_CAPATH, file);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, use_authorities);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, r);
}

static void set_tls(lua_State *L, struct request *r) {
  CURL *easy = r->job.easy;
  bool tls = flag(L, "tls"), verify = flag(L, "verify");
  const char *file = text(L, "ca");
  if (!file) curl_easy_getinfo(easy, CURLINFO_CAINFO, &file);
  if (!file) file = X509_get_default_cert_file();
  curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, (long)verify);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  if (tls && verify) set_authorities(r, file);
  set_text(L, easy, CURLOPT_SSLCERT, "certificate");
  set_text(L, easy, CURLOPT_SSLKEY, "key_file");
}

// What nobody asked for does not happen: no proxy of the environment, no .netrc, no cookies, no redirects.
static void set_network(lua_State *L, CURL *easy) {
  const char *proxy = text(L, "proxy");
  curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, number(L, "connect_timeout_ms"));
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)!flag(L, "keep_alive"));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); // who is cancelled does not wait for the resolver's thread
  set_text(L, easy, CURLOPT_UNIX_SOCKET_PATH, "unix");
  set_text(L, easy, CURLOPT_USERNAME, "username");
  set_text(L, easy, CURLOPT_PASSWORD, "password");
}

static void set_callbacks(struct request *r) {
  CURL *easy = r->job.easy;
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_head);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->problem);
}

// --- waiting ---

static void done(struct http_job *job, enum http_end end, CURLcode code) {
  struct request *r = container_of(job, struct request, job);
  r->end = end;
  r->code = code;
  wait_done(&r->wait);
}

static void send_it(struct request *r) { http_pool_add(r->pool, r->loop, &r->job, r->timeout_ms); }

static void authorities_loaded(struct http_ca_wait *wait) {
  struct request *r = container_of(wait, struct request, ca_wait);
  const char *problem = http_ca_problem(r->ca);
  if (!problem) {
    send_it(r);
    return;
  }
  snprintf(r->problem, sizeof r->problem, "%s", problem);
  done(&r->job, HTTP_FINISHED, CURLE_SSL_CACERT_BADFILE);
}

static void start(struct wait *w) {
  struct request *r = container_of(w, struct request, wait);
  if (!r->authorities) {
    send_it(r);
    return;
  }
  r->ca = http_ca_get(&r->pool->authorities, r->loop, r->authorities);
  if (http_ca_loaded(r->ca))
    authorities_loaded(&r->ca_wait);
  else
    http_ca_wait(r->ca, &r->ca_wait);
}

static void cancel(struct wait *w) { release(container_of(w, struct request, wait)); }

static int push_answer(lua_State *L, struct request *r) {
  long status = 0;
  curl_easy_getinfo(r->job.easy, CURLINFO_RESPONSE_CODE, &status);
  lua_pushinteger(L, status);
  lua_pushlstring(L, (const char *)r->head.ptr, r->head.len);
  lua_pushlstring(L, (const char *)r->body.ptr, r->body.len);
  return 3;
}

static int push_failure(lua_State *L, struct request *r) {
  long number_of_system = 0;
  curl_easy_getinfo(r->job.easy, CURLINFO_OS_ERRNO, &number_of_system);
  struct http_error e = r->too_large              ? http_error_too_large
                        : r->end == HTTP_FINISHED ? http_error_of(r->code, (int)number_of_system, r->problem)
                        : r->end == HTTP_LATE     ? http_error_late
                                                  : http_error_unstarted;
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: %s", r->origin, e.text);
  lua_pushstring(L, e.code);
  return 3;
}

static int finish(lua_State *L, struct wait *w) {
  struct request *r = container_of(w, struct request, wait);
  bool answered = r->end == HTTP_FINISHED && r->code == CURLE_OK;
  int count = answered ? push_answer(L, r) : push_failure(L, r);
  release(r);
  return count;
}

static struct request *new_request(lua_State *L) {
  struct request *r = lua_newuserdatauv(L, sizeof *r, 1);
  *r = (struct request){.head = BUF_INIT, .body = BUF_INIT};
  http_job_init(&r->job, NULL, slice_of(NULL, 0), done);
  list_init(&r->ca_wait.node);
  r->ca_wait.loaded = authorities_loaded;
  luaL_setmetatable(L, TYPE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  r->job.easy = mem_require(curl_easy_init());
  return r;
}

static int no_network(lua_State *L) {
  luaL_pushfail(L);
  lua_pushliteral(L, "no network in a test: give a fake answer with broker:fake('http', function ...)");
  lua_pushliteral(L, "no_network");
  return 3;
}

int http_request(lua_State *L) {
  static const struct wait_ops ops = {"luamq.http", start, finish, cancel};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  wait_check(L, ops.name);
  struct loop *loop = wait_loop(L);
  if (!loop->base) return no_network(L);
  struct request *r = new_request(L);
  r->pool = lua_touserdata(L, lua_upvalueindex(1));
  r->loop = loop;
  r->origin = text(L, "origin");
  r->job.key = slice_str(text(L, "key"));
  r->max_bytes = (size_t)number(L, "max_size");
  r->timeout_ms = (uint32_t)number(L, "timeout_ms");
  set_text(L, r->job.easy, CURLOPT_URL, "url");
  set_callbacks(r);
  set_method(L, r->job.easy);
  set_headers(L, r);
  set_network(L, r->job.easy);
  set_tls(L, r);
  return wait_for(L, &r->wait, &ops);
}

void http_request_define(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
