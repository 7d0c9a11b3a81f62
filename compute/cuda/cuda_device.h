// The GPU device's own fields, and what its operations share. Role: for compute/cuda's own files;
// device.c makes one and has the table. Thread rule: as compute/device.h.
#ifndef TRINE_COMPUTE_CUDA_CUDA_DEVICE_H
#define TRINE_COMPUTE_CUDA_CUDA_DEVICE_H

#include "compute/cuda/cuda.h"
#include "compute/cuda/draw.h"
#include "compute/cuda/linear.h"
#include "compute/cuda/staging.h"

#include <pthread.h>

enum {
    CUDA_MARKS = 8, // that may be under way
    CUDA_PACES = 3, // pauses of a forward that the GPU may be behind
    CUDA_KV_BLOCK_TOKENS = 32,
    CUDA_MAX_HEAD_DIM = 256,
    CUDA_ARRAYS = 64,         // host arrays whose copies are known
    CUDA_GRAPHS = 256,        // that are kept
    CUDA_GRAPH_TOKENS = 2048, // longer forwards hide the asking
    CUDA_GRAPH_SEQS = 64,     // of an encoding forward in a graph
    CUDA_GRAPH_DECODES = 128, // sequences of a decoding step in a graph
    CUDA_DRAWN_SLOTS = 4096,
    CUDA_BATCH_TOKENS = 16384, // of a bulk batch: a few milliseconds
    CUDA_STAGING_BYTES = 16 << 20,
    CUDA_READ_BYTES = 4 << 20, // of results at a time
    CUDA_BAD_WORDS = 4,        // what kernels complain of
};

// What a host array, or what is made of one, is on the GPU until it is forgotten.
struct cuda_array {
    const void *host;
    int what; // enum cuda_what
    size_t from, to;
    const int32_t *device;
    size_t count; // tiles
};
enum cuda_what {
    CUDA_COPY, // the array itself
    // Of cu_seqlens, those that begin with a token of [from, to), as kernels.h has them:
    CUDA_ATTENTION_TILES,
    CUDA_ROW_TILES,   // over a cache: of sequences of one row,
    CUDA_PAGED_TILES, // and of the others
};
// cuda_what's tiles at `out`, if that is not NULL; how many there are.
size_t cuda_make_tiles(enum cuda_what what, const int32_t *cu_seqlens, size_t seqs, size_t from,
                       size_t to, int32_t *out);

// A forward that is kept. Its arrays have a place of their own.
struct cuda_graph {
    const void *model;
    int kind;
    const void *ws, *kv;
    size_t rows, seqs;
    struct gpu_graph *graph;
    char *inputs; // device memory
};

struct cuda_device {
    struct device base;
    struct device_ops ops; // the table, under the name of what stands behind gpu_api.h
    struct cuda_options options;
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_facts facts;
    struct gpu_stream *stream;
    struct gpu_event *done;
    bool told_lost;

    pthread_mutex_t making;  // guards the graphs, and the side stream
    struct gpu_stream *side; // for what other threads make
    struct gpu_event *side_done;

    struct staging staging;
    struct cuda_array arrays[CUDA_ARRAYS];
    size_t array_count;

    struct gpu_products products;
    struct gpu_weights *weights; // what they are made with
    struct gpu_draw *draw;
    int32_t *bad;                   // [CUDA_BAD_WORDS] device
    int32_t *bad_host;              // pinned
    float *read_device, *read_host; // CUDA_READ_BYTES each

    // The forward that is being asked for: between begin and end.
    struct cuda_graph graphs[CUDA_GRAPHS];
    size_t graph_count, graph_launches;
    bool keeping;
    size_t graph_tokens; // of a forward that is kept, at most
    struct cuda_graph *capturing;
    bool decodes;                // each row is a sequence
    size_t pass_rows, pass_seqs; // with those that belong to nothing

    struct gpu_event *marks[CUDA_MARKS];
    uint64_t mark_count;
    uint64_t mark_draws[CUDA_MARKS];  // the last draw before it
    uint64_t draws_asked, draws_told; // tickets
    struct gpu_event *paces[CUDA_PACES];
    uint64_t pace_count;
};

static inline struct cuda_device *cuda_of(struct device *d) { return (struct cuda_device *)d; }

static inline enum gpu_type cuda_type(enum dtype t) {
    return t == DTYPE_BF16 ? GPU_BF16 : t == DTYPE_F16 ? GPU_F16 : GPU_F32;
}
static inline struct gpu_mat cuda_mat(struct mat m) {
    return (struct gpu_mat){m.data, m.rows, m.cols, m.ld, cuda_type(m.dtype)};
}

// The GPU's copy of count words of four bytes at host, made now where there is none yet. NULL: the
// failure is recorded.
const void *cuda_words(struct cuda_device *c, const void *host, size_t count);
// Tiles (sequence, row) of these sequences, as kernels.h wants them.
const int32_t *cuda_tiles(struct cuda_device *c, enum cuda_what what, const int32_t *cu_seqlens,
                          size_t seqs, size_t from, size_t to, size_t *count);
// Host arrays may have changed: nothing of their copies is known any more.
void cuda_forget_arrays(struct cuda_device *c);

// pass.c
void cuda_begin(struct device *d, struct forward_pass *p);
void cuda_end(struct device *d, const struct forward_pass *p);
void cuda_keep(struct device *d, bool on);
size_t cuda_keep_next(const struct device *d, size_t tokens, bool decodes);
void cuda_forget(struct device *d, const void *model);
// Those of this model, workspace or cache.
void cuda_drop_graphs(struct cuda_device *c, const void *of);

// ops_rows.c, ops_attention.c, ops_memory.c
void cuda_embed(struct device *d, const struct embed_args *a, struct mat y);
void cuda_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y);
void cuda_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                   struct mat y);
void cuda_activate(struct device *d, enum activation f, struct mat x);
void cuda_add(struct device *d, struct mat x, struct mat y);
void cuda_subtract(struct device *d, struct mat a, struct mat b, struct mat y);
void cuda_swiglu(struct device *d, struct mat gate_up, struct mat y);
void cuda_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y);
void cuda_rope_table(struct device *d, const struct rope_table_args *a);
void cuda_rope(struct device *d, const struct rope_args *a);
void cuda_turn(struct device *d, const struct turn_args *a);
void cuda_pool(struct device *d, const struct pool_args *a);
void cuda_l2_normalize(struct device *d, struct mat x);
void cuda_attention(struct device *d, const struct attention_args *a);
size_t cuda_kv_block_bytes(const struct device *d, const struct kv_shape *shape);
enum err cuda_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                     struct errmsg *msg);
void cuda_kv_free(struct device *d, struct kv_cache *kv);
void cuda_kv_store(struct device *d, const struct kv_store_args *a);
void cuda_paged_attention(struct device *d, const struct paged_attention_args *a);
void cuda_step_attention(struct device *d, const struct step_attention_args *a);
enum err cuda_workspace_new(struct device *d, size_t bytes, struct arena *out);
void cuda_workspace_free(struct device *d, struct arena *a);
void cuda_read(struct device *d, struct mat x, float *host);
void cuda_sync(struct device *d);
uint64_t cuda_mark(struct device *d);
void cuda_wait_mark(struct device *d, uint64_t mark);
void cuda_pace(struct device *d);

// Fills new memory, and waits until it is done. Any thread.
void cuda_fill_now(struct cuda_device *c, void *device, int byte, size_t bytes);
enum gpu_activation cuda_activation(enum activation f);
// Whether the GPU has failed: recorded, and whoever wants to know is told.
bool cuda_failed(struct cuda_device *c);

#endif
