// Matrix units, copies into shared memory that pass no registers, and prefetches. Role: the only
// inline PTX of the attention kernels. The emulated GPU has a model of each with the same fragments
// (tests/gpu/mma_model.h). Source followed: PTX ISA, "Matrix Fragments for mma.m16n8k16",
// "ldmatrix", "cp.async". All lanes of a warp come to gpu_mma and gpu_ldmatrix. sm_75 has f16
// alone, 8 values of k at a time, and copies through registers.
#ifndef TRINE_COMPUTE_CUDA_MMA_CUH
#define TRINE_COMPUTE_CUDA_MMA_CUH

#include "compute/cuda/kernels/dialect.cuh"

#ifdef __CUDACC__

// d += a b, all f32 inside: a [16, 16] row by row, b [16, 8] column by column, d [16, 8]. Lane l
// holds of d rows l/4 and l/4 + 8 (d[0..1], d[2..3]), columns 2 (l%4) and the next; of a the same
// rows, at k of 2 (l%4) and the next (a[0], a[1]) and 8 behind (a[2], a[3]); of b column l/4, at
// the same k (b[0], b[1]).
static __device__ __forceinline__ void gpu_mma(float d[4], const uint32_t a[4], uint32_t b0,
                                               uint32_t b1, gpu_f16) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, "
                 "{%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, "
                 "{%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
static __device__ __forceinline__ void gpu_mma(float d[4], const uint32_t a[4], uint32_t b0,
                                               uint32_t b1, gpu_bf16) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    (void)d, (void)a, (void)b0, (void)b1;
    __trap(); // gpu_has_mma says no
#endif
}

// Four 8 x 8 matrices of 16-bit values: lane l gives the address of row l%8 of matrix l/8, and gets
// of each row l/4, columns 2 (l%4) and the next.
static __device__ __forceinline__ void gpu_ldmatrix(uint32_t r[4], const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
// The same, turned: column l/4, rows 2 (l%4) and the next.
static __device__ __forceinline__ void gpu_ldmatrix_turned(uint32_t r[4], const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// 16 bytes to shared memory; not `there`: zeros, and `from` is not read. They have come when the
// thread that asked has waited, and the block's threads have met behind that.
static __device__ __forceinline__ void gpu_copy_async(void *to, const void *from, bool there) {
#if __CUDA_ARCH__ >= 800
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(at), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
#else
    *(uint4 *)to = there ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}
// Waits for all that this thread has asked for.
static __device__ __forceinline__ void gpu_copy_wait(void) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// The 128 bytes about p are on their way into the second cache from here on.
static __device__ __forceinline__ void gpu_prefetch(const void *p) {
    asm volatile("prefetch.global.L2 [%0];" : : "l"(p));
}

// Two narrow floats in one register, the first in the low half.
static __device__ __forceinline__ uint32_t gpu_pair(float lo, float hi, gpu_f16) {
    __half2 v = __floats2half2_rn(lo, hi);
    return *(const uint32_t *)&v;
}
static __device__ __forceinline__ uint32_t gpu_pair(float lo, float hi, gpu_bf16) {
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *(const uint32_t *)&v;
}
// 2^x, within 2 units in the last place; 0 of -infinity.
static __device__ __forceinline__ float gpu_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Whether the card at hand has matrix units for the type. Host.
static inline bool gpu_has_mma(enum gpu_type type) {
    int device = 0, major = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess)
        return false;
    return type == GPU_F16 || (type == GPU_BF16 && major >= 8);
}

#else
#include "tests/gpu/mma_model.h"
#endif

#endif
