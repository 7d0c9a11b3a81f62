// Operations on one row, or down the rows of one sequence; included after a lanes_*.h. Sums run in
// lanes: lane l adds the elements l, l + LANES, ... in order, then the lanes are added (v_sum), so
// the order depends on the row's length only.
#ifndef TRINE_COMPUTE_CPU_LANES_ROWS_H
#define TRINE_COMPUTE_CPU_LANES_ROWS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_math.h"

#include <math.h>
#include <string.h>

static void activate(enum activation f, float *x, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = v_first(at_most(n - i, LANES));
        v_store_some(x + i, v_activate(f, v_load_some(x + i, some)), some);
    }
}

static void sum_rows(const float *const *rows, size_t count, float *y, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = v_first(at_most(n - i, LANES));
        VF sum = v_load_some(rows[0] + i, some);
        for (size_t t = 1; t < count; t++)
            sum = v_add(sum, v_load_some(rows[t] + i, some));
        v_store_some(y + i, sum, some);
    }
}

// Mean first, then the variance about it: one pass over squares loses the digits that two keep.
static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, float *y,
                       size_t n) {
    size_t whole = n / LANES * LANES;
    VMASK some = v_first(n - whole);
    VF sum = v_zero(), squares = v_zero();
    for (size_t i = 0; i < whole; i += LANES)
        sum = v_add(sum, v_load(x + i));
    if (whole < n)
        sum = v_add(sum, v_load_some(x + whole, some));
    VF mean = v_all(v_sum(sum) / (float)n);
    for (size_t i = 0; i < whole; i += LANES) {
        VF d = v_sub(v_load(x + i), mean);
        squares = v_fma(d, d, squares);
    }
    if (whole < n) {
        VF d = v_pick(some, v_sub(v_load_some(x + whole, some), mean), v_zero());
        squares = v_fma(d, d, squares);
    }
    VF inv = v_all(1.0F / sqrtf(v_sum(squares) / (float)n + eps));
    for (size_t i = 0; i < whole; i += LANES) {
        VF d = v_mul(v_sub(v_load(x + i), mean), inv);
        v_store(y + i, v_fma(d, v_load(gamma + i), v_load(beta + i)));
    }
    if (whole < n) {
        VF d = v_mul(v_sub(v_load_some(x + whole, some), mean), inv);
        d = v_fma(d, v_load_some(gamma + whole, some), v_load_some(beta + whole, some));
        v_store_some(y + whole, d, some);
    }
}

static void pool(enum pool_mode mode, const float *x, size_t ld, size_t rows, float *y, size_t n) {
    VF scale = v_all(mode == POOL_MEAN        ? 1.0F / (float)rows
                     : mode == POOL_MEAN_SQRT ? 1.0F / sqrtf((float)rows)
                                              : 1.0F);
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = v_first(at_most(n - i, LANES));
        VF all = v_load_some(x + i, some);
        for (size_t r = 1; r < rows; r++) {
            VF v = v_load_some(x + r * ld + i, some);
            if (mode == POOL_MAX) // v_max keeps a NaN of v, the pick one of `all`
                all = v_pick(v_is_nan(all), all, v_max(all, v));
            else
                all = v_add(all, v);
        }
        v_store_some(y + i, v_mul(all, scale), some);
    }
}

static void l2_normalize(float *x, size_t n) {
    VF squares = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        VF v = v_load_some(x + i, v_first(at_most(n - i, LANES)));
        squares = v_fma(v, v, squares);
    }
    float sum = v_sum(squares);
    if (sum == 0.0F)
        return;
    VF inv = v_all(1.0F / sqrtf(sum));
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = v_first(at_most(n - i, LANES));
        v_store_some(x + i, v_mul(v_load_some(x + i, some), inv), some);
    }
}

INLINE VF convert_lanes(enum dtype from, const char *src) {
    if (from == DTYPE_F16)
        return v_from_f16(src);
    if (from == DTYPE_BF16)
        return v_from_bf16(src);
    return v_load((const float *)(const void *)src);
}

static size_t convert(enum dtype from, const void *src, float *dst, size_t n) {
    const char *bytes = src;
    size_t size = dtype_size(from), whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        VF v = convert_lanes(from, bytes + i * size);
        v_store(dst + i, v);
        if (__builtin_expect(v_any(v_not_finite(v)), 0))
            for (size_t j = i;; j++)
                if (!isfinite(dst[j]))
                    return j;
    }
    if (whole < n) {
        char tail[LANES * sizeof(float)] = {0};
        float out[LANES];
        memcpy(tail, bytes + whole * size, (n - whole) * size);
        v_store(out, convert_lanes(from, tail));
        memcpy(dst + whole, out, (n - whole) * sizeof *out);
        for (size_t j = whole; j < n; j++)
            if (!isfinite(dst[j]))
                return j;
    }
    return n;
}

#endif
