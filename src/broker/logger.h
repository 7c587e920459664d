// The default logger: what an administrator wants to read about clients, where a script has no log hook. At
// info a line for each client that comes, is refused or goes, and for a connection that ends before that; at
// warn what was dropped or failed, at a bounded rate; at debug every event, without payloads and secrets.
//
// A refusal tells who decided (broker/verdict.h), what was asked for, and why:
//
//   info publish refused id=c remote=127.0.0.1:4711 username=u topic=a/b qos=1 retain=false
//        reason=not_authorized by=hook hook=publish place=broker.lua:12 reason_string="not yours"
#ifndef LUAMQ_BROKER_LOGGER_H
#define LUAMQ_BROKER_LOGGER_H

#include "base/clock.h"
#include "base/log.h"
#include "broker/backend.h"

struct logger {
  struct log *log;           // borrowed
  const struct clock *clock; // borrowed
  struct stats *stats;       // borrowed
  uint32_t refusals;         // lines a second about refusals of one operation; 0: none
  struct log_rate refused[OPERATION_COUNT];
  struct log_rate drops, errors, strangers, held;
};

uint32_t logger_mask(const struct logger *l); // the events that logger_record wants, for shard->log_mask
void logger_record(struct logger *l, const struct log_record *record);
void logger_connected(struct logger *l, const struct client *c);                 // it is let in and restored
void logger_closed(struct logger *l, const struct client *c, const char *error); // one that had been let in
// A connection that ended in a handshake; arguments as in struct backend_ops.
void logger_arrival_failed(struct logger *l, const struct address *remote, const char *stage,
                           const char *why);
void logger_certificates_reloaded(struct logger *l, const char *url);
void logger_passwords_reloaded(struct logger *l, const char *path, uint32_t users);
// A subscription that has been refused after the fact.
void logger_revoked(struct logger *l, const struct client *c, const struct subscribe_item *item);
void logger_engine_error(struct logger *l, const char *error);

// The fields id, remote address and user name of the record under way.
void logger_add_client(struct log *log, const struct client *c);

#endif
