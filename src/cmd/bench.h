// The parts of `luamq bench`, a load generator in one thread: one scenario against one broker, one JSON
// object with what came of it. It has to be much cheaper than the broker, or it measures itself: publishers
// hand batches that were encoded beforehand to one send, subscribers read with a large shared buffer, nothing
// is allocated a message.
//
//        publishers ── send, up to `batch` messages ──► broker ──► subscribers
//            ▲                                                         │ each delivery is checked:
//            └── the window: what is sent and not yet delivered ◄──────┘ stream, sequence, time
//
// A stream is a publisher's messages to one topic. The first 16 bytes of a payload are a struct bench_stamp,
// so loss, duplicates, order and latency are known at every delivery. Streams are numbered through, and those
// that match the filter of one subscriber are always first, first + step, ..., `count` of them.
//
//   bench_conn.c    connections, the handshake, reading and writing
//   bench_check.c   what every delivery is held against
//   bench_flow.c    scenarios with traffic under a window or at a fixed rate
//   bench_other.c   connects, idle connections, retained messages
//   bench_report.c  process accounting, the histogram, JSON
#ifndef LUAMQ_CMD_BENCH_H
#define LUAMQ_CMD_BENCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/buf.h"
#include "client/stream.h"

#define BENCH_TOPIC_MAX 32
#define BENCH_HEAD_MAX  (5 + 2 + BENCH_TOPIC_MAX + 2 + 1 + 16) // of a PUBLISH up to the end of its stamp
#define BENCH_INPUT     (256 * 1024)
#define NS_PER_S        1000000000ull
#define NS_PER_MS       1000000ull

struct bench;

// The defaults of a scenario, and what the command line made of them. Zero is "does not apply".
struct bench_options {
  const struct bench_scenario *scenario;
  const char *host, *port;
  const char *tls_ca; // PEM file of who is trusted; NULL: no TLS
  bool websocket;
  const char *websocket_path;
  pid_t pid;         // of the broker; 0: its accounting is not read
  double seconds;    // of sending
  uint64_t messages; // in total, instead of seconds
  uint32_t clients, topics, payload, window, batch, rate, concurrency;
  uint32_t timeout;     // seconds without any progress after which a run ends
  uint32_t deadline;    // seconds after which a run ends whatever happens
  uint8_t qos, version; // of MQTT: an enum mqtt_version
  bool one, subscribe;
};

struct bench_scenario {
  const char *name, *what;
  bool (*run)(struct bench *b); // false: it could not be measured, bench_fail was called
  struct bench_options defaults;
};

struct bench_stamp { // the first bytes of a payload, in the byte order of the machine
  uint32_t stream, seq;
  uint64_t sent_ns; // or when it was due
};
_Static_assert(sizeof(struct bench_stamp) == 16, "the stamp has no padding");

enum bench_state {
  BENCH_CLOSED,
  BENCH_CONNECTING,
  BENCH_HANDSHAKE,
  BENCH_CONNACK,
  BENCH_SUBACK,
  BENCH_READY,
  BENCH_LEAVING
};

struct bench_conn {
  struct stream stream;
  enum bench_state state;
  bool waits_to_write; // EPOLLOUT is armed
  uint8_t kept;        // bytes in `head`, of a packet that is not complete
  uint8_t pending_qos;
  uint16_t pending_id;
  uint32_t number; // makes the client id
  uint32_t skip;   // bytes of the payload of `pending` that are still to come
  struct bench_stamp pending;
  struct bench_pub *pub; // at most one of the two
  struct bench_sub *sub;
  uint64_t since_ns;            // when connecting began
  char filter[BENCH_TOPIC_MAX]; // subscribed to before it is ready; empty: none
  struct buf out;               // what the stream did not take yet
  uint8_t head[BENCH_HEAD_MAX];
};

struct bench_pub {
  struct bench_conn *conn;
  uint64_t sent, acked, delivered, limit; // limit: messages that it may send
  const uint32_t *streams;                // sent to in turn
  uint32_t stream_count, at;
  uint16_t id;
  uint8_t *batch; // `batch` encoded messages of equal size; topic, id and stamp are filled in
};

struct bench_sub {
  struct bench_conn *conn;
  uint32_t first, step, count; // the streams that it gets
  uint32_t *next;              // the sequence expected for each
};

struct bench_gap { // sequences that a subscriber has not seen and that came after
  uint32_t sub, stream, from, to;
};

struct bench_sample {
  uint64_t wall_ns, own_ns, broker_ns; // own, broker: CPU time
  uint64_t rss, anonymous;             // bytes, of the broker
};

// Log-linear: 64 buckets for each power of two, so a value is at most 1.6 % off.
#define BENCH_BUCKETS (59 * 64)
struct bench_hist {
  uint64_t count, max;
  uint64_t buckets[BENCH_BUCKETS];
};

