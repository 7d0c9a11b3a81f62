// A GPU as a worker's device: trine-gpu's, and of the same program with an emulated one. Role:
// which card the settings mean, what of its memory may be used, and how the process ends when the
// card computes nothing any more: what it had in hand is nobody's any more, and the parent begins
// again with another life. What stands behind gpu_api.h is the caller's. Thread rule: main.
#ifndef TRINE_WORKER_GPU_H
#define TRINE_WORKER_GPU_H

#include "compute/cuda/gpu_api.h"
#include "worker/worker.h"

// api: kept. probe: of --probe, or NULL. One of them in a process.
struct worker_device worker_gpu(const struct gpu_api *api, int (*probe)(void));

#endif
