// The arithmetic of a draw, in the CPU's own steps (compute/cpu/logit_rows.c, sampling_penalties.c,
// sampling_internal.h): the same bits. So each product and each sum is rounded by itself: no
// compiler may join two of them. Role: of draw.cu's kernels alone.
#ifndef TRINE_COMPUTE_CUDA_DRAW_MATH_H
#define TRINE_COMPUTE_CUDA_DRAW_MATH_H

#include "compute/cuda/kernels/dialect.cuh"
#include "compute/cuda/kernels/draw_step.h"

#define DRAW_LOWEST (-__int_as_float(0x7f800000)) // minus infinity: a token that cannot be drawn

// Numbers in the order of floats; both zeros are one. Minus infinity is the lowest, 0x7fffff.
enum { DRAW_KEY_LOWEST = 0x007fffff };
static __device__ __forceinline__ uint32_t draw_key(float x) {
    uint32_t bits = __float_as_uint(x);
    if (bits == 0x80000000U)
        bits = 0;
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}
static __device__ __forceinline__ float draw_of_key(uint32_t key) {
    return __uint_as_float(key & 0x80000000U ? key & 0x7fffffffU : ~key);
}
static __device__ __forceinline__ int draw_is_odd(float x) { // NaN or infinite
    return (__float_as_uint(x) & 0x7f800000U) == 0x7f800000U;
}

// The best of several logits in one number: the largest, of those that tie the lowest id.
static __device__ __forceinline__ unsigned long long draw_best(float x, uint32_t id) {
    return (unsigned long long)draw_key(x) << 32 | (uint32_t)~id;
}
static __device__ __forceinline__ float draw_best_logit(unsigned long long best) {
    return draw_of_key((uint32_t)(best >> 32));
}
static __device__ __forceinline__ int32_t draw_best_id(unsigned long long best) {
    return (int32_t) ~(uint32_t)best;
}

// e^((x - most) by): 0 below e^-87, minus infinity included; 1 where x is `most`. 1.5 ulp, so that
// of two logits the lower one's may be larger by DRAW_WEIGHT_SLACK steps at the very most.
enum { DRAW_WEIGHT_SLACK = 8 };
static __device__ __forceinline__ float draw_weight(float x, float most, float by) {
    const float magic = 12582912.0F;
    float given = __fmul_rn(__fsub_rn(x, most), by);
    float in = given > -87.0F ? given : -87.0F;
    float shifted = __fadd_rn(__fmul_rn(in, 1.44269504088896341F), magic);
    float n = __fsub_rn(shifted, magic);
    float r = __fsub_rn(in, __fmul_rn(n, 0.693359375F));
    r = __fadd_rn(r, __fmul_rn(n, 2.12194440e-4F));
    float p = 0.00139411085F;
    p = __fadd_rn(__fmul_rn(p, r), 0.00837512594F);
    p = __fadd_rn(__fmul_rn(p, r), 0.0416663513F);
    p = __fadd_rn(__fmul_rn(p, r), 0.166664153F);
    p = __fadd_rn(__fmul_rn(p, r), 0.5F);
    p = __fadd_rn(__fmul_rn(p, r), 1.0F);
    p = __fadd_rn(__fmul_rn(p, r), 1.0F);
    uint32_t scale = (__float_as_uint(shifted) - 0x4b400000U + 127U) << 23;
    return given > -87.0F ? __fmul_rn(p, __uint_as_float(scale)) : 0.0F;
}

// A logit of a token that has been said, `times` of them in the output.
static __device__ __forceinline__ float draw_penalized(const struct gpu_draw_part *p, float v,
                                                       uint32_t times) {
    v = v < 0 ? __fmul_rn(v, p->repetition) : __fdiv_rn(v, p->repetition);
    if (times > 0)
        v = __fsub_rn(v, __fadd_rn(p->presence, __fmul_rn(p->frequency, (float)times)));
    return v;
}

// [0, 1) of the token at `position`: SplitMix64, as sampling_random.
static __device__ __forceinline__ double draw_random(uint64_t seed, uint64_t position) {
    uint64_t z = seed + (position + 1) * 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

// Sums of weights that share an exponent are exact in integers, whatever their order: of their
// 24-bit mantissas the lower and the upper half by themselves, each below 2^12 * 2^18.
static __device__ __forceinline__ uint32_t draw_mantissa(float w) {
    return (__float_as_uint(w) & 0x7fffffU) | 0x800000U;
}
static __device__ __forceinline__ double draw_mass(uint32_t low, uint32_t high, int exponent) {
    return ldexp((double)(((unsigned long long)high << 12) + low), exponent - 150);
}

#endif
