// What a card gives at its best: large products, and reading and copying of memory. Role: the
// measure of bench/gpu. Thread rule: one thread; the card is otherwise idle.
#ifndef TRINE_BENCH_GPU_PROBE_H
#define TRINE_BENCH_GPU_PROBE_H

#include "compute/cuda/gpu_api.h"

struct gpu_peak {
    double matrix_flops; // a second, of narrow floats
    double bytes;        // a second, read and written, of a copy
    double read_bytes;   // a second, read alone
};

// size: of the square product; bytes: of the memory that is read, well over the card's caches.
enum err gpu_probe_peaks(const struct gpu_api *api, int number, size_t size, size_t bytes,
                         struct gpu_peak *out, struct errmsg *msg) MUST_CHECK;

#endif
