// What the CUDA backend asks of a GPU: memory, copies, events, graphs and large products. Role: the
// line along which the backend is tested without a GPU: beside CUDA's (cudart, cuBLASLt) tests/gpu/
// has an emulated GPU behind the same functions, with poisoned memory and a check of the
// order of streams. Kernels are launched by kernels/kernels.h's functions; both kinds have those
// too. Order: what is asked of one stream is done in that order. Nothing else has an order, unless
// an event makes it: what another stream asks, and what the host reads or writes of host memory
// that a copy works with. Device memory may be read and written by kernels and copies alone; it
// holds nothing until it is written. Errors: what is asked of a stream returns nothing; the first
// failure of the GPU is kept, and `failure` tells it. Behind one nothing that it computes is to be
// trusted. Thread rule: one thread drives a stream at a time; alloc, free and memory from any
// thread.
#ifndef TRINE_COMPUTE_CUDA_GPU_API_H
#define TRINE_COMPUTE_CUDA_GPU_API_H

#include "base/err.h"
#include "compute/cuda/kernels/kernels.h"

#include <stdbool.h>

struct gpu; // one card, opened
struct gpu_event;
struct gpu_graph;

enum { GPU_NAME_BYTES = 96 };

struct gpu_facts {
    int number;                // as the API counts those that are visible
    char name[GPU_NAME_BYTES]; // "NVIDIA H200"
    char uuid[48];             // "GPU-..." or "MIG-..."
    int major, minor;          // compute capability
    int driver;                // its CUDA version, 13000 for 13.0
    size_t memory_bytes, free_bytes;
    int processors;
    size_t shared_bytes; // that a block may have at most
    bool bf16;           // matrix units take it (else f16)
};

// y = f(x w' + bias) + residual.
struct gpu_gemm {
    enum gpu_type type; // of x, w and y but for wide_out
    bool wide_out;      // y is f32
    size_t rows, out, in;
    const void *x, *w, *bias; // bias: [out] of y's type, or NULL
    void *y;
    size_t ld_x, ld_w, ld_y;
    const void *residual; // of y's type and ld_residual, or NULL; may be y
    size_t ld_residual;
    enum gpu_activation activation; // NONE, RELU, and GELU_TANH where type is narrow; not with
                                    // a residual
};

struct gpu_api {
    const char *name; // "cuda", or "emulated"

    // How many there are; ERR_UNSUPPORTED: no driver, too old a driver, no library (msg says which
    // and what to do).
    enum err (*count)(int *out, struct errmsg *msg);
    enum err (*look)(int number, struct gpu_facts *out, struct errmsg *msg);
    // Opens it: context, kernels, library. ERR_UNSUPPORTED, ERR_NOMEM.
    enum err (*open)(int number, struct gpu **out, struct errmsg *msg);
    void (*close)(struct gpu *g); // NULL is fine
    void (*memory)(struct gpu *g, size_t *free_bytes, size_t *total_bytes);
    // The first failure, or ERR_OK. ERR_NOMEM; ERR_LOST: nothing can be computed any more.
    enum err (*failure)(struct gpu *g, struct errmsg *msg);

    // 256-byte aligned. ERR_NOMEM. free waits until nothing uses it.
    enum err (*alloc)(struct gpu *g, size_t bytes, void **out);
    void (*free)(struct gpu *g, void *p);
    // Host memory that copies do not wait for.
    enum err (*alloc_host)(struct gpu *g, size_t bytes, void **out);
    void (*free_host)(struct gpu *g, void *p);

    enum err (*stream_new)(struct gpu *g, struct gpu_stream **out);
    void (*stream_free)(struct gpu *g, struct gpu_stream *s);
    void (*copy_in)(struct gpu_stream *s, void *device, const void *host, size_t bytes);
    void (*copy_out)(struct gpu_stream *s, void *host, const void *device, size_t bytes);
    void (*copy)(struct gpu_stream *s, void *to, const void *from, size_t bytes);
    void (*fill)(struct gpu_stream *s, void *device, int byte, size_t bytes);

    enum err (*event_new)(struct gpu *g, struct gpu_event **out);
    void (*event_free)(struct gpu *g, struct gpu_event *e);
    void (*record)(struct gpu_stream *s, struct gpu_event *e); // the last record counts
    void (*stream_wait)(struct gpu_stream *s, struct gpu_event *e);
    void (*wait)(struct gpu_event *e); // the calling thread sleeps, it does not spin

    // What is asked between the two is not done, but kept. A graph's launch does it all. In between
    // nothing but copies, fills, kernels and products is asked, of this stream.
    void (*capture)(struct gpu_stream *s);
    enum err (*capture_end)(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg);
    void (*graph_launch)(struct gpu_stream *s, struct gpu_graph *graph);
    void (*graph_free)(struct gpu *g, struct gpu_graph *graph);

    // One algorithm for a shape, without sums that are split between blocks.
    void (*gemm)(struct gpu_stream *s, const struct gpu_gemm *a);
};

#endif
