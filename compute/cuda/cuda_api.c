// See cuda_api.h.
#include "compute/cuda/cuda_api.h"

#include "base/mem.h"
#include "compute/cuda/cublaslt.h"
#include "compute/cuda/cuda_api_internal.h"
#include "compute/cuda/gemm_plans.h"
#include "compute/cuda/nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20, WORKSPACE_MIB = 4, WORKSPACE_MIB_HOPPER = 32, HOPPER = 9 };

static int driver_version(void) {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

static int runtime_version(void) {
    int version = 0;
    return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

// Whether the driver is there and new enough.
static enum err check_driver(struct errmsg *msg) {
    int driver = driver_version();
    if (driver == 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "no NVIDIA driver is here (libcuda.so.1): one of series 580 or newer is "
                       "needed, for CUDA %d.%d",
                       CUDA_API_LEAST_DRIVER / 1000, CUDA_API_LEAST_DRIVER % 1000 / 10);
    if (driver < CUDA_API_LEAST_DRIVER)
        return err_set(msg, ERR_UNSUPPORTED,
                       "the NVIDIA driver is too old: it knows CUDA %d.%d, and %d.%d is needed: "
                       "series 580 or newer",
                       driver / 1000, driver % 1000 / 10, CUDA_API_LEAST_DRIVER / 1000,
                       CUDA_API_LEAST_DRIVER % 1000 / 10);
    return ERR_OK;
}

static enum err count(int *out, struct errmsg *msg) {
    *out = 0;
    enum err e = check_driver(msg);
    if (e)
        return e;
    cudaError_t c = cudaGetDeviceCount(out);
    if (c == cudaSuccess && *out > 0)
        return ERR_OK;
    (void)cudaGetLastError();
    *out = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (visible)
        return err_set(msg, ERR_UNSUPPORTED,
                       "no NVIDIA GPU is visible: %s; CUDA_VISIBLE_DEVICES is '%s'",
                       cudaGetErrorString(c ? c : cudaErrorNoDevice), visible);
    if (access("/dev/nvidia-uvm", F_OK) != 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "no NVIDIA GPU can be used: %s; there is no /dev/nvidia-uvm (module "
                       "nvidia_uvm, or a unit with PrivateDevices)",
                       cudaGetErrorString(c ? c : cudaErrorNoDevice));
    return err_set(msg, ERR_UNSUPPORTED, "no NVIDIA GPU can be used: %s",
                   cudaGetErrorString(c ? c : cudaErrorNoDevice));
}

// A card's memory, without a context of our own on it where NVML can say.
static enum err look_memory(int number, const struct cudaDeviceProp *prop, struct gpu_facts *out,
                            struct errmsg *msg) {
    struct nvml *nvml;
    struct nvml_figures figures = {.celsius.known = false};
    nvml_write_uuid("GPU-", (const unsigned char *)prop->uuid.bytes, out->uuid);
    if (nvml_open((const unsigned char *)prop->uuid.bytes, &nvml, NULL) == ERR_OK) {
        (void)snprintf(out->uuid, sizeof out->uuid, "%s", nvml_uuid(nvml));
        nvml_read(nvml, &figures);
        nvml_close(nvml);
    }
    out->memory_bytes = prop->totalGlobalMem;
    out->free_bytes = figures.memory_free_bytes.value;
    if (figures.memory_free_bytes.known)
        return ERR_OK;
    cudaError_t c = cuda_be_current(number);
    if (!c)
        c = cudaMemGetInfo(&out->free_bytes, &out->memory_bytes);
    if (!c)
        return ERR_OK;
    (void)cudaGetLastError();
    return err_set(msg, ERR_UNSUPPORTED, "GPU %d (%s): %s", number, out->name,
                   cudaGetErrorString(c));
}

static enum err look(int number, struct gpu_facts *out, struct errmsg *msg) {
    *out = (struct gpu_facts){.number = number, .driver = driver_version()};
    struct cudaDeviceProp prop;
    cudaError_t c = cudaGetDeviceProperties(&prop, number);
    if (c) {
        (void)cudaGetLastError();
        return err_set(msg, ERR_UNSUPPORTED, "GPU %d: %s", number, cudaGetErrorString(c));
    }
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, prop.name);
    out->major = prop.major;
    out->minor = prop.minor;
    out->processors = prop.multiProcessorCount;
    out->shared_bytes = prop.sharedMemPerBlockOptin;
    out->bf16 = prop.major >= 8;
    return look_memory(number, &prop, out, msg);
}

// ---- kernels

// What nvcc puts before main calls __cudaRegisterFunction for each kernel of each file; the linker
// brings the calls here (--wrap, cuda.mk). So the list is whole without anybody's keeping it.
enum { KERNELS_MOST = 4096 };
static struct {
    const void *host; // by which the runtime knows it
    const char *name; // mangled
} kernels[KERNELS_MOST];
static size_t kernel_count;

// NOLINTBEGIN(bugprone-reserved-identifier): the names are nvcc's and ld's
void __real___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp);
void __wrap___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp);
void __wrap___cudaRegisterFunction(void **binary, const char *host, char *device, const char *name,
                                   int threads, void *tid, void *bid, void *block, void *grid,
                                   int *warp) {
    if (kernel_count < KERNELS_MOST) {
        kernels[kernel_count].host = host;
        kernels[kernel_count].name = name;
    }
    kernel_count++;
    __real___cudaRegisterFunction(binary, host, device, name, threads, tid, bid, block, grid, warp);
}
// NOLINTEND(bugprone-reserved-identifier)

