// The engine: listeners and the orderly stop of a shard.
//
//   struct engine *e = engine_new(shard);
//   struct listener_config config;
//   listener_config_init(&config, "tcp://127.0.0.1:0");
//   if (engine_listen(e, &config, error, sizeof error)) puts(engine_url(e, 0));
//   engine_run(e);                     // until engine_stop
//   engine_free(e);
#ifndef LUAMQ_BROKER_ENGINE_H
#define LUAMQ_BROKER_ENGINE_H

#include "broker/shard.h"
#include "transport/listener.h"

struct engine;

struct engine *engine_new(struct shard *shard);
void engine_free(struct engine *e); // closes listeners; the shard is the caller's
// Listeners that are opened after it use these sockets, which stay the caller's, where the address fits.
void engine_inherit(struct engine *e, struct inherited *inherited);
bool engine_listen(struct engine *e, const struct listener_config *config, char *error, size_t error_size);
// The same, but nobody is accepted before engine_replace_listeners: the listener is the caller's till then.
// Sockets that are `lent`, if not NULL, are used in the place of those of engine_inherit.
struct listener *engine_prepare(struct engine *e, const struct listener_config *config,
                                struct inherited *lent, char *error, size_t error_size);
// These listen from now on, in this order: some may have done so before, the others were prepared. Those that
// are not among them are closed; clients that came by them stay. The list is borrowed.
void engine_replace_listeners(struct engine *e, struct listener *const *list, unsigned count);
struct listener *engine_listener(const struct engine *e, unsigned i); // NULL behind the last
const char *engine_url(const struct engine *e, unsigned i); // with the bound address; NULL behind the last
// Every listener with TLS reads its files again, for connections to come. One that cannot use them says so,
// and goes on with what it has. Those that watch their files do this by themselves.
void engine_reload_tls(struct engine *e);
// Stops accepting and begins to close all clients; they have timeout_ms. May be called from anywhere in a
// turn, and again with a shorter timeout.
void engine_stop(struct engine *e, uint32_t timeout_ms);
// Turns until it has been stopped. True when all clients closed in time.
bool engine_run(struct engine *e);

#endif
