// What is asked of an opened card: memory, copies, events, graphs, products; and its first failure.
// See cuda_api.h.
#include "base/mem.h"
#include "compute/cuda/cuda_api_internal.h"
#include "compute/cuda/gemm_plans.h"

#include <stdbool.h>

struct gpu_stream {
    struct gpu *g;
    cudaStream_t stream;
    void *workspace; // for products
    bool capturing;
    struct errmsg capture; // what failed in between; ERR_OK: nothing
};

struct gpu_event {
    struct gpu *g;
    cudaEvent_t event;
};

struct gpu_graph {
    cudaGraphExec_t run;
};

cudaError_t cuda_be_current(int number) {
    static _Thread_local int current = -1;
    if (current == number)
        return cudaSuccess;
    cudaError_t c = cudaSetDevice(number);
    if (c == cudaSuccess)
        current = number;
    return c;
}

static void be_current(const struct gpu *g) {
    if (cuda_be_current(g->facts.number) != cudaSuccess)
        (void)cudaGetLastError(); // the call itself will say so
}

static void keep(struct gpu *g, enum err code, const char *words) {
    pthread_mutex_lock(&g->mutex);
    if (!atomic_load(&g->failed)) {
        (void)err_set(&g->first, code, "GPU %d (%s): %s", g->facts.number, g->facts.name, words);
        atomic_store(&g->failed, true);
    }
    pthread_mutex_unlock(&g->mutex);
}

