// Topic names and topic filters [MQTT 4.7]: what is valid, and what matches. UTF-8 is the packet's matter.
#ifndef LUAMQ_TOPIC_TOPIC_H
#define LUAMQ_TOPIC_TOPIC_H

#include "base/slice.h"

#define TOPIC_MAX 65535 // bytes [MQTT-4.7.3-3]

bool topic_name_valid(struct slice topic);    // 1..65535 bytes, no U+0000, no wildcard
bool topic_filter_valid(struct slice filter); // 1..65535 bytes, `+` alone in its level, `#` alone and last
bool topic_has_wildcard(struct slice filter);
uint32_t topic_levels(struct slice topic); // 1 and more

// Whether `filter` covers `topic` [MQTT-4.7.1, 4.7.2]. `topic` may be a filter itself: then the answer is
// whether everything that it matches is matched by `filter` ("t/+" does not cover "t/#"; "t/#" covers "t/+/a"
// and "t/#"). Wildcards at the first level do not match a first level that starts with `$` [MQTT-4.7.2-1].
// Both are valid; what is not valid matches nothing.
bool topic_match(struct slice filter, struct slice topic);

// The next level of a topic or filter. `rest` starts as the whole and is moved behind the level and its
// slash; `*more` starts true and turns false with the last level. Returns false when there is none left.
//
//   struct slice rest = topic, level; bool more = true;
//   while (topic_next_level(&rest, &more, &level)) ...
static inline bool topic_next_level(struct slice *rest, bool *more, struct slice *level) {
  if (!*more) return false;
  const uint8_t *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
  size_t len = slash ? (size_t)(slash - rest->ptr) : rest->len;
  *level = slice_of(rest->ptr, len);
  *more = slash != NULL;
  *rest = slash ? slice_from(*rest, len + 1) : slice_of(rest->ptr, 0);
  return true;
}

#endif
