// ONE table of device operations, through which every model runs. Role: what a forward pass may
// ask of a device; compute/cpu (and later compute/cuda) implement it. Models never know which.
// Operations return void and record the first failure in the device; device_sync returns it, so a
// forward pass stays a list and no error is lost. An optional entry may be NULL: the device_*
// function of the same name composes it from the others. No operation allocates.
// Numbers: f32 in and out, f32 accumulation; a precision may round what a product reads. On the CPU
// a result row has the same bits whatever rows share the call and however many threads run it: the
// order of every sum depends on the row's own length only.
// Memory: device memory is what a struct mat points at, a workspace's bytes, weights and caches.
// Only operations touch it: nobody else reads or writes it, on the CPU neither. Offsets into a
// matrix (mat_rows, mat_cols) are sums of addresses and anybody's. All other pointers are host
// memory and the caller's. A struct of arguments is read within the call. The arrays that it or a
// call names (indices, positions, lengths, tables) are borrowed until the device_sync behind the
// call and do not change until then: a device may read them late, or once for all layers.
// Thread rule: one thread drives a device at a time. Weights, workspaces and caches, those that no
// operation has in hand, may be made and freed by other threads meanwhile. The device may use
// threads of its own.
#ifndef TRINE_COMPUTE_DEVICE_H
#define TRINE_COMPUTE_DEVICE_H

#include "base/arena.h"
#include "base/err.h"
#include "compute/precision.h"
#include "compute/sampling.h"
#include "compute/tensor.h"

#include <stdbool.h>

struct device;
struct weight; // prepared weights: opaque, the device's memory, owned by the room that bound them

enum weight_kind {
    WEIGHT_LINEAR, // parts [out_i, in] stacked along out, each with its bias [out_i] or none
    WEIGHT_TABLE,  // one part [rows, D]: rows are looked up
    WEIGHT_VECTOR, // one part [D]: a norm's scale or shift
};

// Host memory or an open file, read within weight_prepare.
struct weight_part {
    struct tensor w;
    struct tensor bias; // absent: zeros
    // 0: rows in order. Else the rows of each head of this many are stored as GGUF's llama files
    // store q and k, rope's pairs side by side (0, hd/2, 1, hd/2 + 1, ...): they are put back.
    size_t interleaved_head_dim;
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
    const struct weight *tables[3]; // [rows_t, D]; summed in this order; a WEIGHT_LINEAR without
                                    // bias serves too (tied embeddings: one copy)
    // [N] each, host; one beyond its table fails the device. One below 0 is EMBED_DRAWN(slot): the
    // token that the device drew last for this slot (draw_part.slot), of one with drawn_slots.
    const int32_t *index[3];
    size_t count; // tables in use
};

#define EMBED_DRAWN(slot) (-1 - (int32_t)(slot))

// Attention over ragged sequences: a token sees its own sequence only.
struct attention_args {
    struct mat q, k, v;        // [N, H*hd], [N, Hk*hd] twice; usually columns of one qkv matrix
    struct mat out;            // [N, H*hd]
    const int32_t *cu_seqlens; // [S + 1] host
    size_t seqs, heads, head_dim;
    size_t kv_heads; // Hk, divides H; 0: as many as heads
    float scale;     // above 0; 1/sqrt(hd), as a rule
    bool causal;     // a token sees itself and those before it
    size_t window;   // causal: of those the last `window`, itself included; 0: all
    // A part of the queries, so that a long text's attention can be set aside: those of the tokens
    // [begin, end); end 0: all. Both are multiples of ATTENTION_ROWS, or N. Parts that together are
    // all tokens give what one call gives. (A short sequence may go with the part that it begins
    // in.)
    size_t begin, end;
};
enum { ATTENTION_ROWS = 128 };

// Row n of cos and sin: those of the angles positions[n] * inv_freq[i], times `scale`, rounded
// where transformers rounds (float32).
struct rope_table_args {
    const float *inv_freq; // [hd/2] host
    float scale;
    const int32_t *positions; // [N] host
    struct mat cos, sin;      // [N, hd/2]
};

// Rotary position embedding, in place, of the "rotate half" form: in each head of x the pair
// (i, i + hd/2) turns by the angle whose cosine and sine are given.
// Source followed: transformers modeling_llama.py apply_rotary_pos_emb.
struct rope_args {
    struct mat x;        // [N, heads*hd]
    struct mat cos, sin; // [N, hd/2], by rope_table
    size_t heads, head_dim;
};

