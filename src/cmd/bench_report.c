// What the run cost and what it took: the CPU time and memory that the kernel accounts to the broker, the
// latency histogram, and the JSON object.

#include "cmd/bench.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS    100
#define SETTLE_SAME  3
#define SETTLE_TRIES 50
#define BUSY         0.9 // a share of wall time that counts as the limit

void bench_hist_add(struct bench_hist *h, uint64_t value) {
  uint32_t at = (uint32_t)value;
  if (value >= 64) {
    uint32_t top = 63u - (uint32_t)__builtin_clzll(value);
    at = (top - 5) * 64 + (uint32_t)(value >> (top - 6) & 63);
  }
  h->buckets[at]++;
  h->count++;
  if (value > h->max) h->max = value;
}

uint64_t bench_hist_at(const struct bench_hist *h, double share) {
  uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
  for (uint32_t at = 0; at < BENCH_BUCKETS; at++) {
    seen += h->buckets[at];
    if (seen <= wanted) continue;
    uint64_t value = at < 64 ? at : (uint64_t)(64 + at % 64) << (at / 64 - 1);
    return value < h->max ? value : h->max;
  }
  return h->max;
}

// ---- accounting of a process

// CPU time of all threads in nanoseconds, by the scheduler's own count.
static bool cpu_by_scheduler(pid_t pid, uint64_t *cpu_ns) {
  char path[64 + 256];
  snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  if (!tasks) return false;
  bool found = false;
  *cpu_ns = 0;
  for (struct dirent *e; (e = readdir(tasks));) {
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
    FILE *f = fopen(path, "re");
    uint64_t ns;
    if (!f) continue;
    if (fscanf(f, "%" SCNu64, &ns) == 1) {
      *cpu_ns += ns;
      found = true;
    }
    fclose(f);
  }
  closedir(tasks);
  return found;
}

// The same by the clock ticks in /proc/PID/stat, for a kernel that has no better.
static bool cpu_by_ticks(pid_t pid, uint64_t *cpu_ns) {
  char path[64], text[1024];
  snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
  FILE *f = fopen(path, "re");
  if (!f) return false;
  size_t n = fread(text, 1, sizeof(text) - 1, f);
  fclose(f);
  text[n] = 0;
  const char *after_name = strrchr(text, ')');
  uint64_t user, system;
  if (!after_name ||
      sscanf(after_name + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %" SCNu64, &user,
             &system) != 2)
    return false;
  *cpu_ns = (user + system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
  return true;
}

static bool read_memory(const char *format, pid_t pid, const char *rss, const char *anonymous,
                        struct bench_sample *s) {
  char path[64], line[256];
  snprintf(path, sizeof(path), format, (int)pid);
  FILE *f = fopen(path, "re");
  if (!f) return false;
  bool found = false;
  while (fgets(line, sizeof(line), f)) {
    if (!strncmp(line, rss, strlen(rss))) {
      s->rss = strtoull(line + strlen(rss), NULL, 10) * 1024;
      found = true;
    }
    if (!strncmp(line, anonymous, strlen(anonymous)))
      s->anonymous = strtoull(line + strlen(anonymous), NULL, 10) * 1024;
  }
  fclose(f);
  return found;
}

bool bench_sample(struct bench *b, struct bench_sample *s) {
  struct timespec own;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  *s = (struct bench_sample){.wall_ns = bench_now(),
                             .own_ns = (uint64_t)own.tv_sec * NS_PER_S + (uint64_t)own.tv_nsec};
  pid_t pid = b->opt.pid;
  if (!pid) return true;
  if (!cpu_by_scheduler(pid, &s->broker_ns) && !cpu_by_ticks(pid, &s->broker_ns))
    return bench_fail(b, "process %d: its CPU time cannot be read", (int)pid);
  // The sum over the mappings is exact, the counters in status may lag.
  if (!read_memory("/proc/%d/smaps_rollup", pid, "Rss:", "Anonymous:", s) &&
      !read_memory("/proc/%d/status", pid, "VmRSS:", "RssAnon:", s))
    return bench_fail(b, "process %d: its memory cannot be read", (int)pid);
  return true;
}

bool bench_settle(struct bench *b, struct bench_sample *s) {
  uint64_t last = 0;
  for (int tries = 0, same = 0; tries < SETTLE_TRIES && same < SETTLE_SAME; tries++) {
    for (uint64_t until_ns = bench_now() + SETTLE_MS * NS_PER_MS; bench_now() < until_ns;)
      if (!bench_turn(b, 10)) return false;
    if (!bench_sample(b, s)) return false;
    same = s->rss == last ? same + 1 : 0;
    last = s->rss;
  }
  return true;
}

// ---- the report

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

static double share(double cpu, double wall) { return wall <= 0 ? 0 : cpu < wall ? cpu / wall : 1; }

static double per(double value, uint64_t count) { return count ? value / (double)count : 0; }

static void print_latency(const struct bench_hist *h) {
  static const struct {
    const char *name;
    double share;
  } points[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}};
  printf("  \"latency_us\": {");
  for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
    printf("\"%s\": %.1f, ", points[i].name, (double)bench_hist_at(h, points[i].share) / 1e3);
  printf("\"max\": %.1f},\n", (double)h->max / 1e3);
}

