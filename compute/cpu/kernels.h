// One table of kernels per instruction set, picked once at run time. Role: the arithmetic of one
// thread's share of an operation; the files of operations (ops_*) decide who gets which share. The
// generic table is plain C and the oracle for the others, but for pairs, whose oracle is double
// precision. Every sum runs in an order that depends only on the row's own length, never on its
// neighbours or the share: rows have the same bits in any batch. A NaN in a row's input reaches its
// output. Thread rule: pure functions; scratch belongs to the calling thread.
#ifndef TRINE_COMPUTE_CPU_KERNELS_H
#define TRINE_COMPUTE_CPU_KERNELS_H

#include "compute/cpu/causal.h"
#include "compute/cpu/panels.h"
#include "compute/cpu/share.h"
#include "compute/device.h"

enum {
    // Floats of scratch that each compute thread owns (1 MiB), 64-byte aligned.
    KERNEL_SCRATCH = 1 << 18,
    // Queries that one attention share takes at most.
    ATTENTION_QUERIES = ATTENTION_ROWS,
};

// y = f(x w' + bias), or x w' + bias + residual (f is then NONE), for some rows and some whole
// panels of w. A panel is `panel` neighbouring outputs' weights as [k][panel], zero behind the last
// output: f32, f16, or bf16 with the outputs j and j + panel / 2 side by side (a word then holds
// both, each one instruction from its f32); or pairs (below). Block types have panels of their own
// (panels.h).
// Every y is one chain of multiply-adds over ascending k (of int8 products: one for each unit of
// 32; of pairs: one for each word), begun at 0, then the bias, then the residual are added.
struct kernel_linear_share {
    const float *x; // [rows, k], stride ldx; block types and pairs read acts instead
    size_t ldx, rows, k;
    enum dtype format;
    const void *panels; // the first of ceil(cols / panel)
    const void *acts;   // of these rows, see ACT_ROWS and pair_words
    bool int8;          // which acts of block types: struct kernel_act_unit, or f32
    const float *bias;  // [cols], padded with zeros to whole panels
    size_t cols;
    const float *residual; // [rows, cols], stride ldr; NULL: none; may be y
    size_t ldr;
    enum activation f;
    float *y; // [rows, cols], stride ldy
    size_t ldy;
};

// Where output j lies in a panel's row of floats.
static inline size_t panel_place(enum dtype format, size_t panel, size_t j) {
    return format == DTYPE_BF16 ? j % (panel / 2) * 2 + j / (panel / 2) : j;
}

// What block types are multiplied with: groups of ACT_ROWS rows, the last of as many as are left,
// rounded up to a power of two (rows beyond the last are zero). A group of W rows is [k][W] floats,
// or [k / UNIT][W] units.
enum { ACT_ROWS = 16 };

// x = d q, rounded to nearest. d = max |x| / c, of the c in ACT_STEPS the one whose rounding loses
// least, the first of equals (a tenth of the squared error, and a twentieth of a model's
// divergence, against c = 127 alone); NaN when one of x is not finite.
enum { ACT_CHOICES = 4 };
static const float ACT_STEPS[ACT_CHOICES] = {127, 126, 125, 124};
// 127^2 / c^2
static const float ACT_STEP_SQUARES[ACT_CHOICES] = {1, 1.015936F, 1.032256F, 1.048972F};
struct kernel_act_unit {
    int8_t q[UNIT];
    float d;
    int32_t minus, minus_half[2]; // minus the sum of q, of its halves
};

static inline size_t act_width(size_t rows) {
    size_t width = 1;
    while (width < rows)
        width *= 2;
    return at_most(width, ACT_ROWS);
}
static inline size_t act_row_bytes(size_t k, bool int8) {
    return int8 ? k / UNIT * sizeof(struct kernel_act_unit) : k * sizeof(float);
}

// Pairs: bf16 weights of two neighbouring inputs, the first one low, in a word: [pair_words][panel]
// in a panel. Activations are rows of as many words, rounded to bf16, to the nearest, ties to even;
// pair_stride words apart. What an odd k leaves over is zero in both. A word's two products are
// added as the instruction does it (VDPBF16PS: denormals are zero).
static inline size_t pair_words(size_t k) { return k / 2 + k % 2; }
static inline size_t pair_stride(size_t k) { return mat_ld(pair_words(k), DTYPE_F32); }

// Panels and tiles are of the set's panel and tile_rows.
struct kernel_pairs {
    void (*linear)(const struct kernel_linear_share *s);
    void (*round)(const float *x, size_t k, uint32_t *to); // to[pair_words(k)]
    double (*probe)(size_t rounds);                        // as probe_fma
};

// One head of one sequence, some of its queries: out = softmax(scale q k') v.
struct kernel_attention_share {
    const float *q; // [queries, head_dim], stride ldq
    const float *k; // [keys, head_dim], stride ldk
    const float *v; // [keys, head_dim], stride ldv
    float *out;     // [queries, head_dim], stride ldo
    size_t ldq, ldk, ldv, ldo;
    size_t queries, keys, head_dim; // queries <= ATTENTION_QUERIES, keys >= 1
    float scale;
    float *scratch; // KERNEL_SCRATCH floats
};

struct cpu_kernels {
    const char *name;
    size_t panel;     // outputs in a panel of packed weights
    size_t tile_rows; // rows that `linear` takes at once: shares of a multiple of it are cheapest
    size_t max_head_dim;

    void (*linear)(const struct kernel_linear_share *s);        // formats F32, F16, BF16
    void (*linear_blocks)(const struct kernel_linear_share *s); // block types
    // One row of k values to units at to, to + stride, ...
    void (*quantize)(const float *x, size_t k, struct kernel_act_unit *to, size_t stride);
    void (*attention)(const struct kernel_attention_share *s);
    void (*activate)(enum activation f, float *x, size_t n);
    // y = sum of rows[0 .. count), in that order, count >= 1
    void (*sum_rows)(const float *const *rows, size_t count, float *y, size_t n);
    // y = gamma (x - mean) / sqrt(variance + eps) + beta; y may be x
    void (*layer_norm)(const float *x, const float *gamma, const float *beta, float eps, float *y,
                       size_t n);
    // One sequence: rows >= 1 tokens, stride ld, to y[n]. mode is not CLS or LAST.
    void (*pool)(enum pool_mode mode, const float *x, size_t ld, size_t rows, float *y, size_t n);
    void (*l2_normalize)(float *x, size_t n);
    // n values of `from` (F32, F16 or BF16, any alignment) to f32; returns the index of the first
    // that is not finite, n when all are.
    size_t (*convert)(enum dtype from, const void *src, float *dst, size_t n);

    const struct causal_kernels *causal;
    const struct kernel_pairs *pairs; // NULL: no instruction for them

    // What this set can do at most, for peak.h: multiply-adds on registers, and reading memory.
    double (*probe_fma)(size_t rounds);            // returns the floating point operations done
    double (*probe_dot)(size_t rounds);            // the same of int8 products
    float (*probe_read)(const float *p, size_t n); // n a multiple of 256; returns what it summed
};

extern const struct cpu_kernels kernels_generic;
#if defined(__x86_64__)
extern const struct cpu_kernels kernels_avx2, kernels_avx512, kernels_avx512vnni,
    kernels_avx512bf16;
extern const struct kernel_pairs pairs_avx512bf16;
#endif

#endif
