// luamq.counter, .gauge and .histogram: a metric of a script is its definition; its series are in the commons
// of the broker that runs.
#include <lauxlib.h>
#include <math.h>

#include "base/mem.h"
#include "packet/utf8.h"
#include "script/commons.h"

#define SERIES_UNHELD 10000 // of a state that has no broker yet
#define REFUSED_LINES 1     // a second
#define WHOLE_MAX     0x1p53

struct metric_object {
  struct metric_definition definition; // texts are in the table that is user value 1
};

static const double default_buckets[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

// --- definitions ---

static bool is_name(struct slice s, bool label) {
  if (!s.len || s.len > METRIC_NAME_MAX || (s.ptr[0] >= '0' && s.ptr[0] <= '9')) return false;
  for (size_t i = 0; i < s.len; i++) {
    char c = (char)s.ptr[i];
    bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!fine && (label || c != ':')) return false;
  }
  return true;
}

static struct slice string_at(lua_State *L, int index) {
  size_t len;
  const char *text = lua_tolstring(L, index, &len);
  return slice_of(text, len);
}

// Keeps the string at the top alive with the object, in the table at `kept`.
static struct slice keep_string(lua_State *L, int kept) {
  struct slice s = string_at(L, -1);
  lua_rawseti(L, kept, (lua_Integer)lua_rawlen(L, kept) + 1);
  return s;
}

static void read_labels(lua_State *L, int index, int kept, struct metric_definition *d) {
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_Unsigned count = lua_rawlen(L, index);
  luaL_argcheck(L, count <= METRIC_LABELS_MAX, index, "a metric has 8 labels at most");
  for (unsigned i = 0; i < count; i++) {
    if (lua_rawgeti(L, index, i + 1) != LUA_TSTRING || !is_name(string_at(L, -1), true))
      luaL_argerror(L, index, "a label is a name of letters, digits and _");
    d->labels[d->label_count++] = keep_string(L, kept);
  }
}

static void read_buckets(lua_State *L, int index, struct metric_definition *d) {
  luaL_argcheck(L, lua_istable(L, index), 3, "buckets are a list of numbers");
  lua_Unsigned count = lua_rawlen(L, index);
  luaL_argcheck(L, count >= 1 && count <= METRIC_BUCKETS_MAX, 3, "a histogram has 1 to 32 buckets");
  for (unsigned i = 0; i < count; i++) {
    bool is_number = lua_rawgeti(L, index, i + 1) == LUA_TNUMBER;
    double bound = lua_tonumber(L, -1);
    luaL_argcheck(L, is_number && isfinite(bound) && (!i || bound > d->buckets[i - 1]), 3,
                  "buckets are numbers, each larger than the one before");
    d->buckets[i] = bound;
    lua_pop(L, 1);
  }
  d->bucket_count = (unsigned)count;
}

// help, or { help =, buckets = }
static void read_options(lua_State *L, int kept, struct metric_definition *d) {
  if (d->kind == METRIC_HISTOGRAM) {
    d->bucket_count = sizeof default_buckets / sizeof *default_buckets;
    memcpy(d->buckets, default_buckets, sizeof default_buckets);
  }
  if (lua_isnoneornil(L, 3)) return;
  if (lua_type(L, 3) == LUA_TSTRING) {
    lua_pushvalue(L, 3);
    d->help = keep_string(L, kept);
    return;
  }
  luaL_checktype(L, 3, LUA_TTABLE);
  if (lua_getfield(L, 3, "help") == LUA_TSTRING)
    d->help = keep_string(L, kept);
  else
    lua_pop(L, 1);
  if (lua_getfield(L, 3, "buckets") != LUA_TNIL) {
    luaL_argcheck(L, d->kind == METRIC_HISTOGRAM, 3, "only a histogram has buckets");
    read_buckets(L, lua_gettop(L), d);
  }
  lua_pop(L, 1);
}

static int define(lua_State *L, enum metric_kind kind, enum object_type type) {
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_argcheck(L, is_name(string_at(L, 1), false), 1, "a name has letters, digits, _ and :");
  lua_settop(L, 3);
  struct metric_object *o = object_new(L, script_home(L), type, sizeof *o, 1);
  *o = (struct metric_object){.definition = {.kind = kind}};
  lua_newtable(L);
  lua_pushvalue(L, 1);
  o->definition.name = keep_string(L, 5);
  read_labels(L, 2, 5, &o->definition);
  read_options(L, 5, &o->definition);
  lua_settop(L, 5);
  lua_setiuservalue(L, 4, 1);
  metrics_define(&commons_of(L)->metrics, &o->definition);
  return 1;
}

static int counter(lua_State *L) { return define(L, METRIC_COUNTER, OBJECT_COUNTER); }
static int gauge(lua_State *L) { return define(L, METRIC_GAUGE, OBJECT_GAUGE); }
static int histogram(lua_State *L) { return define(L, METRIC_HISTOGRAM, OBJECT_HISTOGRAM); }

// --- samples ---

