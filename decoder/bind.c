// See decoder.h: weights by their Hugging Face names, checked against the config's shapes and
// joined (q + k + v, gate + up) as the forward pass multiplies them.
#include "decoder/decoder_internal.h"
#include "decoder/rope.h"

#include "base/file.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

static void bind_layer(struct binder *b, const struct decoder_config *c, struct decoder_layer *l) {
    size_t D = c->hidden, F = c->ffn, hd = c->head_dim;
    size_t q = c->heads * hd, kv = c->kv_heads * hd;
    const struct binder_rows qkv[] = {
        {"self_attn.q_proj", q, hd}, {"self_attn.k_proj", kv, hd}, {"self_attn.v_proj", kv, 0}};
    const struct binder_rows out = {"self_attn.o_proj", D, 0};
    const struct binder_rows gate_up[] = {{"mlp.gate_proj", F, 0}, {"mlp.up_proj", F, 0}};
    const struct binder_rows down = {"mlp.down_proj", D, 0};
    l->attend_norm = binder_vector(b, "input_layernorm", D);
    l->qkv = binder_linear(b, qkv, 3, D, c->qkv_bias);
    if (c->qk_norm) {
        l->q_norm = binder_vector(b, "self_attn.q_norm", hd);
        l->k_norm = binder_vector(b, "self_attn.k_norm", hd);
    }
    l->out = binder_linear(b, &out, 1, q, c->o_bias);
    l->ffn_norm = binder_vector(b, "post_attention_layernorm", D);
    l->gate_up = binder_linear(b, gate_up, 2, D, c->mlp_bias);
    l->down = binder_linear(b, &down, 1, F, c->mlp_bias);
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

// lm_head, which lies beside the prefix.
static struct tensor take_head(struct binder *b, const size_t shape[2]) {
    b->bare = true;
    struct tensor head = binder_take(b, "lm_head", ".weight", 2, shape);
    b->bare = false;
    return head;
}

// Release 4 of transformers multiplies with the embeddings where they are tied, 5 with a head that
// stands in the file beside them.
static void check_tied(struct binder *b, const struct tensor *embed) {
    static const char name[] = "lm_head.weight";
    bool same = true;
    if (b->failed || !weights_has(b->from, name))
        return;
    struct tensor head = take_head(b, embed->shape);
    if (!b->failed)
        b->failed = compare(embed, &head, &same, b->msg);
    if (!b->failed && !same)
        b->failed = err_set(b->msg, ERR_UNSUPPORTED,
                            "tensor '%s' is not that of the embeddings, '%s', but "
                            "'tie_word_embeddings' is true: which of them counts differs between "
                            "releases of transformers; set it to false, or leave the tensor out",
                            name, embed->name);
}

static void bind_embeddings(struct binder *b, struct decoder *m) {
    const struct decoder_config *c = &m->config;
    size_t shape[2] = {c->vocab, c->hidden};
    bool one = c->causal_lm && c->tied; // multiplied with, and looked up in: one copy
    struct weight_part embed = {.w = binder_take(b, "embed_tokens", ".weight", 2, shape)};
    if (one)
        check_tied(b, &embed.w);
    m->embed = binder_prepare(b, one ? WEIGHT_LINEAR : WEIGHT_TABLE, &embed, 1);
    if (one)
        m->head = m->embed;
    if (!c->causal_lm || one)
        return;
    struct weight_part head = {.w = take_head(b, shape)};
    m->head = binder_prepare(b, WEIGHT_LINEAR, &head, 1);
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

static void bind_rope(struct binder *b, struct decoder *m) {
    size_t half = m->config.head_dim / 2;
    bool given = !b->failed && weights_has(b->from, "rope_freqs.weight");
    float *factors = given ? mem_alloc(half, sizeof *factors) : NULL;
    if (given && !factors)
        b->failed = err_set(b->msg, ERR_NOMEM, "no memory for rope's %zu factors", half);
    else if (given)
        b->failed = read_factors(b->from, half, factors, b->msg);
    if (!b->failed)
        rope_frequencies(&m->config.rope, m->config.head_dim, factors, m->inv_freq, &m->rope_scale);
    mem_free(factors);
}

static enum err bind_all(struct decoder *m, struct weights *w, struct precision precision,
                         struct errmsg *msg) {
    struct binder b = {
        .from = w, .device = m->device, .owned = &m->owned, .precision = precision, .msg = msg};
    binder_find_prefix(&b, "model.", "embed_tokens");
    bind_embeddings(&b, m);
    b.layer = "layers.";
    for (b.layer_index = 0; b.layer_index < m->config.layers && !b.failed; b.layer_index++)
        bind_layer(&b, &m->config, &m->layers[b.layer_index]);
    b.layer = NULL;
    m->norm = binder_vector(&b, "norm", m->config.hidden);
    bind_rope(&b, m);
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
    m->activations = device_activations(d, precision);
    m->config = *config;
    m->layers = mem_calloc(config->layers, sizeof *m->layers);
    m->inv_freq = mem_calloc(config->head_dim / 2, sizeof *m->inv_freq);
    enum err e = m->layers && m->inv_freq
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
    struct binder b = {.from = w, .device = d, .msg = msg}; // the weight is the caller's
    struct weight_part parts[DECODER_HEAD_ROWS] = {0};
    size_t shape[2] = {config->vocab, config->hidden};
    *out = NULL;
    if (n > DECODER_HEAD_ROWS)
        return err_set(msg, ERR_INTERNAL, "%zu rows of a head, at most %d", n, DECODER_HEAD_ROWS);
    struct tensor head =
        config->tied ? binder_take(&b, "embed_tokens", ".weight", 2, shape) : take_head(&b, shape);
    if (config->tied)
        check_tied(&b, &head);
    for (size_t i = 0; i < n && !b.failed; i++) {
        if (tokens[i] < 0 || (size_t)tokens[i] >= config->vocab)
            return err_set(msg, ERR_INTERNAL, "token %d of %zu", (int)tokens[i], config->vocab);
        parts[i].w = row_of(&head, (size_t)tokens[i]);
    }
    *out = binder_prepare(&b, WEIGHT_LINEAR, parts, n);
    return b.failed;
}

void decoder_free(struct decoder *m) {
    if (!m)
        return;
    device_forget(m->device, m);
    weight_list_free(&m->owned, m->device);
    mem_free(m->inv_freq);
    mem_free(m->layers);
    mem_free(m);
}

size_t decoder_weight_bytes(const struct decoder *m) {
    return weight_list_bytes(&m->owned, m->device);
}
