// The values of a weight's runs of 8, out of the planes (planes.h) into registers. Role: what
// products and lookups of every format read weights with; the values are those that ggml's
// dequantize gives, to the bit. A run by itself is read by a few small loads (gpu_run_load); four
// steps of a lane at once by 16-byte ones (gpu_four_load).
#ifndef TRINE_COMPUTE_CUDA_BLOCKS_CUH
#define TRINE_COMPUTE_CUDA_BLOCKS_CUH

#include "compute/cuda/kernels/dialect.cuh"
#include "compute/cuda/kernels/planes.h"

// Words of a run's main plane: 8 values.
template <int F> struct gpu_words {
    static constexpr int count = F == GPU_FORMAT_F32    ? 8
                                 : F <= GPU_FORMAT_F16  ? 4
                                 : F == GPU_FORMAT_Q8_0 ? 2
                                                        : 1;
};

// A run as it is kept: codes (or numbers), their upper bits, d | m << 16, the part's scales.
template <int F> struct gpu_kept_run {
    uint32_t main[gpu_words<F>::count];
    uint32_t more, d, part;
};

static __device__ __forceinline__ uint32_t gpu_load_bytes(const unsigned char *p, int bytes) {
    return bytes == 4   ? __ldg((const uint32_t *)(const void *)p)
           : bytes == 2 ? __ldg((const uint16_t *)(const void *)p)
                        : __ldg(p);
}

// Run number `run` (in the row) of the row whose planes begin at q and s.
template <int F>
static __device__ __forceinline__ void gpu_run_load(const unsigned char *q, const unsigned char *s,
                                                    size_t in, size_t run, gpu_kept_run<F> *r) {
    constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    if (F <= GPU_FORMAT_F16) {
#pragma unroll
        for (int i = 0; i < gpu_words<F>::count; i += 4) {
            uint4 v = __ldg((const uint4 *)(const void *)(q + (run * gpu_words<F>::count + i) * 4));
            r->main[i] = v.x;
            r->main[i + 1] = v.y;
            r->main[i + 2] = v.z;
            r->main[i + 3] = v.w;
        }
        return;
    }
    const unsigned char *at = q + gpu_main_at(p, in, run);
    r->main[0] = gpu_load_bytes(at, p.main_bits == 8 ? 4 : p.main_bits);
    if (gpu_words<F>::count == 2)
        r->main[gpu_words<F>::count - 1] = gpu_load_bytes(at + 4, 4);
    r->more = p.more_bits ? gpu_load_bytes(q + gpu_more_at(p, in, run), p.more_bits) : 0;
    r->d = gpu_load_bytes(s + gpu_d_at(p, in, run), p.with_m ? 4 : 2);
    r->part = p.groups ? gpu_load_bytes(s + gpu_part_at(p, in, run), p.group_bytes) : 0;
}

// What lies in `bits` bits as f16.
static __device__ __forceinline__ float gpu_f16_bits(uint32_t bits) {
    return __half2float(__ushort_as_half((unsigned short)(bits & 0xffffU)));
}

// iq4_nl's 16 values.
static __device__ __forceinline__ int gpu_iq4_nl(uint32_t code) {
    // -127 -104 -83 -65 -49 -35 -22 -10 | 1 13 25 38 53 69 89 113, from the lowest byte up
    uint32_t low = __byte_perm(0xbfad9881U, 0xf6eaddcfU, code & 7U);
    uint32_t high = __byte_perm(0x26190d01U, 0x71594535U, code & 7U);
    return (int)(signed char)((code & 8U ? high : low) & 255U);
}

// scale and shift of a run: value = scale * (code - offset) + shift.
template <int F> static __device__ __forceinline__ float2 gpu_run_scale(const gpu_kept_run<F> &r) {
    constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    float2 v = make_float2(gpu_f16_bits(r.d), p.with_m ? gpu_f16_bits(r.d >> 16) : 0.0f);
    if (!p.groups)
        return v;
    float scale = !p.with_m            ? (float)(signed char)(r.part & 255U)
                  : p.group_bytes == 2 ? (float)(r.part & 255U)
                                       : (float)(r.part & 15U);
    float min = p.group_bytes == 2 ? (float)(r.part >> 8 & 255U) : (float)(r.part >> 4 & 15U);
    return make_float2(v.x * scale, p.with_m ? -(v.y * min) : 0.0f);
}