// Loads all of them. Otherwise a kernel is loaded when it is first launched: in the middle of
// serving, with an allocation and a wait for all streams. CUDA_MODULE_LOADING=EAGER would do so
// too, but with all that cuBLASLt holds, which is hundreds of megabytes of the card's memory.
static enum err load_kernels(const struct gpu_facts *facts, struct errmsg *msg) {
    if (kernel_count > KERNELS_MOST)
        return err_set(msg, ERR_INTERNAL, "%zu kernels, of %d that may be", kernel_count,
                       (int)KERNELS_MOST);
    for (size_t i = 0; i < kernel_count; i++) {
        struct cudaFuncAttributes attributes;
        cudaError_t c = cudaFuncGetAttributes(&attributes, kernels[i].host);
        if (!c && facts->shared_bytes > attributes.sharedSizeBytes)
            c = cudaFuncSetAttribute(kernels[i].host, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)(facts->shared_bytes - attributes.sharedSizeBytes));
        if (!c)
            continue;
        (void)cudaGetLastError();
        if (c == cudaErrorNoKernelImageForDevice || c == cudaErrorInvalidDeviceFunction)
            return err_set(msg, ERR_UNSUPPORTED,
                           "this build has no code for GPU %d (%s, compute capability %d.%d): "
                           "make cuda-all builds it for all cards",
                           facts->number, facts->name, facts->major, facts->minor);
        return err_set(msg, c == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_UNSUPPORTED,
                       "GPU %d (%s): loading %s: %s", facts->number, facts->name, kernels[i].name,
                       cudaGetErrorString(c));
    }
    return ERR_OK;
}

// ---- opening

static enum err start(struct gpu *g, struct errmsg *msg) {
    struct gpu_facts *f = &g->facts;
    enum err e = look(g->facts.number, f, msg);
    if (e)
        return e;
    if (f->major < CUDA_API_LEAST_MAJOR ||
        (f->major == CUDA_API_LEAST_MAJOR && f->minor < CUDA_API_LEAST_MINOR))
        return err_set(msg, ERR_UNSUPPORTED,
                       "GPU %d (%s) has compute capability %d.%d, and %d.%d is the least",
                       f->number, f->name, f->major, f->minor, CUDA_API_LEAST_MAJOR,
                       CUDA_API_LEAST_MINOR);
    cudaError_t c =
        cudaInitDevice(f->number, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid);
    if (!c)
        c = cuda_be_current(f->number);
    if (c) {
        (void)cudaGetLastError();
        return err_set(msg, c == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_UNSUPPORTED,
                       "GPU %d (%s): %s", f->number, f->name, cudaGetErrorString(c));
    }
    e = load_kernels(f, msg);
    if (!e)
        e = cublaslt_open(getenv("TRINE_CUDA_LIBS"), &g->lib, msg);
    g->workspace_bytes = (size_t)(f->major >= HOPPER ? WORKSPACE_MIB_HOPPER : WORKSPACE_MIB) * MIB;
    if (!e)
        e = gemm_plans_new(&g->lib, GEMM_PLANS_CAPACITY, g->workspace_bytes, &g->plans, msg);
    return e;
}

static void gpu_close(struct gpu *g) {
    if (!g)
        return;
    gemm_plans_free(g->plans);
    cublaslt_close(&g->lib);
    pthread_mutex_destroy(&g->mutex);
    mem_free(g);
}

static enum err gpu_open(int number, struct gpu **out, struct errmsg *msg) {
    *out = NULL;
    int n;
    enum err e = count(&n, msg);
    if (e)
        return e;
    if (number < 0 || number >= n)
        return err_set(msg, ERR_UNSUPPORTED, "there is no GPU %d: %d can be seen, from 0", number,
                       n);
    struct gpu *g = mem_calloc(1, sizeof *g);
    if (!g)
        return err_set(msg, ERR_NOMEM, "no memory for GPU %d", number);
    pthread_mutex_init(&g->mutex, NULL);
    g->facts.number = number;
    e = start(g, msg);
    if (e) {
        gpu_close(g);
        return e;
    }
    *out = g;
    return ERR_OK;
}

struct probe_kind cuda_api_probe(void) {
    return (struct probe_kind){
        .api = &gpu_api_cuda,
        .driver = driver_version(),
        .runtime = runtime_version(),
        .least_driver = CUDA_API_LEAST_DRIVER,
        .least_major = CUDA_API_LEAST_MAJOR,
        .least_minor = CUDA_API_LEAST_MINOR,
        .kernels = kernel_count,
        .cublaslt = true,
    };
}

const struct gpu_api gpu_api_cuda = {
    .name = "cuda",
    .count = count,
    .look = look,
    .open = gpu_open,
    .close = gpu_close,
    .memory = cuda_memory,
    .failure = cuda_failure,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .alloc_host = cuda_alloc_host,
    .free_host = cuda_free_host,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .record = cuda_record,
    .stream_wait = cuda_stream_wait,
    .wait = cuda_wait,
    .capture = cuda_capture,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .gemm = cuda_gemm,
};
