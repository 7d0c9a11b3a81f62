// The worker's program with a card that is made up: the CPU computes, and says of itself what a
// card would say: a name, memory of its own, batches as it likes them. For tests of what is in
// front of it, which need no card. The settings that a card's program gets say what it is (--device
// cuda:N):
//   0, or nothing   64 MiB of memory, or what --gpu-memory leaves of them
//   1               there is no driver
//   2               so little memory that no model fits
//   3               memory for models, and none for their caches
#include "compute/device.h"
#include "tests/kit/late_device.h"
#include "worker/worker.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { MIB = 1 << 20 };

static struct {
    long kind;
    double memory;
} card;

static enum err open_card(const struct worker_settings *s, struct errmsg *msg) {
    card.kind = *s->device ? strtol(s->device, NULL, 10) : 0;
    card.memory = s->memory > 0 ? s->memory : 1;
    return card.kind == 1 ? err_set(msg, ERR_UNSUPPORTED, "no driver is there for the made-up card")
                          : ERR_OK;
}

static enum err no_cache(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                         struct errmsg *msg) {
    (void)d, (void)shape;
    *out = NULL;
    return err_set(msg, ERR_NOMEM, "the made-up card has no memory for a cache");
}

static enum err make(size_t threads, struct device **out, struct errmsg *msg) {
    struct cpu_options o = {.threads = (int)threads};
    enum err e = late_device_new(&o, out, msg);
    if (e)
        return e;
    struct device *d = *out;
    struct device_ops *ops = (struct device_ops *)(uintptr_t)d->ops; // its own table
    ops->name = "made-up";
    if (card.kind == 3)
        ops->kv_new = no_cache;
    d->batch_tokens = 2048;
    d->memory_bytes = (size_t)((card.kind == 2 ? 0.01 : 64) * card.memory * MIB);
    snprintf(d->describe, sizeof d->describe, "a made-up card, %.0f MiB", 64 * card.memory);
    return ERR_OK;
}

static void free_card(struct device *d) { d->ops->free(d); }

int main(int argc, char **argv) {
    static const struct worker_device made_up = {.program = "trine-made-up",
                                                 .door = SANDBOX_DRIVER,
                                                 .open = open_card,
                                                 .make = make,
                                                 .free = free_card};
    return worker_main(argc, argv, &made_up, NULL);
}
