// How work is cut: the small sums that every cut is made with. Role: shared by what splits an
// operation, a weight or a cache into the shares of threads. Thread rule: pure functions.
#ifndef TRINE_COMPUTE_CPU_SHARE_H
#define TRINE_COMPUTE_CPU_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t at_most(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t at_least(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t round_up(size_t a, size_t b) { return ceil_div(a, b) * b; }

// [*from, *to): share i of n equal shares of `all`; the first ones take what is left over.
static inline void share_range(size_t all, size_t n, size_t i, size_t *from, size_t *to) {
    *from = all / n * i + at_most(i, all % n);
    *to = *from + all / n + (i < all % n ? 1 : 0);
}

// Whether S sequences lie one behind the other within `rows` rows.
static inline bool share_sequences_fit(const int32_t *cu_seqlens, size_t seqs, size_t rows) {
    bool fit = cu_seqlens[0] >= 0 && (size_t)(uint32_t)cu_seqlens[seqs] <= rows;
    for (size_t s = 0; s < seqs; s++)
        fit = fit && cu_seqlens[s] <= cu_seqlens[s + 1];
    return fit;
}

#endif
