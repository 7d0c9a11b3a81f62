// See cpu.h.
#include "compute/cpu/cpu.h"

#include "base/mem.h"
#include "base/thread.h"
#include "compute/cpu/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cpu_kernels *const tables[] = {&kernels_generic};
enum { TABLES = sizeof tables / sizeof *tables };

static bool runs_here(const struct cpu_kernels *k) { return k == &kernels_generic; }

static int table_named(const char *name) {
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i]->name, name) == 0)
            return i;
    return -1;
}

// The kernel set named, or (name NULL) the best one here that TRINE_CPU allows.
static enum err choose(const char *name, const struct cpu_kernels **out, struct errmsg *msg) {
    const char *limit = name ? NULL : getenv("TRINE_CPU");
    const char *asked = name ? name : limit;
    int at = asked ? table_named(asked) : TABLES - 1;
    if (at < 0)
        return err_set(msg, ERR_UNSUPPORTED, "cpu kernels '%s': there are generic, avx2 and avx512",
                       asked);
    if (name && !runs_here(tables[at]))
        return err_set(msg, ERR_UNSUPPORTED, "cpu kernels '%s': this CPU lacks them", name);
    while (!runs_here(tables[at]))
        at--;
    *out = tables[at];
    return ERR_OK;
}

enum err cpu_device_new(const struct cpu_options *options, struct device **out,
                        struct errmsg *msg) {
    *out = NULL;
    const struct cpu_kernels *k;
    enum err e = choose(options->isa, &k, msg);
    if (e != ERR_OK)
        return e;
    int threads = options->threads > 0 ? options->threads : thread_cpu_count();
    struct cpu_device *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_set(msg, ERR_NOMEM, "cpu device: no memory");
    c->base.ops = &cpu_ops;
    c->k = k;
    c->scratch = mem_alloc_aligned((size_t)threads, KERNEL_SCRATCH * sizeof *c->scratch);
    e = c->scratch ? pool_new(threads, &c->pool, msg)
                   : err_set(msg, ERR_NOMEM, "cpu device: no memory");
    if (e != ERR_OK) {
        cpu_device_free(&c->base);
        return e;
    }
    snprintf(c->base.describe, sizeof c->base.describe, "cpu, %d thread%s, %s", threads,
             threads == 1 ? "" : "s", k->name);
    *out = &c->base;
    return ERR_OK;
}

void cpu_device_free(struct device *d) {
    if (!d)
        return;
    struct cpu_device *c = (struct cpu_device *)d;
    pool_free(c->pool);
    mem_free(c->scratch);
    mem_free(c);
}
