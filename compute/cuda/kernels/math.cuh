// exp and the activations on one number. Role: what kernels apply to a result before it is stored.
// <float> is the exact form, within a few units in the last place of the function or 1e-10, so that
// all-f32 forwards stay within their bar. <gpu_bf16> and <gpu_f16> are what a result of that type
// is worth: fast, within 1e-6 of the largest input's magnitude. NaN gives NaN; a finite input never
// does.
#ifndef TRINE_COMPUTE_CUDA_MATH_CUH
#define TRINE_COMPUTE_CUDA_MATH_CUH

#include "compute/cuda/kernels/dialect.cuh"

template <typename T> struct gpu_is_exact { static constexpr bool value = false; };
template <> struct gpu_is_exact<float> { static constexpr bool value = true; };

template <typename T> static __device__ __forceinline__ float gpu_exp(float x) {
    return gpu_is_exact<T>::value ? expf(x) : __expf(x);
}
// a / b. The fast form gives 0 where b is beyond 2^126, which is what all here come to there.
template <typename T> static __device__ __forceinline__ float gpu_divide(float a, float b) {
    return gpu_is_exact<T>::value ? a / b : __fdividef(a, b);
}

// x / (1 + e^-u)
template <typename T> static __device__ __forceinline__ float gpu_gated(float x, float u) {
    return gpu_divide<T>(x, 1.0F + gpu_exp<T>(-u));
}
template <typename T> static __device__ __forceinline__ float gpu_silu(float x) {
    return gpu_gated<T>(x, x);
}

// x/2 (1 + erf(x / sqrt 2)) = max(x, 0) - |x|/2 erfc(|x| / sqrt 2): no cancellation where x < 0.
template <typename T> static __device__ __forceinline__ float gpu_gelu(float x) {
    if (gpu_is_exact<T>::value) {
        float z = fabsf(x), most = fmaxf(x, 0.0F);
        return x == x ? fmaf(-0.5F * z, erfcf(z * 0.70710678118654752F), most) : x;
    }
    // erfc by Abramowitz and Stegun 7.1.26, within 1.5e-7
    float z = fabsf(x), t = __fdividef(1.0F, fmaf(0.23164189F, z, 1.0F)); // p / sqrt 2
    float p = fmaf(1.061405429F, t, -1.453152027F);
    p = fmaf(p, t, 1.421413741F);
    p = fmaf(p, t, -0.284496736F);
    p = fmaf(p, t, 0.254829592F);
    float tail = 0.5F * z * (p * t) * __expf(-0.5F * z * z);
    return x < 0.0F ? -tail : x - tail;
}

// x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
template <typename T> static __device__ __forceinline__ float gpu_gelu_tanh(float x) {
    constexpr float two_u = 2.0F * 0.79788456080286536F;
    return gpu_gated<T>(x, x * fmaf(two_u * 0.044715F, x * x, two_u));
}

template <typename T> static __device__ __forceinline__ float gpu_tanh(float x) {
    if (gpu_is_exact<T>::value)
        return tanhf(x);
    float t = __fdividef(2.0F, 1.0F + __expf(2.0F * fabsf(x))); // 1 - tanh |x|
    return copysignf(1.0F - t, x);
}

template <typename T>
static __device__ __forceinline__ float gpu_activate(enum gpu_activation f, float x) {
    switch (f) {
    case GPU_NONE:
        break;
    case GPU_GELU:
        return gpu_gelu<T>(x);
    case GPU_GELU_TANH:
        return gpu_gelu_tanh<T>(x);
    case GPU_RELU:
        return x < 0.0F ? 0.0F : x;
    case GPU_TANH:
        return gpu_tanh<T>(x);
    case GPU_SILU:
        return gpu_silu<T>(x);
    }
    return x;
}

#endif
