// UTF-8 as MQTT wants it [MQTT-1.5.3-1, MQTT-1.5.3-2]: no overlong forms, no surrogates, nothing above
// U+10FFFF, no U+0000. Control characters and non-characters are allowed, as the specification leaves to the
// receiver.
#ifndef LUAMQ_PACKET_UTF8_H
#define LUAMQ_PACKET_UTF8_H

#include "base/slice.h"

bool utf8_valid(struct slice s); // ASCII is checked eight bytes at a time

// The code point at the front of s, U+0000 included, into *rune. Returns the bytes it takes, or 0 when s does
// not start with a well-formed one.
size_t utf8_decode(struct slice s, uint32_t *rune);

#endif
