// The GPU device. Role: makes a struct device over one GPU, whichever stands behind gpu_api.h. Host
// code alone, C; what it asks for is carried out by kernels (kernels/) and the GPU's library.
// It differs from the CPU in this: operations return before they are done (device.h's mark, pace
// and wait are there); activations may be narrow; a forward of a shape that was warmed is asked for
// as one graph; memory is the card's. Nothing is allocated once a model is loaded and its
// workspaces are there. Thread rule: see compute/device.h. The streams are the driving thread's.
#ifndef TRINE_COMPUTE_CUDA_CUDA_H
#define TRINE_COMPUTE_CUDA_CUDA_H

#include "compute/cuda/gpu_api.h"
#include "compute/device.h"

struct cuda_options {
    const struct gpu_api *api; // borrowed
    int number;                // of the GPU
    double memory_part;        // of its memory that may be used, what others hold included; 0: 0.9
    bool no_graphs;            // everything is asked for one by one
    size_t graph_tokens;       // of a forward that is kept as a graph, at most; 0: 2,048
    // The GPU computes nothing any more (an illegal address, a launch that failed, its loss):
    // called once, on the driving thread. What it had in hand fails, too. NULL: nobody is told.
    void (*lost)(void *ctx, const char *why);
    void *ctx;
};

// ERR_UNSUPPORTED: it cannot be used, and why; ERR_NOMEM: of the GPU's memory, or of this
// process's.
enum err cuda_device_new(const struct cuda_options *options, struct device **out,
                         struct errmsg *msg) MUST_CHECK;
void cuda_device_free(struct device *d); // NULL is fine

// Graphs that are kept, and forwards that were asked for as one, so far.
void cuda_device_graphs(const struct device *d, size_t *kept, size_t *launched);

#endif
