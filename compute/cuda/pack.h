// A file's numbers as the card keeps them, in host memory. Role: floats into another type, blocks
// into planes (kernels/planes.h); what goes where and how it gets to the card is weight.c's.
// Thread rule: pure functions.
#ifndef TRINE_COMPUTE_CUDA_PACK_H
#define TRINE_COMPUTE_CUDA_PACK_H

#include "compute/cuda/kernels/kernels.h"
#include "compute/tensor.h"

// Where the first value is that is not finite, and the first that the type cannot hold: SIZE_MAX
// where there is none.
struct gpu_pack_faults {
    size_t bad, large;
};

// n values of a plain type of floats to `to`; what is found goes to f, as `at` behind its number,
// where it lies before what is there.
void gpu_pack_floats(enum dtype from, const void *src, size_t n, enum gpu_type to, void *dst,
                     size_t at, struct gpu_pack_faults *f);

// The format of a block type.
enum gpu_format gpu_pack_format(enum dtype t);
// A row of `in` values of a block type, its first one being number `at`, to its places in the
// planes, whose bytes from the row's end to the next row become zero.
void gpu_pack_blocks(enum dtype t, const unsigned char *src, size_t in, unsigned char *quants,
                     unsigned char *scales, size_t at, struct gpu_pack_faults *f);

#endif
