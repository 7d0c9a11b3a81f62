// Weights, workspaces and caches are made and freed by other threads while one drives the device:
// what is computed meanwhile has its bits, and what was made has those that it has alone. Built
// with the thread sanitizer this also checks that they do not meet.
#include "base/thread.h"
#include "tests/check.h"
#include "tests/kit/test_device.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { ROWS = 24, IN = 256, OUT = 1100, MAKERS = 2, ROUNDS = 40 };

static struct device *device;
static float numbers[OUT * IN];
static unsigned char blocks[OUT * IN / 32 * 34]; // q8_0
static atomic_int made;

// 0: f32, 1: q8_0, which meets int8 activations.
static struct weight *make(int kind, struct errmsg *msg) {
    struct weight_part part = {.w = {"w", numbers, DTYPE_F32, 2, {OUT, IN}, NULL, 0}};
    struct precision precision = {0};
    if (kind == 1) {
        part.w.data = blocks;
        part.w.dtype = DTYPE_Q8_0;
        precision.rounding = ACTIVATION_ROUNDING_INT8;
    }
    struct weight *w = NULL;
    return device->ops->weight_prepare(device, WEIGHT_LINEAR, &part, 1, precision, &w, msg) ? NULL
                                                                                            : w;
}

// x w' for the first rows of the numbers, to out[ROWS * OUT].
static bool multiply(const struct weight *w, const struct weight *table, struct arena *ws,
                     float *out) {
    static const int32_t ids[ROWS] = {0, 5, 2, 3, 1};
    struct errmsg msg = {0};
    arena_reset(ws);
    struct mat x = device_mat(device, ws, ROWS, IN), y = device_mat(device, ws, ROWS, OUT);
    struct embed_args look_up = {.tables = {table}, .index = {ids}, .count = 1};
    device->ops->embed(device, &look_up, x);
    device->ops->linear(device, w, x, y);
    device->ops->read(device, y, out);
    return device_sync(device, &msg) == ERR_OK;
}

struct maker {
    pthread_t thread;
    struct weight *kept[2]; // the last of each kind
    bool ok;
};

static void *make_on(void *arg) {
    struct maker *m = arg;
    struct errmsg msg;
    struct kv_shape shape = {2, 2, 16, 32, 8, DTYPE_F16, 0, 0};
    m->ok = true;
    for (int i = 0; i < ROUNDS && m->ok; i++) {
        struct weight *w = make(i % 2, &msg);
        struct kv_cache *kv = NULL;
        struct arena ws;
        m->ok = w && device->ops->kv_new(device, &shape, &kv, &msg) == ERR_OK &&
                device->ops->workspace_new(device, 1 << 20, &ws) == ERR_OK;
        if (!m->ok)
            break;
        device->ops->workspace_free(device, &ws);
        device->ops->kv_free(device, kv);
        if (m->kept[i % 2])
            device->ops->weight_free(device, m->kept[i % 2]);
        m->kept[i % 2] = w;
    }
    atomic_fetch_add(&made, 1);
    return NULL;
}

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(test_device_new(&(struct cpu_options){.threads = 3}, &device, &msg), msg);
    if (!device)
        return check_done();
    uint32_t seed = 1;
    for (size_t i = 0; i < OUT * IN; i++)
        numbers[i] = (float)((seed = seed * 1664525U + 1013904223U) >> 8) * 0x1p-23F - 1;
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = i % 34 == 0   ? 0
                    : i % 34 == 1 ? 0x20
                                  : (unsigned char)(int)(numbers[i % IN] * 120);
    struct weight_part rows = {.w = {"t", numbers, DTYPE_F32, 2, {OUT, IN}, NULL, 0}};
    struct weight *table = NULL, *alone[2];
    struct precision f32 = {0};
    CHECK_OK(device->ops->weight_prepare(device, WEIGHT_TABLE, &rows, 1, f32, &table, &msg), msg);
    for (int kind = 0; kind < 2; kind++)
        CHECK((alone[kind] = make(kind, &msg)) != NULL);
    struct arena ws;
    size_t bytes = device_mat_bytes(ROWS, IN) + device_mat_bytes(ROWS, OUT);
    CHECK_OK(device->ops->workspace_new(device, bytes, &ws), msg);
    size_t all = ROWS * OUT;
    float *want[2], *got = calloc(all, sizeof *got);
    struct maker makers[MAKERS] = {0};
    struct thread_options options = {.name = "maker"};
    // begun before the first operation: the team is lent then
    for (int i = 0; i < MAKERS; i++)
        CHECK_OK(thread_start(&makers[i].thread, &options, make_on, &makers[i], &msg), msg);
    bool same = true, ok = true;
    for (int kind = 0; kind < 2; kind++) {
        want[kind] = calloc(all, sizeof *want[kind]);
        ok = ok && multiply(alone[kind], table, &ws, want[kind]);
    }
    size_t turns = 0;
    for (; atomic_load(&made) < MAKERS || turns < 4; turns++) {
        ok = ok && multiply(alone[turns % 2], table, &ws, got);
        same = same && memcmp(got, want[turns % 2], all * sizeof *got) == 0;
    }
    CHECK(ok && same);
    for (int i = 0; i < MAKERS; i++) {
        pthread_join(makers[i].thread, NULL);
        CHECK(makers[i].ok);
        for (int kind = 0; kind < 2 && makers[i].ok; kind++) {
            CHECK(multiply(makers[i].kept[kind], table, &ws, got));
            CHECK(memcmp(got, want[kind], all * sizeof *got) == 0);
            device->ops->weight_free(device, makers[i].kept[kind]);
        }
    }
    for (int kind = 0; kind < 2; kind++) {
        device->ops->weight_free(device, alone[kind]);
        free(want[kind]);
    }
    device->ops->weight_free(device, table);
    device->ops->workspace_free(device, &ws);
    test_device_free(device);
    free(got);
    return check_done();
}
