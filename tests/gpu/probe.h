// Launchers of probe.cu: what the emulated GPU's own tests ask it to do. Role: tests only.
// Thread rule: as kernels.h's.
#ifndef TRINE_TESTS_GPU_PROBE_H
#define TRINE_TESTS_GPU_PROBE_H

#include "compute/cuda/kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PROBE_THREADS = 128, PROBE_SUM_BLOCKS = 7, PROBE_PLACES = 2 * 3 * 4 * 5 * 2 * 3 };
enum { PROBE_COLLECTIVES = 12 };

enum probe_fault {
    PROBE_RIGHT,
    PROBE_NO_BARRIER,
    PROBE_SOME_AT_BARRIER, // half of the threads
    PROBE_LANE_AWAY,       // one lane has left when the others shuffle
    PROBE_LANES_APART,     // half of a warp votes, the other shuffles
    PROBE_SHARED_BEYOND,
    PROBE_SHARED_ABSENT, // more shared memory than a card has
    PROBE_WRITE_BEYOND,  // y's end
    PROBE_WRITE_BEFORE,
    PROBE_UNDECLARED, // x is read, but not said to be
};

void probe_scale(struct gpu_stream *s, struct gpu_mat x, float by); // x *= by
// parts: [PROBE_SUM_BLOCKS]; *done 0 before and behind.
void probe_sum(struct gpu_stream *s, const float *x, size_t n, float *parts, unsigned *done,
               float *out);
// x and y: [PROBE_THREADS]. y is x turned round: in one, or each 32 by themselves.
void probe_turn(struct gpu_stream *s, const float *x, float *y, enum probe_fault fault);
void probe_turn_warps(struct gpu_stream *s, const float *x, float *y, enum probe_fault fault);
void probe_places(struct gpu_stream *s, int *y, size_t bytes); // y[PROBE_PLACES]++
void probe_collectives(struct gpu_stream *s, int *y);          // [32 * PROBE_COLLECTIVES]
void probe_convert(struct gpu_stream *s, float *wide, void *narrow, size_t n, enum gpu_type type,
                   int widen);

#ifdef __cplusplus
}
#endif

#endif
