// See encoder.h: weights by their names in a checkpoint, checked against the config's shapes, and
// joined (q + k + v) as the forward pass multiplies them. An architecture is a row of names below.
#include "encoder/encoder_internal.h"

#include "base/mem.h"

// Those of a layer follow "<layer><number>.". NULL: the architecture has none.
static const struct tensor_names {
    const char *prefix, *words, *positions, *types, *embed_norm;
    const char *layer, *query, *key, *value, *out, *attend_norm, *up, *down, *ffn_norm;
    const char *pooler; // bound for a classification head, which reads it
} names_of[] = {
    [MODEL_ARCH_BERT] = {.prefix = "bert.",
                         .words = "embeddings.word_embeddings",
                         .positions = "embeddings.position_embeddings",
                         .types = "embeddings.token_type_embeddings",
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
                               .words = "embeddings.word_embeddings",
                               .positions = "embeddings.position_embeddings",
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

static void bind_layer(struct binder *b, const struct tensor_names *n, const struct encoder *e,
                       float eps, struct encoder_layer *l) {
    size_t D = e->D, F = e->F;
    const struct binder_rows qkv[] = {{n->query, D, 0}, {n->key, D, 0}, {n->value, D, 0}};
    l->qkv = binder_linear(b, qkv, 3, D, true);
    l->out = binder_linear(b, &(struct binder_rows){n->out, D, 0}, 1, D, true);
    l->attend_norm = binder_norm(b, n->attend_norm, D, eps);
    l->up = binder_linear(b, &(struct binder_rows){n->up, F, 0}, 1, D, true);
    l->down = binder_linear(b, &(struct binder_rows){n->down, D, 0}, 1, F, true);
    l->ffn_norm = binder_norm(b, n->ffn_norm, D, eps);
}

static enum err bind_all(struct encoder *e, struct weights *w, const struct model_config *c,
                         struct precision precision, struct errmsg *msg) {
    const struct tensor_names *n = &names_of[c->arch];
    struct binder b = {
        .from = w, .device = e->device, .owned = &e->owned, .precision = precision, .msg = msg};
    binder_find_prefix(&b, n->prefix, n->words);
    e->words = binder_table(&b, n->words, c->vocab, e->D);
    e->positions = binder_table(&b, n->positions, c->max_positions, e->D);
    if (n->types)
        e->types = binder_table(&b, n->types, c->type_vocab, e->D);
    e->embed_norm = binder_norm(&b, n->embed_norm, e->D, c->norm_eps);
    b.layer = n->layer;
    for (b.layer_index = 0; b.layer_index < e->L && !b.failed; b.layer_index++)
        bind_layer(&b, n, e, c->norm_eps, &e->layers[b.layer_index]);
    b.layer = NULL;
    if (n->pooler && c->classification)
        e->pooler = binder_linear(&b, &(struct binder_rows){n->pooler, e->D, 0}, 1, e->D, true);
    return b.failed;
}

enum err encoder_load(struct weights *w, const struct model_config *config,
                      struct precision precision, struct device *d, struct encoder **out,
                      struct errmsg *msg) {
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
    e->activations = device_activations(d, precision);
    e->D = config->hidden;
    e->H = config->heads;
    e->F = config->ffn;
    e->L = config->layers;
    e->activation = config->activation;
    e->layers = mem_calloc(e->L, sizeof *e->layers);
    enum err err = e->layers ? bind_all(e, w, config, precision, msg)
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
    device_forget(e->device, e);
    weight_list_free(&e->owned, e->device);
    mem_free(e->layers);
    mem_free(e);
}

size_t encoder_weight_bytes(const struct encoder *e) {
    return weight_list_bytes(&e->owned, e->device);
}

const struct weight *encoder_pooler_weight(const struct encoder *e) { return e->pooler; }
