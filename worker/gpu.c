// See gpu.h.
#include "worker/gpu.h"

#include "compute/cuda/cuda.h"
#include "worker/link.h"

#include <stdlib.h>
#include <string.h>

static struct {
    const struct gpu_api *api;
    struct device *device; // opened, before the door is closed
} gpu;

static _Noreturn void lost(void *ctx, const char *why) {
    (void)ctx;
    link_end(WIRE_END_LOST_DEVICE, "the GPU computes nothing any more: %s", why);
}

// A number, as those that are visible are counted, or the beginning of a UUID.
static enum err find_card(const char *which, int *number, struct errmsg *msg) {
    int count = 0;
    char *end = NULL;
    *number = 0;
    enum err e = gpu.api->count(&count, msg);
    if (e)
        return e;
    if (count == 0)
        return err_set(msg, ERR_UNSUPPORTED, "there is no GPU (CUDA_VISIBLE_DEVICES may hide it)");
    long n = strtol(which, &end, 10);
    if (*end == '\0') { // nothing at all is the first
        *number = (int)n;
        return n >= 0 && n < count
                   ? ERR_OK
                   : err_set(msg, ERR_NOT_FOUND, "there is no GPU %ld: %d are visible, from 0", n,
                             count);
    }
    for (; *number < count; ++*number) {
        struct gpu_facts f;
        if (!gpu.api->look(*number, &f, msg) && strncmp(f.uuid, which, strlen(which)) == 0)
            return ERR_OK;
    }
    return err_set(msg, ERR_NOT_FOUND, "none of the %d visible GPUs is %.60s", count, which);
}

static enum err open_card(const struct worker_settings *s, struct errmsg *msg) {
    struct cuda_options o = {.api = gpu.api, .memory_part = s->memory, .lost = lost};
    enum err e = find_card(s->device, &o.number, msg);
    return e ? e : cuda_device_new(&o, &gpu.device, msg);
}

static enum err make(size_t threads, struct device **out, struct errmsg *msg) {
    (void)threads, (void)msg; // the card's own
    *out = gpu.device;
    return ERR_OK;
}

struct worker_device worker_gpu(const struct gpu_api *api, int (*probe)(void)) {
    gpu.api = api;
    return (struct worker_device){.program = "trine-gpu",
                                  .door = SANDBOX_DRIVER,
                                  .open = open_card,
                                  .make = make,
                                  .free = cuda_device_free,
                                  .probe = probe};
}
