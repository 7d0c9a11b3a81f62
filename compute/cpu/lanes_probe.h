// What the instruction set can do at most (see peak.h); included after a lanes_*.h.
#ifndef TRINE_COMPUTE_CPU_LANES_PROBE_H
#define TRINE_COMPUTE_CPU_LANES_PROBE_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_chains.h"

static double probe_fma(size_t rounds) {
    VF x = v_all(1e-9F), total;
    RUN_CHAINS(VF, rounds, v_all((float)i), v_fma(x, x, s), v_add, &total);
    volatile float sink = v_sum(total);
    (void)sink;
    return (double)rounds * CHAINS * LANES * 2;
}

static double probe_dot(size_t rounds) {
    VI w = vi_all8(1), total;
    RUN_CHAINS(VI, rounds, vi_all32(i), vi_dot(s, w, w), vi_add32, &total);
    volatile float sink = v_sum(v_from_i32(total));
    (void)sink;
    return (double)rounds * CHAINS * LANES * 8;
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
