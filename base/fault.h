// Fault injection: makes the Nth allocation, file or thread call fail, so that a test can walk
// every failure path. Role: base/ asks fault_hit() before each such call. Disarmed (always, but in
// tests) it costs one relaxed load.
// Thread rule: arm and disarm from one thread; fault_hit from any.
#ifndef TRINE_BASE_FAULT_H
#define TRINE_BASE_FAULT_H

#include <stdbool.h>

enum fault_site { FAULT_ALLOC, FAULT_FILE, FAULT_THREAD, FAULT_SITES };

// The nth (1 = the next) call at `site` fails; `from_then_on` fails all after it too.
void fault_arm(enum fault_site site, long nth, bool from_then_on);
void fault_disarm(void);
// How many calls at `site` there have been since it was armed. Calls are counted only while it is
// armed.
long fault_calls(enum fault_site site);
// Reads "alloc:17", "alloc:17+" or "file:3" from `spec`; false when it is malformed. Test builds of
// the program (TRINE_FAULTS) arm themselves from the environment with it.
bool fault_arm_spec(const char *spec);
// True when this call must fail.
bool fault_hit(enum fault_site site);

#endif