static struct metric *metric_of(lua_State *L, struct metric_object *o) {
  struct commons *c = commons_of(L);
  struct metric *known = map_get(&c->metrics.map, o->definition.name);
  if (known && metric_is_same(&known->definition, &o->definition)) return known;
  return metrics_define(&c->metrics, &o->definition);
}

// Numbers become strings, which may run a finalizer: so that is done before anything else is looked at.
static void check_labels(lua_State *L, const struct metric_object *o) {
  for (unsigned i = 0; i < o->definition.label_count; i++) {
    int index = 2 + (int)i, type = lua_type(L, index);
    if (type == LUA_TBOOLEAN) continue;
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
      luaL_argerror(L, index,
                    lua_pushfstring(L, "the value of label '%s' expected, got %s",
                                    (const char *)o->definition.labels[i].ptr, luaL_typename(L, index)));
    struct slice value = string_at(L, index);
    luaL_argcheck(L, value.len <= METRIC_VALUE_MAX && utf8_valid(value), index,
                  "the value of a label is UTF-8 of at most 1024 bytes");
  }
}

// The values of the labels from index 2 on, which have been checked.
static struct slice read_key(lua_State *L, const struct metric_object *o) {
  struct buf *key = object_text(L);
  for (unsigned i = 0; i < o->definition.label_count; i++) {
    int index = 2 + (int)i;
    if (lua_isboolean(L, index))
      metric_add_label(key, lua_toboolean(L, index) ? SLICE("true") : SLICE("false"));
    else
      metric_add_label(key, string_at(L, index));
  }
  return buf_slice(key);
}

static void tell_refused(struct script *s, struct commons *c, const struct metric_definition *d) {
  uint32_t missed = 0;
  s->shard->stats.series_refused++;
  if (!log_rate_allows(&c->refused, s->loop->clock.now_ms, REFUSED_LINES, &missed)) return;
  if (!log_begin(&s->log, LEVEL_WARN, SLICE("too many series of metrics: a sample went to " METRIC_OTHER)))
    return;
  log_string(&s->log, "metric", d->name);
  log_number(&s->log, "max_series", s->settings.max_series);
  if (missed) log_number(&s->log, "suppressed", missed);
  log_end(&s->log);
}

static struct series *series_of(lua_State *L, struct metric_object *o) {
  check_labels(L, o);
  struct slice key = read_key(L, o);
  struct commons *c = commons_of(L);
  struct script *s = script_current(L);
  bool held = s && s->shard, refused;
  struct series *series = metrics_series(&c->metrics, metric_of(L, o), key,
                                         held ? s->settings.max_series : SERIES_UNHELD, &refused);
  if (held) s->shard->stats.series = c->metrics.series;
  if (refused && held) tell_refused(s, c, &o->definition);
  return series;
}

static double check_amount(lua_State *L, const struct metric_object *o, double otherwise) {
  int index = 2 + (int)o->definition.label_count;
  double amount = otherwise != otherwise ? luaL_checknumber(L, index) : luaL_optnumber(L, index, otherwise);
  luaL_argcheck(L, isfinite(amount), index, "a finite number expected");
  return amount;
}

static int counter_inc(lua_State *L) {
  struct metric_object *o = object_self(L, "counter");
  double amount = check_amount(L, o, 1);
  luaL_argcheck(L, amount >= 0, 2 + (int)o->definition.label_count, "a counter only rises");
  series_of(L, o)->value += amount;
  return 0;
}

static int gauge_set(lua_State *L) {
  struct metric_object *o = object_self(L, "gauge");
  double value = check_amount(L, o, NAN);
  series_of(L, o)->value = value;
  return 0;
}

static int gauge_inc(lua_State *L) {
  struct metric_object *o = object_self(L, "gauge");
  double amount = check_amount(L, o, 1);
  series_of(L, o)->value += amount;
  return 0;
}

static int gauge_dec(lua_State *L) {
  struct metric_object *o = object_self(L, "gauge");
  double amount = check_amount(L, o, 1);
  series_of(L, o)->value -= amount;
  return 0;
}

static int histogram_observe(lua_State *L) {
  struct metric_object *o = object_self(L, "histogram");
  double value = check_amount(L, o, NAN);
  series_observe(series_of(L, o), metric_of(L, o), value);
  return 0;
}

// --- reading ---