static void print_memory(const struct bench *b) {
  int64_t grown = (int64_t)(b->after.rss - b->before.rss),
          anonymous = (int64_t)(b->after.anonymous - b->before.anonymous);
  printf("             \"rss_before\": %" PRIu64 ", \"rss_after\": %" PRIu64 ", \"rss_grown\": %" PRId64
         ", \"anonymous_grown\": %" PRId64 "},\n",
         b->before.rss, b->after.rss, grown, anonymous);
  if (b->opt.scenario->run == bench_run_idle)
    printf("  \"bytes_per_connection\": %.1f,\n", per((double)grown, b->opt.clients));
  if (b->opt.scenario->run == bench_run_retained)
    printf("  \"bytes_per_retained\": %.1f,\n",
           per((double)(b->stored.rss - b->before.rss), b->opt.messages));
}

static const char *limit(double broker, double generator, bool paced) {
  if (broker >= BUSY && generator >= BUSY) return "both";
  if (broker >= BUSY) return "broker";
  if (paced) return "rate";
  return generator >= BUSY ? "generator" : "neither";
}

static void print_store(const struct bench *b, uint64_t from_ns) {
  printf("  \"store\": {\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"broker_us_per_message\": %.4f},\n",
         b->sent, seconds(b->stored.wall_ns - from_ns),
         per((double)(b->stored.broker_ns - b->before.broker_ns) / 1e3, b->sent));
}

static const char *truth(bool value) { return value ? "true" : "false"; }

void bench_report(const struct bench *b) {
  const struct bench_options *o = &b->opt;
  // The replay of retained messages is measured apart from storing them.
  const struct bench_sample *from = b->stored.wall_ns ? &b->stored : &b->before;
  uint64_t count = b->connects ? b->connects : b->delivered;
  double wall = seconds((b->done_ns ? b->done_ns : b->after.wall_ns) - from->wall_ns);
  double own = seconds(b->after.own_ns - from->own_ns),
         broker = seconds(b->after.broker_ns - from->broker_ns);

  printf("{\n  \"scenario\": \"%s\", \"clients\": %u, \"publishers\": %u, \"subscribers\": %u, \"qos\": "
         "%u,\n", //
         o->scenario->name, o->clients, b->pub_count, b->sub_count, o->qos);
  printf("  \"payload\": %u, \"window\": %u, \"batch\": %u, \"rate\": %u, \"one\": %s, \"subscribe\": %s,\n",
         o->payload, o->window, o->batch, o->rate, truth(o->one), truth(o->subscribe));
  printf("  \"tls\": %s, \"websocket\": %s,\n", truth(o->tls_ca), truth(o->websocket));
  printf("  \"sent\": %" PRIu64 ", \"expected\": %" PRIu64 ", \"delivered\": %" PRIu64
         ", \"connects\": %" PRIu64 ",\n",
         b->sent, b->sent * b->fan, b->delivered, b->connects);
  printf("  \"seconds\": %.6f, \"per_second\": %.0f,\n", wall, wall > 0 ? (double)count / wall : 0);
  printf("  \"lost\": %" PRIu64 ", \"duplicated\": %" PRIu64 ", \"reordered\": %" PRIu64
         ", \"unexpected\": %" PRIu64 ", \"stalled\": %s,\n",
         bench_lost(b), b->duplicated, b->reordered, b->unexpected, truth(b->stalled));
  print_latency(&b->hist);
  if (b->stored.wall_ns) print_store(b, b->before.wall_ns);
  if (o->pid) {
    printf("  \"broker\": {\"cpu_seconds\": %.6f, \"us_per_message\": %.4f, \"busy\": %.3f,\n", broker,
           per(broker * 1e6, count), share(broker, wall));
    print_memory(b);
    printf("  \"limit\": \"%s\",\n", limit(share(broker, wall), share(own, wall), o->rate > 0));
  }
  printf("  \"generator\": {\"cpu_seconds\": %.6f, \"us_per_message\": %.4f, \"busy\": %.3f, \"late_us\": "
         "%.1f}\n}\n",
         own, per(own * 1e6, count), share(own, wall), (double)b->late_ns / 1e3);
}
