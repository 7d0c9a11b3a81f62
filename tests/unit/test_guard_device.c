// The guarded device (tests/kit/guard_device.h): operations give what the CPU's give, and whoever
// touches its memory outside one ends by SIGSEGV. Children do, one each.
#define _POSIX_C_SOURCE 200809L
#include "compute/batch.h"
#include "compute/cpu/kv.h"
#include "compute/cpu/weight.h"
#include "tests/check.h"
#include "tests/kit/guard_device.h"
#include "tests/kit/test_device.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 5, IN = 16, OUT = 32 };

static float ones[IN * OUT], bias[OUT];

static struct weight *linear(struct device *d) {
    struct weight_part part = {.w = {"w", ones, DTYPE_F32, 2, {OUT, IN}, NULL, 0},
                               .bias = {"b", bias, DTYPE_F32, 1, {OUT}, NULL, 0}};
    struct weight *w = NULL;
    struct errmsg msg = {0};
    struct precision f32 = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_LINEAR, &part, 1, f32, &w, &msg), msg);
    return w;
}

static struct weight *table(struct device *d) {
    struct weight_part part = {.w = {"t", ones, DTYPE_F32, 2, {OUT, IN}, NULL, 0}};
    struct weight *w = NULL;
    struct errmsg msg = {0};
    struct precision f32 = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_TABLE, &part, 1, f32, &w, &msg), msg);
    return w;
}

// Whether a child that reads, or writes, the byte at p is ended by SIGSEGV.
static bool ends_at(char *p, bool write) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); // a sanitizer would report it
        volatile char *at = p;
        if (write)
            *at = 1;
        else
            (void)*at;
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGSEGV;
}

static void closed(void *p) {
    CHECK(ends_at(p, false));
    CHECK(ends_at(p, true));
}

static bool pause_and_touch(void *ctx) {
    closed(ctx);
    return true;
}

int main(void) {
    struct cpu_options options = {.threads = 2};
    struct device *d = NULL, *plain = NULL;
    struct errmsg msg = {0};
    for (size_t i = 0; i < IN * OUT; i++)
        ones[i] = 1;
    // the switch
    unsetenv("TRINE_TEST_DEVICE");
    CHECK_OK(test_device_new(&options, &plain, &msg), msg);
    setenv("TRINE_TEST_DEVICE", "nothing", 1);
    CHECK(test_device_new(&options, &d, &msg) == ERR_INVALID && !d);
    setenv("TRINE_TEST_DEVICE", "guard", 1);
    CHECK_OK(test_device_new(&options, &d, &msg), msg);
    if (!d || !plain)
        return check_done();
    CHECK_STR(d->describe, plain->describe);
    CHECK(d->ops != plain->ops && d->ops->name == plain->ops->name);

    struct weight *w = linear(d), *t = table(d);
    struct kv_shape shape = {1, 1, 16, 32, 4, DTYPE_F32, 0, 0};
    struct kv_cache *kv = NULL;
    struct arena ws;
    CHECK_OK(d->ops->kv_new(d, &shape, &kv, &msg), msg);
    size_t bytes = device_mat_bytes(ROWS, IN) + device_mat_bytes(ROWS, OUT);
    CHECK_OK(d->ops->workspace_new(d, bytes, &ws), msg);
    struct mat x = device_mat(d, &ws, ROWS, IN), y = device_mat(d, &ws, ROWS, OUT);
    CHECK(guard_device_bytes(d) > bytes);

    // an operation works, and its failures come through
    static const int32_t ids[ROWS] = {0, 1, 2, 3, 4}, beyond[ROWS] = {OUT};
    size_t before = guard_device_operations(d);
    float got[ROWS * OUT];
    d->ops->embed(d, &(struct embed_args){.tables = {t}, .index = {ids}, .count = 1}, x);
    d->ops->linear(d, w, x, y);
    d->ops->read(d, y, got);
    CHECK_OK(device_sync(d, &msg), msg);
    CHECK(got[0] == IN && got[ROWS * OUT - 1] == IN);
    CHECK_INT(guard_device_operations(d) - before, 3);
    d->ops->embed(d, &(struct embed_args){.tables = {t}, .index = {beyond}, .count = 1}, x);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL && strstr(msg.text, "row 32 of table 0"));
    CHECK_OK(device_sync(d, &msg), msg);

    // all else ends the program: a workspace, weights, a cache; within a pause too
    closed(x.data);
    closed(y.data + ROWS * y.ld - 1);
    closed(w->segments ? w->segment[0].data : (unsigned char *)w->data);
    closed(t->data);
    closed(kv->data);
    struct forward_hooks hooks = {pause_and_touch, x.data};
    CHECK(forward_goes_on(&hooks));
    CHECK(!ends_at((char *)got, true)); // which the children would do anyhow

    // what is given back is given out again, as zeros
    d->ops->workspace_free(d, &ws);
    CHECK_OK(d->ops->workspace_new(d, bytes, &ws), msg);
    x = device_mat(d, &ws, ROWS, IN);
    d->ops->read(d, x, got);
    CHECK(got[0] == 0 && got[ROWS * IN - 1] == 0);
    d->ops->workspace_free(d, &ws);
    d->ops->kv_free(d, kv);
    d->ops->weight_free(d, w);
    d->ops->weight_free(d, t);
    CHECK_INT(guard_device_bytes(d), 0);
    test_device_free(d);
    test_device_free(plain);
    return check_done();
}
