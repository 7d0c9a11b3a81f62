// What the instruction set can do at most (see peak.h); included after a lanes_*.h.
#ifndef TRINE_COMPUTE_CPU_LANES_PROBE_H
#define TRINE_COMPUTE_CPU_LANES_PROBE_H

#include "compute/cpu/kernels.h"

// As many independent chains as a tile of the matrix product has.
enum { PROBE_CHAINS = 2 * TILE_ROWS - 4 };

static double probe_fma(size_t rounds) {
    VF x = v_all(1e-9F), sum[PROBE_CHAINS];
#pragma GCC unroll 24
    for (int i = 0; i < PROBE_CHAINS; i++)
        sum[i] = v_all((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < PROBE_CHAINS; i++) {
            sum[i] = v_fma(x, x, sum[i]);
            __asm__ volatile("" : "+v"(sum[i])); // each round's work must be done
        }
    }
#pragma GCC unroll 24
    for (int i = 1; i < PROBE_CHAINS; i++)
        sum[0] = v_add(sum[0], sum[i]);
    volatile float sink = v_sum(sum[0]);
    (void)sink;
    return (double)rounds * PROBE_CHAINS * LANES * 2;
}

static double probe_dot(size_t rounds) {
    VI w = vi_all8(1), sum[PROBE_CHAINS];
#pragma GCC unroll 24
    for (int i = 0; i < PROBE_CHAINS; i++)
        sum[i] = vi_all32(i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < PROBE_CHAINS; i++) {
            sum[i] = vi_dot(sum[i], w, w);
            __asm__ volatile("" : "+v"(sum[i])); // each round's work must be done
        }
    }
#pragma GCC unroll 24
    for (int i = 1; i < PROBE_CHAINS; i++)
        sum[0] = vi_add32(sum[0], sum[i]);
    volatile float sink = v_sum(v_from_i32(sum[0]));
    (void)sink;
    return (double)rounds * PROBE_CHAINS * LANES * 8;
}

static float probe_read(const float *p, size_t n) {
    VF sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        sum[i] = v_zero();
    for (size_t at = 0; at < n; at += (size_t)8 * LANES)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            sum[i] = v_add(sum[i], v_load(p + at + i * LANES));
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++)
        sum[0] = v_add(sum[0], sum[i]);
    return v_sum(sum[0]);
}

#endif
