// The values that Lua sees. `client` is the same value as long as the client lives, and a snapshot
// afterwards. `message`, `packet` and `subscription` are borrowed: made anew for each call of a hook, and
// over when it has returned; then each use raises. A session is named by its id and looked up at each use.
#ifndef LUAMQ_SCRIPT_OBJECT_H
#define LUAMQ_SCRIPT_OBJECT_H

#include <lua.h>

#include "packet/packet.h"

enum object_type {
  OBJECT_CLIENT,
  OBJECT_SESSION,
  OBJECT_MESSAGE,
  OBJECT_HELD_MESSAGE,
  OBJECT_PACKET,
  OBJECT_SUBSCRIPTION,
  OBJECT_TIMER,
  OBJECT_RETAINED,
  OBJECT_TASK,
  OBJECT_TICKET,
  OBJECT_COUNTER,
  OBJECT_GAUGE,
  OBJECT_HISTOGRAM,
  OBJECT_COUNT,
};

struct held_delivery;
struct keeper;
struct list;
struct script;
struct script_home;
struct client;
struct message;
struct session;
struct subscribe_item;
struct luaL_Reg;

struct borrowed { // the head of what is borrowed
  bool over;
};

// Makes the types in a new state.
void objects_open(lua_State *L, struct script_home *home);

// Defines a type: metamethods and methods get the metatable as upvalue 1, which makes object_self cheap and
// exact. `__index` has as upvalue 2 a table from the names of fields to their number, from 1 on, and of
// methods to their function.
struct object_methods {
  const char *name;                      // "message"
  const struct luaL_Reg *meta, *methods; // methods may be NULL
  const char *const *fields;             // NULL at the end; may be NULL
  uint64_t properties;                   // of MQTT 5, that are fields as well: see property_add_fields
};
void object_define(lua_State *L, struct script_home *home, enum object_type type,
                   const struct object_methods *m);

void *object_new(lua_State *L, const struct script_home *home, enum object_type type, size_t size,
                 int values);
// The object at index 1 in a function of its type; raises when it is something else.
void *object_self(lua_State *L, const char *name);
// The number of the field whose name is at index 2. 0: the value is on the stack (a method or nil).
int object_field(lua_State *L);
// `__newindex` of what is read only.
int object_read_only(lua_State *L);
void object_push_slice(lua_State *L, struct slice s);
// An empty buffer of the state's own, so that nothing leaks when Lua raises; object_push_text pushes what is
// in it.
struct buf *object_text(lua_State *L);
int object_push_text(lua_State *L, struct buf *text); // returns 1
// Raises when a borrowed object is over.
void object_use(lua_State *L, const struct borrowed *b, const char *name);

// message_object.c
void message_object_define(lua_State *L, struct script_home *home);
// `m` is not copied. `expiry_s`: what is left of the message's time; MESSAGE_NEVER where its properties tell.
struct borrowed *message_object_push(lua_State *L, const struct script_home *home,
                                     const struct packet_message *m, uint32_t expiry_s);
// The message stands elsewhere from now on.
void message_object_move(struct borrowed *message, const struct packet_message *m);
// The message of the borrowed packet at `owner`, valid as long as that one.
void message_object_push_part(lua_State *L, const struct script_home *home, int owner);
// One that holds a packet in flight, valid for ever: pushed empty, then filled without a call of Lua between.
struct message_object;
struct stored;
struct message_object *message_object_push_held(lua_State *L, const struct script_home *home);
void message_object_hold(struct message_object *o, const struct stored *entry, uint64_t now_ms);
// The message that the value at `index` holds, and with which QoS and flag; NULL: it is no such object.
struct message *message_object_held(lua_State *L, int index, uint8_t *qos, bool *retain);
// A will, with a copy of its own, valid for ever.
void message_object_push_will(lua_State *L, const struct script_home *home, const struct message *will,
                              uint32_t delay_s);

// packet_object.c
void packet_object_define(lua_State *L, struct script_home *home);
struct borrowed *packet_object_push(lua_State *L, const struct script_home *home, const struct packet *p,
                                    uint8_t version);
// The packet stands elsewhere from now on.
void packet_object_move(struct borrowed *packet, const struct packet *p);
// The message of a publish, or the will of a connect, that a borrowed packet has.
const struct packet_message *packet_object_message(const struct borrowed *packet);
struct borrowed *subscription_object_push(lua_State *L, const struct script_home *home,
                                          const struct subscribe_item *item, uint8_t version,
                                          uint32_t identifier);
// Sets the options of MQTT 5 that a subscription keeps as fields of the table at the top.
void subscription_set_options(lua_State *L, uint8_t options);

// client_object.c
void client_object_define(lua_State *L, struct script_home *home);
void client_object_push(lua_State *L, struct script *s, struct client *c);
// Of a client that has an object: hooks that are suspended, by struct hook_task's client_node; and a delivery
// that a dequeue hook was asked about (backend_dequeue.c), or NULL.
struct list *client_object_tasks(struct client *c);
struct held_delivery **client_object_held(struct client *c);
// The session operations of a client that has an object of `s`, which frees them; or NULL.
void client_object_keep(struct script *s, struct client *c, struct keeper *keeper);
const struct keeper *client_object_keeper(const struct script *s, const struct client *c);
// What an older script has kept in the client's `ref` is from now on in that of `s`.
void client_object_hand_over(struct script *s, struct client *c);
// Hands over what was not yet, and leaves the objects to Lua.
void client_objects_end(struct script *s);

// session_object.c
void session_object_define(lua_State *L, struct script_home *home);
void session_object_push(lua_State *L, struct script *s, struct slice id);
int session_create(lua_State *L); // luamq.create_session

// timer_object.c
void timer_object_define(lua_State *L, struct script_home *home);
int timer_after(lua_State *L); // luamq.after
int timer_every(lua_State *L); // luamq.every
void timer_cancel_all(struct script *s);

// pause_module.c
void pause_objects_define(lua_State *L, struct script_home *home);
int pause_sleep(lua_State *L);  // luamq.sleep
int pause_spawn(lua_State *L);  // luamq.spawn
int pause_ticket(lua_State *L); // what luamq.semaphore and luamq.channel are made of

// retained_object.c
void retained_object_define(lua_State *L, struct script_home *home);
int retained_list(lua_State *L); // luamq.retained

// For arguments of Lua functions: topic, payload and options of a message. Its properties are valid until Lua
// allocates, see message_fields.h.
struct packet_message message_check_arguments(lua_State *L, int topic);
// NULL, or why no PUBLISH could carry it: static storage.
const char *message_problem(const struct packet_message *m);

#endif
