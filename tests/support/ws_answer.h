// The answer of a server that agrees to upgrade to WebSocket, for tests of clients.
//
//   char text[WS_ANSWER_MAX];
//   struct slice answer = ws_answer(buf_text(&request), text);
#ifndef LUAMQ_TESTS_WS_ANSWER_H
#define LUAMQ_TESTS_WS_ANSWER_H

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/slice.h"

#define WS_ANSWER_MAX 512

// Ends the test when the request has no key.
static inline struct slice ws_answer(const char *request, char to[WS_ANSWER_MAX]) {
  char text[96], accept[32];
  uint8_t digest[SHA_DIGEST_LENGTH];
  const char *key = strstr(request, "\r\nSec-WebSocket-Key: ");
  if (!key) abort();
  int len = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 21);
  SHA1((const uint8_t *)text, (size_t)len, digest);
  EVP_EncodeBlock((uint8_t *)accept, digest, sizeof digest);
  len = snprintf(to, WS_ANSWER_MAX,
                 "HTTP/1.1 101 Switching Protocols\r\n"
                 "connection: keep-alive, Upgrade\r\n"
                 "upgrade: WebSocket\r\n"
                 "X-Empty:\r\n"
                 "Sec-WebSocket-Accept: %s\r\n"
                 "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
                 accept);
  return slice_of(to, (size_t)len);
}

#endif
