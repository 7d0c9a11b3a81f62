// The CUDA C that kernels are written in: what of it nvcc and the emulated GPU (tests/gpu/block.h)
// both understand. Role: every .cu includes this and nothing else of CUDA. A kernel file is a
// subset of CUDA C++: templates over element types and sizes, no classes with life, no standard
// library.
// - Threads: threadIdx, blockIdx, blockDim, gridDim; __global__, __device__, __forceinline__,
//   __launch_bounds__, __restrict__.
// - Shared memory is the launch's own, never __shared__ variables: GPU_SHARED(name) is its first
//   byte, 16-byte aligned. It holds nothing when a block begins.
// - Whole blocks meet at __syncthreads(); warps at __syncwarp(), __shfl_xor_sync, __shfl_sync,
//   __ballot_sync. All threads of a block reach each __syncthreads(), also those past the end.
// - atomicAdd on int32, uint32; atomicMax; __threadfence().
// - Matrix units and copies past registers by the functions below alone (mma.cuh).
// - Launches: GPU_LAUNCH(stream, kernel, grid, block, shared_bytes, arguments...), behind lines
//   that say what memory the launch touches: GPU_READS(stream, p, bytes), GPU_WRITES, GPU_READS_MAT
//   (stream, mat), GPU_WRITES_MAT (read and written: both; a NULL is nothing). GPU_READS_SOME and
//   GPU_WRITES_SOME name what a launch may touch anywhere in (a cache, by slots that only the
//   device knows): the first may hold parts that were never written, the second leaves such.
//   The emulated GPU closes all other memory to the launch, and checks the order by them; on a GPU
//   they are nothing.
#ifndef TRINE_COMPUTE_CUDA_DIALECT_CUH
#define TRINE_COMPUTE_CUDA_DIALECT_CUH

#include "compute/cuda/kernels/kernels.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>

// The stream's CUDA handle, and where a failed launch is kept (cuda_stream.c).
extern "C" void *gpu_stream_native(struct gpu_stream *s);
extern "C" void gpu_stream_launched(struct gpu_stream *s, int error, const char *kernel);

#define GPU_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define GPU_READS(s, p, bytes) ((void)(s), (void)(p), (void)(bytes))
#define GPU_WRITES(s, p, bytes) ((void)(s), (void)(p), (void)(bytes))
#define GPU_READS_SOME(s, p, bytes) ((void)(s), (void)(p), (void)(bytes))
#define GPU_WRITES_SOME(s, p, bytes) ((void)(s), (void)(p), (void)(bytes))
#define GPU_READS_MAT(s, m) ((void)(s), (void)(m))
#define GPU_WRITES_MAT(s, m) ((void)(s), (void)(m))
// A kernel's bound of shared memory is the card's already (cuda_api.c).
#define GPU_LAUNCH(s, kernel, grid, block, shared, ...)                                            \
    do {                                                                                           \
        kernel<<<(grid), (block), (shared), (cudaStream_t)gpu_stream_native(s)>>>(__VA_ARGS__);    \
        gpu_stream_launched(s, (int)cudaGetLastError(), #kernel);                                  \
    } while (0)
#else
#include "tests/gpu/block.h"
#endif

typedef __nv_bfloat16 gpu_bf16;
typedef __half gpu_f16;

static __device__ __forceinline__ float gpu_widen(float x) { return x; }
static __device__ __forceinline__ float gpu_widen(gpu_bf16 x) { return __bfloat162float(x); }
static __device__ __forceinline__ float gpu_widen(gpu_f16 x) { return __half2float(x); }
template <typename T> static __device__ __forceinline__ T gpu_narrow(float x);
template <> __device__ __forceinline__ float gpu_narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ gpu_bf16 gpu_narrow<gpu_bf16>(float x) {
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ gpu_f16 gpu_narrow<gpu_f16>(float x) {
    return __float2half_rn(x);
}

// Sum and maximum over a warp, by halves: all lanes have it. (The emulated GPU's lanes meet once.)
#ifdef __CUDACC__
static __device__ __forceinline__ float gpu_warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffU, x, step);
    return x;
}
static __device__ __forceinline__ float gpu_warp_max(float x) {
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, step));
    return x;
}
#else
static inline float gpu_warp_sum(float x) { return block_warp_sum(x); }
static inline float gpu_warp_max(float x) { return block_warp_max(x); }
#endif

// Runs `body` with T as the type's.
#define GPU_BY_TYPE(type, body)                                                                    \
    do {                                                                                           \
        switch (type) {                                                                            \
        case GPU_F32: {                                                                            \
            typedef float T;                                                                       \
            body;                                                                                  \
            break;                                                                                 \
        }                                                                                          \
        case GPU_BF16: {                                                                           \
            typedef gpu_bf16 T;                                                                    \
            body;                                                                                  \
            break;                                                                                 \
        }                                                                                          \
        case GPU_F16: {                                                                            \
            typedef gpu_f16 T;                                                                     \
            body;                                                                                  \
            break;                                                                                 \
        }                                                                                          \
        }                                                                                          \
    } while (0)

#endif
