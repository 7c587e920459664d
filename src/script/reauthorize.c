// Where script.reauthorize is set: before anything else is done for a client that another script has let in,
// or whose session was stored under another one, the hook `subscribe` is asked about each of its
// subscriptions as if it came now, and then the rules. Those that are refused end, with a line in the log
// each.
#include "broker/access.h"
#include "script/script_impl.h"

static void decided(struct script *s, struct client *c, struct subscribe_request *request) {
  struct session *session = client_session(c);
  for (uint32_t i = 0; session && i < request->count; i++) {
    struct subscribe_item *item = &request->list[i];
    if (item->code != SUBACK_FAILURE) access_check_subscribe(c, item);
    if (!memory_decide_again(s->inner, session, item)) continue;
    s->shard->stats.subscriptions_revoked++;
    logger_revoked(&s->logger, c, item);
  }
  subscribe_request_free(request);
  client_adopted(c);
}

void reauthorize(struct script *s, struct client *c) {
  if (client_session(c))
    backend_ask_subscribe(s, c, memory_subscriptions(s->inner, client_session(c)), decided);
  else
    client_adopted(c);
}
