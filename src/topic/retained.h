// The retained index: at most one value for each topic, found by filter. Values are the caller's (messages);
// the index hands back what it no longer holds.
//
// A cursor walks the topics that match a filter a few at a time, while topics come and go between the steps:
// a topic that stays is seen exactly once; one that comes or goes during the walk may be seen or not; the
// value is the one of the moment of the step.
#ifndef LUAMQ_TOPIC_RETAINED_H
#define LUAMQ_TOPIC_RETAINED_H

#include "topic/tree.h"

struct retained {
  struct tree tree;
  uint64_t count; // topics with a value
};

void retained_init(struct retained *r, uint64_t seed);
// Calls drop(arg, value) for each value, then frees the tree. All cursors have been closed.
void retained_release(struct retained *r, void (*drop)(void *arg, void *value), void *arg);

// The value is not NULL. Returns the one it replaced, or NULL.
void *retained_set(struct retained *r, struct slice topic, void *value);
void *retained_get(const struct retained *r, struct slice topic); // or NULL
void *retained_delete(struct retained *r, struct slice topic);    // returns the value that was there, or NULL

struct retained_cursor { // all private
  struct retained *index;
  struct tree_node *at;     // pinned: the last node that was looked at, or the root; NULL after the last
  struct slice filter;      // its own copy
  uint32_t depth;           // of `at`; the root's is 0
  uint32_t below;           // how many of them "#" stands for
  uint32_t level, level_to; // the level of the filter that `at` matched, as offsets; not used at the root
  bool left;                // the subtree of `at` is done
};

// The filter is valid, and copied. The cursor may stay open for any time; it holds a node while it does.
void retained_open(struct retained_cursor *c, struct retained *r, struct slice filter);
// The next value, or NULL after the last. Looks at no more than *budget nodes (at least 1) and takes what it
// used off; NULL with *budget 0 means: come again.
void *retained_next(struct retained_cursor *c, uint32_t *budget);
// Whether a value of the topic is still to come from the cursor.
bool retained_is_ahead(const struct retained_cursor *c, struct slice topic);
void retained_close(struct retained_cursor *c); // also after the last

#endif
