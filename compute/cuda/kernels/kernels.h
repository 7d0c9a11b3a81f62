// What the host says to kernels: views of device memory, and for each kernel a struct of arguments
// and the function that launches it. Role: the only header that C and CUDA C share; plain types,
// nothing of the rest of the program. A launcher is compiled with its kernel, by nvcc for a GPU and
// by the C++ compiler for the emulated one (tests/gpu/), from the same source. It returns at once;
// what fails is the stream's (gpu_api.h: failure). Arguments are copied; what they point at is
// device memory, and stays until the launch is over. Matrices have no other bounds than rows, cols.
// Rule of f32: where all is f32 each number of a row is the same bits whatever other rows share the
// launch and however a sequence was cut into launches: the order of a sum depends on its own length
// only. Narrow types promise the precision's bar, not the bits.
// Thread rule: the thread that drives the device.
#ifndef TRINE_COMPUTE_CUDA_KERNELS_H
#define TRINE_COMPUTE_CUDA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_stream;

enum gpu_type { GPU_F32, GPU_BF16, GPU_F16 };
static inline size_t gpu_type_size(enum gpu_type t) { return t == GPU_F32 ? 4 : 2; }

// Row r at data + r * ld values. Rows begin at 16-byte addresses, as ld is a multiple of 16 bytes,
// but for columns that begin elsewhere (heads of an odd size).
struct gpu_mat {
    void *data;
    size_t rows, cols, ld;
    enum gpu_type type;
};

enum gpu_activation {
    GPU_NONE,
    GPU_GELU, // erf
    GPU_GELU_TANH,
    GPU_RELU,
    GPU_TANH,
    GPU_SILU,
};

// How a weight's numbers lie on the card. Block formats are GGUF's numbers in planes of their own.
enum gpu_format {
    GPU_FORMAT_F32,
    GPU_FORMAT_BF16,
    GPU_FORMAT_F16,
    GPU_FORMAT_Q8_0,
    GPU_FORMAT_Q4_0,
    GPU_FORMAT_Q4_1,
    GPU_FORMAT_Q5_0,
    GPU_FORMAT_Q5_1,
    GPU_FORMAT_Q2_K,
    GPU_FORMAT_Q3_K,
    GPU_FORMAT_Q4_K,
    GPU_FORMAT_Q5_K,
    GPU_FORMAT_Q6_K,
    GPU_FORMAT_IQ4_NL,
    GPU_FORMAT_COUNT,
};

// Rows [out, in] of one format. Each row begins at a 16-byte address in each plane, and is zero
// from its end to the next one. How blocks lie in their planes: blocks.cuh.
struct gpu_rows {
    enum gpu_format format;
    size_t out, in;
    const void *quants;     // the numbers themselves where the format is no block format
    size_t quant_row_bytes; // from row to row, in memory
    const void *scales;     // block formats
    size_t scale_row_bytes;
};

// ---- rows.cu and beside it: what works on rows, and on values one by one. Matrices of a call have
// one type where nothing else is said. Rows 0: nothing is launched.

// y[n] = sum over t of row index[t][n] of tables[t]; then, where gamma is there, its layer norm. An
// index below 0 is -1 - (slot in `drawn`): the token that was drawn last there. One that lies
// beyond its table (or drawn's slots) sets *bad to 1 and makes the row of y zeros.
struct gpu_embed {
    struct gpu_rows tables[3];
    const int32_t *index[3];
    int count;
    const int32_t *drawn; // [drawn_slots], or NULL
    size_t drawn_slots;
    int32_t *bad;
    const float *gamma, *beta; // [D], or NULL
    float eps;
    struct gpu_mat y;
};
void gpu_launch_embed(struct gpu_stream *s, const struct gpu_embed *a);

// y = (x - mean) / sqrt(var + eps) * gamma + beta of each row; y may be x. residual, where it is
// there, is added to x first.
struct gpu_layer_norm {
    struct gpu_mat x, residual, y; // residual.data NULL: none
    const float *gamma, *beta;     // [D]; beta NULL: none
    float eps;
};
void gpu_launch_layer_norm(struct gpu_stream *s, const struct gpu_layer_norm *a);

// Each run of `width` columns by itself; y may be x.
struct gpu_rms_norm {
    struct gpu_mat x, y;
    const float *gamma; // [width]
    size_t width;
    float eps;
};
void gpu_launch_rms_norm(struct gpu_stream *s, const struct gpu_rms_norm *a);

