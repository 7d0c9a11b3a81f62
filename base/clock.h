// Monotonic time, which does not jump when the wall clock is set. Thread rule: any thread.
#ifndef TRINE_BASE_CLOCK_H
#define TRINE_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_now_us(void); // microseconds since an arbitrary start
int64_t clock_wall_s(void); // seconds since 1970, for `created` fields and log lines only

#endif
