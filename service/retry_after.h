// When to come again. Role: from what waits and what was measured, how long the device will be at
// it; what Retry-After says. Thread rule: pure.
#ifndef TRINE_SERVICE_RETRY_AFTER_H
#define TRINE_SERVICE_RETRY_AFTER_H

#include "engine/scheduler.h"

enum { RETRY_AFTER_MOST_S = 60 };

// Seconds, 1 to RETRY_AFTER_MOST_S. Texts to encode, prompts and texts to come each count at the
// rate at which such tokens were computed so far, those of a kind that was not yet measured not at
// all. A text may end before its max_tokens: it is an estimate of the longest.
int retry_after_s(const struct scheduler_stats *stats);

#endif
