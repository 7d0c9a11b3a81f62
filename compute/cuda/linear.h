// Products of the GPU: which way one goes. Role: rows up to GPU_FEW_ROWS go straight from what the
// weight is kept as; more through the library's product, where the weight is kept as floats with
// those, else with as many of its rows at a time as fit the scratch, made plain. Activations,
// residuals, norms and swiglu are done within a launch where they can be, else behind or before it.
// Thread rule: the thread that drives the device; one struct gpu_products for each stream, as its
// scratch is in use by what was asked of the stream.
#ifndef TRINE_COMPUTE_CUDA_LINEAR_H
#define TRINE_COMPUTE_CUDA_LINEAR_H

#include "compute/cuda/weight.h"

struct gpu_products {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    void *widened; // a weight's rows as plain numbers
    size_t widened_bytes;
    void *rows; // of x, or of y, in another type than the caller's
    size_t rows_bytes;
};

// The most that widened needs: at least 8 rows of the widest weight are made plain at once.
enum { GPU_WIDENED_BYTES = 64 << 20 };

// Takes the scratch: GPU_WIDENED_BYTES where blocks (weights of block types will be multiplied with
// more than GPU_FEW_ROWS rows), and rows_bytes for matrices between types: rows * ld * 4 of
// those of x, y and residual that one gpu_linear is given in a type other than the weight's
// `floats`, added up (with 256 bytes more for each; a y of f32 that narrow weights give is none).
// ERR_NOMEM.
enum err gpu_products_open(struct gpu_products *p, const struct gpu_api *api, struct gpu *gpu,
                           struct gpu_stream *stream, bool blocks, size_t rows_bytes,
                           struct errmsg *msg) MUST_CHECK;
void gpu_products_close(struct gpu_products *p); // zeroed is fine

// y = f(norm(x) w' + bias) + residual; with swiglu y = silu(gate) * up of that, w's first half of
// outputs being gate.
struct gpu_linear_how {
    enum gpu_activation activation; // not with swiglu, nor with a residual
    struct gpu_mat residual;        // data NULL: none; may be y; not with swiglu
    const float *gamma;             // rms norm of x's rows; NULL: none
    float eps;
    bool swiglu;
    // For what is not done at once; any rows of them may be written. normed: as x, with gamma;
    // gate_up: [N, 2F], with swiglu; of x's (y's) type.
    struct gpu_mat normed, gate_up;
};

// how NULL: y = x w' + bias. x, y and residual may have types of their own. y apart from x.
// ERR_TOO_LARGE: x or y needs more scratch than rows_bytes, which is a fault of who opened it.
enum err gpu_linear(const struct gpu_products *p, const struct weight *w, struct gpu_mat x,
                    const struct gpu_linear_how *how, struct gpu_mat y,
                    struct errmsg *msg) MUST_CHECK;

#endif
