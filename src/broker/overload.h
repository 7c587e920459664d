// Overload: the loop cannot keep up. How long an event waits for its turn is smoothed over turns, so that one
// long turn alone sheds nothing. Above limits.loop_lag new connections are closed at once; above twice of it
// messages of QoS 0 are dropped as well, before they are decided about or routed. It ends at half of each.
#ifndef LUAMQ_BROKER_OVERLOAD_H
#define LUAMQ_BROKER_OVERLOAD_H

#include <stdint.h>

struct shard;

enum overload { OVERLOAD_NONE, OVERLOAD_SHEDS_CONNECTIONS, OVERLOAD_SHEDS_QOS0 };

// At the end of each turn: takes the loop's lag, and tells the backend's engine_error when the level changes.
void overload_update(struct shard *s);

#endif
