#include "modules/http_error.h"

#include <errno.h>
#include <stddef.h>

const struct http_error http_error_late = {"timeout", "no answer in time"};
const struct http_error http_error_unstarted = {"timeout", "no connection was free in time"};
const struct http_error http_error_too_large = {"too_large", "the answer is too large"};

static const struct {
  CURLcode code;
  struct http_error error; // without a text: libcurl's own
} rows[] = {
    {CURLE_OPERATION_TIMEDOUT, {"timeout", "no connection in time"}}, // all else is bounded by the pool
    {CURLE_COULDNT_RESOLVE_HOST, {"dns", "the host name is not known"}},
    {CURLE_COULDNT_RESOLVE_PROXY, {"dns", "the name of the proxy is not known"}},
    {CURLE_SSL_CONNECT_ERROR, {"tls", NULL}},
    {CURLE_PEER_FAILED_VERIFICATION, {"tls", NULL}},
    {CURLE_SSL_CERTPROBLEM, {"tls", NULL}},
    {CURLE_SSL_CACERT_BADFILE, {"tls", NULL}},
    {CURLE_SSL_CIPHER, {"tls", NULL}},
    {CURLE_SSL_ISSUER_ERROR, {"tls", NULL}},
    {CURLE_SSL_ENGINE_INITFAILED, {"tls", NULL}},
    {CURLE_USE_SSL_FAILED, {"tls", NULL}},
    {CURLE_GOT_NOTHING, {"connection_closed", "the server closed without an answer"}},
    {CURLE_RECV_ERROR, {"connection_closed", "the connection broke"}},
    {CURLE_SEND_ERROR, {"connection_closed", "the connection broke"}},
    {CURLE_PARTIAL_FILE, {"connection_closed", "the connection ended within the answer"}},
    {CURLE_WEIRD_SERVER_REPLY, {"protocol", "what answers does not speak HTTP"}},
    {CURLE_UNSUPPORTED_PROTOCOL, {"protocol", "what answers does not speak HTTP/1.1"}},
    {CURLE_BAD_CONTENT_ENCODING, {"protocol", "the answer's encoding is not known"}},
    {CURLE_PROXY, {"proxy", "the proxy refuses"}},
};

static struct http_error not_connected(int number) {
  switch (number) {
  case ECONNREFUSED: return (struct http_error){"connection_refused", "connection refused"};
  case ENOENT: return (struct http_error){"connection_refused", "no such socket"};
  case EMFILE:
  case ENFILE: return (struct http_error){"failed", "too many open files"};
  default: return (struct http_error){"unreachable", "the host cannot be reached"};
  }
}

struct http_error http_error_of(CURLcode code, int number, const char *problem) {
  struct http_error e = {"failed", NULL};
  if (code == CURLE_COULDNT_CONNECT) return not_connected(number);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].code == code) e = rows[i].error;
  if (!e.text) e.text = *problem ? problem : curl_easy_strerror(code);
  return e;
}
