// See test_device.h.
#include "tests/kit/test_device.h"

#include "compute/cuda/cuda.h"
#include "tests/gpu/gpu_under_test.h"
#include "tests/kit/guard_device.h"
#include "tests/kit/late_device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPH_TOKENS = 64 }; // more shapes take a test longer and show no more

enum err test_device_new(const struct cpu_options *options, struct device **out,
                         struct errmsg *msg) {
    *out = NULL;
    const char *kind = getenv("TRINE_TEST_DEVICE");
    if (!kind || strcmp(kind, "cpu") == 0)
        return cpu_device_new(options, out, msg);
    if (strcmp(kind, "guard") == 0)
        return guard_device_new(options, out, msg);
    if (strcmp(kind, "late") == 0)
        return late_device_new(options, out, msg);
    if (strcmp(kind, "gpu") == 0) {
        struct cuda_options gpu = {.api = gpu_under_test(), .graph_tokens = GRAPH_TOKENS};
        return cuda_device_new(&gpu, out, msg);
    }
    return err_set(msg, ERR_INVALID, "TRINE_TEST_DEVICE=%s: there are cpu, guard, late and gpu",
                   kind);
}

bool test_device_is_gpu(void) {
    const char *kind = getenv("TRINE_TEST_DEVICE");
    return kind && strcmp(kind, "gpu") == 0;
}

bool test_device_same(const float *got, const float *want, size_t n, double bar) {
    if (!test_device_is_gpu() || gpu_under_test_keeps_bits())
        return memcmp(got, want, n * sizeof *got) == 0;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= bar * fmax(1, fabs((double)want[i]))))
            return false;
    return true;
}

void test_device_free(struct device *d) {
    if (d)
        d->ops->free(d);
}
