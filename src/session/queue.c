#include "session/queue.h"

#include <assert.h>

#include "base/mem.h"

#define POOL_MAX 1024 // spare chunks kept: half a megabyte

static struct queue_chunk *chunk_take(struct queue_pool *pool) {
  struct queue_chunk *chunk = pool->spare;
  pool->bytes += sizeof *chunk;
  if (!chunk) return mem_alloc(sizeof *chunk);
  pool->spare = chunk->next;
  pool->count--;
  return chunk;
}

static void chunk_give(struct queue_pool *pool, struct queue_chunk *chunk) {
  pool->bytes -= sizeof *chunk;
  if (pool->count >= POOL_MAX) {
    mem_free(chunk);
    return;
  }
  chunk->next = pool->spare;
  pool->spare = chunk;
  pool->count++;
}

void queue_pool_release(struct queue_pool *pool) {
  assert(!pool->bytes && !pool->unreleased);
  for (struct queue_chunk *chunk; (chunk = pool->spare);) {
    pool->spare = chunk->next;
    mem_free(chunk);
  }
  pool->count = 0;
}

void queue_push(struct queue *q, struct queue_pool *pool, struct delivery d) {
  if (!q->tail || q->end == QUEUE_CHUNK) {
    struct queue_chunk *chunk = chunk_take(pool);
    chunk->next = NULL;
    if (q->tail)
      q->tail->next = chunk;
    else
      q->head = chunk, q->first = 0;
    q->tail = chunk;
    q->end = 0;
  }
  q->tail->list[q->end++] = d;
  q->count++;
}

void queue_push_front(struct queue *q, struct queue_pool *pool, struct delivery d) {
  if (!q->head) {
    queue_push(q, pool, d);
    return;
  }
  if (!q->first) {
    struct queue_chunk *chunk = chunk_take(pool);
    chunk->next = q->head;
    q->head = chunk;
    q->first = QUEUE_CHUNK;
  }
  q->head->list[--q->first] = d;
  q->count++;
}

bool queue_pop(struct queue *q, struct queue_pool *pool, struct delivery *d) {
  if (!q->count) return false;
  struct queue_chunk *chunk = q->head;
  *d = chunk->list[q->first++];
  if (--q->count == 0) {
    q->head = q->tail = NULL;
    chunk_give(pool, chunk);
  } else if (q->first == QUEUE_CHUNK) {
    q->head = chunk->next;
    q->first = 0;
    chunk_give(pool, chunk);
  }
  return true;
}

const struct delivery *queue_each(const struct queue *q, struct queue_place *place) {
  const struct queue_chunk *last = q->count ? q->tail : NULL;
  if (!last || !place->chunk || (place->chunk == last && place->at == q->end)) return NULL;
  const struct delivery *d = &place->chunk->list[place->at++];
  if (place->at == QUEUE_CHUNK && place->chunk != last) {
    place->chunk = place->chunk->next;
    place->at = 0;
  }
  return d;
}
