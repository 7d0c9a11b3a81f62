// See decoder.h: weights by their Hugging Face names, checked against the config's shapes and
// joined (q + k + v, gate + up) as the forward pass multiplies them.
#include "decoder/decoder_internal.h"
#include "decoder/rope.h"

#include "base/file.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Binding is a list that stops at the first failure.
struct binder {
    struct decoder *m;
    struct weights *w;
    struct precision precision;
    struct errmsg *msg;
    bool in_layer;
    size_t layer;
    enum err failed;
};

// "layers.3.self_attn.q_proj.bias"
static void full_name(const struct binder *b, const char *name, const char *suffix, char *out,
                      size_t size) {
    if (b->in_layer)
        snprintf(out, size, "layers.%zu.%s%s", b->layer, name, suffix);
    else
        snprintf(out, size, "%s%s", name, suffix);
}

static struct weight *prepare(struct binder *b, enum weight_kind kind,
                              const struct weight_part *parts, size_t n) {
    struct decoder *m = b->m;
    struct weight *w = NULL;
    // norms stay f32: they are small, and every product goes through them
    struct precision precision = kind == WEIGHT_VECTOR ? (struct precision){0} : b->precision;
    if (m->owned_count == m->owned_cap)
        b->failed = err_set(b->msg, ERR_INTERNAL, "more than %zu weights bound", m->owned_cap);
    else
        b->failed =
            m->device->ops->weight_prepare(m->device, kind, parts, n, precision, &w, b->msg);
    if (!b->failed)
        m->owned[m->owned_count++] = w;
    return b->failed ? NULL : w;
}

static struct weight *bind_vector(struct binder *b, const char *name, size_t n) {
    struct weight_part part = {0};
    char full[128];
    full_name(b, name, ".weight", full, sizeof full);
    if (!b->failed)
        b->failed = weights_take(b->w, full, 1, &n, &part.w, b->msg);
    return b->failed ? NULL : prepare(b, WEIGHT_VECTOR, &part, 1);
}

struct linear_name {
    const char *name;
    size_t out;
    size_t heads_of; // rows of heads of so many, in GGUF's order where the file has it; 0: none
};

// The linears named, stacked into one: each [out, in].
static struct weight *bind_linear(struct binder *b, const struct linear_name *names, size_t n,
                                  size_t in, bool bias) {
    struct weight_part parts[3] = {0};
    char full[128];
    for (size_t i = 0; i < n && !b->failed; i++) {
        full_name(b, names[i].name, ".weight", full, sizeof full);
        size_t shape[2] = {names[i].out, in};
        b->failed = weights_take(b->w, full, 2, shape, &parts[i].w, b->msg);
        full_name(b, names[i].name, ".bias", full, sizeof full);
        if (!b->failed && bias)
            b->failed = weights_take(b->w, full, 1, &names[i].out, &parts[i].bias, b->msg);
        if (weights_rope_interleaved(b->w))
            parts[i].interleaved_head_dim = names[i].heads_of;
    }
    return b->failed ? NULL : prepare(b, WEIGHT_LINEAR, parts, n);
}

static void bind_layer(struct binder *b, struct layer *l) {
    const struct decoder_config *c = &b->m->config;
    size_t D = c->hidden, F = c->ffn, hd = c->head_dim;
    size_t q = c->heads * hd, kv = c->kv_heads * hd;
    l->attend_norm = bind_vector(b, "input_layernorm", D);
    l->qkv = bind_linear(b,
                         (struct linear_name[]){{"self_attn.q_proj", q, hd},
                                                {"self_attn.k_proj", kv, hd},
                                                {"self_attn.v_proj", kv, 0}},
                         3, D, c->qkv_bias);
    if (c->qk_norm) {
        l->q_norm = bind_vector(b, "self_attn.q_norm", hd);
        l->k_norm = bind_vector(b, "self_attn.k_norm", hd);
    }
    l->out = bind_linear(b, &(struct linear_name){"self_attn.o_proj", D, 0}, 1, q, c->o_bias);
    l->ffn_norm = bind_vector(b, "post_attention_layernorm", D);
    l->gate_up =
        bind_linear(b, (struct linear_name[]){{"mlp.gate_proj", F, 0}, {"mlp.up_proj", F, 0}}, 2, D,
                    c->mlp_bias);
    l->down = bind_linear(b, &(struct linear_name){"mlp.down_proj", D, 0}, 1, F, c->mlp_bias);
}

