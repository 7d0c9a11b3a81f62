// See encoder.h. One layer, as in the paper (post-norm), N tokens at once:
//   qkv = x Wqkv' + b                      [N, 3D]
//   ctx = attention(q, k, v)               [N, D]
//   mid = norm(ctx Wo' + b + x)            [N, D]
//   ffn = act(mid W1' + b)                 [N, F]
//   x   = norm(ffn W2' + b + mid)          [N, D]
// BERT and DistilBERT differ in names and in the token type table: data, in bind.c.
#include "encoder/encoder_internal.h"

#include <math.h>

// qkv and ffn are never needed at once: views of one buffer.
static size_t wide_cols(const struct encoder *e) { return e->F > 3 * e->D ? e->F : 3 * e->D; }

static size_t add_cost(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

size_t encoder_workspace_bytes(const struct encoder *e, size_t tokens) {
    size_t rows = device_rows_most(e->device, tokens);
    size_t narrow = device_mat_bytes_of(rows, e->D, e->activations);
    size_t wide = device_mat_bytes_of(rows, wide_cols(e), e->activations);
    return add_cost(add_cost(narrow, narrow), add_cost(narrow, wide));
}

static void embed(const struct encoder *e, const struct batch *b, struct mat y) {
    // the order of BertEmbeddings' sums, so that they round alike
    struct embed_args a = {.count = 1, .tables[0] = e->words, .index[0] = b->ids};
    if (e->types) {
        a.tables[a.count] = e->types;
        a.index[a.count++] = b->type_ids;
    }
    a.tables[a.count] = e->positions;
    a.index[a.count++] = b->positions;
    e->device->ops->embed(e->device, &a, y);
    e->device->ops->layer_norm(e->device, &e->embed_norm, y, y);
}

// A part of a long batch's rows: [at, at + n). False: the forward ends in front of it.
static bool next_piece(const struct forward_hooks *hooks, size_t at, size_t rows, size_t most,
                       size_t *n) {
    *n = rows - at < most ? rows - at : most;
    return at == 0 || forward_goes_on(hooks);
}

// The attending half of a layer, from x to mid: qkv = x Wqkv' + b; ctx = attention; mid =
// norm(...).
static bool attend(const struct encoder *e, const struct encoder_layer *l, struct attention_args *a,
                   struct mat x, struct mat qkv, struct mat mid,
                   const struct forward_hooks *hooks) {
    struct device *d = e->device;
    size_t n, most = device_piece(d, forward_queries(x.rows));
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, device_piece(d, FORWARD_PIECE), &n))
            return false;
        d->ops->linear(d, l->qkv, mat_rows(x, at, n), mat_rows(qkv, at, n));
    }
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, most, &n))
            return false;
        a->begin = at;
        a->end = at + n;
        d->ops->attention(d, a);
    }
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, device_piece(d, FORWARD_PIECE), &n))
            return false;
        device_linear_add_norm(d, l->out, mat_rows(a->out, at, n), mat_rows(x, at, n),
                               &l->attend_norm, mat_rows(mid, at, n));
    }
    return true;
}

// The other half, from mid to x: x = norm(act(mid W1' + b) W2' + b + mid).
static bool feed_forward(const struct encoder *e, const struct encoder_layer *l, struct mat mid,
                         struct mat ffn, struct mat x, const struct forward_hooks *hooks) {
    struct device *d = e->device;
    size_t n;
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, device_piece(d, FORWARD_PIECE), &n))
            return false;
        struct mat rows = mat_rows(mid, at, n), wide = mat_rows(ffn, at, n);
        device_linear_activate(d, l->up, rows, e->activation, wide);
        device_linear_add_norm(d, l->down, wide, rows, &l->ffn_norm, mat_rows(x, at, n));
    }
    return true;
}

// False: the forward ends.
static bool run_layers(const struct encoder *e, const struct batch *b, struct mat x, struct mat ctx,
                       struct mat mid, struct mat wide, const struct forward_hooks *hooks) {
    size_t D = e->D, hd = D / e->H;
    struct mat qkv = mat_cols(wide, 0, 3 * D), ffn = mat_cols(wide, 0, e->F);
    struct attention_args attention = {.q = mat_cols(qkv, 0, D),
                                       .k = mat_cols(qkv, D, D),
                                       .v = mat_cols(qkv, 2 * D, D),
                                       .out = ctx,
                                       .cu_seqlens = b->cu_seqlens,
                                       .seqs = b->seqs,
                                       .heads = e->H,
                                       .head_dim = hd,
                                       .scale = 1 / sqrtf((float)hd)};
    embed(e, b, x);
    for (size_t i = 0; i < e->L; i++) {
        const struct encoder_layer *l = &e->layers[i];
        if (i > 0 && !forward_goes_on(hooks))
            return false;
        if (!attend(e, l, &attention, x, qkv, mid, hooks) || !forward_goes_on(hooks) ||
            !feed_forward(e, l, mid, ffn, x, hooks))
            return false;
    }
    return true;
}

struct mat encoder_forward(const struct encoder *e, const struct batch *b, struct arena *ws,
                           const struct forward_hooks *hooks) {
    struct device *d = e->device;
    struct forward_pass pass = {.model = e,
                                .ws = ws,
                                .tokens = b->tokens,
                                .seqs = b->seqs,
                                .arrays = {{b->ids, b->tokens, 0, FORWARD_PER_TOKEN},
                                           {b->positions, b->tokens, 0, FORWARD_PER_TOKEN},
                                           {b->cu_seqlens, b->seqs + 1, 0, FORWARD_CU_SEQLENS},
                                           {b->type_ids, b->tokens, 0, FORWARD_PER_TOKEN}},
                                .array_count = e->types ? 4 : 3};
    size_t N = device_begin(d, &pass), D = e->D;
    struct mat x = device_mat_of(d, ws, N, D, e->activations);
    struct mat ctx = device_mat_of(d, ws, N, D, e->activations);
    struct mat mid = device_mat_of(d, ws, N, D, e->activations);
    struct mat wide = device_mat_of(d, ws, N, wide_cols(e), e->activations);
    bool done = x.data && ctx.data && mid.data && wide.data; // else the device has the failure
    if (done && !pass.replayed)
        done = run_layers(e, b, x, ctx, mid, wide, hooks);
    device_end(d, &pass);
    return done ? mat_rows(x, 0, b->tokens) : (struct mat){0};
}
