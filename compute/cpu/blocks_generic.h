// Block-typed weights in plain C, for the portable kernel set and as what others are tested
// against. See kernels.h.
#ifndef TRINE_COMPUTE_CPU_BLOCKS_GENERIC_H
#define TRINE_COMPUTE_CPU_BLOCKS_GENERIC_H

#include "compute/cpu/kernels.h"

void blocks_generic_quantize(const float *x, size_t k, struct kernel_act_unit *to, size_t stride);
// k: whose activations are used.
void blocks_generic_linear(const struct cpu_kernels *k, const struct kernel_linear_share *s);

#endif