// Whether two tensors of one shape hold the same bytes.
static enum err compare(const struct tensor *a, const struct tensor *b, bool *same,
                        struct errmsg *msg) {
    char own[2][8192];
    size_t left = a->shape[0] * (a->shape[1] / dtype_block(a->dtype)) * dtype_block_bytes(a->dtype);
    *same = a->dtype == b->dtype;
    for (size_t at = 0; *same && at < left; at += sizeof own[0]) {
        size_t n = left - at < sizeof own[0] ? left - at : sizeof own[0];
        const struct tensor *each[] = {a, b};
        const char *bytes[2];
        for (int i = 0; i < 2; i++) {
            const struct tensor *t = each[i];
            bytes[i] = t->data ? (const char *)t->data + at : own[i];
            enum err e = t->data ? ERR_OK : file_read_at(t->file, t->offset + at, own[i], n, msg);
            if (e)
                return e;
        }
        *same = memcmp(bytes[0], bytes[1], n) == 0;
    }
    return ERR_OK;
}

// Release 4 of transformers multiplies with the embeddings where they are tied, 5 with a head that
// stands in the file beside them.
static enum err check_tied(struct weights *w, const struct decoder_config *c,
                           const struct tensor *embed, struct errmsg *msg) {
    static const char name[] = "lm_head.weight";
    struct tensor head;
    bool same;
    if (!weights_has(w, name))
        return ERR_OK;
    enum err e = weights_take_bare(w, name, 2, (size_t[]){c->vocab, c->hidden}, &head, msg);
    if (!e)
        e = compare(embed, &head, &same, msg);
    if (!e && !same)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "tensor '%s' is not that of the embeddings, '%s', but 'tie_word_embeddings' is "
                    "true: which of them counts differs between releases of transformers; set it "
                    "to false, or leave the tensor out",
                    name, embed->name);
    return e;
}

static void bind_embeddings(struct binder *b) {
    const struct decoder_config *c = &b->m->config;
    struct weight_part part = {0};
    size_t shape[2] = {c->vocab, c->hidden};
    bool one = c->causal_lm && c->tied; // multiplied with, and looked up in: one copy
    if (!b->failed)
        b->failed = weights_take(b->w, "embed_tokens.weight", 2, shape, &part.w, b->msg);
    if (!b->failed && one)
        b->failed = check_tied(b->w, c, &part.w, b->msg);
    if (!b->failed)
        b->m->embed = prepare(b, one ? WEIGHT_LINEAR : WEIGHT_TABLE, &part, 1);
    if (one)
        b->m->head = b->m->embed;
    if (!c->causal_lm || one)
        return;
    part = (struct weight_part){0};
    if (!b->failed)
        b->failed = weights_take_bare(b->w, "lm_head.weight", 2, shape, &part.w, b->msg);
    if (!b->failed)
        b->m->head = prepare(b, WEIGHT_LINEAR, &part, 1);
}

// rope_freqs.weight, read to `out` [hd/2].
static enum err read_factors(struct weights *w, size_t half, float *out, struct errmsg *msg) {
    struct tensor t;
    enum err e = weights_take_bare(w, "rope_freqs.weight", 1, &half, &t, msg);
    if (e)
        return e;
    if (t.dtype != DTYPE_F32)
        return err_set(msg, ERR_UNSUPPORTED, "tensor '%s': dtype %s; f32 is read", t.name,
                       dtype_name(t.dtype));
    if (t.data)
        memcpy(out, t.data, half * sizeof *out);
    else
        e = file_read_at(t.file, t.offset, out, half * sizeof *out, msg);
    for (size_t i = 0; !e && i < half; i++)
        if (!isfinite(out[i]) || out[i] <= 0)
            e = err_set(msg, ERR_INVALID, "tensor '%s': %g at %zu, no factor", t.name,
                        (double)out[i], i);
    return e;
}

static void bind_rope(struct binder *b) {
    struct decoder *m = b->m;
    size_t half = m->config.head_dim / 2;
    bool given = !b->failed && weights_has(b->w, "rope_freqs.weight");
    float *factors = given ? mem_alloc(half, sizeof *factors) : NULL;
    if (given && !factors)
        b->failed = err_set(b->msg, ERR_NOMEM, "no memory for rope's %zu factors", half);
    else if (given)
        b->failed = read_factors(b->w, half, factors, b->msg);
    if (!b->failed)
        rope_frequencies(&m->config.rope, m->config.head_dim, factors, m->inv_freq, &m->rope_scale);
    mem_free(factors);
}

