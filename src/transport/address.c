#include "transport/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

void address_from(struct address *a, const struct sockaddr *sa) {
  *a = (struct address){.family = sa->sa_family};
  if (sa->sa_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, sa, sizeof in);
    a->port = ntohs(in.sin_port);
    memcpy(a->ip, &in.sin_addr, 4);
  } else if (sa->sa_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, sa, sizeof in6);
    a->port = ntohs(in6.sin6_port);
    bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
    if (mapped) a->family = AF_INET;
    memcpy(a->ip, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
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
  const char *rest = NULL;
  if (strncmp(url, "tcp://", 6) == 0) rest = url + 6;
  if (strncmp(url, "mqtt://", 7) == 0) rest = url + 7;
  if (!rest) return "unknown scheme (tcp and mqtt are known)";
  char text[300], *host, *port;
  size_t len = strlen(rest);
  if (len >= sizeof text) return "address too long";
  memcpy(text, rest, len + 1);
  if (!split(text, &host, &port)) return "expected host:port";
  if (port && !is_port(port)) return "expected a port from 0 to 65535";
  struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  int error = getaddrinfo(host, port ? port : "1883", &hints, out);
  return error ? gai_strerror(error) : NULL;
}
