// How a product goes through cuBLASLt: for each shape a plan (its descriptors and one algorithm),
// made when the shape is first met and kept, so that a product of a known shape is a look-up and
// one call. Role: gpu_api.h's gemm on a GPU, but for the card's errors. Row-major y = x w' is told
// to cuBLASLt as column-major y' = w x': w, transposed, is its A, x its B, the residual its C.
// Narrow types: rows by buckets (eighths of a power of two), each with the algorithm that the
// library takes for its largest. f32: one algorithm for all numbers of rows, so that a row's bits
// do not depend on them. No sum is split between blocks. The store is of a fixed size: the plan
// that was used longest ago gives way, and comes back the same. What a captured graph holds does
// not depend on plans. Thread rule: any thread; a call holds the plans' mutex while it is asked.
#ifndef TRINE_COMPUTE_CUDA_GEMM_PLANS_H
#define TRINE_COMPUTE_CUDA_GEMM_PLANS_H

#include "base/err.h"
#include "compute/cuda/cublaslt.h"
#include "compute/cuda/gpu_api.h"

struct gemm_plans;

struct gemm_plans_counts {
    size_t held, capacity;
    size_t made;    // plans since the start
    size_t evicted; // of them gave way
};

enum { GEMM_PLANS_CAPACITY = 4096 };

// The bucket of `rows`: how many rows its largest product has. 1 to 16, 18, 20 ... 32, 36 ...
size_t gemm_plans_bucket(size_t rows);

// workspace_bytes: what each call brings (256-byte aligned device memory of its stream). lib stays
// until they are freed. ERR_NOMEM, ERR_UNSUPPORTED: cuBLASLt cannot work here; msg says why.
enum err gemm_plans_new(const struct cublaslt *lib, size_t capacity, size_t workspace_bytes,
                        struct gemm_plans **out, struct errmsg *msg) MUST_CHECK;
void gemm_plans_free(struct gemm_plans *p); // NULL is fine

// Asks `stream` (CUDA's) for the product. ERR_UNSUPPORTED: cuBLASLt has no algorithm for it;
// ERR_LOST: it failed. msg names the product.
enum err gemm_plans_run(struct gemm_plans *p, const struct gpu_gemm *a, void *workspace,
                        void *stream, struct errmsg *msg) MUST_CHECK;
struct gemm_plans_counts gemm_plans_count(struct gemm_plans *p);

#endif
