// Where a position of the paged cache lies, and rows whose type only the launch knows. Role: shared
// by the kernels of paged.cu.
#ifndef TRINE_COMPUTE_CUDA_PAGED_PLACE_CUH
#define TRINE_COMPUTE_CUDA_PAGED_PLACE_CUH

#include "compute/cuda/kernels/dialect.cuh"

// Values of the cache from a position's key to its value.
static __device__ __forceinline__ size_t gpu_kv_apart(const gpu_kv &kv) {
    return kv.kv_heads * kv.block_tokens * kv.head_dim;
}
// Values before the key of a slot's kv head.
static __device__ __forceinline__ size_t gpu_kv_at(const gpu_kv &kv, size_t layer, size_t head,
                                                   size_t block, size_t offset) {
    const size_t plane = (block * kv.layers + layer) * 2;
    return ((plane * kv.kv_heads + head) * kv.block_tokens + offset) * kv.head_dim;
}

static __device__ __forceinline__ float gpu_load_as(enum gpu_type type, const void *x, size_t at) {
    return type == GPU_F32    ? ((const float *)x)[at]
           : type == GPU_BF16 ? gpu_widen(((const gpu_bf16 *)x)[at])
                              : gpu_widen(((const gpu_f16 *)x)[at]);
}
static __device__ __forceinline__ void gpu_store_as(enum gpu_type type, void *x, size_t at,
                                                    float v) {
    if (type == GPU_F32)
        ((float *)x)[at] = v;
    else if (type == GPU_BF16)
        ((gpu_bf16 *)x)[at] = gpu_narrow<gpu_bf16>(v);
    else
        ((gpu_f16 *)x)[at] = gpu_narrow<gpu_f16>(v);
}

#endif
