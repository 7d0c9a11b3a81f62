// See decoder.h. One layer, as in the paper (pre-norm), N tokens at once:
//   y   = rms_norm(x)                      [N, D]
//   qkv = y Wqkv' + b                      [N, (H + 2 Hk)*hd]
//   q, k normed by heads (Qwen3), turned by rope
//   ctx = attention(q, cached k, cached v) [N, H*hd]
//   x  += ctx Wo'                          [N, D]
//   y   = rms_norm(x)                      [N, D]
//   x  += (silu(y Wg') * (y Wu')) Wd'      [N, D], over [N, F]
// Qwen2, Qwen3, Llama and Mistral differ in what of this they have: data, in the config.
#include "decoder/decoder_internal.h"

#include <math.h>

struct kv_shape decoder_kv_shape(const struct decoder *m, size_t block_tokens, size_t blocks,
                                 enum dtype dtype) {
    return (struct kv_shape){.layers = m->config.layers,
                             .kv_heads = m->config.kv_heads,
                             .heads = m->config.heads,
                             .head_dim = m->config.head_dim,
                             .block_tokens = block_tokens,
                             .blocks = blocks,
                             .dtype = dtype};
}

// ---- the workspace ----

static size_t most(size_t a, size_t b) { return a > b ? a : b; }
static size_t add_cost(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

static size_t narrow_cols(const struct decoder_config *c) {
    return most(c->hidden, c->heads * c->head_dim);
}
// qkv; then gate_up [2F] with what becomes of it [F] behind; D of scratch
static size_t wide_cols(const struct decoder_config *c) {
    return most(most((c->heads + 2 * c->kv_heads) * c->head_dim, 3 * c->ffn), c->hidden);
}

size_t decoder_workspace_bytes(const struct decoder *m, size_t tokens, size_t logit_rows) {
    const struct decoder_config *c = &m->config;
    size_t rows = device_rows_most(m->device, tokens);
    size_t wanted = device_rows_most(m->device, logit_rows);
    enum dtype dtype = m->activations;
    const struct {
        size_t rows, cols;
        enum dtype dtype;
    } mats[] = {
        {rows, c->hidden, dtype},           {rows, narrow_cols(c), dtype},
        {rows, wide_cols(c), dtype},        {rows, c->head_dim / 2, DTYPE_F32},
        {rows, c->head_dim / 2, DTYPE_F32}, {wanted, c->hidden, dtype},
        {wanted, narrow_cols(c), dtype},    {wanted, c->vocab, DTYPE_F32},
    };
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        bytes = add_cost(bytes, device_mat_bytes_of(mats[i].rows, mats[i].cols, mats[i].dtype));
    return bytes;
}

// ---- the forward pass ----

struct pass {
    const struct decoder *m;
    const struct forward_hooks *hooks;
    struct mat x;                    // [N, D] what layers add to
    struct mat narrow;               // [N, max(D, H*hd)] what a norm gives, or attention
    struct mat wide;                 // [N, wide_cols]
    struct mat cos, sin;             // [N, hd/2]
    const struct decoder_step *step; // over the cache, or
    struct kv_cache *kv;
    const struct batch *batch; // whole sequences
};

enum { PASS_STEP, PASS_ENCODE }; // kinds of struct forward_pass

static bool take_mats(struct pass *p, size_t rows, struct arena *ws) {
    const struct decoder *m = p->m;
    const struct decoder_config *c = &m->config;
    struct device *d = m->device;
    p->x = device_mat_of(d, ws, rows, c->hidden, m->activations);
    p->narrow = device_mat_of(d, ws, rows, narrow_cols(c), m->activations);
    p->wide = device_mat_of(d, ws, rows, wide_cols(c), m->activations);
    p->cos = device_mat(d, ws, rows, c->head_dim / 2);
    p->sin = device_mat(d, ws, rows, c->head_dim / 2);
    return p->x.data && p->narrow.data && p->wide.data && p->cos.data && p->sin.data;
}

static void embed(const struct pass *p, const int32_t *ids, const int32_t *positions) {
    const struct decoder *m = p->m;
    struct device *d = m->device;
    d->ops->rope_table(d, &(struct rope_table_args){.inv_freq = m->inv_freq,
                                                    .scale = m->rope_scale,
                                                    .positions = positions,
                                                    .cos = p->cos,
                                                    .sin = p->sin});
    d->ops->embed(d, &(struct embed_args){.count = 1, .tables[0] = m->embed, .index[0] = ids},
                  p->x);
}

// A part of a long batch's rows: [at, at + n). False: the forward ends in front of it.
static bool next_piece(const struct pass *p, size_t at, size_t most, size_t *n) {
    *n = p->x.rows - at < most ? p->x.rows - at : most;
    return at == 0 || forward_goes_on(p->hooks);
}

// Columns of p->wide: [q | k | v].
static struct mat qkv_of(const struct pass *p) {
    const struct decoder_config *c = &p->m->config;
    return mat_cols(p->wide, 0, (c->heads + 2 * c->kv_heads) * c->head_dim);
}

static struct turn_args turn_of(const struct pass *p, const struct decoder_layer *l, size_t at,
                                size_t n) {
    const struct decoder_config *c = &p->m->config;
    return (struct turn_args){.qkv = mat_rows(qkv_of(p), at, n),
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .head_dim = c->head_dim,
                              .q_norm = c->qk_norm ? l->q_norm : NULL,
                              .k_norm = c->qk_norm ? l->k_norm : NULL,
                              .eps = c->norm_eps,
                              .cos = mat_rows(p->cos, at, n),
                              .sin = mat_rows(p->sin, at, n)};
}

// q, k and v of all rows; without a cache q and k are turned, too. False: the forward ends.
static bool project(const struct pass *p, const struct decoder_layer *l) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    size_t n;
    for (size_t at = 0; at < p->x.rows; at += n) {
        if (!next_piece(p, at, device_piece(d, FORWARD_PIECE), &n))
            return false;
        device_norm_linear(d, &(struct norm_linear_args){
                                  .gamma = l->attend_norm,
                                  .eps = c->norm_eps,
                                  .w = l->qkv,
                                  .x = mat_rows(p->x, at, n),
                                  .normed = mat_rows(mat_cols(p->narrow, 0, c->hidden), at, n),
                                  .y = mat_rows(qkv_of(p), at, n)});
        struct turn_args turn = turn_of(p, l, at, n);
        if (!p->step)
            device_turn(d, &turn);
    }
    return true;
}

