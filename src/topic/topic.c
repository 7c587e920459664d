#include "topic/topic.h"

static bool is_wildcard(uint8_t byte) { return byte == '+' || byte == '#'; }

static bool level_is(struct slice level, uint8_t byte) { return level.len == 1 && level.ptr[0] == byte; }

bool topic_name_valid(struct slice topic) {
  if (topic.len < 1 || topic.len > TOPIC_MAX) return false; // [MQTT-4.7.3-1]
  for (size_t i = 0; i < topic.len; i++)
    if (topic.ptr[i] == 0 || is_wildcard(topic.ptr[i])) return false; // [MQTT-4.7.3-2], [MQTT-4.7.1-1]
  return true;
}

// Whether the wildcard at `at` is all of its level, and '#' the last [MQTT-4.7.1-2], [MQTT-4.7.1-3].
static bool wildcard_stands_alone(struct slice filter, size_t at) {
  if (at > 0 && filter.ptr[at - 1] != '/') return false;
  if (at + 1 == filter.len) return true;
  return filter.ptr[at] == '+' && filter.ptr[at + 1] == '/';
}

bool topic_filter_valid(struct slice filter) {
  if (filter.len < 1 || filter.len > TOPIC_MAX) return false;
  for (size_t i = 0; i < filter.len; i++) {
    if (filter.ptr[i] == 0) return false;
    if (is_wildcard(filter.ptr[i]) && !wildcard_stands_alone(filter, i)) return false;
  }
  return true;
}

bool topic_has_wildcard(struct slice filter) {
  return filter.len && (memchr(filter.ptr, '+', filter.len) || memchr(filter.ptr, '#', filter.len));
}

bool topic_match(struct slice filter, struct slice topic) {
  if (!topic_filter_valid(filter) || !topic_filter_valid(topic)) return false;
  if (topic.ptr[0] == '$' && is_wildcard(filter.ptr[0])) return false; // [MQTT-4.7.2-1]
  if (slice_eq(filter, SLICE("+/#"))) filter = SLICE("#"); // the same: every topic has a first level

  bool more_filter = true, more_topic = true;
  struct slice wanted, level;
  while (topic_next_level(&filter, &more_filter, &wanted)) {
    if (level_is(wanted, '#')) return true; // also where the topic ends: "a/#" covers "a" [MQTT 4.7.1.2]
    if (!topic_next_level(&topic, &more_topic, &level)) return false;
    if (level_is(wanted, '+') ? level_is(level, '#') : !slice_eq(wanted, level)) return false;
  }
  return !more_topic;
}

uint32_t topic_levels(struct slice topic) {
  uint32_t levels = 1;
  for (size_t i = 0; i < topic.len; i++)
    levels += topic.ptr[i] == '/';
  return levels;
}
