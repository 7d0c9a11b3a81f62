// The libcublasLt.so.13 of tests/cuda/cuda_api.c: fake_cublaslt.h's functions by the names that
// cublaslt.c looks for. FAKE_CUBLASLT_FAIL in the environment is the status of each product.
#include "tests/unit/fake_cublaslt.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT size_t cublasLtGetVersion(void);
size_t cublasLtGetVersion(void) { return fake_version(); }
EXPORT const char *cublasLtGetStatusName(int s);
const char *cublasLtGetStatusName(int s) { return fake_name(s); }
EXPORT const char *cublasLtGetStatusString(int s);
const char *cublasLtGetStatusString(int s) { return fake_string(s); }
#define FORWARD(name, function, parameters, arguments)                                             \
    EXPORT int name parameters;                                                                    \
    int name parameters { return function arguments; }
FORWARD(cublasLtCreate, fake_create, (void **h), (h))
FORWARD(cublasLtDestroy, fake_destroy, (void *h), (h))
FORWARD(cublasLtMatmulDescCreate, fake_desc_create, (void **d, int c, int s), (d, c, s))
FORWARD(cublasLtMatmulDescDestroy, fake_object_free, (void *d), (d))
FORWARD(cublasLtMatmulDescSetAttribute, fake_desc_set, (void *d, int a, const void *v, size_t n),
        (d, a, v, n))
FORWARD(cublasLtMatrixLayoutCreate, fake_layout_create,
        (void **l, int t, uint64_t r, uint64_t c, int64_t ld), (l, t, r, c, ld))
FORWARD(cublasLtMatrixLayoutDestroy, fake_object_free, (void *l), (l))
FORWARD(cublasLtMatrixLayoutSetAttribute, fake_layout_set,
        (void *l, int a, const void *v, size_t n), (l, a, v, n))
FORWARD(cublasLtMatmulPreferenceCreate, fake_pref_create, (void **p), (p))
FORWARD(cublasLtMatmulPreferenceDestroy, fake_object_free, (void *p), (p))
FORWARD(cublasLtMatmulPreferenceSetAttribute, fake_pref_set,
        (void *p, int a, const void *v, size_t n), (p, a, v, n))
FORWARD(cublasLtMatmulAlgoGetHeuristic, fake_heuristic,
        (void *h, void *desc, void *a, void *b, void *c, void *d, void *pref, int most,
         struct cublaslt_result *results, int *count),
        (h, desc, a, b, c, d, pref, most, results, count))

EXPORT int cublasLtMatmul(void *handle, void *desc, const void *alpha, const void *a,
                          void *a_layout, const void *b, void *b_layout, const void *beta,
                          const void *c, void *c_layout, void *d, void *d_layout,
                          const struct cublaslt_algo *algo, void *workspace, size_t workspace_bytes,
                          void *stream);
int cublasLtMatmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                   const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                   void *d, void *d_layout, const struct cublaslt_algo *algo, void *workspace,
                   size_t workspace_bytes, void *stream) {
    const char *fail = getenv("FAKE_CUBLASLT_FAIL");
    fake.fail_matmul = fail ? atoi(fail) : 0;
    return fake_matmul(handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d,
                       d_layout, algo, workspace, workspace_bytes, stream);
}