// The paged cache of keys and values of one model: blocks of `block_tokens` positions, each with
// all layers and kv heads. A slot is block * block_tokens + the offset in the block.
struct kv_cache; // opaque, a device's

struct kv_shape {
    size_t layers, kv_heads, head_dim;
    size_t block_tokens, blocks;
    enum dtype dtype; // DTYPE_F32 or DTYPE_F16
    // What will be asked of it: heads of queries, and tokens of a sequence. 0: not known.
    size_t heads, context;
};

// Writes N tokens' keys and values of one layer. Slots are distinct.
struct kv_store_args {
    struct kv_cache *kv;
    size_t layer;
    struct mat k, v;      // [N, Hk*hd]
    const int32_t *slots; // [N] host
};

// Causal attention of a step's tokens over the cache, which holds theirs already (kv_store).
struct paged_attention_args {
    const struct kv_cache *kv;
    size_t layer;
    struct mat q, out;           // [N, H*hd]
    const int32_t *cu_seqlens;   // [S + 1] host, as the next two
    const int32_t *context_lens; // [S] tokens of the sequence in the cache, this step's included:
                                 // the step's last token sits at position context_lens[s] - 1
    const int32_t *block_tables; // [S, table_stride] block numbers, in the order of positions
    size_t table_stride;
    size_t seqs, heads;
    float scale;
    size_t window; // as in struct attention_args
};

// As sentence-transformers pools: `skip` holds in every mode, so that POOL_CLS is the first token
// behind the prompt. A sequence of which all tokens are skipped is ERR_INVALID.
struct pool_args {
    enum pool_mode mode;
    struct mat x;              // [N, D]
    struct mat out;            // [S, D]
    const int32_t *cu_seqlens; // [S + 1] host
    const int32_t *skip;       // [S] host: leading tokens left out of the pool (a prompt), or NULL
    size_t seqs;
};

// y = rms_norm(x) w' + b, or swiglu of that. What a device that does it at once does not touch:
// normed, and gate_up, which is absent (data NULL) without swiglu.
struct norm_linear_args {
    const struct weight *gamma, *w;
    float eps;
    struct mat x, normed, y;
    bool swiglu;
    struct mat gate_up; // [N, 2F]; y is [N, F] then
};

// q and k of rows [q | k | v], in place: normed by heads where q_norm is there, turned by rope.
struct turn_args {
    struct mat qkv; // [N, (H + 2 Hk)*hd]
    size_t heads, kv_heads, head_dim;
    const struct weight *q_norm, *k_norm; // [hd], or NULL
    float eps;
    struct mat cos, sin; // as in struct rope_args
};

// All of a step's attention behind the product that gave qkv: turn, kv_store, paged_attention. A
// device may leave qkv as it was.
struct step_attention_args {
    struct turn_args turn;
    struct kv_store_args store;
    struct paged_attention_args paged;
};

// A forward as a whole, for a device that gains by knowing it beforehand.
enum { FORWARD_ARRAYS = 8 };
struct forward_pass {
    // Set by the forward. `model` and `kind` name what is computed: with the same two, the same
    // workspace (fresh) and the same rows, logits and seqs the same operations are asked for.
    const void *model;
    int kind; // the model's own
    const struct arena *ws;
    size_t tokens, seqs, logits;
    // The host arrays that its operations will be given, by their pointers, each another: words of
    // four bytes, int32_t but for FORWARD_OTHER. per_token and per_seq ones are as long as the pass
    // has tokens and sequences; of cu_seqlens (one more than sequences) there is at most one.
    struct forward_array {
        const void *data;
        size_t count;
        int32_t pad; // what rows and sequences that belong to nothing have there
        enum { FORWARD_PER_TOKEN, FORWARD_PER_SEQ, FORWARD_CU_SEQLENS, FORWARD_OTHER } kind;
    } arrays[FORWARD_ARRAYS];
    size_t array_count;
    // Each sequence has one token, at the end of what its cache holds: a step that decodes.
    bool decodes;
    struct kv_cache *kv; // of a step

    // Set by device_begin. Rows of its matrices: tokens, or some more, which belong to nothing
    // (what operations give there is not looked at). replayed: what has been asked for before was
    // asked for again, as a whole: the forward takes its matrices from ws as ever, and asks for
    // nothing.
    size_t rows;
    bool replayed;
};

