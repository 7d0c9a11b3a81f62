// A device whose products take so long, for tests of what comes of a slow one. One at a time; its
// forwards are not under way when it is changed. Thread rule: main thread only.
#ifndef TRINE_TESTS_UNIT_SLOW_KIT_H
#define TRINE_TESTS_UNIT_SLOW_KIT_H

#include "compute/device.h"

#include <time.h>

static struct device_ops slow_ops;
static const struct device_ops *slow_inner;
static long slow_us;

static void slow_linear(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    nanosleep(&(struct timespec){.tv_nsec = slow_us * 1000}, NULL);
    slow_inner->linear(d, w, x, y);
}

static inline void slow_put(struct device *d, long us) {
    slow_us = us;
    slow_inner = d->ops;
    slow_ops = *d->ops;
    slow_ops.linear = slow_linear;
    d->ops = &slow_ops;
}
static inline void slow_take_off(struct device *d) { d->ops = slow_inner; }

#endif
