#include "transport/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

void address_from_ip(struct address *a, const uint8_t *ip, size_t len, uint16_t port) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  bool is_mapped = len == 16 && memcmp(ip, mapped, sizeof mapped) == 0;
  *a = (struct address){.family = len == 4 || is_mapped ? AF_INET : AF_INET6, .port = port};
  memcpy(a->ip, ip + (is_mapped ? 12 : 0), is_mapped ? 4 : len);
}

void address_from(struct address *a, const struct sockaddr *sa) {
  *a = (struct address){.family = sa->sa_family};
  if (sa->sa_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, sa, sizeof in);
    address_from_ip(a, (const uint8_t *)&in.sin_addr, 4, ntohs(in.sin_port));
  } else if (sa->sa_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, sa, sizeof in6);
    address_from_ip(a, in6.sin6_addr.s6_addr, 16, ntohs(in6.sin6_port));
  }
}

const char *address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]) {
  char ip[INET6_ADDRSTRLEN] = "";
  if (a->family == AF_INET || a->family == AF_INET6) inet_ntop(a->family, a->ip, ip, sizeof ip);
  if (a->family == AF_INET)
    snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", ip, a->port);
  else if (a->family == AF_INET6)
    snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", ip, a->port);
  else
    snprintf(out, ADDRESS_TEXT_MAX, a->family == AF_UNIX ? "unix" : "memory");
  return out;
}

bool address_is_loopback(const struct address *a) {
  static const uint8_t one[16] = {[15] = 1};
  if (a->family == AF_INET) return a->ip[0] == 127;
  if (a->family == AF_INET6) return memcmp(a->ip, one, 16) == 0;
  return true;
}

static const struct {
  const char *scheme, *port;
} schemes[] = {{"tcp", "1883"},   {"mqtt", "1883"}, {"tls", "8883"}, {"ssl", "8883"},
               {"mqtts", "8883"}, {"ws", "80"},     {"wss", "443"}};

static const char *port_of(struct slice scheme) {
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (slice_eq(scheme, slice_str(schemes[i].scheme))) return schemes[i].port;
  return NULL;
}

struct slice address_scheme(const char *url) {
  const char *end = strstr(url, "://");
  return slice_of(url, end ? (size_t)(end - url) : 0);
}

// What stands between the scheme and the path.
static struct slice authority(const char *url) {
  struct slice scheme = address_scheme(url);
  const char *at = url + (scheme.len ? scheme.len + 3 : 0);
  return slice_of(at, strcspn(at, "/"));
}

struct slice address_path(const char *url) {
  struct slice before = authority(url);
  return slice_str((const char *)before.ptr + before.len);
}

// Splits "host:port", "[host]:port" or "host" in place; false when it is neither.
static bool split(char *text, char **host, char **port) {
  char *after;
  if (*text == '[') {
    *host = text + 1;
    after = strchr(text, ']');
    if (!after) return false;
    *after++ = 0;
  } else {
    *host = text;
    after = strrchr(text, ':');
    if (!after) after = text + strlen(text);
    if (memchr(text, ':', (size_t)(after - text))) return false;
  }
  *port = *after == ':' ? after + 1 : NULL;
  if (*after && *after != ':') return false;
  *after = 0;
  return **host != 0;
}

static bool is_port(const char *text) {
  size_t len = strlen(text);
  return len >= 1 && len <= 5 && strspn(text, "0123456789") == len && strtoul(text, NULL, 10) <= 65535;
}

const char *address_resolve(const char *url, struct addrinfo **out) {
  const char *default_port = port_of(address_scheme(url));
  if (!default_port) return "unknown scheme (tcp, mqtt, tls, ssl, mqtts, ws and wss are known)";
  if (address_path(url).len && url[0] != 'w') return "only WebSocket addresses have a path";
  char text[300], *host, *port;
  struct slice rest = authority(url);
  if (rest.len >= sizeof text) return "address too long";
  memcpy(text, rest.ptr, rest.len);
  text[rest.len] = 0;
  if (!split(text, &host, &port)) return "expected host:port";
  if (port && !is_port(port)) return "expected a port from 0 to 65535";
  struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  int error = getaddrinfo(host, port ? port : default_port, &hints, out);
  return error ? gai_strerror(error) : NULL;
}
