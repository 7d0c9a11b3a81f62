// trine-gpu with real faults on demand: the card is lost by an illegal address, a kernel does not
// end, memory is not there. Role: the kit (make cuda-kit). TRINE_GPU_FAULT=lost|hang|nomem@N, as
// the emulated GPU has it: at the Nth result that is copied to the host (nomem: allocation), in
// each life. Thread rule: as the GPU's.
#include "compute/cuda/cuda_api.h"
#include "worker/gpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct {
    char kind[8];
    long at;
    int32_t *never; // pinned, and zero: what the kernel that hangs waits for
} fault;
static atomic_long copies, allocations;

static bool is_now(const char *kind, atomic_long *counted) {
    return strcmp(fault.kind, kind) == 0 && atomic_fetch_add(counted, 1) + 1 == fault.at;
}

static enum err open_with_fault(int number, struct gpu **out, struct errmsg *msg) {
    enum err e = gpu_api_cuda.open(number, out, msg);
    void *p = NULL;
    if (e == ERR_OK && strcmp(fault.kind, "hang") == 0 && !fault.never) {
        e = gpu_api_cuda.alloc_host(*out, sizeof *fault.never, &p);
        if (e == ERR_OK) {
            fault.never = p;
            *fault.never = 0;
        }
    }
    return e;
}

static void copy_out_or_fail(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    if (is_now("lost", &copies))
        gpu_launch_illegal_address(s);
    else if (is_now("hang", &copies))
        gpu_launch_hang(s, fault.never);
    gpu_api_cuda.copy_out(s, host, device, bytes);
}

static enum err alloc_or_fail(struct gpu *g, size_t bytes, void **out) {
    return is_now("nomem", &allocations) ? ERR_NOMEM : gpu_api_cuda.alloc(g, bytes, out);
}

static int probe(void) {
    struct probe_kind kind = cuda_api_probe();
    return probe_print(&kind);
}

int main(int argc, char **argv) {
    const char *asked = getenv("TRINE_GPU_FAULT"), *at = asked ? strchr(asked, '@') : NULL;
    if (at && (size_t)(at - asked) < sizeof fault.kind) {
        memcpy(fault.kind, asked, (size_t)(at - asked));
        fault.at = strtol(at + 1, NULL, 10);
    }
    static struct gpu_api api;
    api = gpu_api_cuda;
    api.open = open_with_fault;
    api.copy_out = copy_out_or_fail;
    api.alloc = alloc_or_fail;
    struct worker_device device = worker_gpu(&api, probe);
    return worker_main(argc, argv, &device, NULL);
}
