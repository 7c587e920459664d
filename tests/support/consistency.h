// Whether what a broker counts is what is there: sessions, their subscriptions, queued and unreleased bytes,
// retained messages, connections, unfinished packets. Holds at any time between two turns, and is checked
// with cmocka's asserts.
#ifndef LUAMQ_TESTS_CONSISTENCY_H
#define LUAMQ_TESTS_CONSISTENCY_H

#include "harness.h"

void consistency_check(const struct harness *h);

#endif
