// URLs of requests, by libcurl's parser, for src/modules/http*.c: functions of `luamq.core.http`.
#ifndef LUAMQ_MODULES_HTTP_URL_H
#define LUAMQ_MODULES_HTTP_URL_H

#include <lua.h>

// origin(url [, base]) -> "https://host:443", the whole URL without fragment, its scheme; or nil and why it
// is none. With a base the URL may be relative to it.
int http_url_origin(lua_State *L);

#endif
