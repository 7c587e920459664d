#include "modules/http_url.h"

#include <curl/curl.h>
#include <lauxlib.h>
#include <string.h>

static const char *set_url(CURLU *u, const char *text) {
  switch (curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER)) {
  case CURLUE_OK: return NULL;
  case CURLUE_USER_NOT_ALLOWED: return "a user in the URL; use the options username and password";
  case CURLUE_UNSUPPORTED_SCHEME: return "expected http:// or https://";
  case CURLUE_BAD_PORT_NUMBER: return "no port from 1 to 65535";
  default: return "not a URL";
  }
}

static const char *set(CURLU *u, const char *url, const char *base) {
  if (!base && !strstr(url, "://")) return "expected http:// or https://";
  const char *problem = base ? set_url(u, base) : NULL;
  if (!problem) problem = set_url(u, url);
  if (problem) return problem;
  curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
  return NULL;
}

// Parts are pushed one by one: what Lua raises must not leave one of libcurl's behind.
struct parts {
  CURLU *url;
  char *part; // the one that is being pushed
};

static void push_part(lua_State *L, struct parts *p, CURLUPart what) {
  if (curl_url_get(p->url, what, &p->part, CURLU_DEFAULT_PORT) != CURLUE_OK) p->part = NULL;
  lua_pushstring(L, p->part);
  curl_free(p->part);
  p->part = NULL;
}

static int release(lua_State *L) {
  struct parts *p = lua_touserdata(L, 1);
  curl_free(p->part);
  curl_url_cleanup(p->url);
  *p = (struct parts){0};
  return 0;
}

static struct parts *new_parts(lua_State *L) {
  struct parts *p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = (struct parts){0};
  if (luaL_newmetatable(L, "luamq.http.url")) {
    lua_pushcfunction(L, release);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__gc");
    lua_setfield(L, -2, "__close");
  }
  lua_setmetatable(L, -2);
  lua_toclose(L, -1);
  p->url = curl_url();
  if (!p->url) luaL_error(L, "not enough memory");
  return p;
}

int http_url_origin(lua_State *L) {
  const char *url = luaL_checkstring(L, 1), *base = luaL_optstring(L, 2, NULL);
  struct parts *p = new_parts(L);
  const char *problem = set(p->url, url, base);
  if (problem) {
    luaL_pushfail(L);
    lua_pushstring(L, problem);
    return 2;
  }
  push_part(L, p, CURLUPART_SCHEME);
  push_part(L, p, CURLUPART_HOST);
  push_part(L, p, CURLUPART_PORT);
  const char *scheme = lua_tostring(L, -3);
  if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
    luaL_pushfail(L);
    lua_pushliteral(L, "expected http:// or https://");
    return 2;
  }
  lua_pushfstring(L, "%s://%s:%s", scheme, lua_tostring(L, -2), lua_tostring(L, -1));
  curl_url_get(p->url, CURLUPART_URL, &p->part, 0);
  lua_pushstring(L, p->part);
  lua_pushvalue(L, -5);
  return 3;
}
