// gpu_api.h on NVIDIA's cards, over a runtime and a cuBLASLt of the test's own (fake_cudart.h):
// what a card that cannot be used is told for, that memory which is short is no failure of the card
// and an error that stays is, that the first one's words are kept, what a capture that fails does,
// that a thread names its card, and that nothing is left. Called by tests/cuda.sh, which builds the
// library into the folder that TRINE_CUDA_LIBS names.
#include "compute/cuda/cuda_api.h"

#include "compute/cuda/cuda_api_internal.h"
#include "tests/check.h"
#include "tests/cuda/fake_cudart.h"

#include <pthread.h>
#include <stdlib.h>

static const struct gpu_api *const API = &gpu_api_cuda;

// In the place of what nvcc and ld put before main.
// NOLINTBEGIN(bugprone-reserved-identifier)
void __real___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp);
void __wrap___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp);
static int registered;
void __real___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp) {
    (void)binary, (void)host, (void)device, (void)name, (void)threads;
    (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
    registered++;
}
static void register_kernel(const char *name) {
    __wrap___cudaRegisterFunction(NULL, name, NULL, name, 0, NULL, NULL, NULL, NULL, NULL);
}
// NOLINTEND(bugprone-reserved-identifier)

static void fail(const char *call, cudaError_t error, int behind) {
    fake_cudart.fail_call = call;
    fake_cudart.fail = error;
    fake_cudart.behind = behind;
}

static struct gpu *opened(int number) {
    struct gpu *g = NULL;
    struct errmsg msg;
    CHECK_OK(API->open(number, &g, &msg), msg);
    return g;
}

static void expect_none_left(void) {
    CHECK_INT(fake_cudart.held, 0);
    CHECK_INT(fake_cudart.streams, 0);
    CHECK_INT(fake_cudart.events, 0);
    CHECK_INT(fake_cudart.graphs, 0);
    CHECK_INT(fake_cudart.host_blocks, 0);
}

static void test_what_cannot_be_used(void) {
    struct gpu *g;
    struct errmsg msg;
    int n;
    fake_cudart_reset();
    fake_cudart.driver = 0;
    CHECK_ERROR(API->count(&n, &msg), ERR_UNSUPPORTED, msg, "no NVIDIA driver");
    fake_cudart.driver = 12080;
    CHECK_ERROR(API->open(0, &g, &msg), ERR_UNSUPPORTED, msg,
                "knows CUDA 12.8, and 13.0 is needed");
    fake_cudart_reset();
    fail("cudaGetDeviceCount", cudaErrorNoDevice, 0);
    CHECK_ERROR(API->count(&n, &msg), ERR_UNSUPPORTED, msg, "no NVIDIA GPU can be used");
    CHECK_INT(n, 0);
    CHECK_INT(fake_cudart.last, 0);
    CHECK(setenv("CUDA_VISIBLE_DEVICES", "MIG-none", 1) == 0);
    fail("cudaGetDeviceCount", cudaErrorNoDevice, 0);
    CHECK_ERROR(API->count(&n, &msg), ERR_UNSUPPORTED, msg, "CUDA_VISIBLE_DEVICES is 'MIG-none'");
    CHECK(unsetenv("CUDA_VISIBLE_DEVICES") == 0);

    fake_cudart.major[1] = 7;
    fake_cudart.minor[1] = 2;
    CHECK_ERROR(API->open(1, &g, &msg), ERR_UNSUPPORTED, msg, "7.2, and 7.5 is the least");
    CHECK_ERROR(API->open(2, &g, &msg), ERR_UNSUPPORTED, msg, "there is no GPU 2: 2 can be seen");
    CHECK_ERROR(API->open(-1, &g, &msg), ERR_UNSUPPORTED, msg, "there is no GPU -1");
    fail("cudaFuncGetAttributes", cudaErrorNoKernelImageForDevice, 1);
    CHECK_ERROR(API->open(0, &g, &msg), ERR_UNSUPPORTED, msg, "no code for GPU 0 (Told 0, compute");
    fail("cudaFuncSetAttribute", cudaErrorInvalidValue, 1);
    CHECK_ERROR(API->open(0, &g, &msg), ERR_UNSUPPORTED, msg, "loading second_kernel");
    fail("cudaInitDevice", cudaErrorMemoryAllocation, 0);
    CHECK_ERROR(API->open(0, &g, &msg), ERR_NOMEM, msg, "GPU 0 (Told 0)");
    const char *folder = getenv("TRINE_CUDA_LIBS");
    char *kept = strdup(folder ? folder : "");
    CHECK(setenv("TRINE_CUDA_LIBS", "/nowhere/at/all", 1) == 0);
    CHECK_ERROR(API->open(0, &g, &msg), ERR_UNSUPPORTED, msg, "/nowhere/at/all");
    CHECK(kept && setenv("TRINE_CUDA_LIBS", kept, 1) == 0);
    free(kept);
    CHECK(!g);
    expect_none_left();
}

static void test_facts(void) {
    struct gpu_facts f;
    struct errmsg msg;
    fake_cudart_reset();
    CHECK_OK(API->look(1, &f, &msg), msg);
    CHECK_STR(f.name, "Told 1");
    CHECK_STR(f.uuid, "GPU-11111111-1111-1111-1111-111111111111");
    CHECK(f.number == 1 && f.major == 9 && f.processors == 132 && f.bf16 && f.driver == 13000);
    CHECK(f.memory_bytes == fake_cudart.memory && f.free_bytes == fake_cudart.memory);
    fake_cudart.major[1] = 7;
    fake_cudart.minor[1] = 5;
    CHECK_OK(API->look(1, &f, &msg), msg);
    CHECK(!f.bf16);
    CHECK_ERROR(API->look(5, &f, &msg), ERR_UNSUPPORTED, msg, "GPU 5");
    CHECK_INT(fake_cudart.last, 0); // taken: the next launch is not told of it
}

static void test_work(void) {
    fake_cudart_reset();
    struct gpu *g = opened(0);
    struct gpu_stream *s;
    struct gpu_event *e;
    struct errmsg msg;
    void *device, *host;
    CHECK_INT(fake_cudart.loaded, 2); // all kernels
    CHECK_INT(fake_cudart.shared, 232448 - 448);
    CHECK_INT(fake_cudart.device_flags, cudaDeviceScheduleBlockingSync);
    CHECK(API->alloc(g, 64, &device) == ERR_OK && API->alloc_host(g, 64, &host) == ERR_OK);
    CHECK(API->stream_new(g, &s) == ERR_OK && API->event_new(g, &e) == ERR_OK);
    CHECK_INT(fake_cudart.event_flags, cudaEventDisableTiming | cudaEventBlockingSync);
    CHECK_INT(fake_cudart.stream_flags, cudaStreamNonBlocking);
    memset(host, 7, 64);
    API->copy_in(s, device, host, 64);
    API->fill(s, device, 1, 8);
    API->copy(s, (char *)device + 32, device, 16);
    API->copy_out(s, host, device, 64);
    API->copy_out(s, NULL, NULL, 0);
    API->record(s, e);
    API->stream_wait(s, e);
    API->wait(e);
    const char *bytes = host;
    CHECK(bytes[0] == 1 && bytes[8] == 7 && bytes[32] == 1 && bytes[40] == 7 && bytes[48] == 7);
    size_t free_bytes, total;
    API->memory(g, &free_bytes, &total);
    CHECK(total == fake_cudart.memory && free_bytes < total - 64);

    struct gpu_graph *graph;
    API->capture(s);
    CHECK_INT(fake_cudart.capture_mode, cudaStreamCaptureModeRelaxed);
    API->fill(s, device, 9, 64);
    API->copy(s, device, device, 0);
    API->copy_out(s, host, device, 64);
    CHECK_OK(API->capture_end(s, &graph, &msg), msg);
    CHECK_INT(fake_cudart.uploads, 1);
    CHECK(bytes[0] == 1); // kept, not done
    API->graph_launch(s, graph);
    CHECK_INT(fake_cudart.launches, 2);
    API->graph_free(g, graph);

    float x[4] = {1, 2, 3, 4}, w[4] = {1, 1, 2, 2}, y[4] = {0};
    struct gpu_gemm a = {.type = GPU_F32,
                         .rows = 2,
                         .out = 2,
                         .in = 2,
                         .x = x,
                         .w = w,
                         .y = y,
                         .ld_x = 2,
                         .ld_w = 2,
                         .ld_y = 2};
    API->gemm(s, &a);
    CHECK(y[0] == 3 && y[1] == 6 && y[2] == 7 && y[3] == 14);
    CHECK_OK(API->failure(g, &msg), msg);
    API->free(g, device);
    API->free_host(g, host);
    API->event_free(g, e);
    API->stream_free(g, s);
    API->free(g, NULL);
    API->free_host(g, NULL);
    API->event_free(g, NULL);
    API->stream_free(g, NULL);
    API->graph_free(g, NULL);
    API->close(g);
    API->close(NULL);
    expect_none_left();
}

static void test_memory_is_short(void) {
    fake_cudart_reset();
    struct gpu *g = opened(0);
    struct gpu_stream *s;
    struct gpu_event *e;
    struct errmsg msg;
    void *p;
    CHECK(API->alloc(g, fake_cudart.memory + 1, &p) == ERR_NOMEM && !p);
    CHECK_INT(fake_cudart.last, 0);
    fail("cudaMallocHost", cudaErrorMemoryAllocation, 0);
    CHECK(API->alloc_host(g, 8, &p) == ERR_NOMEM && !p);
    fail("cudaStreamCreateWithFlags", cudaErrorMemoryAllocation, 0);
    CHECK(API->stream_new(g, &s) == ERR_NOMEM && !s);
    fail("cudaEventCreateWithFlags", cudaErrorMemoryAllocation, 0);
    CHECK(API->event_new(g, &e) == ERR_NOMEM && !e);
    fake_cudart.memory = 1 << 20; // no room for a workspace
    CHECK(API->stream_new(g, &s) == ERR_NOMEM && !s);
    CHECK_OK(API->failure(g, &msg), msg);
    API->close(g);
    expect_none_left();
}

static void test_the_first_failure_is_kept(void) {
    fake_cudart_reset();
    struct gpu *g = opened(0);
    struct gpu_stream *s;
    struct gpu_event *e;
    struct errmsg msg;
    void *p;
    CHECK(API->stream_new(g, &s) == ERR_OK && API->event_new(g, &e) == ERR_OK);
    API->record(s, e);
    fail("cudaEventSynchronize", cudaErrorIllegalAddress, 0);
    API->wait(e);
    API->fill(s, NULL, 0, 8); // fails too, with the same: it does not overwrite the first
    CHECK_ERROR(API->failure(g, &msg), ERR_LOST, msg,
                "GPU 0 (Told 0): cudaEventSynchronize: an illegal memory access was encountered");
    CHECK(API->alloc(g, 8, &p) == ERR_LOST && !p);
    API->event_free(g, e);
    API->stream_free(g, s);
    CHECK_ERROR(API->failure(g, &msg), ERR_LOST, msg, "cudaEventSynchronize");
    API->close(g);
    expect_none_left();

    // a kernel that was refused, by its own name; and no call after it is taken for it
    fake_cudart_reset();
    g = opened(0);
    CHECK(API->stream_new(g, &s) == ERR_OK);
    gpu_stream_launched(s, 0, "well_kernel");
    CHECK_OK(API->failure(g, &msg), msg);
    fake_cudart.last = cudaErrorInvalidValue;
    gpu_stream_launched(s, cudaErrorInvalidValue, "bad_kernel<T>");
    CHECK_INT(fake_cudart.last, 0);
    CHECK_ERROR(API->failure(g, &msg), ERR_LOST, msg, "bad_kernel<T>: what CUDA says of it");
    API->stream_free(g, s);
    API->close(g);

    // an error that nobody asked after is found by who asks for the failure
    fake_cudart_reset();
    g = opened(0);
    fake_cudart.last = cudaErrorECCUncorrectable;
    CHECK_ERROR(API->failure(g, &msg), ERR_LOST, msg, "an earlier call");
    API->close(g);

    // a product
    fake_cudart_reset();
    g = opened(0);
    CHECK(API->stream_new(g, &s) == ERR_OK);
    CHECK(setenv("FAKE_CUBLASLT_FAIL", "13", 1) == 0);
    struct gpu_gemm a = {.type = GPU_F32,
                         .rows = 1,
                         .out = 1,
                         .in = 1,
                         .x = s,
                         .w = s,
                         .y = s,
                         .ld_x = 1,
                         .ld_w = 1,
                         .ld_y = 1};
    API->gemm(s, &a);
    CHECK(unsetenv("FAKE_CUBLASLT_FAIL") == 0);
    CHECK_ERROR(API->failure(g, &msg), ERR_LOST, msg, "cublasLtMatmul");
    API->stream_free(g, s);
    API->close(g);
    expect_none_left();
}

// What cannot be captured is done without a graph: only a lost card is its failure.
static void test_captures_that_fail(void) {
    fake_cudart_reset();
    struct gpu *g = opened(0);
    struct gpu_stream *s;
    struct gpu_graph *graph;
    struct errmsg msg;
    char byte;
    CHECK(API->stream_new(g, &s) == ERR_OK);
    static const char *const calls[] = {"cudaStreamBeginCapture", "cudaMemsetAsync",
                                        "cudaStreamEndCapture", "cudaGraphInstantiate"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        fail(calls[i], cudaErrorStreamCaptureUnsupported, 0);
        API->capture(s);
        API->fill(s, &byte, 1, 1);
        CHECK_ERROR(API->capture_end(s, &graph, &msg), ERR_UNSUPPORTED, msg, calls[i]);
        CHECK(!graph);
        CHECK_OK(API->failure(g, &msg), msg);
        CHECK_INT(fake_cudart.graphs, 0);
        CHECK_INT(fake_cudart.last, 0);
    }
    CHECK(setenv("FAKE_CUBLASLT_FAIL", "15", 1) == 0);
    struct gpu_gemm a = {.type = GPU_F32,
                         .rows = 1,
                         .out = 1,
                         .in = 1,
                         .x = s,
                         .w = s,
                         .y = s,
                         .ld_x = 1,
                         .ld_w = 1,
                         .ld_y = 1};
    API->capture(s);
    API->gemm(s, &a);
    CHECK_ERROR(API->capture_end(s, &graph, &msg), ERR_UNSUPPORTED, msg, "cublasLtMatmul");
    CHECK(unsetenv("FAKE_CUBLASLT_FAIL") == 0);
    API->capture(s); // and the next one is none of that
    CHECK_OK(API->capture_end(s, &graph, &msg), msg);
    API->graph_free(g, graph);
    API->capture(s);
    fail("cudaMemsetAsync", cudaErrorIllegalAddress, 0);
    API->fill(s, &byte, 1, 1);
    CHECK_ERROR(API->capture_end(s, &graph, &msg), ERR_LOST, msg, "cudaMemsetAsync");
    API->stream_free(g, s);
    API->close(g);
    expect_none_left();
}

struct other {
    struct gpu *g;
    struct gpu_stream *s;
    void *p;
};

static void *in_another_thread(void *arg) {
    struct other *o = arg;
    char byte = 3;
    CHECK(API->alloc(o->g, 1, &o->p) == ERR_OK);
    API->copy_in(o->s, o->p, &byte, 1);
    return NULL;
}

static void test_two_cards_and_two_threads(void) {
    fake_cudart_reset();
    struct gpu *g[FAKE_CARDS] = {opened(0), opened(1)};
    struct gpu_stream *s[FAKE_CARDS];
    struct gpu_event *e[FAKE_CARDS];
    struct errmsg msg;
    char byte;
    for (int i = 0; i < FAKE_CARDS; i++)
        CHECK(API->stream_new(g[i], &s[i]) == ERR_OK && API->event_new(g[i], &e[i]) == ERR_OK);
    CHECK(fake_cudart.streams_of[0] == 1 && fake_cudart.streams_of[1] == 1);
    for (int i = 0; i < 4; i++) {
        API->fill(s[i % 2], &byte, 1, 1);
        API->record(s[i % 2], e[i % 2]);
        API->wait(e[(i + 1) % 2]);
        CHECK(gpu_stream_native(s[(i + 1) % 2]) != NULL);
    }
    pthread_t thread;
    struct other o = {.g = g[1], .s = s[1]};
    CHECK(pthread_create(&thread, NULL, in_another_thread, &o) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < FAKE_CARDS; i++) {
        CHECK_OK(API->failure(g[i], &msg), msg);
        if (i == 1)
            API->free(g[i], o.p);
        API->event_free(g[i], e[i]);
        API->stream_free(g[i], s[i]);
        API->close(g[i]);
    }
    expect_none_left();
}

int main(void) {
    register_kernel("first_kernel");
    register_kernel("second_kernel");
    CHECK_INT(registered, 2);
    CHECK_INT(cuda_api_probe().kernels, 2);
    test_what_cannot_be_used();
    test_facts();
    test_work();
    test_memory_is_short();
    test_the_first_failure_is_kept();
    test_captures_that_fail();
    test_two_cards_and_two_threads();
    return check_done();
}