// Behind these the process can do nothing more with the card.
static bool is_sticky(cudaError_t c) {
    switch (c) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDeviceUninitialized:
    case cudaErrorDevicesUnavailable:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

// A call's outcome. s NULL: the call belongs to no stream. Also a refused argument is the card's
// failure: what it was to compute is not there, and what comes behind it would compute with that.
static bool went_well(struct gpu *g, struct gpu_stream *s, cudaError_t c, const char *call) {
    if (c == cudaSuccess)
        return true;
    (void)cudaGetLastError(); // else the next launch would be told it
    struct errmsg words;
    enum err code = err_set(&words, c == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_LOST,
                            "%s: %s (%s)", call, cudaGetErrorString(c), cudaGetErrorName(c));
    if (s && s->capturing && !is_sticky(c)) {
        if (!s->capture.code)
            s->capture = words;
    } else {
        keep(g, code, words.text);
    }
    return false;
}

enum err cuda_failure(struct gpu *g, struct errmsg *msg) {
    if (!atomic_load(&g->failed)) {
        be_current(g);
        (void)went_well(g, NULL, cudaPeekAtLastError(), "an earlier call");
    }
    if (!atomic_load(&g->failed))
        return ERR_OK;
    pthread_mutex_lock(&g->mutex);
    enum err e = err_set(msg, g->first.code, "%s", g->first.text);
    pthread_mutex_unlock(&g->mutex);
    return e;
}

void cuda_memory(struct gpu *g, size_t *free_bytes, size_t *total_bytes) {
    be_current(g);
    *free_bytes = *total_bytes = 0;
    (void)went_well(g, NULL, cudaMemGetInfo(free_bytes, total_bytes), "cudaMemGetInfo");
}

// That there is too little is no failure of the card.
static enum err allocated(struct gpu *g, cudaError_t c, const char *call) {
    if (c == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return ERR_NOMEM;
    }
    return went_well(g, NULL, c, call) ? ERR_OK : ERR_LOST;
}

enum err cuda_alloc(struct gpu *g, size_t bytes, void **out) {
    be_current(g);
    *out = NULL;
    return allocated(g, cudaMalloc(out, bytes ? bytes : 1), "cudaMalloc");
}

void cuda_free(struct gpu *g, void *p) {
    be_current(g);
    if (p)
        (void)went_well(g, NULL, cudaFree(p), "cudaFree");
}

enum err cuda_alloc_host(struct gpu *g, size_t bytes, void **out) {
    be_current(g);
    *out = NULL;
    return allocated(g, cudaMallocHost(out, bytes ? bytes : 1), "cudaMallocHost");
}

void cuda_free_host(struct gpu *g, void *p) {
    be_current(g);
    if (p)
        (void)went_well(g, NULL, cudaFreeHost(p), "cudaFreeHost");
}

void cuda_stream_free(struct gpu *g, struct gpu_stream *s) {
    if (!s)
        return;
    be_current(g);
    if (s->stream) {
        (void)went_well(g, NULL, cudaStreamSynchronize(s->stream), "cudaStreamSynchronize");
        (void)went_well(g, NULL, cudaStreamDestroy(s->stream), "cudaStreamDestroy");
    }
    cuda_free(g, s->workspace);
    mem_free(s);
}

enum err cuda_stream_new(struct gpu *g, struct gpu_stream **out) {
    *out = NULL;
    be_current(g);
    struct gpu_stream *s = mem_calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->g = g;
    enum err e = cuda_alloc(g, g->workspace_bytes, &s->workspace);
    if (!e)
        e = allocated(g, cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking),
                      "cudaStreamCreateWithFlags");
    if (e) {
        s->stream = NULL;
        cuda_stream_free(g, s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static void copy_bytes(struct gpu_stream *s, void *to, const void *from, size_t bytes,
                       enum cudaMemcpyKind kind, const char *call) {
    be_current(s->g);
    if (bytes)
        (void)went_well(s->g, s, cudaMemcpyAsync(to, from, bytes, kind, s->stream), call);
}

void cuda_copy_in(struct gpu_stream *s, void *device, const void *host, size_t bytes) {
    copy_bytes(s, device, host, bytes, cudaMemcpyHostToDevice, "cudaMemcpyAsync to the card");
}
void cuda_copy_out(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    copy_bytes(s, host, device, bytes, cudaMemcpyDeviceToHost, "cudaMemcpyAsync from the card");
}
void cuda_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes) {
    copy_bytes(s, to, from, bytes, cudaMemcpyDeviceToDevice, "cudaMemcpyAsync on the card");
}

void cuda_fill(struct gpu_stream *s, void *device, int byte, size_t bytes) {
    be_current(s->g);
    if (bytes)
        (void)went_well(s->g, s, cudaMemsetAsync(device, byte, bytes, s->stream),
                        "cudaMemsetAsync");
}

enum err cuda_event_new(struct gpu *g, struct gpu_event **out) {
    *out = NULL;
    be_current(g);
    struct gpu_event *e = mem_calloc(1, sizeof *e);
    if (!e)
        return ERR_NOMEM;
    e->g = g;
    enum err err = allocated(
        g, cudaEventCreateWithFlags(&e->event, cudaEventDisableTiming | cudaEventBlockingSync),
        "cudaEventCreateWithFlags");
    if (err)
        mem_free(e);
    else
        *out = e;
    return err;
}

void cuda_event_free(struct gpu *g, struct gpu_event *e) {
    if (!e)
        return;
    be_current(g);
    (void)went_well(g, NULL, cudaEventDestroy(e->event), "cudaEventDestroy");
    mem_free(e);
}

void cuda_record(struct gpu_stream *s, struct gpu_event *e) {
    be_current(s->g);
    (void)went_well(s->g, s, cudaEventRecord(e->event, s->stream), "cudaEventRecord");
}

void cuda_stream_wait(struct gpu_stream *s, struct gpu_event *e) {
    be_current(s->g);
    (void)went_well(s->g, s, cudaStreamWaitEvent(s->stream, e->event, 0), "cudaStreamWaitEvent");
}

void cuda_wait(struct gpu_event *e) {
    be_current(e->g);
    (void)went_well(e->g, NULL, cudaEventSynchronize(e->event), "cudaEventSynchronize");
}

// Relaxed: other threads load models meanwhile, and cuBLASLt may load a kernel of its own.
void cuda_capture(struct gpu_stream *s) {
    be_current(s->g);
    s->capture = (struct errmsg){.code = ERR_OK};
    s->capturing = true;
    (void)went_well(s->g, s, cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeRelaxed),
                    "cudaStreamBeginCapture");
}

enum err cuda_capture_end(struct gpu_stream *s, struct gpu_graph **out, struct errmsg *msg) {
    *out = NULL;
    be_current(s->g);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t run = NULL;
    bool well = went_well(s->g, s, cudaStreamEndCapture(s->stream, &graph), "cudaStreamEndCapture");
    if (well && !s->capture.code &&
        !went_well(s->g, s, cudaGraphInstantiate(&run, graph, 0), "cudaGraphInstantiate"))
        run = NULL;
    if (graph)
        (void)cudaGraphDestroy(graph);
    s->capturing = false;
    if (!run) {
        enum err e = cuda_failure(s->g, msg);
        return e ? e
                 : err_set(msg, s->capture.code == ERR_NOMEM ? ERR_NOMEM : ERR_UNSUPPORTED,
                           "a graph cannot be captured: %s", s->capture.text);
    }
    struct gpu_graph *made = mem_calloc(1, sizeof *made);
    if (!made) {
        (void)cudaGraphExecDestroy(run);
        return err_set(msg, ERR_NOMEM, "no memory for a graph");
    }
    made->run = run;
    // So that its first launch costs what all others do.
    (void)went_well(s->g, s, cudaGraphUpload(run, s->stream), "cudaGraphUpload");
    *out = made;
    return ERR_OK;
}

void cuda_graph_launch(struct gpu_stream *s, struct gpu_graph *graph) {
    be_current(s->g);
    (void)went_well(s->g, s, cudaGraphLaunch(graph->run, s->stream), "cudaGraphLaunch");
}

void cuda_graph_free(struct gpu *g, struct gpu_graph *graph) {
    if (!graph)
        return;
    be_current(g);
    (void)went_well(g, NULL, cudaGraphExecDestroy(graph->run), "cudaGraphExecDestroy");
    mem_free(graph);
}

void cuda_gemm(struct gpu_stream *s, const struct gpu_gemm *a) {
    be_current(s->g);
    struct errmsg words;
    enum err e = gemm_plans_run(s->g->plans, a, s->workspace, s->stream, &words);
    if (e)
        (void)cudaGetLastError();
    if (e && s->capturing) {
        if (!s->capture.code)
            s->capture = words;
    } else if (e) {
        keep(s->g, e == ERR_NOMEM ? ERR_NOMEM : ERR_LOST, words.text);
    }
}

void *gpu_stream_native(struct gpu_stream *s) {
    be_current(s->g);
    return s->stream;
}

void gpu_stream_launched(struct gpu_stream *s, int error, const char *kernel) {
    (void)went_well(s->g, s, (cudaError_t)error, kernel);
}
