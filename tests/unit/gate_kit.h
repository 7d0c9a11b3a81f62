// A device whose forwards can be held: in front of each layer's first product they wait while the
// gate is shut, until it lets some through. For tests of what happens in the middle of a forward.
#ifndef TRINE_TESTS_GATE_KIT_H
#define TRINE_TESTS_GATE_KIT_H

#include "compute/device.h"
#include "tests/kit/await.h"

#include <limits.h>
#include <stdatomic.h>

static struct device_ops gate_ops;
static const struct device_ops *gate_inner;
static atomic_int gate_left = INT_MAX / 2; // products that may still pass
static atomic_int gate_passed;             // products in all
static atomic_bool gate_holds;             // one waits in front of it

static void gate_linear(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    while (atomic_fetch_sub(&gate_left, 1) <= 0) {
        atomic_fetch_add(&gate_left, 1);
        atomic_store(&gate_holds, true);
        await_nap();
    }
    atomic_store(&gate_holds, false);
    atomic_fetch_add(&gate_passed, 1);
    gate_inner->linear(d, w, x, y);
}

static inline void gate_put(struct device *d) {
    gate_inner = d->ops;
    gate_ops = *d->ops;
    gate_ops.linear = gate_linear;
    d->ops = &gate_ops;
}
static inline void gate_shut(void) { atomic_store(&gate_left, 0); }
static inline void gate_let(int products) { atomic_fetch_add(&gate_left, products); }
static inline void gate_open(void) { atomic_store(&gate_left, INT_MAX / 2); }
// Until a forward stands in front of it, with `passed` products behind.
static inline void gate_wait(int passed) {
    while (!atomic_load(&gate_holds) || atomic_load(&gate_passed) < passed)
        await_nap();
}

#endif