static size_t window_of(const struct pass *p, size_t layer) {
    return layer >= p->m->config.window_from ? p->m->config.window : 0;
}

static struct kv_store_args store_of(const struct pass *p, size_t layer) {
    const struct decoder_config *c = &p->m->config;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct mat all = qkv_of(p);
    return (struct kv_store_args){.kv = p->kv,
                                  .layer = layer,
                                  .k = mat_cols(all, q, kv),
                                  .v = mat_cols(all, q + kv, kv),
                                  .slots = p->step->slots};
}

// A step's attention over the cache, in one piece; its keys and values go there first.
static void attend_cached(const struct pass *p, size_t layer, struct mat out) {
    const struct decoder_config *c = &p->m->config;
    const struct decoder_step *s = p->step;
    size_t q = c->heads * c->head_dim;
    struct mat all = qkv_of(p);
    device_step_attention(p->m->device, &(struct step_attention_args){
                                            .turn = turn_of(p, &p->m->layers[layer], 0, p->x.rows),
                                            .store = store_of(p, layer),
                                            .paged = {.kv = p->kv,
                                                      .layer = layer,
                                                      .q = mat_cols(all, 0, q),
                                                      .out = out,
                                                      .cu_seqlens = s->cu_seqlens,
                                                      .context_lens = s->context_lens,
                                                      .block_tables = s->block_tables,
                                                      .table_stride = s->table_stride,
                                                      .seqs = s->seqs,
                                                      .heads = c->heads,
                                                      .scale = 1 / sqrtf((float)c->head_dim),
                                                      .window = window_of(p, layer)}});
}