void gpu_launch_activate(struct gpu_stream *s, enum gpu_activation f, struct gpu_mat x);
// y += x; y = a - b
void gpu_launch_add(struct gpu_stream *s, struct gpu_mat x, struct gpu_mat y);
void gpu_launch_subtract(struct gpu_stream *s, struct gpu_mat a, struct gpu_mat b,
                         struct gpu_mat y);
// [N, 2F] -> [N, F]: silu(gate) * up
void gpu_launch_swiglu(struct gpu_stream *s, struct gpu_mat gate_up, struct gpu_mat y);
// y[i] = x[rows[i]]
void gpu_launch_gather(struct gpu_stream *s, struct gpu_mat x, const int32_t *rows,
                       struct gpu_mat y);
// Between types; the same where both have one.
void gpu_launch_convert(struct gpu_stream *s, struct gpu_mat x, struct gpu_mat y);

// cos and sin [N, hd/2] f32 of positions[n] * inv_freq[i], times scale; angles rounded to f32.
struct gpu_rope_table {
    const float *inv_freq;
    float scale;
    const int32_t *positions;
    struct gpu_mat cos, sin;
};
void gpu_launch_rope_table(struct gpu_stream *s, const struct gpu_rope_table *a);
// In place: the pairs (i, i + hd/2) of each head.
struct gpu_rope {
    struct gpu_mat x, cos, sin;
    size_t heads, head_dim;
};
void gpu_launch_rope(struct gpu_stream *s, const struct gpu_rope *a);

// What decoders do to q and k of rows [q | k | ...] before attention, in place: heads are normed by
// q_norm and k_norm where they are there (rms, gammas [hd]), then turned as by rope.
struct gpu_turn {
    struct gpu_mat qk, cos, sin; // [N, (H + Hk) hd] and what follows; f32 [N, hd/2]
    size_t heads, kv_heads, head_dim;
    const float *q_norm, *k_norm; // or NULL, both
    float eps;
};
void gpu_launch_turn(struct gpu_stream *s, const struct gpu_turn *a);

enum gpu_pool_mode { GPU_POOL_CLS, GPU_POOL_MEAN, GPU_POOL_MAX, GPU_POOL_LAST, GPU_POOL_MEAN_SQRT };
// out [S, D] f32. A sequence with no token left sets *bad to 1 + its number.
struct gpu_pool {
    enum gpu_pool_mode mode;
    struct gpu_mat x, out;
    const int32_t *cu_seqlens, *skip; // skip NULL: none
    int32_t *bad;
    size_t seqs;
    int normalize; // to length 1; a row of zeros stays
};
void gpu_launch_pool(struct gpu_stream *s, const struct gpu_pool *a);
void gpu_launch_l2_normalize(struct gpu_stream *s, struct gpu_mat x);

// ---- attention.cu: ragged sequences, each by itself

// Queries of tokens [begin, end) over their own sequence's keys. q, k, v and out have one type.
// Tiles of queries: tile t is rows [tiles[2 t + 1], + GPU_ATTENTION_ROWS) of sequence tiles[2 t],
// rows counted within the sequence. (Tiles that lie behind its end do nothing.)
enum { GPU_ATTENTION_ROWS = 64 };
struct gpu_attention {
    struct gpu_mat q, k, v, out;
    const int32_t *cu_seqlens;
    const int32_t *tiles;
    size_t tile_count, seqs, heads, kv_heads, head_dim;
    float scale;
    int causal;
    size_t window; // causal: the last `window` keys, itself included; else those at a distance
                   // of at most window / 2 to either side; 0: all
    const float *slopes; // [H] or NULL: score += -slope * |distance| (ALiBi)
    const float *bias;   // [H, 2 * bias_reach + 1] or NULL: score += bias[h][clamp(j - i) + reach]
    size_t bias_reach;
};
void gpu_launch_attention(struct gpu_stream *s, const struct gpu_attention *a);

// ---- paged.cu: the cache of keys and values, and attention over it

// A block has all layers; of a layer the keys of all kv heads, then the values:
// [blocks][layers][2][Hk][block_tokens][hd] of `type`.
struct gpu_kv {
    void *data;
    enum gpu_type type;
    size_t layers, kv_heads, head_dim, block_tokens, blocks;
};

// Slots are block * block_tokens + offset; below 0: the row is not stored.
struct gpu_kv_store {
    struct gpu_kv kv;
    size_t layer;
    struct gpu_mat k, v;
    const int32_t *slots;
};
void gpu_launch_kv_store(struct gpu_stream *s, const struct gpu_kv_store *a);

