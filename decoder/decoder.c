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
    const size_t mats[][2] = {
        {tokens, c->hidden},          {tokens, narrow_cols(c)},  {tokens, wide_cols(c)},
        {tokens, c->head_dim / 2},    {tokens, c->head_dim / 2}, {logit_rows, c->hidden},
        {logit_rows, narrow_cols(c)}, {logit_rows, c->vocab},
    };
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        bytes = add_cost(bytes, device_mat_bytes(mats[i][0], mats[i][1]));
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

static bool begin(struct pass *p, size_t tokens, const int32_t *ids, const int32_t *positions,
                  struct arena *ws) {
    const struct decoder *m = p->m;
    const struct decoder_config *c = &m->config;
    struct device *d = m->device;
    p->x = device_mat(d, ws, tokens, c->hidden);
    p->narrow = device_mat(d, ws, tokens, narrow_cols(c));
    p->wide = device_mat(d, ws, tokens, wide_cols(c));
    p->cos = device_mat(d, ws, tokens, c->head_dim / 2);
    p->sin = device_mat(d, ws, tokens, c->head_dim / 2);
    if (!p->x.data || !p->narrow.data || !p->wide.data || !p->cos.data || !p->sin.data)
        return false; // the device has the failure
    d->ops->rope_table(d, &(struct rope_table_args){.inv_freq = m->inv_freq,
                                                    .scale = m->rope_scale,
                                                    .positions = positions,
                                                    .cos = p->cos,
                                                    .sin = p->sin});
    d->ops->embed(d, &(struct embed_args){.count = 1, .tables[0] = m->embed, .index[0] = ids},
                  p->x);
    return true;
}

// A part of a long batch's rows: [at, at + n). False: the forward ends in front of it.
static bool next_piece(const struct pass *p, size_t at, size_t most, size_t *n) {
    *n = p->x.rows - at < most ? p->x.rows - at : most;
    return at == 0 || forward_goes_on(p->hooks);
}

// q, k and v of the step's tokens, q and k turned; views of p->wide.
struct qkv {
    struct mat q, k, v; // [N, H*hd], [N, Hk*hd] twice
};

// Rows [at, at + n) of them.
static void project_rows(const struct pass *p, const struct decoder_layer *l, size_t at, size_t n) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct mat y = mat_rows(mat_cols(p->narrow, 0, c->hidden), at, n);
    struct mat all = mat_rows(mat_cols(p->wide, 0, q + 2 * kv), at, n);
    d->ops->rms_norm(d, l->attend_norm, c->norm_eps, mat_rows(p->x, at, n), y);
    d->ops->linear(d, l->qkv, y, all);
    if (c->qk_norm) {
        struct mat qs = mat_cols(all, 0, q), ks = mat_cols(all, q, kv);
        d->ops->rms_norm(d, l->q_norm, c->norm_eps, qs, qs);
        d->ops->rms_norm(d, l->k_norm, c->norm_eps, ks, ks);
    }
    d->ops->rope(d, &(struct rope_args){.x = mat_cols(all, 0, q + kv), // k's heads follow q's
                                        .cos = mat_rows(p->cos, at, n),
                                        .sin = mat_rows(p->sin, at, n),
                                        .heads = c->heads + c->kv_heads,
                                        .head_dim = c->head_dim});
}

// False: the forward ends.
static bool project(const struct pass *p, const struct decoder_layer *l, struct qkv *out) {
    const struct decoder_config *c = &p->m->config;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, n;
    *out = (struct qkv){mat_cols(p->wide, 0, q), mat_cols(p->wide, q, kv),
                        mat_cols(p->wide, q + kv, kv)};
    for (size_t at = 0; at < p->x.rows; at += n) {
        if (!next_piece(p, at, FORWARD_PIECE, &n))
            return false;
        project_rows(p, l, at, n);
    }
    return true;
}

// False: the forward ends.
static bool attend(const struct pass *p, size_t layer, const struct qkv *qkv, struct mat out) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    float scale = 1 / sqrtf((float)c->head_dim);
    size_t window = layer >= c->window_from ? c->window : 0;
    if (p->step) {
        const struct decoder_step *s = p->step;
        d->ops->paged_attention(d, &(struct paged_attention_args){.kv = p->kv,
                                                                  .layer = layer,
                                                                  .q = qkv->q,
                                                                  .out = out,
                                                                  .cu_seqlens = s->cu_seqlens,
                                                                  .context_lens = s->context_lens,
                                                                  .block_tables = s->block_tables,
                                                                  .table_stride = s->table_stride,
                                                                  .seqs = s->seqs,
                                                                  .heads = c->heads,
                                                                  .scale = scale,
                                                                  .window = window});
        return true;
    }
    size_t n, most = forward_queries(window ? window : p->x.rows);
    for (size_t at = 0; at < p->x.rows; at += n) {
        if (!next_piece(p, at, most, &n))
            return false;
        d->ops->attention(d, &(struct attention_args){.q = qkv->q,
                                                      .k = qkv->k,
                                                      .v = qkv->v,
                                                      .out = out,
                                                      .cu_seqlens = p->batch->cu_seqlens,
                                                      .seqs = p->batch->seqs,
                                                      .heads = c->heads,
                                                      .kv_heads = c->kv_heads,
                                                      .head_dim = c->head_dim,
                                                      .scale = scale,
                                                      .causal = true,
                                                      .window = window,
                                                      .begin = at,
                                                      .end = at + n});
    }
    return true;
}

