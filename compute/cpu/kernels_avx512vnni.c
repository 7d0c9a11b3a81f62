// The kernels on AVX-512 with VNNI: kernels_avx512.c with one instruction for int8 products.
// And the set of CPUs that also multiply pairs of bf16 (pairs_avx512bf16.c).
// Built with the set's own compiler flags; called only where the CPU has it.
#include "compute/cpu/lanes_avx512.h"

#include "compute/cpu/lanes_attention.h"
#include "compute/cpu/lanes_blocks.h"
#include "compute/cpu/lanes_linear.h"
#include "compute/cpu/lanes_probe.h"
#include "compute/cpu/lanes_rows.h"

// One table of functions, two sets: a copy of this file would be a copy of its code.
#define KERNELS                                                                                    \
    .panel = PANEL, .tile_rows = TILE_ROWS, .max_head_dim = MAX_HEAD_DIM, .linear = linear,        \
    .linear_blocks = linear_blocks, .quantize = quantize, .attention = attention,                  \
    .activate = activate, .sum_rows = sum_rows, .layer_norm = layer_norm, .pool = pool,            \
    .l2_normalize = l2_normalize, .convert = convert, .causal = &causal_avx512,                    \
    .probe_fma = probe_fma, .probe_dot = probe_dot, .probe_read = probe_read

const struct cpu_kernels kernels_avx512vnni = {.name = "avx512vnni", KERNELS};
const struct cpu_kernels kernels_avx512bf16 = {
    .name = "avx512bf16", KERNELS, .pairs = &pairs_avx512bf16};
