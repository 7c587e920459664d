#include "transport/websocket_upgrade.h"

#include <arpa/inet.h>
#include <http_parser.h>
#include <openssl/evp.h>
#include <strings.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 1.3

static const char *const protocols[] = {"mqtt", "mqttv3.1"};

// --- what a request must be, in the order in which it is told ---

static bool asks_for_path(const struct websocket_config *c, const struct http_request *r) {
  return slice_eq(http_request_path(r), slice_str(c->path));
}

static bool is_get(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  return strcmp(http_request_method(r), "GET") == 0;
}

static bool is_http_1_1(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  return http_request_version(r) == 11;
}

// With a body a proxy in front of us might see the end of the request elsewhere.
static bool has_no_body(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  struct slice value;
  return !http_request_field(r, "Content-Length", &value) &&
         !http_request_field(r, "Transfer-Encoding", &value);
}

static bool has_one_host(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  struct slice host;
  return http_request_field(r, "Host", &host) == 1 && host.len;
}

static bool connection_upgrades(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  return http_request_lists(r, "Connection", "upgrade", HTTP_ANY_CASE);
}

static bool is_version_13(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  struct slice version;
  return http_request_field(r, "Sec-WebSocket-Version", &version) == 1 && slice_eq(version, SLICE("13"));
}

static bool is_base64(uint8_t c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

// 16 bytes in base64.
static bool has_key(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  struct slice key;
  if (http_request_field(r, "Sec-WebSocket-Key", &key) != 1 || key.len != 24) return false;
  for (size_t i = 0; i < 22; i++)
    if (!is_base64(key.ptr[i])) return false;
  return key.ptr[22] == '=' && key.ptr[23] == '=';
}

static const char *find_protocol(const struct http_request *r) {
  for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
    if (http_request_lists(r, "Sec-WebSocket-Protocol", protocols[i], HTTP_EXACT_CASE)) return protocols[i];
  return NULL;
}

static bool offers_protocol(const struct websocket_config *c, const struct http_request *r) {
  (void)c;
  return find_protocol(r) != NULL;
}

static bool same_text(struct slice a, struct slice b) { // in any case, as schemes and hosts are
  return a.len == b.len && strncasecmp((const char *)a.ptr, (const char *)b.ptr, a.len) == 0;
}

static bool is_listed(const struct websocket_config *c, struct slice origin) {
  for (unsigned i = 0; i < c->origin_count; i++)
    if (strcmp(c->origins[i], "*") == 0 || same_text(origin, slice_str(c->origins[i]))) return true;
  return false;
}

static bool is_of_host(const struct http_request *r, struct slice origin) {
  struct slice host = {0};
  http_request_field(r, "Host", &host);
  const uint8_t *authority = memmem(origin.ptr, origin.len, "://", 3);
  return authority && same_text(slice_from(origin, (size_t)(authority + 3 - origin.ptr)), host);
}

// Only browsers send it, and they do always.
static bool is_origin_allowed(const struct websocket_config *c, const struct http_request *r) {
  struct slice origin;
  unsigned count = http_request_field(r, "Origin", &origin);
  if (!count) return true;
  if (count > 1) return false;
  if (c->origin_count) return is_listed(c, origin);
  return !c->same_origin || is_of_host(r, origin);
}

struct refusal {
  unsigned status;
  const char *why;
  const char *fields; // further ones of the answer, or NULL
};

static const struct check {
  bool (*holds)(const struct websocket_config *c, const struct http_request *r);
  struct refusal otherwise;
} checks[] = {
    {asks_for_path, {404, "upgrade of a path that is not served", NULL}},
    {is_get, {405, "upgrade with a method other than GET", "Allow: GET\r\n"}},
    {is_http_1_1, {505, "upgrade of a version other than HTTP/1.1", NULL}},
    {has_no_body, {400, "upgrade with a body", NULL}},
    {has_one_host, {400, "upgrade without exactly one Host", NULL}},
    {connection_upgrades, {400, "upgrade without Connection: upgrade", NULL}},
    {is_version_13, {426, "upgrade to a WebSocket version other than 13", "Sec-WebSocket-Version: 13\r\n"}},
    {has_key, {400, "upgrade without a valid Sec-WebSocket-Key", NULL}},
    {offers_protocol, {400, "upgrade without the sub-protocol mqtt", NULL}},
    {is_origin_allowed, {403, "origin not allowed", NULL}},
};

static const struct refusal too_long = {431, "HTTP request too long", NULL};
static const struct refusal malformed = {400, "malformed HTTP request", NULL};

static const struct refusal *find_refusal(const struct websocket_config *c, const struct http_request *r) {
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
    if (!checks[i].holds(c, r)) return &checks[i].otherwise;
  return NULL;
}

// --- answers ---

enum { STATUS_NO_CONTENT = 204, STATUS_NOT_MODIFIED = 304, STATUS_UPGRADE_REQUIRED = 426 };

static void add_status_line(struct buf *out, unsigned status) {
  const char *text = http_status_str((enum http_status)status);
  buf_printf(out, "HTTP/1.1 %u %s\r\n", status, text[0] == '<' ? "" : text); // "<unknown>"
}

static bool has_content(unsigned status) {
  return status != STATUS_NO_CONTENT && status != STATUS_NOT_MODIFIED;
}

// 426 names what to upgrade to, and that names it in Connection too [RFC 9110 7.8, 15.5.22].
static void add_refusal(struct buf *out, unsigned status, const char *fields, bool head_only,
                        const char *type, const char *body) {
  bool upgrade = status == STATUS_UPGRADE_REQUIRED;
  add_status_line(out, status);
  buf_add_str(out,
              upgrade ? "Connection: close, upgrade\r\nUpgrade: websocket\r\n" : "Connection: close\r\n");
  if (fields) buf_add_str(out, fields);
  if (has_content(status)) buf_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, strlen(body));
  buf_add_str(out, "\r\n");
  if (has_content(status) && !head_only) buf_add_str(out, body);
}

