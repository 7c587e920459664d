// The inside of luamq.test, for lua_test*.c only.
//
//   lua_test.c         the broker: turns, time, log events and lines, statistics
//   lua_test_steps.c   how a decision came about
//   lua_test_client.c  its clients: bytes in both directions, and their end
//   lua_test_request.c what clients ask for, and its answers
//
// A test client is an MQTT client at the far end of a memory connection. `client` is the broker's side of it,
// which tells why it ended and whom a decision is about. Lua may collect the broker and its clients in any
// order: the broker has a list of its clients and lets go of them when it stops, and a client leaves the list
// when it is collected. Clients stand in C's memory, with a pointer in the userdata: Lua may drop a finalizer
// (one that overflows the stack), and then a client is to be lost rather than to dangle.
#ifndef LUAMQ_SCRIPT_LUA_TEST_IMPL_H
#define LUAMQ_SCRIPT_LUA_TEST_IMPL_H

#include <lauxlib.h>

#include "broker/client.h"
#include "script/lua_mqtt.h"
#include "script/observe.h"
#include "script/script_impl.h"
#include "transport/memory.h"

#define TEST_BROKER_TYPE "luamq.test.broker"
#define TEST_CLIENT_TYPE "luamq.test.client"
#define TEST_RAW_MAX     (1 << 20) // bytes that raw() remembers

struct test_broker {
  struct loop *loop;                                               // NULL: stopped
  struct host *host;                                               // NULL: stopped
  struct backend_ops ops;                                          // of the script's backend, but for log
  void (*log)(struct backend *b, const struct log_record *record); // the script's
  uint32_t log_mask;                                               // what the script wants
  struct list clients;                                             // of struct test_client
  struct list events;                                              // that were captured
  struct client *opened;                                           // the newest connection
  FILE *lines; // where the log goes while it is captured, and what it has written; NULL: it never was
  char *text;
  size_t text_len;
  uint64_t memory_bytes; // that the process seems to use, once use_memory was called
  int loader_ref;        // what gives the script again, for luamq.reload; or LUA_NOREF
  bool capturing;
  bool running; // a turn is under way
  struct observer observer;
  uint64_t start_ms;
};

struct test_decision {
  bool given;
  bool refused; // reason and error count
  uint8_t reason;
  bool failed; // error counts
  char error[256];
};

struct test_answer { // what a packet said; `given` since it was last waited for
  bool given;
  uint8_t code;
  struct buf properties;
};

struct test_request { // a packet that is answered, in any way
  struct list node;   // in the client's list, the oldest first
  uint8_t type;       // CONNECT, AUTH, SUBSCRIBE, UNSUBSCRIBE or PUBLISH
  uint16_t id;        // 0: it has none
  bool acked;         // its answer has come
  bool session_present;
  struct test_decision decision;
  struct test_answer said; // by its answer
  struct buf codes;        // of SUBACK and UNSUBACK
};

struct test_client {
  struct list node;
  struct test_broker *broker; // NULL: it has stopped
  struct memory_peer *peer;   // NULL until open
  struct client *client;      // a reference, while the broker lives
  struct mqtt_client mqtt;
  struct inbox inbox;
  struct buf raw;
  const char *error; // why it ended, static storage
  uint64_t keep_alive_ms, sent_ms;
  struct list requests; // that have not been answered, and whose answers were not asked for
  struct test_answer connack, farewell;
  struct list steps; // of decisions, those that were not asked for; see lua_test_steps.c
  unsigned step_count;
  bool protocol; // it speaks MQTT: else bytes are only recorded
  bool dropped, stalled, auto_ping;
  bool session_present;
};

// lua_test_steps.c
extern const struct luaL_Reg test_step_methods[];
void test_steps_init(struct test_client *c);
void test_steps_forget(struct test_client *c);
void test_steps_seen(struct observer *o, const struct observation *what); // of a struct test_broker
// Of a refusal by a setting or by MQTT: what others decide is seen where they do.
void test_steps_decided(struct test_client *c, uint8_t packet_type, const struct reply *reply);

// Raises with the place in the test that called.
int test_raise(lua_State *L, const char *message);
int test_check_settled(lua_State *L, bool settled); // raises when it is not

struct shard *test_shard(const struct test_broker *t);
struct test_broker *test_broker_check(lua_State *L,
                                      int index); // raises when it is stopped, or when a hook calls
// Turns until nothing is left to do without time passing. False: it does not come to rest.
bool test_broker_settle(lua_State *L, struct test_broker *t);

// lua_test_client.c
void test_client_define(lua_State *L);
int test_broker_open(lua_State *L); // broker:open() -> client
// Takes what was received, sends what is to be sent; whether there was something.
bool test_client_exchange(struct test_client *c);
void test_client_let_go(struct test_client *c);             // the broker stops
uint64_t test_client_ping_due(const struct test_client *c); // TIMER_NEVER: none
void test_client_ping_if_due(struct test_client *c);
struct test_client *test_client_check(lua_State *L, int index);
bool test_client_closed(const struct test_client *c);
// Whether it can ask the broker for something. Raises when a hook calls.
bool test_client_open(lua_State *L, const struct test_client *c);
bool test_client_connected(lua_State *L, const struct test_client *c);
void test_client_settle(lua_State *L, struct test_client *c); // sends what waits, and runs the broker
void test_answer_set(struct test_answer *a, const struct mqtt_client_event *e);
int test_answer_push(lua_State *L, const struct test_answer *a); // as a table, or nothing

// lua_test_request.c
extern const luaL_Reg test_request_methods[]; // of clients
void test_request_decided(struct test_client *c, uint8_t packet_type, uint16_t id, const struct reply *reply);
void test_request_answered(struct test_client *c, const struct mqtt_client_event *e);
void test_requests_release(struct test_client *c);

#endif
