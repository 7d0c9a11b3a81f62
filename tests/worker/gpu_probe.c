// The main of build/tests/gpu-probe: trine-gpu's objects, kernels and libraries with nothing but
// the probe, so that a build shows that they link, and a test what they say where there is no card.
#include "compute/cuda/cuda_api.h"

int main(void) {
    struct probe_kind kind = cuda_api_probe();
    return probe_print(&kind);
}
