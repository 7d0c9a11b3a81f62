// See encoder.h. One layer, as in the paper (post-norm), N tokens at once:
//   qkv = x Wqkv' + b                      [N, 3D]
//   ctx = attention(q, k, v)               [N, D]
//   mid = norm(ctx Wo' + b + x)            [N, D]
//   ffn = act(mid W1' + b)                 [N, F]
//   x   = norm(ffn W2' + b + mid)          [N, D]
// BERT and DistilBERT differ in names and in the token type table: data, below.
#include "encoder/encoder.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

struct layer {
    struct weight *qkv;      // [3D, D] and bias
    struct weight *out;      // [D, D] and bias
    struct norm attend_norm; // [D]
    struct weight *up;       // [F, D] and bias
    struct weight *down;     // [D, F] and bias
    struct norm ffn_norm;    // [D]
};

struct owned {
    struct weight *weight;
};

struct encoder {
    struct device *device;
    size_t D, H, F, L; // the legend of compute/tensor.h
    enum activation activation;
    struct weight *words;     // [V, D]
    struct weight *positions; // [max_positions, D]
    struct weight *types;     // [type_vocab, D]; NULL: none
    struct norm embed_norm;   // [D]
    struct layer *layers;     // [L]
    struct weight *pooler;    // [D, D] and bias; NULL: none
    struct owned *owned;      // every weight above, once
    size_t owned_count, owned_cap;
};

// Tensor names. Those of linears and norms lack ".weight" and ".bias"; those of a layer follow
// "<layer><number>.".
struct names {
    const char *prefix, *words, *positions, *types, *embed_norm;
    const char *layer, *query, *key, *value, *out, *attend_norm, *up, *down, *ffn_norm;
    const char *pooler;
};

static const struct names names_of[] = {
    [MODEL_ARCH_BERT] = {.prefix = "bert.",
                         .words = "embeddings.word_embeddings.weight",
                         .positions = "embeddings.position_embeddings.weight",
                         .types = "embeddings.token_type_embeddings.weight",
                         .embed_norm = "embeddings.LayerNorm",
                         .layer = "encoder.layer.",
                         .query = "attention.self.query",
                         .key = "attention.self.key",
                         .value = "attention.self.value",
                         .out = "attention.output.dense",
                         .attend_norm = "attention.output.LayerNorm",
                         .up = "intermediate.dense",
                         .down = "output.dense",
                         .ffn_norm = "output.LayerNorm",
                         .pooler = "pooler.dense"},
    [MODEL_ARCH_DISTILBERT] = {.prefix = "distilbert.",
                               .words = "embeddings.word_embeddings.weight",
                               .positions = "embeddings.position_embeddings.weight",
                               .embed_norm = "embeddings.LayerNorm",
                               .layer = "transformer.layer.",
                               .query = "attention.q_lin",
                               .key = "attention.k_lin",
                               .value = "attention.v_lin",
                               .out = "attention.out_lin",
                               .attend_norm = "sa_layer_norm",
                               .up = "ffn.lin1",
                               .down = "ffn.lin2",
                               .ffn_norm = "output_layer_norm"},
};

// ---- binding: a list that stops at the first failure ----

struct binder {
    struct encoder *e;
    struct weights *w;
    struct errmsg *msg;
    const char *layer; // what layer names begin with; "" outside the layers
    size_t layer_index;
    enum err failed;
};

// "encoder.layer.3.output.dense.bias"
static void full_name(const struct binder *b, const char *name, const char *suffix, char *out,
                      size_t size) {
    if (b->layer[0])
        snprintf(out, size, "%s%zu.%s%s", b->layer, b->layer_index, name, suffix);
    else
        snprintf(out, size, "%s%s", name, suffix);
}

static struct weight *prepare(struct binder *b, enum weight_kind kind,
                              const struct weight_part *parts, size_t n) {
    struct encoder *e = b->e;
    struct weight *w = NULL;
    if (e->owned_count == e->owned_cap)
        b->failed = err_set(b->msg, ERR_INTERNAL, "more than %zu weights bound", e->owned_cap);
    else
        b->failed = e->device->ops->weight_prepare(e->device, kind, parts, n, (struct precision){0},
                                                   &w, b->msg);
    if (!b->failed)
        e->owned[e->owned_count++].weight = w;
    return b->failed ? NULL : w;
}

