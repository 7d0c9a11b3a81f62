// See peak.h.
#include "compute/cpu/peak.h"

#include "base/clock.h"
#include "base/mem.h"
#include "compute/cpu/cpu_device.h"

enum {
    TRIES = 5,
    FMA_ROUNDS = 1 << 19,         // of some twenty instructions: a few milliseconds
    READ_FLOATS = (96 << 20) / 4, // a thread's: beyond its share of any cache
    PROBE_MAX_THREADS = 256,
};

struct peak_probe {
    const struct cpu_device *d;
    const float *memory; // READ_FLOATS for each task
    double flops[PROBE_MAX_THREADS];
    float sums[PROBE_MAX_THREADS];
};

static void fma_task(void *job, size_t task, int worker) {
    (void)worker;
    struct peak_probe *p = job;
    p->flops[task] = p->d->k->probe_fma(FMA_ROUNDS);
}

static void dot_task(void *job, size_t task, int worker) {
    (void)worker;
    struct peak_probe *p = job;
    p->flops[task] = p->d->k->probe_dot(FMA_ROUNDS);
}

static void pair_task(void *job, size_t task, int worker) {
    (void)worker;
    struct peak_probe *p = job;
    p->flops[task] = p->d->k->pairs->probe(FMA_ROUNDS);
}

static void read_task(void *job, size_t task, int worker) {
    (void)worker;
    struct peak_probe *p = job;
    p->sums[task] = p->d->k->probe_read(p->memory + task * READ_FLOATS, READ_FLOATS);
}

static size_t probe_threads(const struct cpu_device *d) {
    int n = team_threads(d->team);
    return n < PROBE_MAX_THREADS ? (size_t)n : PROBE_MAX_THREADS;
}

static double probe_rate(struct device *d, team_fn *task) {
    struct peak_probe p = {.d = cpu_of(d)};
    size_t threads = probe_threads(p.d);
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        int64_t start = clock_now_us();
        team_run(p.d->team, threads, task, &p);
        double us = (double)(clock_now_us() - start), flops = 0;
        for (size_t t = 0; t < threads; t++)
            flops += p.flops[t];
        if (us > 0 && flops / us * 1e6 > best)
            best = flops / us * 1e6;
    }
    return best;
}

double peak_probe_flops(struct device *d) { return probe_rate(d, fma_task); }
double peak_probe_int8(struct device *d) { return probe_rate(d, dot_task); }

double peak_probe_pairs(struct device *d) {
    return cpu_of(d)->k->pairs ? probe_rate(d, pair_task) : 0;
}

enum err peak_probe(struct device *d, struct peak *out, struct errmsg *msg) {
    struct peak_probe p = {.d = cpu_of(d)};
    size_t threads = probe_threads(p.d);
    float *memory = mem_alloc_aligned(threads, READ_FLOATS * sizeof *memory);
    if (!memory)
        return err_set(msg, ERR_NOMEM, "no memory to probe reads with");
    for (size_t i = 0; i < threads * READ_FLOATS; i++)
        memory[i] = (float)(i & 1023); // distinct pages, really there
    p.memory = memory;
    out->read_bytes = 0;
    for (int i = 0; i < TRIES; i++) {
        int64_t start = clock_now_us();
        team_run(p.d->team, threads, read_task, &p);
        double us = (double)(clock_now_us() - start);
        double rate = (double)threads * READ_FLOATS * sizeof *memory / us * 1e6;
        if (us > 0 && rate > out->read_bytes)
            out->read_bytes = rate;
    }
    mem_free(memory);
    out->flops = peak_probe_flops(d);
    return ERR_OK;
}
