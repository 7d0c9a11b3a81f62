// How GGUF's block types lie on the card. Role: the one description of the planes, for the host
// that packs them and for the kernels that read them. Numbers are the file's, bit for bit; only
// their places are others, so that a warp reads whole runs of 16 bytes a lane.
// A row is cut into runs of 8 values; lane l of a warp takes runs l, l + 32, l + 64 ... A step is
// 32 runs, 256 values. Each plane holds units of a few bytes, one for each group of neighbouring
// runs; units of one group of lanes in `pack` steps lie side by side, as long as these steps are
// whole; units behind the last whole pack lie in their order (gpu_plane_at).
// quants of a row: the main plane, codes of 8, 4 or 2 bits, then the other one, their upper 1 or 2
// bits. A unit is a run:
//   8 bits: byte i is value i. 4 bits: value 2 i at bit 4 i, value 2 i + 1 at bit 16 + 4 i.
//   2 bits: value i at bit 2 i. 1 bit: value i at bit i.
// scales of a row of plain types: units for blocks of 32: f16 d (, f16 m).
// scales of a row of K types: for each step f16 d (, f16 m), in order, filled up to 16 bytes; then
// units for parts of 32 values: u8 scale, u8 min (q4_K, q5_K), or of 16: i8 scale (q3_K, q6_K),
// u8 scale | min << 4 (q2_K).
// value = (code - offset) * d * scale + m, or - m * min. Thread rule: pure functions.
#ifndef TRINE_COMPUTE_CUDA_PLANES_H
#define TRINE_COMPUTE_CUDA_PLANES_H

#include "compute/cuda/kernels/kernels.h"

// Functions of host and card, which C++ knows when it compiles.
#ifdef __CUDACC__
#define GPU_BOTH __host__ __device__ constexpr
#elif defined(__cplusplus)
#define GPU_BOTH constexpr
#else
#define GPU_BOTH inline
#endif

enum { GPU_RUN = 8, GPU_STEP_RUNS = 32, GPU_STEP = GPU_RUN * GPU_STEP_RUNS, GPU_UNIT = 32 };

struct gpu_planes {
    int main_bits, more_bits; // of a code; 0: no such plane
    int offset;               // what is subtracted from a code
    int with_m;               // there is an m
    int groups;               // of K types: parts in a step, 8 or 16; 0: a plain type
    int group_bytes;          // of each
};

static GPU_BOTH struct gpu_planes gpu_planes_make(int main_bits, int more_bits, int offset,
                                                  int with_m, int groups, int group_bytes) {
    struct gpu_planes p = {main_bits, more_bits, offset, with_m, groups, group_bytes};
    return p;
}
static GPU_BOTH struct gpu_planes gpu_planes_of(enum gpu_format f) {
    switch (f) {
    case GPU_FORMAT_Q8_0:
        return gpu_planes_make(8, 0, 128, 0, 0, 0);
    case GPU_FORMAT_Q4_0:
        return gpu_planes_make(4, 0, 8, 0, 0, 0);
    case GPU_FORMAT_Q4_1:
        return gpu_planes_make(4, 0, 0, 1, 0, 0);
    case GPU_FORMAT_Q5_0:
        return gpu_planes_make(4, 1, 16, 0, 0, 0);
    case GPU_FORMAT_Q5_1:
        return gpu_planes_make(4, 1, 0, 1, 0, 0);
    case GPU_FORMAT_Q2_K:
        return gpu_planes_make(2, 0, 0, 1, 16, 1);
    case GPU_FORMAT_Q3_K:
        return gpu_planes_make(2, 1, 4, 0, 16, 1);
    case GPU_FORMAT_Q4_K:
        return gpu_planes_make(4, 0, 0, 1, 8, 2);
    case GPU_FORMAT_Q5_K:
        return gpu_planes_make(4, 1, 0, 1, 8, 2);
    case GPU_FORMAT_Q6_K:
        return gpu_planes_make(4, 2, 32, 0, 16, 1);
    case GPU_FORMAT_IQ4_NL: // codes stand for a table's values
        return gpu_planes_make(4, 0, 0, 0, 0, 0);
    default:
        return gpu_planes_make(0, 0, 0, 0, 0, 0);
    }
}

