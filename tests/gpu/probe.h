// Launchers of probe.cu: what test_gpu_emulated.c asks the emulated GPU to do. Role: tests only.
#ifndef TRINE_TESTS_GPU_PROBE_H
#define TRINE_TESTS_GPU_PROBE_H

#include "compute/cuda/kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

void probe_scale(struct gpu_stream *s, struct gpu_mat x, float by); // x *= by
void probe_sum(struct gpu_stream *s, const float *x, size_t n, float *out);

#ifdef __cplusplus
}
#endif

#endif
