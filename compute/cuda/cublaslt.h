// cuBLASLt, NVIDIA's library of large products, as far as it is used here: its functions are found
// in the library when a GPU is opened, so that no program is linked with it and none needs it to
// start. Role: the declarations (from its public documentation, for version 13; nothing of its
// header is here) and the search for the library. What is made of it is gemm_plans.h's. Values and
// sizes are part of its binary interface: tests/checks/test_cublaslt.py holds them against NVIDIA's
// header where one is at hand. Thread rule: opened and closed by one thread; a handle's functions
// may be called by any.
#ifndef TRINE_COMPUTE_CUDA_CUBLASLT_H
#define TRINE_COMPUTE_CUDA_CUBLASLT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { CUBLASLT_PATH_BYTES = 512 };

// cudaDataType
enum cublaslt_type { CUBLASLT_R_32F = 0, CUBLASLT_R_16F = 2, CUBLASLT_R_16BF = 14 };
// cublasComputeType_t: products and sums in f32, no shorter mantissas (TF32)
enum cublaslt_compute { CUBLASLT_COMPUTE_32F = 68 };
// cublasOperation_t
enum cublaslt_operation { CUBLASLT_OP_N = 0, CUBLASLT_OP_T = 1 };
// cublasStatus_t; all else is told by its name
enum cublaslt_status {
    CUBLASLT_SUCCESS = 0,
    CUBLASLT_NOT_INITIALIZED = 1,
    CUBLASLT_ALLOC_FAILED = 3,
    CUBLASLT_NOT_SUPPORTED = 15,
};
// cublasLtMatrixLayoutAttribute_t: uint64_t, and LD int64_t
enum cublaslt_layout_attribute {
    CUBLASLT_LAYOUT_ROWS = 2,
    CUBLASLT_LAYOUT_COLS = 3,
    CUBLASLT_LAYOUT_LD = 4,
};
// cublasLtMatmulDescAttributes_t: int32_t, and BIAS_POINTER a pointer
enum cublaslt_desc_attribute {
    CUBLASLT_DESC_TRANSA = 3,
    CUBLASLT_DESC_TRANSB = 4,
    CUBLASLT_DESC_EPILOGUE = 7,
    CUBLASLT_DESC_BIAS_POINTER = 8,
    CUBLASLT_DESC_BIAS_DATA_TYPE = 26,
};
// cublasLtEpilogue_t: what is done to a product before it is stored; GELU is the tanh form
enum cublaslt_epilogue {
    CUBLASLT_EPILOGUE_DEFAULT = 1,
    CUBLASLT_EPILOGUE_RELU = 2,
    CUBLASLT_EPILOGUE_BIAS = 4,
    CUBLASLT_EPILOGUE_RELU_BIAS = 6,
    CUBLASLT_EPILOGUE_GELU = 32,
    CUBLASLT_EPILOGUE_GELU_BIAS = 36,
};
// cublasLtMatmulPreferenceAttributes_t: uint32_t, and MAX_WORKSPACE_BYTES uint64_t
enum cublaslt_pref_attribute {
    CUBLASLT_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_PREF_REDUCTION_SCHEME_MASK = 3, // 0: no sum is split between blocks
    CUBLASLT_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_PREF_MIN_ALIGNMENT_D_BYTES = 8,
};

struct cublaslt_algo { // cublasLtMatmulAlgo_t: may be kept and copied
    uint64_t data[8];
};
struct cublaslt_result { // cublasLtMatmulHeuristicResult_t
    struct cublaslt_algo algo;
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
};

// Opaque ones are void here: handles, descriptors, layouts, preferences. All but the first three
// give an enum cublaslt_status. `stream` is CUDA's.
struct cublaslt {
    size_t (*version)(void); // 130100 for 13.1.0
    const char *(*status_name)(int status);
    const char *(*status_string)(int status);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*layout_set)(void *layout, int attribute, const void *value, size_t bytes);
    int (*pref_create)(void **pref);
    int (*pref_destroy)(void *pref);
    int (*pref_set)(void *pref, int attribute, const void *value, size_t bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref,
                     int most, struct cublaslt_result *results, int *count);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const struct cublaslt_algo *algo, void *workspace,
                  size_t workspace_bytes, void *stream);
    void *library;                  // dlopen's; NULL in a test's own
    char path[CUBLASLT_PATH_BYTES]; // the file that was loaded
};

// Loads libcublasLt.so.13: from the folders of `folders` (their names with ':' between, as
// TRINE_CUDA_LIBS has them; NULL or empty: none are named, else only these), then from the folders
// beside the program and the system's own search, then from where toolkits and Python's packages
// put it. ERR_UNSUPPORTED: it is nowhere, or lacks a function; msg says in one line what was tried.
enum err cublaslt_open(const char *folders, struct cublaslt *out, struct errmsg *msg) MUST_CHECK;
void cublaslt_close(struct cublaslt *lib); // of one that is all zero: nothing

#endif
