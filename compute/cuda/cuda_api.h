// gpu_api.h on NVIDIA's cards: memory, streams, events and graphs by the CUDA runtime, which is
// linked statically, products by cuBLASLt (gemm_plans.h), which is loaded when a card is opened.
// Role: the one file behind it, cuda_api.c, is all that knows cuda_runtime.h.
// What gpu_api.h leaves open: `count` gives ERR_UNSUPPORTED where there is no card, too, with the
// reason; CUDA_VISIBLE_DEVICES and MIG devices are the runtime's affair. The driver must know CUDA
// 13.0: series 580. `open` loads every kernel of the program, so that no launch has to, and sets
// their shared memory's bound to the card's; cuBLASLt loads its own when a shape is first met,
// which a warm-up does. A process must not fork and go on with a card. The first failure is kept by
// its call's name and CUDA's words; what fails while a stream is being captured ends the capture,
// and is the card's failure only where CUDA says that the card is lost. Waiting sleeps
// (cudaDeviceScheduleBlockingSync). Thread rule: gpu_api.h's; the runtime has threads of its own.
#ifndef TRINE_COMPUTE_CUDA_CUDA_API_H
#define TRINE_COMPUTE_CUDA_CUDA_API_H

#include "compute/cuda/gpu_api.h"
#include "compute/cuda/probe.h"

extern const struct gpu_api gpu_api_cuda;

enum {
    CUDA_API_LEAST_DRIVER = 13000,
    CUDA_API_LEAST_MAJOR = 7, // compute capability
    CUDA_API_LEAST_MINOR = 5,
};

// What `--probe` is told of this kind (probe_print).
struct probe_kind cuda_api_probe(void);

#endif
