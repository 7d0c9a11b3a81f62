// See fake_cudart.h.
#include "tests/cuda/fake_cudart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_cudart fake_cudart;
static _Thread_local int current;

struct CUstream_st {
    int card;
    bool capturing;
    int kept; // operations between the two ends of a capture
};
struct CUevent_st {
    int card;
};
struct CUgraph_st {
    int nodes;
};
struct CUgraphExec_st {
    int nodes;
};
enum { HEADER = 16 }; // of a block: its size

void fake_cudart_reset(void) {
    fake_cudart = (struct fake_cudart){
        .driver = 13000, .cards = FAKE_CARDS, .major = {9, 9}, .memory = (size_t)100 << 20};
}

static cudaError_t gives(cudaError_t e) {
    if (e)
        fake_cudart.last = e;
    return e;
}

// What the call gives before it does anything.
static cudaError_t asked(const char *call) {
    struct fake_cudart *f = &fake_cudart;
    if (f->lost)
        return gives(f->fail);
    if (!f->fail_call || strcmp(call, f->fail_call) != 0 || f->behind-- > 0)
        return cudaSuccess;
    f->fail_call = NULL;
    f->lost = f->fail == cudaErrorIllegalAddress || f->fail == cudaErrorECCUncorrectable;
    return gives(f->fail);
}
#define ASKED()                                                                                    \
    do {                                                                                           \
        cudaError_t asked_ = asked(__func__);                                                      \
        if (asked_)                                                                                \
            return asked_;                                                                         \
    } while (0)
#define ON(stream)                                                                                 \
    do {                                                                                           \
        ASKED();                                                                                   \
        if (!(stream) || (stream)->card != current)                                                \
            return gives(cudaErrorInvalidResourceHandle);                                          \
    } while (0)

const char *cudaGetErrorName(cudaError_t e) {
    static char name[32];
    (void)snprintf(name, sizeof name, "cudaError%d", (int)e);
    return name;
}
const char *cudaGetErrorString(cudaError_t e) {
    return e == cudaErrorIllegalAddress ? "an illegal memory access was encountered"
                                        : "what CUDA says of it";
}
cudaError_t cudaGetLastError(void) {
    cudaError_t e = fake_cudart.last;
    fake_cudart.last = fake_cudart.lost ? e : cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError(void) { return fake_cudart.last; }
cudaError_t cudaDriverGetVersion(int *version) {
    *version = fake_cudart.driver;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    ASKED();
    *count = fake_cudart.cards;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int card) {
    ASKED();
    if (card < 0 || card >= fake_cudart.cards)
        return gives(cudaErrorInvalidDevice);
    memset(prop, 0, sizeof *prop);
    (void)snprintf(prop->name, sizeof prop->name, "Told %d", card);
    memset(prop->uuid.bytes, 0x10 + card, sizeof prop->uuid.bytes);
    prop->major = fake_cudart.major[card];
    prop->minor = fake_cudart.minor[card];
    prop->totalGlobalMem = fake_cudart.memory;
    prop->multiProcessorCount = 132;
    prop->sharedMemPerBlockOptin = 232448;
    return cudaSuccess;
}
cudaError_t cudaInitDevice(int card, unsigned device_flags, unsigned flags) {
    (void)card;
    ASKED();
    fake_cudart.device_flags = flags == cudaInitDeviceFlagsAreValid ? device_flags : 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int card) {
    ASKED();
    current = card;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    ASKED();
    *total = fake_cudart.memory;
    *free_bytes = fake_cudart.memory - fake_cudart.held;
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *kernel) {
    (void)kernel;
    ASKED();
    memset(attributes, 0, sizeof *attributes);
    attributes->sharedSizeBytes = 448;
    fake_cudart.loaded++;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute which, int value) {
    (void)kernel;
    ASKED();
    if (which == cudaFuncAttributeMaxDynamicSharedMemorySize)
        fake_cudart.shared = value;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
    ASKED();
    if (bytes > fake_cudart.memory - fake_cudart.held)
        return gives(cudaErrorMemoryAllocation);
    char *block = malloc(HEADER + bytes);
    if (!block)
        return gives(cudaErrorMemoryAllocation);
    memcpy(block, &bytes, sizeof bytes);
    fake_cudart.held += bytes;
    *out = block + HEADER;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    char *block = (char *)p - HEADER;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    fake_cudart.held -= bytes;
    free(block);
    return asked(__func__);
}
cudaError_t cudaMallocHost(void **out, size_t bytes) {
    ASKED();
    *out = malloc(bytes);
    fake_cudart.host_blocks += *out != NULL;
    return *out ? cudaSuccess : gives(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void *p) {
    free(p);
    fake_cudart.host_blocks--;
    return asked(__func__);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    ASKED();
    *out = calloc(1, sizeof **out);
    if (!*out)
        return gives(cudaErrorMemoryAllocation);
    (*out)->card = current;
    fake_cudart.stream_flags = flags;
    fake_cudart.streams++;
    fake_cudart.streams_of[current]++;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    free(s);
    fake_cudart.streams--;
    return asked(__func__);
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    ON(s);
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags) {
    (void)flags;
    ON(s);
    return e ? cudaSuccess : gives(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t s) {
    ON(s);
    if (kind == cudaMemcpyDefault || kind == cudaMemcpyHostToHost)
        return gives(cudaErrorInvalidMemcpyDirection);
    s->kept++;
    if (!s->capturing)
        memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t s) {
    ON(s);
    s->kept++;
    if (!s->capturing)
        memset(to, byte, bytes);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    ASKED();
    *out = calloc(1, sizeof **out);
    if (!*out)
        return gives(cudaErrorMemoryAllocation);
    (*out)->card = current;
    fake_cudart.event_flags = flags;
    fake_cudart.events++;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    free(e);
    fake_cudart.events--;
    return asked(__func__);
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    ON(s);
    return e->card == s->card ? cudaSuccess : gives(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    ON(e);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode) {
    ON(s);
    s->capturing = true;
    s->kept = 0;
    fake_cudart.capture_mode = mode;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) {
    *out = NULL;
    ON(s);
    s->capturing = false;
    *out = calloc(1, sizeof **out);
    if (!*out)
        return gives(cudaErrorMemoryAllocation);
    (*out)->nodes = s->kept;
    fake_cudart.graphs++;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph,
                                 unsigned long long flags) {
    (void)flags;
    ASKED();
    *out = calloc(1, sizeof **out);
    if (!*out)
        return gives(cudaErrorMemoryAllocation);
    (*out)->nodes = graph->nodes;
    fake_cudart.graphs++;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    free(graph);
    fake_cudart.graphs--;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    free(graph);
    fake_cudart.graphs--;
    return asked(__func__);
}
cudaError_t cudaGraphUpload(cudaGraphExec_t graph, cudaStream_t s) {
    (void)graph;
    ON(s);
    fake_cudart.uploads++;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s) {
    ON(s);
    fake_cudart.launches += graph->nodes;
    return cudaSuccess;
}
