// Why a request got no answer: a code that scripts compare, and a text for people. Neither names more of the
// URL than its host.
#ifndef LUAMQ_MODULES_HTTP_ERROR_H
#define LUAMQ_MODULES_HTTP_ERROR_H

#include <curl/curl.h>

struct http_error {
  const char *code; // "timeout"
  const char *text; // static, or `problem`
};

extern const struct http_error http_error_late, http_error_unstarted, http_error_too_large;

// What libcurl's code stands for; `number` is the error number of the system, if there was one, and `problem`
// libcurl's own words.
struct http_error http_error_of(CURLcode code, int number, const char *problem);

#endif
