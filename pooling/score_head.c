// See pooling.h: the heads of classification models.
//   BERT:       classifier(tanh(pooler(first token)))
//   DistilBERT: classifier(relu(pre_classifier(first token)))
#include "pooling/pooling.h"

#include "base/mem.h"

struct score_head {
    struct device *device;
    size_t hidden, labels;
    const struct weight *first; // [D, D] and bias: BertPooler, the encoder's, or pre_classifier
    struct weight *owned_first; // NULL where it is the encoder's
    enum activation activation;
    struct weight *classifier; // [labels, D] and bias
};

static enum err bind_linear(struct weights *w, struct device *d, const char *weight_name,
                            const char *bias_name, size_t out_features, size_t in_features,
                            struct weight **out, struct errmsg *msg) {
    struct weight_part part = {0};
    enum err e =
        weights_take_bare(w, weight_name, 2, (size_t[]){out_features, in_features}, &part.w, msg);
    if (!e)
        e = weights_take_bare(w, bias_name, 1, &out_features, &part.bias, msg);
    return e ? e
             : d->ops->weight_prepare(d, WEIGHT_LINEAR, &part, 1, (struct precision){0}, out, msg);
}

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
    enum err e = ERR_OK;
    if (config->arch == MODEL_ARCH_BERT) {
        h->first = pooler_weight;
        h->activation = ACTIVATION_TANH;
        if (!pooler_weight)
            e = err_set(msg, ERR_INTERNAL, "a BERT score head needs the encoder's pooler");
    } else {
        h->activation = ACTIVATION_RELU;
        e = bind_linear(w, d, "pre_classifier.weight", "pre_classifier.bias", h->hidden, h->hidden,
                        &h->owned_first, msg);
        h->first = h->owned_first;
    }
    if (!e)
        e = bind_linear(w, d, "classifier.weight", "classifier.bias", h->labels, h->hidden,
                        &h->classifier, msg);
    if (e)
        score_head_free(h);
    else
        *out = h;
    return e;
}

void score_head_free(struct score_head *h) {
    if (!h)
        return;
    if (h->owned_first)
        h->device->ops->weight_free(h->device, h->owned_first);
    if (h->classifier)
        h->device->ops->weight_free(h->device, h->classifier);
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