static void refuse(struct upgrade *u, const struct refusal *refusal, bool head_only) {
  struct buf body = BUF_INIT;
  buf_printf(&body, "%s\n", refusal->why);
  add_refusal(&u->answer, refusal->status, refusal->fields, head_only, "text/plain; charset=utf-8",
              buf_text(&body));
  buf_release(&body);
  u->why = refusal->why;
}

static void fall_back(struct upgrade *u, const struct websocket_fallback *f, bool head_only) {
  add_refusal(&u->answer, f->status, NULL, head_only, f->type, f->body);
  u->why = "HTTP request that is no upgrade";
}

// False: this process may not use SHA-1.
static bool accept_key(struct slice key, char out[32]) {
  uint8_t text[24 + sizeof GUID - 1], digest[EVP_MAX_MD_SIZE];
  unsigned len;
  memcpy(text, key.ptr, 24);
  memcpy(text + 24, GUID, sizeof GUID - 1);
  if (!EVP_Digest(text, sizeof text, digest, &len, EVP_sha1(), NULL)) return false;
  EVP_EncodeBlock((unsigned char *)out, digest, (int)len);
  return true;
}

static void agree(struct upgrade *u, const struct http_request *r) {
  static const struct refusal no_sha1 = {500, "OpenSSL refuses to compute SHA-1", NULL};
  struct slice key;
  char accept[32];
  http_request_field(r, "Sec-WebSocket-Key", &key);
  if (!accept_key(key, accept)) {
    refuse(u, &no_sha1, false);
    return;
  }
  add_status_line(&u->answer, 101);
  buf_printf(&u->answer,
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
             "Sec-WebSocket-Protocol: %s\r\n\r\n",
             accept, find_protocol(r));
}

void upgrade_answer(struct upgrade *u, const struct websocket_config *config, enum http_fed fed,
                    const struct http_request *r) {
  *u = (struct upgrade){.answer = BUF_INIT};
  if (fed != HTTP_WHOLE) {
    refuse(u, fed == HTTP_TOO_LONG ? &too_long : &malformed, false);
    return;
  }
  bool head_only = strcmp(http_request_method(r), "HEAD") == 0;
  if (!http_request_lists(r, "Upgrade", "websocket", HTTP_ANY_CASE)) {
    fall_back(u, &config->fallback, head_only);
    return;
  }
  const struct refusal *refusal = find_refusal(config, r);
  if (refusal)
    refuse(u, refusal, head_only);
  else
    agree(u, r);
}

// --- X-Forwarded-For ---

// "192.0.2.1", "192.0.2.1:4711", "2001:db8::1" or "[2001:db8::1]:4711".
static bool read_address(struct slice text, struct address *out) {
  char copy[INET6_ADDRSTRLEN + 8];
  if (text.len >= sizeof copy) return false;
  memcpy(copy, text.ptr, text.len);
  copy[text.len] = 0;
  char *ip = copy, *colon = strchr(copy, ':');
  if (*ip == '[') {
    char *end = strchr(++ip, ']');
    if (!end) return false;
    *end = 0;
  } else if (colon && !strchr(colon + 1, ':')) {
    *colon = 0;
  }
  uint8_t bytes[16];
  bool is_ipv4 = inet_pton(AF_INET, ip, bytes) == 1;
  if (!is_ipv4 && inet_pton(AF_INET6, ip, bytes) != 1) return false;
  address_from_ip(out, bytes, is_ipv4 ? 4 : 16, 0);
  return true;
}

bool upgrade_forwarded(const struct http_request *r, struct address *out) {
  struct slice list;
  if (!http_request_field(r, "X-Forwarded-For", &list) || !list.len) return false;
  const uint8_t *comma = memrchr(list.ptr, ',', list.len);
  return read_address(http_trim(comma ? slice_from(list, (size_t)(comma + 1 - list.ptr)) : list), out);
}
