// The CPU device. Role: makes a struct device over a team of compute threads and the best kernels
// that this CPU has (TRINE_CPU=generic|avx2|avx512|avx512vnni|avx512bf16 limits them).
// Thread rule: see compute/device.h.
#ifndef TRINE_COMPUTE_CPU_CPU_H
#define TRINE_COMPUTE_CPU_CPU_H

#include "compute/cpu/pages.h"
#include "compute/device.h"

// Who multiplies in `linear`. AUTO: what TRINE_GEMM (own|openblas) says, else our own packed
// kernels where the CPU has AVX2, OpenBLAS with the portable set. The portable OWN kernels are the
// oracle.
enum cpu_gemm { CPU_GEMM_AUTO, CPU_GEMM_OWN, CPU_GEMM_OPENBLAS };

struct cpu_options {
    int threads;     // 0: one per CPU this process may use
    const char *isa; // NULL: the best this CPU has and TRINE_CPU allows; else "generic", "avx2" ...
    enum cpu_gemm gemm;
    const struct cpu_pages *pages; // device memory's; borrowed while the device lives; NULL: the
                                   // system's
};

// ERR_UNSUPPORTED (isa unknown or not on this CPU), ERR_NOMEM, ERR_IO (threads).
enum err cpu_device_new(const struct cpu_options *options, struct device **out,
                        struct errmsg *msg) MUST_CHECK;
void cpu_device_free(struct device *d); // NULL is fine

// Features this CPU has, space-separated, and the kernel set in use: for --version and logs.
void cpu_describe(char *out, size_t size);

#endif