struct bench {
  struct bench_options opt;
  char error[256];
  struct sockaddr_storage addr;
  socklen_t addr_len;
  uint16_t port;
  struct tls_client *tls; // NULL: none
  struct ws_client_options websocket;
  int epoll;
  uint8_t *input; // BENCH_HEAD_MAX bytes for what was kept, then BENCH_INPUT for one read
  struct buf acks;
  uint64_t now_ns, progress_ns, begin_ns;

  struct bench_conn *conns;
  struct bench_pub *pubs;
  struct bench_sub *subs;
  uint32_t conn_count, pub_count, sub_count, ready_count;
  bool (*on_ready)(struct bench *b, struct bench_conn *c);  // NULL: only counted
  bool (*on_closed)(struct bench *b, struct bench_conn *c); // NULL: the broker may not close

  uint32_t stream_count;
  uint32_t *stream_pub;                          // the publisher of each
  uint32_t *stream_seq;                          // the next sequence of each
  uint32_t *stream_order;                        // the lists of all publishers in a row
  char *topics;                                  // stream_count texts of topic_len
  uint32_t topic_len, topic_at, id_at, stamp_at; // offsets in an encoded message
  uint32_t message_size;
  uint32_t fan;    // deliveries of a message; 0: nobody subscribes, acks open the window
  bool by_slowest; // the slowest subscriber opens the window, not the sum of deliveries
  bool retain;
  uint8_t deliver_qos;
  uint64_t since_ns; // latency counts from here instead of the stamp, when not 0
  uint64_t slowest;  // messages that every subscriber has got, with by_slowest

  uint64_t sent, acked, delivered, duplicated, reordered, unexpected;
  uint64_t late_ns; // the worst delay of the generator itself at a fixed rate
  uint64_t done_ns; // of the last delivery or ack
  uint64_t connects;
  bool stalled;
  struct bench_gap *gaps;
  uint32_t gap_count, gap_cap;
  struct bench_hist hist;
  struct bench_sample before, stored, after; // stored: between storing and replaying, of retained
};

// Sets the text of the failure and returns false.
bool bench_fail(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t bench_now(void);

// Connections. `conns` is allocated for `count`; ids are their numbers.
void bench_conns_init(struct bench *b, uint32_t count);
void bench_conns_release(struct bench *b);
bool bench_open(struct bench *b, struct bench_conn *c); // begins; ready_count rises when it is done
bool bench_open_all(struct bench *b, uint32_t from, uint32_t count);
void bench_close(struct bench *b, struct bench_conn *c);
bool bench_send(struct bench *b, struct bench_conn *c, const void *bytes, size_t len);
static inline bool bench_blocked(const struct bench_conn *c) {
  return c->out.len || stream_wants_write(&c->stream);
}
bool bench_subscribe(struct bench *b, struct bench_conn *c);
bool bench_leave(struct bench *b, struct bench_conn *c); // DISCONNECT; then the broker closes
// Waits for events and handles them; at most `wait_ms`. False after a failure.
bool bench_turn(struct bench *b, int wait_ms);
bool bench_in_time(struct bench *b); // false, with a failure, when nothing came for too long

// A delivery to a subscriber is complete.
void bench_delivered(struct bench *b, struct bench_sub *s, struct bench_stamp stamp, uint8_t qos);
uint64_t bench_lost(const struct bench *b);

void bench_hist_add(struct bench_hist *h, uint64_t value);
uint64_t bench_hist_at(const struct bench_hist *h, double share); // 0.99: the 99th percentile
bool bench_sample(struct bench *b, struct bench_sample *s);
bool bench_settle(struct bench *b, struct bench_sample *s); // once the broker's memory stays as it is
void bench_report(const struct bench *b);

// Publishers and subscribers of a scenario with traffic, and one connection for each. A topic is
// prefix/hi/lo, with hi and lo the quotient and remainder of the stream's number by `side`, or zeros when
// side is 0.
void bench_streams_init(struct bench *b, const char *prefix, uint32_t side, uint32_t pubs, uint32_t subs,
                        uint32_t streams);
void bench_streams_release(struct bench *b);
struct bench_sub *bench_sub_init(struct bench *b, uint32_t i, uint32_t first, uint32_t step, uint32_t count);
const char *bench_topic(const struct bench *b, uint32_t stream, char text[BENCH_TOPIC_MAX]);
// Sends under the window, or at opt.rate, until time or messages are up and all is delivered and
// acknowledged; or until nothing comes any more (`stalled`).
bool bench_flow(struct bench *b);
bool bench_await(struct bench *b); // the second half: deliveries and acks of what was sent
bool bench_quiet(struct bench *b); // a short while for what should not come

bool bench_run_fanout(struct bench *b);
bool bench_run_fanin(struct bench *b);
bool bench_run_pairs(struct bench *b);
bool bench_run_wildcards(struct bench *b);
bool bench_run_latency(struct bench *b);
bool bench_run_connects(struct bench *b);
bool bench_run_idle(struct bench *b);
bool bench_run_retained(struct bench *b);

#endif