struct device_ops {
    const char *name; // "cpu"

    // Joins, checks finite ("tensor 'x': non-finite at i"), converts and packs into memory that the
    // weight owns; the parts' file may be let go afterwards. Parts may differ in dtype.
    // ERR_INVALID, ERR_UNSUPPORTED, ERR_TOO_LARGE, ERR_NOMEM, ERR_IO (the file was cut short).
    enum err (*weight_prepare)(struct device *d, enum weight_kind kind,
                               const struct weight_part *parts, size_t n,
                               struct precision precision, struct weight **out, struct errmsg *msg);
    void (*weight_free)(struct device *d, struct weight *w);
    size_t (*weight_bytes)(const struct weight *w); // resident bytes

    // A workspace of device memory for one forward at a time: out->base is the device's, and cut by
    // device_mat alone.
    enum err (*workspace_new)(struct device *d, size_t bytes, struct arena *out);
    void (*workspace_free)(struct device *d, struct arena *a);

    void (*embed)(struct device *d, const struct embed_args *a, struct mat y);
    void (*linear)(struct device *d, const struct weight *w, struct mat x, struct mat y);
    void (*activate)(struct device *d, enum activation f, struct mat x);          // in place
    void (*add)(struct device *d, struct mat x, struct mat y);                    // y += x
    void (*subtract)(struct device *d, struct mat a, struct mat b, struct mat y); // y = a - b
    void (*layer_norm)(struct device *d, const struct norm *n, struct mat x, struct mat y);
    void (*attention)(struct device *d, const struct attention_args *a);
    // y = gamma x / sqrt(mean(x^2) + eps), each run of gamma's D columns by itself (a row is one or
    // more such runs: a head each in q and k norms); y may be x
    void (*rms_norm)(struct device *d, const struct weight *gamma, float eps, struct mat x,
                     struct mat y);
    void (*rope_table)(struct device *d, const struct rope_table_args *a);
    void (*rope)(struct device *d, const struct rope_args *a);
    void (*swiglu)(struct device *d, struct mat gate_up, struct mat y); // [N, 2F] -> [N, F]:
                                                                        // silu(gate) * up
    // y[i] = x[rows[i]]; rows [y's rows] host
    void (*gather)(struct device *d, struct mat x, const int32_t *rows, struct mat y);
    // Bytes of one block, what the device lays out behind a head's numbers included; the only place
    // that says so. 0: the shape is refused by kv_new, or its blocks are more than a size counts.
    size_t (*kv_block_bytes)(const struct device *d, const struct kv_shape *shape);
    enum err (*kv_new)(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                       struct errmsg *msg);
    void (*kv_free)(struct device *d, struct kv_cache *kv); // NULL is fine
    void (*kv_store)(struct device *d, const struct kv_store_args *a);
    void (*paged_attention)(struct device *d, const struct paged_attention_args *a);
    void (*pool)(struct device *d, const struct pool_args *a);
    void (*l2_normalize)(struct device *d, struct mat x); // rows, in place; a zero row stays zero
    // Rows*cols, packed, to host memory. Waits for what was asked before: the numbers are there on
    // return, and host is the caller's again.
    void (*read)(struct device *d, struct mat x, float *host);
    // Draws from logits (sampling.h); parts and what they name are host memory, and the results are
    // there when the device has been synced. ws: the workspace that holds the logits, with so many
    // bytes of room (SIZE_MAX: more than a size counts), as it was on return.
    size_t (*draw_bytes)(const struct device *d, size_t vocab);
    void (*draw)(struct device *d, const struct draw_args *a, struct arena *ws);

    // Optional fusions.
    void (*linear_activate)(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y); // y = f(x w' + b)
    void (*linear_add)(struct device *d, const struct weight *w, struct mat x,
                       struct mat y); // y += x w' + b
    // y = norm(x w' + b + residual); y may be residual
    void (*linear_add_norm)(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y);

    void (*norm_linear)(struct device *d, const struct norm_linear_args *a);
    void (*turn)(struct device *d, const struct turn_args *a);
    void (*step_attention)(struct device *d, const struct step_attention_args *a);

