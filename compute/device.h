// ONE table of device operations, through which every model runs. Role: what a forward pass may
// ask of a device; compute/cpu (and later compute/cuda) implement it. Models never know which.
// Operations return void and record the first failure in the device; device_sync returns it, so a
// forward pass stays a list and no error is lost. An optional entry may be NULL: the device_*
// function of the same name composes it from the others. No operation allocates.
// Numbers: f32 in and out, f32 accumulation. On the CPU a result row has the same bits whatever
// rows share the call and however many threads run it: the order of every sum depends on the row's
// own length only.
// Thread rule: one thread drives a device at a time; the device may use threads of its own.
#ifndef TRINE_COMPUTE_DEVICE_H
#define TRINE_COMPUTE_DEVICE_H

#include "base/arena.h"
#include "base/err.h"
#include "compute/tensor.h"

#include <stdbool.h>

struct device;
struct weight; // prepared weights: opaque, owned by the engine that bound them

enum weight_kind {
    WEIGHT_LINEAR, // parts [out_i, in] stacked along out, each with its bias [out_i] or none
    WEIGHT_TABLE,  // one part [rows, D]: rows are looked up
    WEIGHT_VECTOR, // one part [D]: a norm's scale or shift
};

struct weight_part {
    struct tensor w;
    struct tensor bias; // data NULL: zeros
};

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_GELU,      // x/2 (1 + erf(x / sqrt 2))
    ACTIVATION_GELU_TANH, // the tanh form
    ACTIVATION_RELU,
    ACTIVATION_TANH,
    ACTIVATION_SILU,
};

enum pool_mode { POOL_CLS, POOL_MEAN, POOL_MAX, POOL_LAST, POOL_MEAN_SQRT };

struct norm {
    const struct weight *gamma, *beta; // [D] each
    float eps;
};

// y[n] = sum over t of tables[t].row(index[t][n])
struct embed_args {
    const struct weight *tables[3]; // [rows_t, D]; summed in this order
    const int32_t *index[3];        // [N] each, host memory, checked by the caller
    size_t count;                   // tables in use
};

// Bidirectional attention over ragged sequences: a token sees its own sequence only.
struct attention_args {
    struct mat q, k, v;        // [N, H*hd] each; usually column views of one qkv matrix
    struct mat out;            // [N, H*hd]
    const int32_t *cu_seqlens; // [S + 1]
    size_t seqs, heads, head_dim;
    float scale; // above 0; 1/sqrt(hd), as a rule
};

// As sentence-transformers pools: `skip` holds in every mode, so that POOL_CLS is the first token
// behind the prompt. A sequence of which all tokens are skipped is ERR_INVALID.
struct pool_args {
    enum pool_mode mode;
    struct mat x;              // [N, D]
    struct mat out;            // [S, D]
    const int32_t *cu_seqlens; // [S + 1]
    const int32_t *skip;       // [S] leading tokens left out of the pool (a prompt), or NULL
    size_t seqs;
};

struct device_ops {
    const char *name; // "cpu"

    // Joins, checks finite ("tensor 'x': non-finite at i"), converts to `dtype` and packs into
    // memory that the weight owns; the parts' file may be let go afterwards. Only DTYPE_F32 yet.
    // ERR_INVALID, ERR_UNSUPPORTED, ERR_TOO_LARGE, ERR_NOMEM, ERR_IO (the file was cut short).
    enum err (*weight_prepare)(struct device *d, enum weight_kind kind,
                               const struct weight_part *parts, size_t n, enum dtype dtype,
                               struct weight **out, struct errmsg *msg);
    void (*weight_free)(struct device *d, struct weight *w);
    size_t (*weight_bytes)(const struct weight *w); // resident bytes

    // A workspace of device memory for one forward at a time.
    enum err (*workspace_new)(struct device *d, size_t bytes, struct arena *out);
    void (*workspace_free)(struct device *d, struct arena *a);

    void (*embed)(struct device *d, const struct embed_args *a, struct mat y);
    void (*linear)(struct device *d, const struct weight *w, struct mat x, struct mat y);
    void (*activate)(struct device *d, enum activation f, struct mat x); // in place
    void (*add)(struct device *d, struct mat x, struct mat y);           // y += x
    void (*layer_norm)(struct device *d, const struct norm *n, struct mat x, struct mat y);
    void (*attention)(struct device *d, const struct attention_args *a);
    void (*pool)(struct device *d, const struct pool_args *a);
    void (*l2_normalize)(struct device *d, struct mat x); // rows, in place; a zero row stays zero
    void (*read)(struct device *d, struct mat x, float *host); // rows*cols, packed

    // Optional fusions.
    void (*linear_activate)(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y); // y = f(x w' + b)
    // y = norm(x w' + b + residual); y may be residual
    void (*linear_add_norm)(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y);

    // Waits until everything asked so far is done; NULL where every operation is done on return.
    void (*wait)(struct device *d);
    void (*free)(struct device *d);
};

// The head of every device; an implementation puts its own fields behind it.
struct device {
    const struct device_ops *ops;
    enum err failed; // the first failure since the last sync
    struct errmsg failure;
    char describe[128];  // "cpu, 2 threads, avx512"
    size_t max_head_dim; // that attention takes
};

// Records a failure (the first one stays).
void device_fail(struct device *d, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Waits for everything asked so far; returns and clears the first failure.
enum err device_sync(struct device *d, struct errmsg *msg) MUST_CHECK;

// The optional entries, composed where a device lacks them. The composed linear_add_norm needs y
// apart from residual (ERR_UNSUPPORTED): the sum has nowhere else to be.
void device_linear_activate(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y);
void device_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y);

// A [rows, cols] matrix from a workspace, ld = mat_ld(cols); data NULL, and the failure recorded,
// when the workspace is too small.
struct mat device_mat(struct device *d, struct arena *ws, size_t rows, size_t cols);
// The bytes that device_mat takes from the workspace: what a planner adds up. SIZE_MAX on overflow.
size_t device_mat_bytes(size_t rows, size_t cols);

#endif
