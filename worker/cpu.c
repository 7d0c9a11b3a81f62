// See cpu.h.
#include "worker/cpu.h"

#include "compute/cpu/cpu.h"

// A library of BLAS has to be there before the door is closed, where the kernels for this processor
// need one. A device of one thread starts none.
static enum err open_libraries(const struct worker_settings *s, struct errmsg *msg) {
    struct cpu_options one = {.threads = 1};
    struct device *d = NULL;
    (void)s; // there is one CPU
    enum err e = cpu_device_new(&one, &d, msg);
    if (!e)
        cpu_device_free(d);
    return e;
}

static enum err make(size_t threads, struct device **out, struct errmsg *msg) {
    struct cpu_options o = {.threads = (int)threads};
    return cpu_device_new(&o, out, msg);
}

const struct worker_device worker_cpu = {
    .program = "trine-worker",
    .door = SANDBOX_COMPUTES,
    .open = open_libraries,
    .make = make,
    .free = cpu_device_free,
};
