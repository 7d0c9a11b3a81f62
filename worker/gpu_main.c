// The entry of trine-gpu; see gpu.h.
#include "compute/cuda/cuda_api.h"
#include "worker/gpu.h"

static int probe(void) {
    struct probe_kind kind = cuda_api_probe();
    return probe_print(&kind);
}

int main(int argc, char **argv) {
    struct worker_device device = worker_gpu(&gpu_api_cuda, probe);
    return worker_main(argc, argv, &device, NULL);
}
