// Passes over one row of logits. Role: the arithmetic of sampling.c that runs over the whole
// vocabulary, in loops of LOGIT_LANES independent lanes that a compiler turns into vectors.
// Thread rule: pure functions.
#ifndef TRINE_COMPUTE_CPU_LOGIT_ROWS_H
#define TRINE_COMPUTE_CPU_LOGIT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOGIT_LANES = 16, LOGIT_BLOCK = 64 }; // a block has a maximum of its own

static inline size_t logit_blocks(size_t n) { return (n + LOGIT_BLOCK - 1) / LOGIT_BLOCK; }

// The largest of n >= 1 values, and of each block (`blocks` may be NULL). *finite: none was NaN or
// infinite.
float logit_max(const float *x, size_t n, float *blocks, bool *finite);
// The lowest index of `value`, which is the row's largest.
size_t logit_find(const float *x, size_t n, float value, const float *blocks);
// w = e^((x - most) by), 0 below e^-87, -inf included; each block's sum (`sums` may be NULL; w may
// be NULL). Returns the sum.
double logit_exp(const float *x, size_t n, float most, float by, float *w, double *sums);
// The sum of those w that are at least `least`, over blocks whose largest may be.
double logit_mass(const float *w, size_t n, float least);

#endif
