#include "packet/alias.h"

#include "base/hash.h"
#include "base/mem.h"
#include "packet/reason.h"

#define HEAT_MAX 255

void aliases_release(struct aliases *a) {
  for (uint16_t i = 0; a->list && i < a->maximum; i++)
    mem_free(a->list[i].topic);
  mem_free(a->list);
  a->list = NULL;
}

static void set_alias(struct topic_alias *a, struct slice topic) {
  mem_free(a->topic);
  *a = (struct topic_alias){.topic = mem_dup(topic.ptr, topic.len), .len = (uint16_t)topic.len};
}

static struct slice alias_topic(const struct topic_alias *a) { return slice_of(a->topic, a->len); }

uint8_t aliases_resolve(struct aliases *a, struct packet_message *m) {
  if (!packet_has_property(&m->properties, PROPERTY_TOPIC_ALIAS)) return REASON_SUCCESS;
  uint32_t alias = packet_property_number(&m->properties, PROPERTY_TOPIC_ALIAS, 0);
  if (alias > a->maximum) return REASON_TOPIC_ALIAS_INVALID; // [MQTT5-3.3.2-9]
  if (!a->list) a->list = mem_calloc(a->maximum, sizeof *a->list);
  struct topic_alias *known = &a->list[alias - 1];
  if (m->topic.len) {
    set_alias(known, m->topic);
  } else if (known->topic) {
    m->topic = alias_topic(known);
  } else {
    return REASON_PROTOCOL_ERROR; // it was never set
  }
  return REASON_SUCCESS;
}

// Each topic has one slot, so that looking it up is one comparison. A topic that comes again and again keeps
// its slot; others cool it down until one of them takes it over.
struct alias_use aliases_use(struct aliases *aliases, struct slice topic) {
  if (!aliases->maximum || topic.len < 3) return (struct alias_use){0}; // an alias takes 3 bytes itself
  if (!aliases->list) aliases->list = mem_calloc(aliases->maximum, sizeof *aliases->list);
  uint16_t slot = (uint16_t)(hash_bytes(0, topic) % aliases->maximum);
  struct topic_alias *a = &aliases->list[slot];
  bool known = a->topic && slice_eq(alias_topic(a), topic);
  if (known) {
    a->heat += a->heat < HEAT_MAX;
  } else if (a->heat) {
    a->heat--;
    return (struct alias_use){0};
  } else {
    set_alias(a, topic);
  }
  return (struct alias_use){(uint16_t)(slot + 1), known};
}
