// Every allocation and thread start of a device and of a weight made to fail in turn: an error that
// says so, and nothing leaked (a sanitizer build checks that).
#include "base/fault.h"
#include "tests/unit/device_rig.h"

static void test_device_new(enum fault_site site, enum cpu_gemm gemm, enum err want) {
    struct errmsg msg = {0};
    long failures = 0;
    for (long nth = 1;; nth++) {
        struct cpu_options options = {.threads = 4, .gemm = gemm};
        struct device *d = NULL;
        fault_arm(site, nth, false);
        enum err e = cpu_device_new(&options, &d, &msg);
        fault_disarm();
        if (e == ERR_OK) {
            cpu_device_free(d);
            break;
        }
        failures++;
        // a thread's own small allocation fails as memory, its start as the system's refusal
        CHECK(e == want && !d && msg.text[0]);
    }
    CHECK(failures >= 3);
}

static void test_prepare(void) {
    struct errmsg msg = {0};
    struct device *d = rig_device(NULL, 2, CPU_GEMM_AUTO);
    enum { OUT = 700, IN = 300 }; // of a size that shares memory with others
    float *w = rig_floats((size_t)OUT * IN, 1), *b = rig_floats(OUT, 1);
    struct weight_part part = {.w = {"w", w, DTYPE_F32, 2, {OUT, IN}, NULL, 0},
                               .bias = {"b", b, DTYPE_F32, 1, {OUT}, NULL, 0}};
    for (int kind = WEIGHT_LINEAR; kind <= WEIGHT_TABLE; kind++) {
        long failures = 0;
        if (kind == WEIGHT_TABLE)
            part.bias.data = NULL;
        for (long nth = 1;; nth++) {
            struct weight *prepared = NULL;
            fault_arm(FAULT_ALLOC, nth, false);
            enum err e = d->ops->weight_prepare(d, (enum weight_kind)kind, &part, 1, PRECISION_F32,
                                                &prepared, &msg);
            fault_disarm();
            if (e == ERR_OK) {
                d->ops->weight_free(d, prepared);
                break;
            }
            failures++;
            CHECK(e == ERR_NOMEM && !prepared && msg.text[0]);
        }
        CHECK(failures >= (kind == WEIGHT_LINEAR ? 3 : 1)); // the second finds a slab to share
    }
    struct arena ws;
    fault_arm(FAULT_ALLOC, 1, false);
    CHECK(d->ops->workspace_new(d, 1024, &ws) == ERR_NOMEM);
    fault_disarm();
    d->ops->weight_free(d, NULL);
    d->ops->free(d);
    cpu_device_free(NULL);
    free(w), free(b);
}

int main(void) {
    test_device_new(FAULT_ALLOC, CPU_GEMM_OWN, ERR_NOMEM);
    test_device_new(FAULT_ALLOC, CPU_GEMM_OPENBLAS, ERR_NOMEM);
    test_device_new(FAULT_THREAD, CPU_GEMM_OWN, ERR_IO);
    test_prepare();
    return check_done();
}
