// What a test asks a card to do wrong. See kernels.h.
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