// The step's rows over the cache, which holds theirs already. Tile t is rows [tiles[2 t + 1], +
// tile_rows) of the step, which belong to sequence tiles[2 t]; those behind its end do nothing. A
// launch has tiles of one height: 1, for sequences that decode, or GPU_PAGED_ROWS. Row r of a
// sequence of n rows sits at position context_lens[s] - n + r; one below 0 gives zeros (so does any
// row of a context of 0). A context is computed in pieces of GPU_PAGED_KEYS keys from position 0,
// each by itself, which are put together in their order. split (tiles of one row alone): blocks
// share the pieces of a tile, `pieces` at most of a context; each piece's sum, maximum and weight
// go into `partial`, and the last block to be done puts them together (`done` counts, zero before
// and behind). Else one block walks all pieces of its rows: the same numbers, bit for bit where all
// is f32. Context lengths are read from device memory, and table entries within them alone, so that
// a captured launch serves any context of up to `pieces` pieces.
enum { GPU_PAGED_ROWS = 64, GPU_PAGED_KEYS = 128 };
struct gpu_paged_attention {
    struct gpu_kv kv;
    size_t layer;
    struct gpu_mat q, out; // of one type, which need not be the cache's
    const int32_t *cu_seqlens, *context_lens, *block_tables;
    size_t table_stride, seqs;
    const int32_t *tiles;
    size_t tile_rows, tile_count, heads, pieces;
    int split;
    float scale;
    size_t window;  // of the keys up to its own the last `window`; 0: all
    float *partial; // split: gpu_paged_partial_floats of tile_count, heads, head_dim, pieces
    uint32_t *done; // split: [tile_count * heads]
};
size_t gpu_paged_partial_floats(size_t tile_count, size_t heads, size_t head_dim, size_t pieces);
void gpu_launch_paged_attention(struct gpu_stream *s, const struct gpu_paged_attention *a);

// The whole of a step's attention for sequences of one row each (decoding), in one launch: q and k
// are normed by heads where q_norm is there (rms, f32 gammas [hd]), turned by rope, k and v stored
// at the row's slot (below 0: not), and attended as above. qkv: [N, (H + 2 Hk) hd], not changed;
// cos and sin [N, hd/2] f32. Row s is sequence s's: of `paged` q, cu_seqlens, tiles and tile_rows
// are not read, and tile_count is N.
struct gpu_decode_attention {
    struct gpu_paged_attention paged;
    struct gpu_mat qkv, cos, sin;
    const int32_t *slots;
    const float *q_norm, *k_norm; // or NULL
    float norm_eps;
};
void gpu_launch_decode_attention(struct gpu_stream *s, const struct gpu_decode_attention *a);

// ---- linear.cu: products of few rows, straight from what a weight is kept as

// y = f(norm(x) w' + bias) + residual, for at most GPU_FEW_ROWS rows of x. The order of a sum where
// all is f32, here and in the emulated GPU's products of many rows: of the runs of 8 consecutive
// k, lane l of 32 takes those number l, l + 32, l + 64 ..., value by value with fmaf, from zero;
// then lane l adds that of lane l ^ 16, ^ 8, ^ 4, ^ 2, ^ 1; then bias, activation, residual. Of
// narrow types the order is another, and as fixed. norm is norm.cuh's.
enum { GPU_FEW_ROWS = 8 };
struct gpu_few {
    struct gpu_rows w;
    const float *bias; // [out] or NULL
    struct gpu_mat x, y;
    const float *gamma; // [in] or NULL: rms norm of x's rows first
    float eps;
    enum gpu_activation activation;
    int swiglu;              // w's first half of rows is gate, the other up: y [N, out/2]
    struct gpu_mat residual; // data NULL: none; may be y
};
void gpu_launch_few(struct gpu_stream *s, const struct gpu_few *a);

// Rows [from, from + rows) of w as plain numbers, ld = gpu_widened_ld(in): for products of many.
// What lies between two rows is zero.
static inline size_t gpu_widened_ld(size_t in) { return (in + 7) / 8 * 8; }
void gpu_launch_widen(struct gpu_stream *s, const struct gpu_rows *w, size_t from, size_t rows,
                      enum gpu_type type, void *out);

// ---- debug.cu: what a test asks a card to do wrong, and how fast memory is read

void gpu_launch_illegal_address(struct gpu_stream *s);
void gpu_launch_hang(struct gpu_stream *s, const volatile int32_t *until_not_zero);
// All of it once, 16 bytes at a time; what was read is added up in *out.
void gpu_launch_read(struct gpu_stream *s, const void *p, size_t bytes, uint32_t *out);

#ifdef __cplusplus
}
#endif

#endif