static struct weight *bind_table(struct binder *b, const char *name, size_t rows) {
    struct weight_part part = {0};
    if (!b->failed)
        b->failed = weights_take(b->w, name, 2, (size_t[]){rows, b->e->D}, &part.w, b->msg);
    return b->failed ? NULL : prepare(b, WEIGHT_TABLE, &part, 1);
}

static struct weight *bind_vector(struct binder *b, const char *name, const char *suffix) {
    struct weight_part part = {0};
    char full[128];
    full_name(b, name, suffix, full, sizeof full);
    if (!b->failed)
        b->failed = weights_take(b->w, full, 1, &b->e->D, &part.w, b->msg);
    return b->failed ? NULL : prepare(b, WEIGHT_VECTOR, &part, 1);
}

static struct norm bind_norm(struct binder *b, const char *name, float eps) {
    struct norm norm = {.eps = eps};
    norm.gamma = bind_vector(b, name, ".weight");
    norm.beta = bind_vector(b, name, ".bias");
    return norm;
}

// The linears named, stacked into one: each [out, in] with a bias [out].
static struct weight *bind_linear(struct binder *b, const char *const *names, size_t n, size_t out,
                                  size_t in) {
    struct weight_part parts[3] = {0};
    char full[128];
    for (size_t i = 0; i < n && !b->failed; i++) {
        full_name(b, names[i], ".weight", full, sizeof full);
        b->failed = weights_take(b->w, full, 2, (size_t[]){out, in}, &parts[i].w, b->msg);
        full_name(b, names[i], ".bias", full, sizeof full);
        if (!b->failed)
            b->failed = weights_take(b->w, full, 1, &out, &parts[i].bias, b->msg);
    }
    return b->failed ? NULL : prepare(b, WEIGHT_LINEAR, parts, n);
}

static void bind_layer(struct binder *b, const struct names *n, float eps, struct layer *l) {
    size_t D = b->e->D, F = b->e->F;
    l->qkv = bind_linear(b, (const char *[]){n->query, n->key, n->value}, 3, D, D);
    l->out = bind_linear(b, &n->out, 1, D, D);
    l->attend_norm = bind_norm(b, n->attend_norm, eps);
    l->up = bind_linear(b, &n->up, 1, F, D);
    l->down = bind_linear(b, &n->down, 1, D, F);
    l->ffn_norm = bind_norm(b, n->ffn_norm, eps);
}

static enum err bind_all(struct encoder *e, struct weights *w, const struct model_config *c,
                         struct errmsg *msg) {
    const struct names *n = &names_of[c->arch];
    struct binder b = {.e = e, .w = w, .msg = msg, .layer = ""};
    b.failed = weights_detect_prefix(w, &n->prefix, 1, n->words, msg);
    e->words = bind_table(&b, n->words, c->vocab);
    e->positions = bind_table(&b, n->positions, c->max_positions);
    if (n->types)
        e->types = bind_table(&b, n->types, c->type_vocab);
    e->embed_norm = bind_norm(&b, n->embed_norm, c->norm_eps);
    b.layer = n->layer;
    for (b.layer_index = 0; b.layer_index < e->L && !b.failed; b.layer_index++)
        bind_layer(&b, n, c->norm_eps, &e->layers[b.layer_index]);
    b.layer = "";
    if (n->pooler && c->classification)
        e->pooler = bind_linear(&b, &n->pooler, 1, e->D, e->D);
    return b.failed;
}