// Code i of a run, less the format's offset.
template <int F>
static __device__ __forceinline__ int gpu_run_code(const gpu_kept_run<F> &r, int i) {
    constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    uint32_t code = p.main_bits == 8   ? r.main[i / 4 % gpu_words<F>::count] >> (8 * (i % 4)) & 255U
                    : p.main_bits == 4 ? r.main[0] >> (4 * (i / 2) + 16 * (i % 2)) & 15U
                                       : r.main[0] >> (2 * i) & 3U;
    if (p.more_bits == 1)
        code |= (r.more >> i & 1U) << p.main_bits;
    if (p.more_bits == 2)
        code |= (r.more >> (2 * i) & 3U) << p.main_bits;
    if (F == GPU_FORMAT_IQ4_NL)
        return gpu_iq4_nl(code);
    return (int)code - p.offset;
}

template <int F>
static __device__ __forceinline__ void gpu_run_values(const gpu_kept_run<F> &r, float out[8]) {
    if (F == GPU_FORMAT_F32) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            out[i] = __uint_as_float(r.main[i % gpu_words<F>::count]);
        return;
    }
    if (F == GPU_FORMAT_BF16 || F == GPU_FORMAT_F16) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t both = r.main[i / 2 % gpu_words<F>::count];
            if (F == GPU_FORMAT_BF16)
                out[i] = __uint_as_float(i % 2 ? both & 0xffff0000U : both << 16);
            else
                out[i] = gpu_f16_bits(i % 2 ? both >> 16 : both);
        }
        return;
    }
    // scale * code has at most 24 significant bits: adding the shift is the only rounding
    float2 scale = gpu_run_scale(r);
#pragma unroll
    for (int i = 0; i < 8; i++)
        out[i] = fmaf((float)gpu_run_code(r, i), scale.x, scale.y);
}

// What a lane has of four whole steps, as it is loaded.
template <int F> struct gpu_four {
    static constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    static constexpr int main_words = p.main_bits == 2 ? 2 : 4 * gpu_words<F>::count;
    static constexpr int more_words = p.more_bits == 2 ? 2 : 1;
    static constexpr int d_words = p.with_m ? 4 : 2;
    static constexpr int part_words = p.group_bytes == 2 ? 2 : 1;
    uint32_t main[main_words], more[more_words], d[d_words], part[part_words];
};

// N words from an address of that alignment, 16 bytes at most.
template <int N>
static __device__ __forceinline__ void gpu_load_words(const unsigned char *p, uint32_t *to) {
    if (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N / 4; i++) {
            uint4 v = __ldg((const uint4 *)(const void *)p + i);
            to[4 * i] = v.x;
            to[4 * i + 1 % N] = v.y;
            to[4 * i + 2 % N] = v.z;
            to[4 * i + 3 % N] = v.w;
        }
    } else if (N == 2) {
        uint2 v = __ldg((const uint2 *)(const void *)p);
        to[0] = v.x;
        to[1 % N] = v.y;
    } else {
        to[0] = __ldg((const uint32_t *)(const void *)p);
    }
}

// The lane's runs `first` + lane, + 32, + 64, + 96; first is a multiple of 128 and the four steps
// are whole.
template <int F>
static __device__ __forceinline__ void gpu_four_load(const unsigned char *q, const unsigned char *s,
                                                     size_t in, size_t first, int lane,
                                                     gpu_four<F> *to) {
    constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    const int words = gpu_words<F>::count;
    if (F <= GPU_FORMAT_F16) {
#pragma unroll
        for (int step = 0; step < 4; step++)
            gpu_load_words<gpu_words<F>::count>(q + (first + (size_t)(32 * step + lane)) *
                                                        (size_t)words * 4,
                                                to->main + step * words % gpu_four<F>::main_words);
        return;
    }
    size_t run = first + (size_t)lane;
    if (F == GPU_FORMAT_Q8_0) { // two steps a load
        gpu_load_words<4>(q + (first + 2 * (size_t)lane) * 8, to->main);
        gpu_load_words<4>(q + (first + 64 + 2 * (size_t)lane) * 8,
                          to->main + 4 % gpu_four<F>::main_words);
    } else {
        gpu_load_words<gpu_four<F>::main_words>(q + gpu_main_at(p, in, run), to->main);
    }
    if (p.more_bits)
        gpu_load_words<gpu_four<F>::more_words>(q + gpu_more_at(p, in, run), to->more);
    gpu_load_words<gpu_four<F>::d_words>(s + gpu_d_at(p, in, run), to->d);
    if (p.groups)
        gpu_load_words<gpu_four<F>::part_words>(s + gpu_part_at(p, in, run), to->part);
}