// Whole sequences' attention. False: the forward ends.
static bool attend(const struct pass *p, size_t layer, struct mat out) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    size_t window = window_of(p, layer);
    size_t n, most = device_piece(d, forward_queries(window ? window : p->x.rows));
    for (size_t at = 0; at < p->x.rows; at += n) {
        if (!next_piece(p, at, most, &n))
            return false;
        d->ops->attention(d, &(struct attention_args){.q = mat_cols(p->wide, 0, q),
                                                      .k = mat_cols(p->wide, q, kv),
                                                      .v = mat_cols(p->wide, q + kv, kv),
                                                      .out = out,
                                                      .cu_seqlens = p->batch->cu_seqlens,
                                                      .seqs = p->batch->seqs,
                                                      .heads = c->heads,
                                                      .kv_heads = c->kv_heads,
                                                      .head_dim = c->head_dim,
                                                      .scale = 1 / sqrtf((float)c->head_dim),
                                                      .causal = true,
                                                      .window = window,
                                                      .begin = at,
                                                      .end = at + n});
    }
    return true;
}

// x += ctx Wo', then the feed-forward half. False: the forward ends.
static bool finish_layer(const struct pass *p, const struct decoder_layer *l) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    struct mat ctx = mat_cols(p->narrow, 0, c->heads * c->head_dim), x = p->x;
    size_t n;
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(p, at, device_piece(d, FORWARD_PIECE), &n))
            return false;
        device_linear_add(d, l->out, mat_rows(ctx, at, n), mat_rows(x, at, n),
                          mat_rows(mat_cols(p->wide, 0, c->hidden), at, n));
    }
    for (size_t at = 0; at < x.rows; at += n) {
        n = x.rows - at < device_piece(d, FORWARD_PIECE) ? x.rows - at
                                                         : device_piece(d, FORWARD_PIECE);
        if (!forward_goes_on(p->hooks))
            return false;
        struct mat y = mat_rows(mat_cols(p->narrow, 0, c->hidden), at, n);
        struct mat wide = mat_rows(p->wide, at, n);
        struct mat gate_up = mat_cols(wide, 0, 2 * c->ffn),
                   ffn = mat_cols(wide, 2 * c->ffn, c->ffn);
        device_norm_linear(d, &(struct norm_linear_args){.gamma = l->ffn_norm,
                                                         .eps = c->norm_eps,
                                                         .w = l->gate_up,
                                                         .x = mat_rows(x, at, n),
                                                         .normed = y,
                                                         .swiglu = true,
                                                         .gate_up = gate_up,
                                                         .y = ffn});
        device_linear_add(d, l->down, ffn, mat_rows(x, at, n), y);
    }
    return true;
}

// From here on only the rows of which logits are wanted.
static void keep_rows(struct pass *p, struct mat x, struct mat narrow) {
    struct device *d = p->m->device;
    size_t width = p->m->config.heads * p->m->config.head_dim;
    if (x.rows == p->x.rows)
        return; // all of them, ascending
    d->ops->gather(d, p->x, p->step->logit_rows, x);
    d->ops->gather(d, mat_cols(p->narrow, 0, width), p->step->logit_rows,
                   mat_cols(narrow, 0, width));
    p->x = x;
    p->narrow = narrow;
    p->wide.rows = x.rows;
}

// What the forward is given, for a device that would know it as a whole.
static struct forward_pass step_pass(const struct decoder *m, const struct decoder_step *s,
                                     struct kv_cache *kv, const struct arena *ws) {
    return (struct forward_pass){
        .model = m,
        .kind = PASS_STEP,
        .ws = ws,
        .tokens = s->tokens,
        .seqs = s->seqs,
        .logits = s->logit_count,
        .arrays = {{s->ids, s->tokens, 0, FORWARD_PER_TOKEN},
                   {s->positions, s->tokens, 0, FORWARD_PER_TOKEN},
                   {s->slots, s->tokens, -1, FORWARD_PER_TOKEN},
                   {s->cu_seqlens, s->seqs + 1, 0, FORWARD_CU_SEQLENS},
                   {s->context_lens, s->seqs, 0, FORWARD_PER_SEQ},
                   {s->block_tables, s->seqs * s->table_stride, 0, FORWARD_PER_SEQ},
                   {s->logit_rows, s->logit_count, 0, FORWARD_OTHER},
                   {m->inv_freq, m->config.head_dim / 2, 0, FORWARD_OTHER}},
        .array_count = 8,
        .decodes = s->tokens == s->seqs && s->logit_count == s->tokens,
        .kv = kv,
    };
}

