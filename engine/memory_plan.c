// See memory_plan.h.
#include "engine/memory_plan.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>

enum { CACHE_SHARE = 4, RESERVE_SHARE = 16, DEVICE_RESERVE_SHARE = 128 };

static const size_t least_reserve = (size_t)16 << 20, most_reserve = (size_t)256 << 20;

void memory_plan_begin(struct memory_plan *p) {
    *p = (struct memory_plan){0};
    limits_read_memory("", &p->limit);
    malloc_trim(0); // loading parsed megabytes of JSON; what that took is not in the way
    p->resident = limits_resident();
    limits_bind_mapped(&p->limit, &p->resident);
    p->reserve = p->limit.bytes / RESERVE_SHARE;
    if (p->reserve < least_reserve)
        p->reserve = least_reserve;
    if (p->reserve > most_reserve)
        p->reserve = most_reserve;
}

void memory_plan_begin_device(struct memory_plan *p, size_t bytes) {
    *p = (struct memory_plan){.is_device = true};
    p->limit.bytes = bytes;
    snprintf(p->limit.source, sizeof p->limit.source, "the GPU's memory (--gpu-memory)");
    p->reserve = bytes / DEVICE_RESERVE_SHARE; // what allocations lose between them
}

size_t memory_plan_add(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

size_t memory_plan_sum(const struct memory_plan *p) {
    size_t here = memory_plan_add(p->resident, p->workspaces);
    size_t kept = memory_plan_add(p->caches, p->reserve);
    return memory_plan_add(memory_plan_add(here, kept), p->spare);
}

size_t memory_plan_caches(const struct memory_plan *p) {
    size_t share = p->is_device ? p->limit.bytes : p->limit.bytes / CACHE_SHARE;
    struct memory_plan without = *p;
    without.caches = 0;
    size_t others = memory_plan_sum(&without);
    size_t room = others < p->limit.bytes ? p->limit.bytes - others : 0;
    return room < share ? room : share;
}

static size_t mib(size_t bytes) { return (bytes >> 20) + ((bytes & ((1 << 20) - 1)) != 0); }

// Where no smaller cache would do.
static const char *remedy(const struct memory_plan *p) {
    if (p->is_device && p->workspaces <= p->resident)
        return "raise --gpu-memory, serve fewer models, or smaller ones";
    return p->workspaces > p->resident
               ? "lower --max-length, --max-sequences or the batch (--max-batch-tokens)"
               : "serve fewer models, or smaller ones";
}

enum err memory_plan_check(const struct memory_plan *p, struct errmsg *msg) {
    size_t sum = memory_plan_sum(p);
    if (sum <= p->limit.bytes)
        return ERR_OK;
    const char *lower = sum - p->caches < p->limit.bytes ? "lower --kv-cache-mib" : remedy(p);
    const char *program = p->is_device ? "" : "program and ";
    char spare[80] = "";
    if (p->spare > 0)
        snprintf(spare, sizeof spare, "%zu to go on with when the worker is lost, ", mib(p->spare));
    return err_set(msg, ERR_TOO_LARGE,
                   "%zu MiB of memory are needed (%zu for %sweights, %zu for workspaces, "
                   "%zu for keys and values, %s%zu kept for %s), and %zu MiB are all there is "
                   "(%s); %s",
                   mib(sum), mib(p->resident), program, mib(p->workspaces), mib(p->caches), spare,
                   mib(p->reserve), p->is_device ? "gaps" : "requests", p->limit.bytes >> 20,
                   p->limit.source, lower);
}

enum err memory_plan_no_room(const struct memory_plan *p, size_t caches, struct errmsg *msg) {
    return err_set(
        msg, ERR_TOO_LARGE,
        "%zu MiB of memory are left for keys and values, too little for one text: of the "
        "%zu MiB that there are (%s), %zu are for %sweights, %zu for workspaces "
        "and %zu kept for %s; %s",
        caches >> 20, p->limit.bytes >> 20, p->limit.source, mib(p->resident),
        p->is_device ? "" : "program and ", mib(p->workspaces), mib(p->reserve),
        p->is_device ? "gaps" : "requests", remedy(p));
}

enum err memory_plan_explain(enum err e, const char *lower, struct errmsg *msg) {
    struct limits_memory limit;
    size_t held = limits_resident();
    limits_read_memory("", &limit);
    limits_bind_mapped(&limit, &held);
    if (e != ERR_NOMEM || !msg)
        return e;
    struct errmsg why = *msg;
    return err_set(msg, e, "%s: %zu MiB of memory are taken, and %zu MiB are all there is (%s); %s",
                   why.text, mib(held), limit.bytes >> 20, limit.source, lower);
}

enum err memory_plan_check_weights(const struct memory_plan *p, const char *path, size_t bytes,
                                   struct errmsg *msg) {
    if (memory_plan_add(p->resident, bytes) <= p->limit.bytes)
        return ERR_OK;
    return err_set(msg, ERR_TOO_LARGE,
                   "%s: its weights take %zu MiB of memory beside the %zu that are taken, and %zu "
                   "MiB are all there is (%s)",
                   path, mib(bytes), mib(p->resident), p->limit.bytes >> 20, p->limit.source);
}