// Its step number i, 0 to 3.
template <int F>
static __device__ __forceinline__ gpu_kept_run<F> gpu_four_run(const gpu_four<F> &from, int i) {
    constexpr struct gpu_planes p = gpu_planes_of((enum gpu_format)F);
    gpu_kept_run<F> r;
    if (p.main_bits == 2) {
        r.main[0] = from.main[i / 2] >> (16 * (i % 2)) & 0xffffU;
    } else {
#pragma unroll
        for (int w = 0; w < gpu_words<F>::count; w++)
            r.main[w] = from.main[(i * gpu_words<F>::count + w) % gpu_four<F>::main_words];
    }
    r.more = 0;
    if (p.more_bits == 2)
        r.more = from.more[i / 2 % gpu_four<F>::more_words] >> (16 * (i % 2)) & 0xffffU;
    if (p.more_bits == 1)
        r.more = from.more[0] >> (8 * i) & 255U;
    r.d = F <= GPU_FORMAT_F16 ? 0
          : p.with_m          ? from.d[i % gpu_four<F>::d_words]
                              : from.d[i / 2] >> (16 * (i % 2)) & 0xffffU;
    r.part = 0;
    if (p.group_bytes == 2)
        r.part = from.part[i / 2 % gpu_four<F>::part_words] >> (16 * (i % 2)) & 0xffffU;
    if (p.group_bytes == 1)
        r.part = from.part[0] >> (8 * i) & 255U;
    return r;
}

#define GPU_EACH_BLOCK_FORMAT(X)                                                                   \
    X(GPU_FORMAT_Q8_0)                                                                             \
    X(GPU_FORMAT_Q4_0)                                                                             \
    X(GPU_FORMAT_Q4_1)                                                                             \
    X(GPU_FORMAT_Q5_0)                                                                             \
    X(GPU_FORMAT_Q5_1)                                                                             \
    X(GPU_FORMAT_Q2_K)                                                                             \
    X(GPU_FORMAT_Q3_K)                                                                             \
    X(GPU_FORMAT_Q4_K)                                                                             \
    X(GPU_FORMAT_Q5_K)                                                                             \
    X(GPU_FORMAT_Q6_K)                                                                             \
    X(GPU_FORMAT_IQ4_NL)
#define GPU_EACH_FORMAT(X)                                                                         \
    X(GPU_FORMAT_F32)                                                                              \
    X(GPU_FORMAT_BF16)                                                                             \
    X(GPU_FORMAT_F16)                                                                              \
    GPU_EACH_BLOCK_FORMAT(X)

// Values [k, k + 8) of row `row`, k a multiple of 8; zeros from the row's end on.
static __device__ __forceinline__ void gpu_rows_value8(const struct gpu_rows *w, size_t row,
                                                       size_t k, float out[8]) {
    const unsigned char *q = (const unsigned char *)w->quants + row * w->quant_row_bytes;
    const unsigned char *s = (const unsigned char *)w->scales + row * w->scale_row_bytes;
    if (k >= w->in) {
        for (int i = 0; i < 8; i++)
            out[i] = 0.0f;
        return;
    }
    switch (w->format) {
#define GPU_VALUE8(F)                                                                              \
    case F: {                                                                                      \
        gpu_kept_run<F> r;                                                                         \
        gpu_run_load<F>(q, s, w->in, k / GPU_RUN, &r);                                             \
        gpu_run_values<F>(r, out);                                                                 \
        break;                                                                                     \
    }
        GPU_EACH_FORMAT(GPU_VALUE8)
#undef GPU_VALUE8
    default:
        break;
    }
}

#endif