// The layers, from p->x to p->x. False: the forward ends.
static bool run_layers(struct pass *p, struct mat rows, struct mat row_narrow) {
    const struct decoder *m = p->m;
    const struct decoder_config *c = &m->config;
    struct device *d = m->device;
    for (size_t i = 0; i < c->layers; i++) {
        const struct decoder_layer *l = &m->layers[i];
        struct mat ctx = mat_cols(p->narrow, 0, c->heads * c->head_dim);
        if ((i > 0 && !forward_goes_on(p->hooks)) || !project(p, l))
            return false;
        bool last = i + 1 == c->layers;
        if (!p->step) {
            if (!attend(p, i, ctx))
                return false;
        } else if (last && p->step->logit_count == 0) { // nobody reads further
            struct turn_args turn = turn_of(p, l, 0, p->x.rows);
            struct kv_store_args stored = store_of(p, i);
            device_turn(d, &turn);
            d->ops->kv_store(d, &stored);
            return false;
        } else {
            attend_cached(p, i, ctx);
            if (last)
                keep_rows(p, rows, row_narrow);
        }
        if (!finish_layer(p, l))
            return false;
    }
    d->ops->rms_norm(d, m->norm, c->norm_eps, p->x, p->x);
    return true;
}

struct mat decoder_forward(const struct decoder *m, const struct decoder_step *s,
                           struct kv_cache *kv, struct arena *ws,
                           const struct forward_hooks *hooks) {
    const struct decoder_config *c = &m->config;
    struct device *d = m->device;
    struct pass p = {.m = m, .hooks = hooks, .step = s, .kv = kv};
    if (s->logit_count > s->tokens || (s->logit_count > 0 && !m->head)) {
        device_fail(d, ERR_INTERNAL, "decoder: logits of %zu rows of %zu%s", s->logit_count,
                    s->tokens, m->head ? "" : ", and the model has no head");
        return (struct mat){0};
    }
    struct forward_pass pass = step_pass(m, s, kv, ws);
    size_t all = device_begin(d, &pass);
    size_t wanted = s->logit_count == s->tokens ? all : s->logit_count;
    bool room = take_mats(&p, all, ws);
    struct mat rows = device_mat_of(d, ws, wanted, c->hidden, m->activations);
    struct mat row_narrow = device_mat_of(d, ws, wanted, narrow_cols(c), m->activations);
    struct mat logits = device_mat(d, ws, wanted, c->vocab);
    bool done = room && rows.data && row_narrow.data && logits.data;
    if (done && !pass.replayed) {
        embed(&p, s->ids, s->positions);
        done = run_layers(&p, rows, row_narrow);
        if (done)
            d->ops->linear(d, m->head, p.x, logits);
    }
    device_end(d, &pass);
    return done ? mat_rows(logits, 0, s->logit_count) : (struct mat){0};
}

struct mat decoder_encode(const struct decoder *m, const struct batch *b, struct arena *ws,
                          const struct forward_hooks *hooks) {
    struct device *d = m->device;
    struct pass p = {.m = m, .hooks = hooks, .batch = b};
    struct forward_pass pass = {.model = m,
                                .kind = PASS_ENCODE,
                                .ws = ws,
                                .tokens = b->tokens,
                                .seqs = b->seqs,
                                .arrays = {{b->ids, b->tokens, 0, FORWARD_PER_TOKEN},
                                           {b->positions, b->tokens, 0, FORWARD_PER_TOKEN},
                                           {b->cu_seqlens, b->seqs + 1, 0, FORWARD_CU_SEQLENS},
                                           {m->inv_freq, m->config.head_dim / 2, 0, FORWARD_OTHER}},
                                .array_count = 4};
    size_t all = device_begin(d, &pass);
    bool done = take_mats(&p, all, ws);
    if (done && !pass.replayed) {
        embed(&p, b->ids, b->positions);
        done = run_layers(&p, (struct mat){0}, (struct mat){0});
    }
    device_end(d, &pass);
    return done ? mat_rows(p.x, 0, b->tokens) : (struct mat){0};
}
