// An opened card and its streams, as cuda_api.c opens it and cuda_stream.c drives it. Role: shared
// by these two alone. Thread rule: as gpu_api.h says; a card's first failure has a mutex.
#ifndef TRINE_COMPUTE_CUDA_CUDA_API_INTERNAL_H
#define TRINE_COMPUTE_CUDA_CUDA_API_INTERNAL_H

#include "compute/cuda/cublaslt.h"
#include "compute/cuda/gpu_api.h"

#include <cuda_runtime.h>
#include <pthread.h>
#include <stdatomic.h>

struct gemm_plans;

struct gpu {
    struct gpu_facts facts;
    struct cublaslt lib;
    struct gemm_plans *plans;
    size_t workspace_bytes; // of each stream, for products
    atomic_bool failed;     // `first` is set
    pthread_mutex_t mutex;  // of `first`
    struct errmsg first;    // failure
};

// The runtime's current device is the thread's: what another thread asks names it first. All of it
// goes by this function.
cudaError_t cuda_be_current(int number);

void cuda_memory(struct gpu *g, size_t *free_bytes, size_t *total_bytes);
enum err cuda_failure(struct gpu *g, struct errmsg *msg);
enum err cuda_alloc(struct gpu *g, size_t bytes, void **out);
void cuda_free(struct gpu *g, void *p);
enum err cuda_alloc_host(struct gpu *g, size_t bytes, void **out);
void cuda_free_host(struct gpu *g, void *p);
enum err cuda_stream_new(struct gpu *g, struct gpu_stream **out);
void cuda_stream_free(struct gpu *g, struct gpu_stream *s);
void cuda_copy_in(struct gpu_stream *s, void *device, const void *host, size_t bytes);
void cuda_copy_out(struct gpu_stream *s, void *host, const void *device, size_t bytes);
void cuda_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes);
void cuda_fill(struct gpu_stream *s, void *device, int byte, size_t bytes);
enum err cuda_event_new(struct gpu *g, struct gpu_event **out);
void cuda_event_free(struct gpu *g, struct gpu_event *e);
void cuda_record(struct gpu_stream *s, struct gpu_event *e);
void cuda_stream_wait(struct gpu_stream *s, struct gpu_event *e);
void cuda_wait(struct gpu_event *e);
void cuda_capture(struct gpu_stream *s);
enum err cuda_capture_end(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg);
void cuda_graph_launch(struct gpu_stream *s, struct gpu_graph *graph);
void cuda_graph_free(struct gpu *g, struct gpu_graph *graph);
void cuda_gemm(struct gpu_stream *s, const struct gpu_gemm *a);

// For the kernels' launches (dialect.cuh): the stream's CUDA handle, and what became of a launch.
void *gpu_stream_native(struct gpu_stream *s);
void gpu_stream_launched(struct gpu_stream *s, int error, const char *kernel);

#endif
