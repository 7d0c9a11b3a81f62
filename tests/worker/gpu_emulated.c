// trine-gpu-emulated: trine-gpu with the emulated GPU (tests/gpu/emulated_gpu.h, whose environment
// it reads), and with faults on demand (docs/worker.md).
#include "tests/gpu/emulated_gpu.h"
#include "tests/worker/faults.h"
#include "worker/gpu.h"

int main(int argc, char **argv) {
    struct worker_device device = worker_gpu(gpu_emulated(), NULL);
    return worker_faults_main(argc, argv, &device);
}