    // Of devices that compute behind the caller's back, and in narrow floats; NULL: they do not.
    enum dtype (*activations)(const struct device *d, struct precision precision);
    void (*begin)(struct device *d, struct forward_pass *p);
    void (*end)(struct device *d, const struct forward_pass *p);
    // Forwards that are asked for as a whole later have to be known before: while `keep` is on
    // those that are asked for compute nothing (their arrays are read for no more than their
    // lengths), but are kept. keep_next: the least size above `tokens` that is kept; 0: there is
    // none.
    void (*keep)(struct device *d, bool on);
    size_t (*keep_next)(const struct device *d, size_t tokens, bool decodes);
    // The model goes, before its weights do: nothing of it is kept any more. Any thread.
    void (*forget)(struct device *d, const void *model);
    // In a pause of a forward: waits until the device is a few milliseconds of work behind at most.
    void (*pace)(struct device *d);
    // A number for all that has been asked so far, and the wait until that is done (the results of
    // draws before it are there then); device_sync waits for all, and tells failures.
    uint64_t (*mark)(struct device *d);
    void (*wait_mark)(struct device *d, uint64_t mark);

    // Waits until everything asked so far is done; NULL where every operation is done on return.
    void (*wait)(struct device *d);
    void (*free)(struct device *d);
};

// The head of every device; an implementation puts its own fields behind it.
struct device {
    const struct device_ops *ops;
    enum err failed; // the first failure since the last sync
    struct errmsg failure;
    char describe[128];     // "cpu, 2 threads, avx512"
    size_t max_head_dim;    // that attention takes
    size_t kv_block_tokens; // positions in a block of a cache, as the device likes them best
    size_t row_waste;       // a pass may have a row more for every so many; 0: none
    size_t piece_rows;      // between two pause points at least; 0: no wish
    size_t batch_tokens;    // of a bulk batch, as the device likes them best; 0: no wish
    size_t drawn_slots;     // tokens that it keeps for embed_args.drawn; 0: it keeps none
    size_t memory_bytes;    // its own memory, that may be used; 0: this process's
};

// Records a failure (the first one stays).
void device_fail(struct device *d, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Waits for everything asked so far; returns and clears the first failure.
enum err device_sync(struct device *d, struct errmsg *msg) MUST_CHECK;
// The same without the wait: what has been recorded so far.
enum err device_failure(struct device *d, struct errmsg *msg) MUST_CHECK;

// The optional entries, composed where a device lacks them. The composed linear_add_norm needs y
// apart from residual (ERR_UNSUPPORTED): the sum has nowhere else to be.
void device_linear_activate(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y);
// The composed one needs `scratch` of y's shape; it is not used where the device fuses.
void device_linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y,
                       struct mat scratch);
void device_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y);

void device_norm_linear(struct device *d, const struct norm_linear_args *a);
void device_turn(struct device *d, const struct turn_args *a);
void device_step_attention(struct device *d, const struct step_attention_args *a);

// Rows that a forward's matrices have, and whether they are computed already: begin and end of the
// table, where there are none p->tokens.
size_t device_begin(struct device *d, struct forward_pass *p);
void device_end(struct device *d, const struct forward_pass *p);
// `forget` of the table, where there is one. model: as struct forward_pass names it.
void device_forget(struct device *d, const void *model);
// Rows, or queries, between two pause points where a forward takes `usual`: that, or more where the
// device wishes more.
static inline size_t device_piece(const struct device *d, size_t usual) {
    return d->piece_rows > usual ? d->piece_rows : usual;
}
// The most that device_begin gives for this many tokens or fewer: what a workspace is planned for.
static inline size_t device_rows_most(const struct device *d, size_t tokens) {
    return d->row_waste ? tokens + tokens / d->row_waste : tokens;
}

// In what a forward of this precision keeps its activations; the CPU's are DTYPE_F32.
enum dtype device_activations(const struct device *d, struct precision precision);

// A [rows, cols] matrix from a workspace, ld = mat_ld(cols, dtype); data NULL, and the failure
// recorded, when the workspace is too small.
struct mat device_mat_of(struct device *d, struct arena *ws, size_t rows, size_t cols,
                         enum dtype dtype);
// The bytes that it takes from the workspace: what a planner adds up. SIZE_MAX on overflow.
size_t device_mat_bytes_of(size_t rows, size_t cols, enum dtype dtype);
static inline struct mat device_mat(struct device *d, struct arena *ws, size_t rows, size_t cols) {
    return device_mat_of(d, ws, rows, cols, DTYPE_F32);
}
static inline size_t device_mat_bytes(size_t rows, size_t cols) {
    return device_mat_bytes_of(rows, cols, DTYPE_F32);
}

#endif