// Cumulative, as Prometheus has them: { { le =, count = }, ... } without the one for what is above all
// bounds.
static void push_buckets(lua_State *L, const struct metric_definition *d, const struct series *s) {
  lua_Integer below = 0;
  lua_createtable(L, (int)d->bucket_count, 0);
  for (unsigned i = 0; i < d->bucket_count; i++) {
    below += (lua_Integer)s->buckets[i];
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, d->buckets[i]);
    lua_setfield(L, -2, "le");
    lua_pushinteger(L, below);
    lua_setfield(L, -2, "count");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_number(lua_State *L, double number) {
  if (number == floor(number) && fabs(number) < WHOLE_MAX)
    lua_pushinteger(L, (lua_Integer)number);
  else
    lua_pushnumber(L, number);
}

// Sets what the series says in the table at the top.
static void set_series(lua_State *L, const struct metric_definition *d, const struct series *s) {
  if (d->kind != METRIC_HISTOGRAM) {
    push_number(L, s->value);
    lua_setfield(L, -2, "value");
    return;
  }
  push_number(L, s->value);
  lua_setfield(L, -2, "sum");
  lua_pushinteger(L, (lua_Integer)s->count);
  lua_setfield(L, -2, "count");
  push_buckets(L, d, s);
  lua_setfield(L, -2, "buckets");
}

// From a copy: a finalizer that runs meanwhile may define the metric anew.
static void push_histogram(lua_State *L, const struct metric_definition *d, const struct series *s) {
  uint64_t buckets[METRIC_BUCKETS_MAX + 1];
  struct series copy = {.value = s->value, .count = s->count, .buckets = buckets};
  memcpy(buckets, s->buckets, (d->bucket_count + 1) * sizeof *buckets);
  lua_createtable(L, 0, 3);
  set_series(L, d, &copy);
}

static int value(lua_State *L, const char *name) {
  struct metric_object *o = object_self(L, name);
  check_labels(L, o);
  const struct series *s = metric_find(metric_of(L, o), read_key(L, o));
  if (o->definition.kind != METRIC_HISTOGRAM) {
    push_number(L, s ? s->value : 0);
    return 1;
  }
  if (!s) return 0;
  push_histogram(L, &o->definition, s);
  return 1;
}

static int counter_value(lua_State *L) { return value(L, "counter"); }
static int gauge_value(lua_State *L) { return value(L, "gauge"); }
static int histogram_value(lua_State *L) { return value(L, "histogram"); }

static void push_series(lua_State *L, const struct metric *m, const struct series *s) {
  struct slice key = slice_of(s->key, s->key_len), label;
  lua_createtable(L, 0, 4);
  lua_createtable(L, 0, (int)m->definition.label_count);
  for (unsigned i = 0; metric_next_label(&key, &label); i++) {
    object_push_slice(L, m->definition.labels[i]);
    object_push_slice(L, label);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "labels");
  set_series(L, &m->definition, s);
}

static void push_metric(lua_State *L, const struct metric *m) {
  static const char *const kinds[] = {"counter", "gauge", "histogram"};
  uint32_t at = 0;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, kinds[m->definition.kind]);
  lua_setfield(L, -2, "kind");
  object_push_slice(L, m->definition.help);
  lua_setfield(L, -2, "help");
  lua_createtable(L, (int)m->definition.label_count, 0);
  for (unsigned i = 0; i < m->definition.label_count; i++) {
    object_push_slice(L, m->definition.labels[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "labels");
  lua_createtable(L, (int)m->series.count, 0);
  const struct series *s;
  for (lua_Integer i = 1; (s = map_each(&m->series, &at)); i++) {
    push_series(L, m, s);
    lua_rawseti(L, -2, i);
  }
  lua_setfield(L, -2, "series");
}

static int push_all(lua_State *L) {
  const struct commons *c = commons_of(L);
  uint32_t at = 0;
  lua_newtable(L);
  for (const struct metric *m; (m = map_each(&c->metrics.map, &at));) {
    object_push_slice(L, m->definition.name);
    push_metric(L, m);
    lua_rawset(L, -3);
  }
  return 1;
}

// all() -> a table of all metrics by name. A finalizer may add to them, so the collector waits meanwhile.
static int all(lua_State *L) {
  bool collects = lua_gc(L, LUA_GCISRUNNING);
  lua_settop(L, 0);
  lua_pushcfunction(L, push_all);
  if (collects) lua_gc(L, LUA_GCSTOP);
  int status = lua_pcall(L, 0, 1, 0);
  if (collects) lua_gc(L, LUA_GCRESTART);
  return status == LUA_OK ? 1 : lua_error(L);
}

// --- types ---

static int index_metric(lua_State *L) {
  object_field(L);
  return 1;
}

void metrics_define_types(lua_State *L, struct script_home *home) {
  static const luaL_Reg meta[] = {{"__index", index_metric}, {"__newindex", object_read_only}, {NULL, NULL}};
  static const luaL_Reg counter_methods[] = {{"inc", counter_inc}, {"value", counter_value}, {NULL, NULL}};
  static const luaL_Reg gauge_methods[] = {
      {"set", gauge_set}, {"inc", gauge_inc}, {"dec", gauge_dec}, {"value", gauge_value}, {NULL, NULL}};
  static const luaL_Reg histogram_methods[] = {
      {"observe", histogram_observe}, {"value", histogram_value}, {NULL, NULL}};
  object_define(L, home, OBJECT_COUNTER,
                &(struct object_methods){.name = "counter", .meta = meta, .methods = counter_methods});
  object_define(L, home, OBJECT_GAUGE,
                &(struct object_methods){.name = "gauge", .meta = meta, .methods = gauge_methods});
  object_define(L, home, OBJECT_HISTOGRAM,
                &(struct object_methods){.name = "histogram", .meta = meta, .methods = histogram_methods});
}

void metrics_module_push(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"counter", counter}, {"gauge", gauge}, {"histogram", histogram}, {"all", all}, {NULL, NULL}};
  luaL_newlib(L, functions);
}