static void store(const struct pass *p, size_t layer, const struct qkv *qkv) {
    struct device *d = p->m->device;
    d->ops->kv_store(
        d, &(struct kv_store_args){
               .kv = p->kv, .layer = layer, .k = qkv->k, .v = qkv->v, .slots = p->step->slots});
}

// x += ctx Wo', then the feed-forward half. False: the forward ends.
static bool finish_layer(const struct pass *p, const struct decoder_layer *l) {
    const struct decoder_config *c = &p->m->config;
    struct device *d = p->m->device;
    struct mat ctx = mat_cols(p->narrow, 0, c->heads * c->head_dim), x = p->x;
    size_t n;
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(p, at, FORWARD_PIECE, &n))
            return false;
        device_linear_add(d, l->out, mat_rows(ctx, at, n), mat_rows(x, at, n),
                          mat_rows(mat_cols(p->wide, 0, c->hidden), at, n));
    }
    for (size_t at = 0; at < x.rows; at += n) {
        n = x.rows - at < FORWARD_PIECE ? x.rows - at : FORWARD_PIECE;
        if (!forward_goes_on(p->hooks))
            return false;
        struct mat y = mat_rows(mat_cols(p->narrow, 0, c->hidden), at, n);
        struct mat wide = mat_rows(p->wide, at, n);
        struct mat gate_up = mat_cols(wide, 0, 2 * c->ffn),
                   ffn = mat_cols(wide, 2 * c->ffn, c->ffn);
        d->ops->rms_norm(d, l->ffn_norm, c->norm_eps, mat_rows(x, at, n), y);
        d->ops->linear(d, l->gate_up, y, gate_up);
        d->ops->swiglu(d, gate_up, ffn);
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
    bool began = begin(&p, s->tokens, s->ids, s->positions, ws);
    struct mat rows = device_mat(d, ws, s->logit_count, c->hidden);
    struct mat row_narrow = device_mat(d, ws, s->logit_count, narrow_cols(c));
    struct mat logits = device_mat(d, ws, s->logit_count, c->vocab);
    if (!began || !rows.data || !row_narrow.data || !logits.data)
        return (struct mat){0};
    for (size_t i = 0; i < c->layers; i++) {
        struct qkv qkv;
        if ((i > 0 && !forward_goes_on(hooks)) || !project(&p, &m->layers[i], &qkv))
            return (struct mat){0};
        store(&p, i, &qkv);
        bool last = i + 1 == c->layers;
        if (last && s->logit_count == 0)
            return (struct mat){0}; // nobody reads further
        (void)attend(&p, i, &qkv, mat_cols(p.narrow, 0, c->heads * c->head_dim)); // in one piece
        if (last)
            keep_rows(&p, rows, row_narrow);
        if (!finish_layer(&p, &m->layers[i]))
            return (struct mat){0};
    }
    d->ops->rms_norm(d, m->norm, c->norm_eps, p.x, p.x);
    d->ops->linear(d, m->head, p.x, logits);
    return logits;
}

struct mat decoder_encode(const struct decoder *m, const struct batch *b, struct arena *ws,
                          const struct forward_hooks *hooks) {
    const struct decoder_config *c = &m->config;
    struct device *d = m->device;
    struct pass p = {.m = m, .hooks = hooks, .batch = b};
    if (!begin(&p, b->tokens, b->ids, b->positions, ws))
        return (struct mat){0};
    for (size_t i = 0; i < c->layers; i++) {
        struct qkv qkv;
        struct mat ctx = mat_cols(p.narrow, 0, c->heads * c->head_dim);
        if ((i > 0 && !forward_goes_on(hooks)) || !project(&p, &m->layers[i], &qkv) ||
            !attend(&p, i, &qkv, ctx) || !finish_layer(&p, &m->layers[i]))
            return (struct mat){0};
    }
    d->ops->rms_norm(d, m->norm, c->norm_eps, p.x, p.x);
    return p.x;
}
