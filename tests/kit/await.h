// Waiting for what another thread or process does: in naps, until it is so, up to a bound that no
// slow machine comes near. Thread rule: any; AWAIT is the main thread's, as every CHECK.
#ifndef TRINE_TESTS_KIT_AWAIT_H
#define TRINE_TESTS_KIT_AWAIT_H

#include "base/clock.h"
#include "tests/check.h"

#include <time.h>

enum { AWAIT_US = 120000000 };

static inline void await_nap(void) { (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); }

// Until the condition holds, or the bound is reached: the caller looks which.
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ = clock_now_us() + AWAIT_US;                                                \
        while (!(condition) && clock_now_us() < until_)                                            \
            await_nap();                                                                           \
    } while (0)

// The same, and it must hold then.
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        WAIT_UNTIL(condition);                                                                     \
        CHECK(condition);                                                                          \
    } while (0)

#endif
