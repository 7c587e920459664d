// MQTT 5 properties, read a second time: the specification's table 2-4 as text, and a reader that always
// tells the truth because it is simple.
//
//   assert_int_equal(packet_check_properties(&p, PACKET_PUBLISH), naive_check_properties(p.raw,
//   PACKET_PUBLISH));
#ifndef LUAMQ_TESTS_NAIVE_PROPERTIES_H
#define LUAMQ_TESTS_NAIVE_PROPERTIES_H

#include "packet/packet.h"
#include "packet/utf8.h"

struct naive_property {
  char type;         // b byte, h two bytes, w four bytes, v variable byte integer, s string, d binary, p pair
  const char *where; // letters of places, see naive_place
  const char *rule;  // what a number may be: "0..1", "1..": NULL for anything
};

// By id.
static const struct naive_property naive_properties[256] = {
    [1] = {'b', "PW", "0..1"},
    [2] = {'w', "PW", NULL},
    [3] = {'s', "PW", NULL},
    [8] = {'s', "PW", NULL},
    [9] = {'d', "PW", NULL},
    [11] = {'v', "PS", "1.."},
    [17] = {'w', "CcD", NULL},
    [18] = {'s', "c", NULL},
    [19] = {'h', "c", NULL},
    [21] = {'s', "CcX", NULL},
    [22] = {'d', "CcX", NULL},
    [23] = {'b', "C", "0..1"},
    [24] = {'w', "W", NULL},
    [25] = {'b', "C", "0..1"},
    [26] = {'s', "c", NULL},
    [28] = {'s', "cD", NULL},
    [31] = {'s', "carlosuDX", NULL},
    [33] = {'h', "Cc", "1.."},
    [34] = {'h', "Cc", NULL},
    [35] = {'h', "P", "1.."},
    [36] = {'b', "c", "0..1"},
    [37] = {'b', "c", "0..1"},
    [38] = {'p', "WCcParloSsUuDX", NULL},
    [39] = {'w', "Cc", "1.."},
    [40] = {'b', "c", "0..1"},
    [41] = {'b', "c", "0..1"},
    [42] = {'b', "c", "0..1"},
};

// The letter of a packet type, or of PROPERTIES_OF_WILL; ' ' where there are no properties.
static inline char naive_place(uint8_t type) {
  static const char letters[17] = "WCcParloSsUu  DX";
  return letters[type & 15];
}

static inline bool naive_may_stand(unsigned id, uint8_t type) {
  const char *where = id < 256 ? naive_properties[id].where : NULL;
  char letter = naive_place(type);
  return where && letter != ' ' && strchr(where, letter);
}

// The bytes that a value takes up, and its number; 0: it is not there whole.
static inline size_t naive_value(char type, struct slice in, uint64_t *number) {
  size_t size = type == 'b' ? 1 : type == 'w' ? 4 : 2;
  *number = 0;
  if (type == 'v') {
    uint64_t unit = 1;
    for (size_t i = 0; i < 4 && i < in.len; i++, unit *= 128) {
      *number += in.ptr[i] % 128 * unit;
      if (in.ptr[i] < 128) return i && !in.ptr[i] ? 0 : i + 1;
    }
    return 0;
  }
  if (in.len < size) return 0;
  for (size_t i = 0; i < size; i++)
    *number = *number * 256 + in.ptr[i];
  if (type == 's' || type == 'd') return in.len - 2 < *number ? 0 : 2 + *number;
  if (type != 'p') return size;
  size_t name = naive_value('s', in, number);
  size_t value = name ? naive_value('s', slice_from(in, name), number) : 0;
  return value ? name + value : 0;
}

static inline int naive_check_value(unsigned id, struct slice value, uint64_t number) {
  const struct naive_property *p = &naive_properties[id];
  if (p->type == 's' && !utf8_valid(slice_from(value, 2))) return PACKET_BAD_STRING;
  if (p->type == 'p') {
    size_t name = naive_value('s', value, &number);
    if (!utf8_valid(slice_of(value.ptr + 2, name - 2))) return PACKET_BAD_STRING;
    if (!utf8_valid(slice_from(value, name + 2))) return PACKET_BAD_STRING;
  }
  if (id == PROPERTY_RESPONSE_TOPIC) {
    if (value.len == 2) return PACKET_BAD_VALUE;
    for (size_t i = 2; i < value.len; i++)
      if (value.ptr[i] == '#' || value.ptr[i] == '+') return PACKET_BAD_VALUE;
  }
  bool wrong = p->rule && (p->rule[0] == '1' ? number == 0 : number > 1);
  if (!wrong) return 0;
  return id == PROPERTY_TOPIC_ALIAS ? PACKET_BAD_ALIAS : PACKET_BAD_VALUE;
}

// What packet_check_properties has to answer.
static inline int naive_check_properties(struct slice in, uint8_t type) {
  unsigned counts[256] = {0};
  while (in.len) {
    uint64_t id, number;
    size_t len = naive_value('v', in, &id);
    if (!len || id > 255 || !naive_properties[id].type) return PACKET_BAD_PROPERTY;
    in = slice_from(in, len);
    len = naive_value(naive_properties[id].type, in, &number);
    if (!len || !naive_may_stand((unsigned)id, type)) return PACKET_BAD_PROPERTY;
    bool repeats =
        id == PROPERTY_USER_PROPERTY || (id == PROPERTY_SUBSCRIPTION_IDENTIFIER && type == PACKET_PUBLISH);
    if (counts[id]++ && !repeats) return PACKET_REPEATED_PROPERTY;
    int error = naive_check_value((unsigned)id, slice_of(in.ptr, len), number);
    if (error) return error;
    in = slice_from(in, len);
  }
  return counts[PROPERTY_AUTHENTICATION_DATA] && !counts[PROPERTY_AUTHENTICATION_METHOD] ? PACKET_BAD_VALUE
                                                                                         : 0;
}

#endif
