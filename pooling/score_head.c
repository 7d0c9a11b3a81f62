// See score_head.h.
//   BERT:       classifier(tanh(pooler(first token)))
//   DistilBERT: classifier(relu(pre_classifier(first token)))
#include "pooling/score_head.h"

#include "base/mem.h"
#include "weights/binder.h"

struct score_head {
    struct device *device;
    size_t hidden, labels;
    const struct weight *first; // [D, D] and bias
    enum activation activation;
    const struct weight *classifier; // [labels, D] and bias
    struct weight_list owned;        // but for a pooler, which is the encoder's
};

// What an architecture's classifier reads the first token through. Names lie beside its prefix.
static const struct head_names {
    const char *first; // NULL: the encoder's pooler
    enum activation activation;
    const char *classifier;
} names_of[] = {
    [MODEL_ARCH_BERT] = {NULL, ACTIVATION_TANH, "classifier"},
    [MODEL_ARCH_DISTILBERT] = {"pre_classifier", ACTIVATION_RELU, "classifier"},
};

enum err score_head_load(struct weights *w, const struct model_config *config,
                         const struct weight *pooler_weight, struct device *d,
                         struct score_head **out, struct errmsg *msg) {
    *out = NULL;
    if (!config->classification)
        return err_set(msg, ERR_INTERNAL, "%s has no score head", config->architecture);
    struct score_head *h = mem_calloc(1, sizeof *h);
    if (!h)
        return err_set(msg, ERR_NOMEM, "no memory for a score head");
    h->device = d;
    h->hidden = config->hidden;
    h->labels = config->labels;
    const struct head_names *n = &names_of[config->arch];
    struct binder b = {.from = w, .device = d, .owned = &h->owned, .bare = true, .msg = msg};
    const struct binder_rows first = {n->first, h->hidden, 0};
    const struct binder_rows classifier = {n->classifier, h->labels, 0};
    h->activation = n->activation;
    h->first = n->first ? binder_linear(&b, &first, 1, h->hidden, true) : pooler_weight;
    if (!n->first && !pooler_weight)
        b.failed =
            err_set(msg, ERR_INTERNAL, "%s's score head needs a pooler", config->architecture);
    h->classifier = binder_linear(&b, &classifier, 1, h->hidden, true);
    if (b.failed)
        score_head_free(h);
    else
        *out = h;
    return b.failed;
}

void score_head_free(struct score_head *h) {
    if (!h)
        return;
    weight_list_free(&h->owned, h->device);
    mem_free(h);
}

size_t score_head_workspace_bytes(const struct score_head *h, size_t seqs) {
    size_t wide = device_mat_bytes(seqs, h->hidden), logits = device_mat_bytes(seqs, h->labels);
    if (wide > SIZE_MAX / 2 || logits > SIZE_MAX - 2 * wide)
        return SIZE_MAX;
    return 2 * wide + logits;
}

struct mat score_head_apply(const struct score_head *h, struct mat hidden, const struct batch *b,
                            struct arena *ws) {
    struct device *d = h->device;
    if (!hidden.data)
        return hidden;
    struct mat cls = device_mat(d, ws, b->seqs, h->hidden);
    struct mat first = device_mat(d, ws, b->seqs, h->hidden);
    struct mat logits = device_mat(d, ws, b->seqs, h->labels);
    if (!cls.data || !first.data || !logits.data)
        return (struct mat){0}; // the device has the failure
    struct pool_args a = {
        .mode = POOL_CLS, .x = hidden, .out = cls, .cu_seqlens = b->cu_seqlens, .seqs = b->seqs};
    d->ops->pool(d, &a);
    device_linear_activate(d, h->first, cls, h->activation, first);
    d->ops->linear(d, h->classifier, first, logits);
    return logits;
}