static enum err bind_all(struct decoder *m, struct weights *w, struct precision precision,
                         struct errmsg *msg) {
    static const char *const prefix = "model.";
    struct binder b = {.m = m, .w = w, .precision = precision, .msg = msg};
    b.failed = weights_detect_prefix(w, &prefix, 1, "embed_tokens.weight", msg);
    bind_embeddings(&b);
    b.in_layer = true;
    for (b.layer = 0; b.layer < m->config.layers && !b.failed; b.layer++)
        bind_layer(&b, &m->layers[b.layer]);
    b.in_layer = false;
    m->norm = bind_vector(&b, "norm", m->config.hidden);
    bind_rope(&b);
    return b.failed;
}

enum err decoder_load(struct weights *w, const struct decoder_config *config,
                      struct precision precision, struct device *d, struct decoder **out,
                      struct errmsg *msg) {
    *out = NULL;
    if (config->head_dim > d->max_head_dim)
        return err_set(msg, ERR_UNSUPPORTED, "%s: heads of %zu, at most %zu on %s",
                       config->architecture, config->head_dim, d->max_head_dim, d->describe);
    struct decoder *m = mem_calloc(1, sizeof *m);
    if (!m)
        return err_set(msg, ERR_NOMEM, "no memory for a decoder");
    m->device = d;
    m->config = *config;
    m->owned_cap = 3 + 8 * config->layers; // embeddings, norm, head; a layer's are eight
    m->layers = mem_calloc(config->layers, sizeof *m->layers);
    m->owned = mem_calloc(m->owned_cap, sizeof *m->owned);
    m->inv_freq = mem_calloc(config->head_dim / 2, sizeof *m->inv_freq);
    enum err e = m->layers && m->owned && m->inv_freq
                     ? bind_all(m, w, precision, msg)
                     : err_set(msg, ERR_NOMEM, "no memory for %zu layers", config->layers);
    if (e)
        decoder_free(m);
    else
        *out = m;
    return e;
}

// Row `at` of a matrix: rows are whole blocks, so each begins at a byte.
static struct tensor row_of(const struct tensor *t, size_t at) {
    struct tensor row = *t;
    size_t bytes = t->shape[1] / dtype_block(t->dtype) * dtype_block_bytes(t->dtype);
    row.shape[0] = 1;
    row.offset += at * bytes;
    if (row.data)
        row.data = (const char *)row.data + at * bytes;
    return row;
}

enum err decoder_load_head_rows(struct weights *w, const struct decoder_config *config,
                                const int32_t *tokens, size_t n, struct device *d,
                                struct weight **out, struct errmsg *msg) {
    struct weight_part parts[DECODER_HEAD_ROWS] = {0};
    size_t shape[2] = {config->vocab, config->hidden};
    struct tensor head;
    *out = NULL;
    if (n > DECODER_HEAD_ROWS)
        return err_set(msg, ERR_INTERNAL, "%zu rows of a head, at most %d", n, DECODER_HEAD_ROWS);
    enum err e = config->tied ? weights_take(w, "embed_tokens.weight", 2, shape, &head, msg)
                              : weights_take_bare(w, "lm_head.weight", 2, shape, &head, msg);
    if (!e && config->tied)
        e = check_tied(w, config, &head, msg);
    if (e)
        return e;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (size_t)tokens[i] >= config->vocab)
            return err_set(msg, ERR_INTERNAL, "token %d of %zu", (int)tokens[i], config->vocab);
        parts[i].w = row_of(&head, (size_t)tokens[i]);
    }
    return d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, n, (struct precision){0}, out, msg);
}

void decoder_free(struct decoder *m) {
    if (!m)
        return;
    for (size_t i = 0; m->owned && i < m->owned_count; i++)
        m->device->ops->weight_free(m->device, m->owned[i]);
    mem_free(m->inv_freq);
    mem_free(m->owned);
    mem_free(m->layers);
    mem_free(m);
}

size_t decoder_weight_bytes(const struct decoder *m) {
    size_t bytes = 0;
    for (size_t i = 0; i < m->owned_count; i++)
        bytes += m->device->ops->weight_bytes(m->owned[i]);
    return bytes;
}

const struct decoder_config *decoder_config_of(const struct decoder *m) { return &m->config; }
