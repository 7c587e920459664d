#include "broker/verdict.h"

#include "base/mem.h"

const struct verdict verdict_of_protocol = {.decider = DECIDER_PROTOCOL};
const struct verdict verdict_of_credentials = {.decider = DECIDER_CREDENTIALS};

const char *decider_name(enum decider d) {
  static const char *const names[DECIDER_COUNT] = {
      [DECIDER_HOOK] = "hook",   [DECIDER_RULE] = "rule",         [DECIDER_CREDENTIALS] = "credentials",
      [DECIDER_LIMIT] = "limit", [DECIDER_PROTOCOL] = "protocol",
  };
  return names[d];
}

const char *operation_name(enum operation o) {
  static const char *const names[OPERATION_COUNT] = {
      [OPERATION_CONNECT] = "connect",     [OPERATION_AUTH] = "auth",
      [OPERATION_SUBSCRIBE] = "subscribe", [OPERATION_UNSUBSCRIBE] = "unsubscribe",
      [OPERATION_PUBLISH] = "publish",     [OPERATION_DELIVER] = "deliver",
      [OPERATION_PACKET] = "packet",
  };
  return names[o];
}

const struct verdict *verdict_new(const struct verdict *v, struct slice place) {
  struct verdict *copy = mem_alloc(sizeof *copy + place.len + 1);
  char *text = (char *)(copy + 1);
  if (place.len) memcpy(text, place.ptr, place.len);
  text[place.len] = 0;
  *copy = *v;
  copy->allocated = true;
  copy->place = place.len ? text : NULL;
  return copy;
}

const char *verdict_rule_text(const struct verdict *v, char out[RULES_TEXT_MAX]) {
  return rules_decision_text(&(struct rules_decision){.number = v->rule, .own = v->own}, out);
}

void verdict_free(const struct verdict *v) {
  if (v && v->allocated) mem_free((void *)(uintptr_t)v);
}