enum err encoder_load(struct weights *w, const struct model_config *config, struct device *d,
                      struct encoder **out, struct errmsg *msg) {
    *out = NULL;
    if (config->hidden / config->heads > d->max_head_dim)
        return err_set(
            msg, ERR_UNSUPPORTED,
            "config.json: hidden_size %zu over num_attention_heads %zu: heads of %zu, at "
            "most %zu on %s",
            config->hidden, config->heads, config->hidden / config->heads, d->max_head_dim,
            d->describe);
    struct encoder *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for an encoder");
    e->device = d;
    e->D = config->hidden;
    e->H = config->heads;
    e->F = config->ffn;
    e->L = config->layers;
    e->activation = config->activation;
    e->layers = mem_calloc(e->L, sizeof *e->layers);
    e->owned_cap = 6 + 8 * e->L; // 3 tables, a norm, the pooler; a layer has 4 linears and 2 norms
    e->owned = mem_calloc(e->owned_cap, sizeof *e->owned);
    enum err err = e->layers && e->owned
                       ? bind_all(e, w, config, msg)
                       : err_set(msg, ERR_NOMEM, "no memory for %zu layers", e->L);
    if (err)
        encoder_free(e);
    else
        *out = e;
    return err;
}

void encoder_free(struct encoder *e) {
    if (!e)
        return;
    for (size_t i = 0; e->owned && i < e->owned_count; i++)
        e->device->ops->weight_free(e->device, e->owned[i].weight);
    mem_free(e->owned);
    mem_free(e->layers);
    mem_free(e);
}

size_t encoder_weight_bytes(const struct encoder *e) {
    size_t bytes = 0;
    for (size_t i = 0; i < e->owned_count; i++)
        bytes += e->device->ops->weight_bytes(e->owned[i].weight);
    return bytes;
}

const struct weight *encoder_pooler_weight(const struct encoder *e) { return e->pooler; }

// ---- the forward pass ----

// qkv and ffn are never needed at once: views of one buffer.
static size_t wide_cols(const struct encoder *e) { return e->F > 3 * e->D ? e->F : 3 * e->D; }

static size_t add_cost(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

size_t encoder_workspace_bytes(const struct encoder *e, size_t tokens) {
    size_t narrow = device_mat_bytes(tokens, e->D), wide = device_mat_bytes(tokens, wide_cols(e));
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
static bool attend(const struct encoder *e, const struct layer *l, struct attention_args *a,
                   struct mat x, struct mat qkv, struct mat mid,
                   const struct forward_hooks *hooks) {
    struct device *d = e->device;
    size_t n, most = forward_queries(x.rows);
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, FORWARD_PIECE, &n))
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
        if (!next_piece(hooks, at, x.rows, FORWARD_PIECE, &n))
            return false;
        device_linear_add_norm(d, l->out, mat_rows(a->out, at, n), mat_rows(x, at, n),
                               &l->attend_norm, mat_rows(mid, at, n));
    }
    return true;
}

// The other half, from mid to x: x = norm(act(mid W1' + b) W2' + b + mid).
static bool feed_forward(const struct encoder *e, const struct layer *l, struct mat mid,
                         struct mat ffn, struct mat x, const struct forward_hooks *hooks) {
    struct device *d = e->device;
    size_t n;
    for (size_t at = 0; at < x.rows; at += n) {
        if (!next_piece(hooks, at, x.rows, FORWARD_PIECE, &n))
            return false;
        struct mat rows = mat_rows(mid, at, n), wide = mat_rows(ffn, at, n);
        device_linear_activate(d, l->up, rows, e->activation, wide);
        device_linear_add_norm(d, l->down, wide, rows, &l->ffn_norm, mat_rows(x, at, n));
    }
    return true;
}

struct mat encoder_forward(const struct encoder *e, const struct batch *b, struct arena *ws,
                           const struct forward_hooks *hooks) {
    struct device *d = e->device;
    size_t N = b->tokens, D = e->D, hd = D / e->H;
    struct mat x = device_mat(d, ws, N, D);
    struct mat ctx = device_mat(d, ws, N, D);
    struct mat mid = device_mat(d, ws, N, D);
    struct mat wide = device_mat(d, ws, N, wide_cols(e));
    if (!x.data || !ctx.data || !mid.data || !wide.data)
        return (struct mat){0}; // the device has the failure
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
        const struct layer *l = &e->layers[i];
        if (i > 0 && !forward_goes_on(hooks))
            return (struct mat){0};
        if (!attend(e, l, &attention, x, qkv, mid, hooks) || !forward_goes_on(hooks) ||
            !feed_forward(e, l, mid, ffn, x, hooks))
            return (struct mat){0};
    }
    return x;
}