static GPU_BOTH int gpu_format_is_block(enum gpu_format f) { return f > GPU_FORMAT_F16; }

// Where unit number `at` of `count` lies in its plane: units of `bytes`, `groups` of them a step.
static GPU_BOTH size_t gpu_plane_at(size_t count, size_t groups, size_t bytes, size_t pack,
                                    size_t at) {
    size_t whole = pack * groups, first = at / whole * whole, within = at - first;
    if (first + whole > count)
        return at * bytes;
    return (first + within % groups * pack + within / groups) * bytes;
}

// Steps side by side: as many as fill 16 bytes of a lane, 4 at most.
static GPU_BOTH size_t gpu_plane_pack(int bits) { return bits == 8 ? 2 : 4; }

// In bytes from a row's begin: where the run number `run` of `in` values is, in the main plane and
// in the other.
static GPU_BOTH size_t gpu_main_at(struct gpu_planes p, size_t in, size_t run) {
    return gpu_plane_at(in / GPU_RUN, GPU_STEP_RUNS, (size_t)p.main_bits,
                        gpu_plane_pack(p.main_bits), run);
}
static GPU_BOTH size_t gpu_more_at(struct gpu_planes p, size_t in, size_t run) {
    return in / GPU_RUN * (size_t)p.main_bits +
           gpu_plane_at(in / GPU_RUN, GPU_STEP_RUNS, (size_t)p.more_bits, 4, run);
}
// Where the d of a run's block is, and its part's scale (K types).
static GPU_BOTH size_t gpu_d_at(struct gpu_planes p, size_t in, size_t run) {
    size_t bytes = p.with_m ? 4 : 2;
    return p.groups ? run / GPU_STEP_RUNS * bytes
                    : gpu_plane_at(in / GPU_UNIT, GPU_STEP / GPU_UNIT, bytes, 4,
                                   run / (GPU_UNIT / GPU_RUN));
}
static GPU_BOTH size_t gpu_parts_begin(struct gpu_planes p, size_t in) {
    return (in / GPU_STEP * (p.with_m ? 4 : 2) + 15) / 16 * 16;
}
static GPU_BOTH size_t gpu_part_at(struct gpu_planes p, size_t in, size_t run) {
    size_t groups = (size_t)p.groups, runs = GPU_STEP_RUNS / groups;
    return gpu_parts_begin(p, in) +
           gpu_plane_at(in / GPU_STEP * groups, groups, (size_t)p.group_bytes, 4, run / runs);
}

// Bytes from row to row, of `in` values: whole blocks; of floats any number, in whole runs.
static inline size_t gpu_quant_row_bytes(enum gpu_format f, size_t in) {
    struct gpu_planes p = gpu_planes_of(f);
    size_t runs = (in + GPU_RUN - 1) / GPU_RUN;
    size_t bytes = runs * (f == GPU_FORMAT_F32   ? 32
                           : f <= GPU_FORMAT_F16 ? 16
                                                 : (size_t)(p.main_bits + p.more_bits));
    return (bytes + 15) / 16 * 16;
}
static inline size_t gpu_scale_row_bytes(enum gpu_format f, size_t in) {
    struct gpu_planes p = gpu_planes_of(f);
    if (!gpu_format_is_block(f))
        return 0;
    size_t bytes = p.groups
                       ? gpu_parts_begin(p, in) + in / GPU_STEP * (size_t)(p.groups * p.group_bytes)
                       : in / GPU_UNIT * (p.with_m ? 4 : 2);
    return (bytes + 15) / 16 * 16;
}

#endif
