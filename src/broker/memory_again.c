// Subscriptions that were made under another backend are decided about once more.
#include "broker/memory_impl.h"

// Each subscription of the session: those of its own, then its places in groups.
struct walk {
  const struct subscription *own;
  const struct share_member *member;
  struct buf filter; // of the one of its own
};

struct found {
  struct slice filter, share; // valid until the next
  uint8_t options;
};

static bool next_own(struct walk *w, struct found *out) {
  if (!w->own) return false;
  w->filter.len = 0;
  subscription_filter(w->own, &w->filter);
  *out = (struct found){.filter = buf_slice(&w->filter), .options = w->own->options};
  w->own = w->own->next_of_subscriber;
  return true;
}

static bool next(struct walk *w, const struct memory *m, const struct session *s, struct found *out) {
  if (next_own(w, out)) return true;
  w->member = shares_next(&m->shares, s, w->member);
  if (!w->member) return false;
  const struct share_group *g = w->member->pair.group;
  *out = (struct found){.filter = share_filter(g), .share = share_name(g), .options = w->member->options};
  return true;
}

static struct walk walk_new(const struct session *s) { return (struct walk){.own = s->subscriber.first}; }

static struct slice copy(uint8_t **to, struct slice text) {
  struct slice copied = slice_of(*to, text.len);
  if (text.len) memcpy(*to, text.ptr, text.len);
  *to += text.len;
  return copied;
}

struct subscribe_request *memory_subscriptions(const struct backend *b, const struct session *s) {
  const struct memory *m = memory_of(b);
  struct found f;
  uint32_t count = 0;
  size_t bytes = 0;
  struct walk w = walk_new(s);
  for (; next(&w, m, s, &f); count++)
    bytes += f.filter.len + f.share.len;
  struct subscribe_request *request = mem_alloc(sizeof *request + count * sizeof request->list[0] + bytes);
  *request = (struct subscribe_request){0};
  uint8_t *texts = (uint8_t *)(request->list + count);
  buf_release(&w.filter);
  for (w = walk_new(s); next(&w, m, s, &f);) {
    uint8_t qos = f.options & SUBSCRIPTION_QOS;
    request->list[request->count++] =
        (struct subscribe_item){.filter = copy(&texts, f.filter),
                                .share = copy(&texts, f.share),
                                .qos = qos,
                                .code = qos,
                                .options = f.options & (uint8_t)~SUBSCRIPTION_QOS};
  }
  buf_release(&w.filter);
  return request;
}

static uint32_t identifier(const struct memory *m, const struct session *s,
                           const struct subscribe_item *item) {
  if (item->share.len) return shares_find(&m->shares, s, item->share, item->filter)->id;
  return index_get(m->index, item->filter, &s->subscriber)->id;
}

// A filter that the hook changes is one that it has made itself: it stays.
bool memory_decide_again(struct backend *b, struct session *s, const struct subscribe_item *item) {
  struct memory *m = memory_of(b);
  bool is_refused = item->code > 2, is_lower = !is_refused && item->code < item->qos && !item->owned;
  if ((!is_refused && !is_lower) || !memory_has_subscription(m, s, item)) return false;
  fanouts_settle(&m->fanouts, &s->subscriber);
  if (is_refused) return memory_end_subscription(m, s, item);
  memory_make_subscription(m, s, item, item->code | item->options, identifier(m, s, item));
  return false;
}
