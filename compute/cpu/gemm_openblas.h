// Matrix products by OpenBLAS: the portable kernel set's way, and the yardstick for our own
// kernels. Role: the only file that includes cblas.h. OpenBLAS runs one thread inside; our team is
// outside. OpenBLAS gives a row other bits at another place in the call or at another number of
// rows, so every call has the same number of rows (the last one padded with zeros), one at which
// its kernels treat all rows alike: 48 with its AVX-512 and SSE cores, 8 with its AVX2 ones
// (0.3.21). Thread rule: gemm_openblas_init once before the others (again is fine);
// gemm_openblas_rows from any thread.
#ifndef TRINE_COMPUTE_CPU_GEMM_OPENBLAS_H
#define TRINE_COMPUTE_CPU_GEMM_OPENBLAS_H

#include "compute/cpu/kernels.h"

#include <stdbool.h>

// Sets OpenBLAS to one thread, finds its row tile, and warns (once) when its core is below this
// CPU's features, as OPENBLAS_CORETYPE=Haswell makes it on an AVX-512 machine. *rows: of a tile.
// Loads the library at the first call. ERR_NOT_FOUND, ERR_UNSUPPORTED, ERR_NOMEM.
enum err gemm_openblas_init(size_t *rows, struct errmsg *msg) MUST_CHECK;
const char *gemm_openblas_core(void); // "SkylakeX"

// Whether a padded call's rows fit a thread's scratch.
bool gemm_openblas_fits(size_t tile, size_t out, size_t in);
// As kernels.h's linear, but s->panels are plain rows [cols][k], s->cols all outputs and
// s->rows <= tile, the rows of every call; scratch is KERNEL_SCRATCH floats, and it fits.
void gemm_openblas_rows(const struct cpu_kernels *kernels, const struct kernel_linear_share *s,
                        size_t tile, float *scratch);

#endif
