// The shard: all state of a broker that belongs to one thread. A turn of it: wait for readiness, read and
// process packets, fire timers, then flush each client that has something to send with one gathered write,
// and free what has ended.
//
//   struct shard *s = shard_new(loop, &settings, seed);
//   shard_set_backend(s, memory_backend_new(s));       // decorated or not; freed with the shard
//   shard_connect(s, conn);                            // an accepted connection (the engine does this)
//   while (...) shard_turn(s, true);
//   shard_free(s);                                     // closes all that is left
#ifndef LUAMQ_BROKER_SHARD_H
#define LUAMQ_BROKER_SHARD_H

#include "base/log.h"
#include "base/rand.h"
#include "broker/backend.h"
#include "broker/overload.h"
#include "broker/peers.h"
#include "broker/pressure.h"
#include "broker/stats.h"
#include "broker/unfinished.h"
#include "broker/users.h"
#include "transport/conn.h"
#include "transport/loop.h"

#define SHARD_READ_SIZE    (256 * 1024)
#define SHARD_SCRATCH_SIZE (256 * 1024)
#define SHARD_SPARE_MAX    256

struct shard {
  struct loop *loop;
  struct backend *backend;
  struct settings settings;
  struct stats stats;
  struct rand rand;
  struct rand ids; // of assigned client ids, which peers see: they tell nothing about the seeds of tables
  struct queue_pool pool;
  struct peers *peers;
  struct users users;          // counted only with limits.connections_per_user
  struct rules *rules;         // for all clients, see broker/access.h; or NULL
  uint64_t rules_serial;       // moves when they are changed
  struct rules_pool own_rules; // of single clients
  struct pressure pressure;
  struct unfinished unfinished; // packets of clients
  struct timer memory_timer;    // armed while the memory limit is reached: it is looked at again
  uint32_t log_mask;            // a bit for each enum log_event that the backend's log wants
  uint64_t jobs_refused_told;   // of the loop's worker threads
  struct log_rate jobs_rate;    // of telling that
  bool closing;                 // refuses new clients
  uint8_t overload;             // enum overload
  uint16_t reign;               // changes when the backend does: clients of another one are to be adopted
  bool flushing;            // the scratch buffer is in use: a hook that is called meanwhile does not flush
  struct list clients;      // all, by client's node
  struct list wills;        // that wait, see broker/will.h
  struct list work;         // those with something to do at the end of the turn: process, send, end
  struct list backlog;      // those that were served and have more to send: they come behind the others
  uint64_t turn_pushed;     // pool.pushed when the turn began
  struct timer flush_timer; // with a write delay: until it fires nothing is sent
  void (*script_released)(void *object); // see client_set_script
  uint8_t *read_buffer;                  // SHARD_READ_SIZE
  uint8_t *scratch;                      // SHARD_SCRATCH_SIZE: what a flush sends
  struct buf **spare;                    // buffers for control packets
  unsigned spare_count;
  // For tests: called when a publish was decided, and when a decision refused something else. The id is 0
  // where there is none, or it is not known. NULL otherwise.
  void (*decided)(void *arg, struct client *c, uint8_t packet_type, uint16_t id, const struct reply *reply);
  void *decided_arg;
};

struct shard *shard_new(struct loop *loop, const struct settings *settings,
                        uint64_t seed); // seed 0: of the system
void shard_set_backend(struct shard *s, struct backend *b);
// From now on `b` decides, and is told of clients that are there, see `adopt`. Between two turns, or in one
// where no client is being served. The backend before stays the caller's.
void shard_replace_backend(struct shard *s, struct backend *b);
// They are in force from now on, also for clients that are there, where they have none of their own.
void shard_change_settings(struct shard *s, const struct settings *settings);
// Rules for all clients from now on, which stay the caller's; NULL: none.
void shard_set_rules(struct shard *s, struct rules *rules);
// Ends every client at once, without flushing, and frees the backend. The loop is the caller's.
void shard_free(struct shard *s);

void shard_connect(struct shard *s, struct conn *c); // takes the connection over
void shard_connect_from(struct shard *s, struct conn *c, const struct address *remote);
// Returns whether anything happened. `wait` as in loop_turn.
bool shard_turn(struct shard *s, bool wait);
// The rest of a turn after loop_turn, for callers with a loop of their own: resumes, flushes, ends clients.
bool shard_finish_turn(struct shard *s);
struct buf *shard_take_buf(struct shard *s); // an empty buffer
void shard_give_buf(struct shard *s, struct buf *b);
// Closes all clients in order, and refuses new ones with `closing`; what they were sent is flushed. They are
// gone when shard->clients is empty.
void shard_close_clients(struct shard *s);

// The counters, with the gauges that are not kept all the time brought up to date.
const struct stats *shard_stats(struct shard *s);

static inline uint64_t shard_now_ms(const struct shard *s) { return s->loop->clock.now_ms; }

static inline bool shard_wants(const struct shard *s, enum log_event e) { return s->log_mask >> e & 1; }
void shard_log(struct shard *s, struct log_record record); // when it is wanted

#endif
