// The head of an HTTP request, fed in pieces as they come, then asked for its fields. Protocol code without
// I/O; what is not strictly a request (RFC 9112) is refused, folded lines among it.
//
//   struct http_request *r = http_request_new(8192);
//   while ((fed = http_request_feed(r, bytes)) == HTTP_MORE) read at most http_request_room(r) more
//   HTTP_WHOLE: struct slice host; unsigned count = http_request_field(r, "host", &host);
//   http_request_rest(r);                                // what came behind the head
//   http_request_free(r);
#ifndef LUAMQ_TRANSPORT_HTTP_REQUEST_H
#define LUAMQ_TRANSPORT_HTTP_REQUEST_H

#include "base/slice.h"

#define HTTP_REQUEST_LIMIT 65535 // more than this many bytes cannot be asked for
#define HTTP_FIELDS_MAX    100   // a head with more is too long

enum http_fed { HTTP_MORE, HTTP_WHOLE, HTTP_TOO_LONG, HTTP_MALFORMED };
enum http_case { HTTP_EXACT_CASE, HTTP_ANY_CASE };

struct http_request;

struct http_request *http_request_new(size_t max); // bytes of the head and what is fed behind it
void http_request_free(struct http_request *r);    // NULL is fine

// Not called again after an answer other than HTTP_MORE.
enum http_fed http_request_feed(struct http_request *r, struct slice in); // at most http_request_room
size_t http_request_room(const struct http_request *r);

// Of a whole head. Slices are valid as long as the request.
const char *http_request_method(const struct http_request *r); // "GET"
unsigned http_request_version(const struct http_request *r);   // 11: HTTP/1.1
struct slice http_request_path(const struct http_request *r);  // without the query; empty: there is none
struct slice http_request_rest(const struct http_request *r);
// How often there is such a field, and the value of the last one without the space around it.
unsigned http_request_field(const struct http_request *r, const char *name, struct slice *last);
// Whether `token` is an element of the comma-separated list that all fields of that name make.
bool http_request_lists(const struct http_request *r, const char *name, const char *token,
                        enum http_case how);

// The text without the blanks and tabs around it.
struct slice http_trim(struct slice text);

#endif
