// What a test asks a card to do wrong, and how fast memory is read. See kernels.h.
#include "compute/cuda/kernels/dialect.cuh"

static __global__ void illegal_address_kernel(volatile int32_t *nobodys) { *nobodys = 1; }

extern "C" void gpu_launch_illegal_address(struct gpu_stream *s) {
    GPU_LAUNCH(s, illegal_address_kernel, 1, 1, 0, (volatile int32_t *)16);
}

static __global__ void hang_kernel(const volatile int32_t *until_not_zero) {
    while (*until_not_zero == 0)
        __nanosleep(1000);
}

extern "C" void gpu_launch_hang(struct gpu_stream *s, const volatile int32_t *until_not_zero) {
    GPU_LAUNCH(s, hang_kernel, 1, 1, 0, until_not_zero);
}

enum { READ_THREADS = 256, READ_BLOCKS = 1024, READ_AHEAD = 8 };

// Four words at a time, eight loads under way in each thread.
static __global__ void __launch_bounds__(READ_THREADS)
    read_kernel(const uint4 *__restrict__ p, size_t count, uint32_t *out) {
    size_t at = (size_t)blockIdx.x * READ_THREADS + threadIdx.x;
    const size_t step = (size_t)gridDim.x * READ_THREADS;
    uint32_t sum = 0;
    for (; at + (READ_AHEAD - 1) * step < count; at += READ_AHEAD * step) {
        uint4 v[READ_AHEAD];
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++)
            v[i] = __ldg(p + at + (size_t)i * step);
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++)
            sum += v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    for (; at < count; at += step) {
        const uint4 v = __ldg(p + at);
        sum += v.x ^ v.y ^ v.z ^ v.w;
    }
    atomicAdd(out, sum);
}

extern "C" void gpu_launch_read(struct gpu_stream *s, const void *p, size_t bytes, uint32_t *out) {
    GPU_READS(s, p, bytes);
    GPU_READS(s, out, sizeof *out);
    GPU_WRITES(s, out, sizeof *out);
    GPU_LAUNCH(s, read_kernel, READ_BLOCKS, READ_THREADS, 0, (const uint4 *)p, bytes / 16, out);
}
