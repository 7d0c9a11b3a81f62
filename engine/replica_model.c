// See replica_model.h.
#include "engine/replica_model.h"

#include "base/file_set.h"
#include "base/mem.h"
#include "weights/weights.h"

#include <string.h>

// ERR_TOO_LARGE when the weights do not fit into what memory there is; f32: what the file has as
// shorter floats is kept as f32 (blocks stay as they are).
static enum err check_room(const struct replica_spec *m, const struct weights *w, bool f32,
                           struct errmsg *msg) {
    size_t bytes = 0;
    for (size_t i = 0; i < weights_count(w); i++) {
        struct tensor t = weights_at(w, i);
        size_t n = 1;
        for (int k = 0; k < t.rank; k++)
            n *= t.shape[k]; // bounded by the file's size, which was checked
        bytes += dtype_is_block(t.dtype) ? n / dtype_block(t.dtype) * dtype_block_bytes(t.dtype)
                                         : n * (f32 ? sizeof(float) : dtype_size(t.dtype));
    }
    return memory_plan_check_weights(&m->room, m->path, bytes, msg);
}

static enum err bind_encoder(struct replica_model *r, struct weights *w, struct errmsg *msg) {
    const struct replica_spec *m = &r->spec;
    const struct model_config *c = &m->config;
    enum err e = check_room(m, w, m->precision.storage == WEIGHT_STORAGE_F32, msg);
    if (!e)
        e = encoder_load(w, c, m->precision, r->device, &r->encoder, msg);
    if (!e && c->classification)
        e = score_head_load(w, c, encoder_pooler_weight(r->encoder), r->device, &r->head, msg);
    if (!e)
        r->weight_bytes = encoder_weight_bytes(r->encoder);
    return e;
}

static enum err bind_decoder(struct replica_model *r, struct weights *w, struct errmsg *msg) {
    const struct replica_spec *m = &r->spec;
    struct decoder_config config = m->decoder_config;
    config.causal_lm = m->task == TASK_GENERATE; // no other task reads the whole head
    enum err e = check_room(m, w, false, msg);
    if (!e)
        e = decoder_load(w, &config, m->precision, r->device, &r->decoder, msg);
    const int32_t answers[2] = {m->yes_id, m->no_id};
    if (!e && m->task == TASK_RERANK)
        e = decoder_load_head_rows(w, &config, answers, 2, r->device, &r->answers, msg);
    if (!e)
        r->weight_bytes = decoder_weight_bytes(r->decoder);
    return e;
}

static enum err bind_pooler(struct replica_model *r, struct errmsg *msg) {
    const struct replica_spec *m = &r->spec;
    size_t hidden = m->causal ? m->decoder_config.hidden : m->config.hidden;
    if (m->pools_plainly)
        return pooling_plain(hidden, (enum pool_mode)m->pool_mode, m->pool_normalizes, r->device,
                             &r->pooler, msg);
    return pooling_load(m->path, hidden, m->pool_mode, r->device, &r->pooler, msg);
}

// Binds weights to the device; the files are let go behind it.
static enum err bind_files(struct replica_model *r, struct errmsg *msg) {
    const struct replica_spec *m = &r->spec;
    struct weights *w;
    enum err e = weights_open(m->files, &w, msg);
    if (e)
        return e;
    e = m->causal ? bind_decoder(r, w, msg) : bind_encoder(r, w, msg);
    if (!e)
        e = weights_check_model(w, msg);
    weights_close(w);
    if (!e && m->task == TASK_EMBED)
        e = bind_pooler(r, msg);
    return e;
}

// From the files that were opened once and kept, where there are such: what lies at their paths may
// be another model's by now.
static enum err bind(struct replica_model *r, const struct file_set *kept, struct errmsg *msg) {
    const struct file_set *before = kept ? file_set_use(kept) : NULL;
    enum err e = bind_files(r, msg);
    if (kept)
        (void)file_set_use(before);
    return e;
}

// Its own copy of what it was loaded by.
static enum err keep_spec(struct replica_model *r, const struct replica_spec *spec,
                          struct errmsg *msg) {
    r->spec = *spec;
    r->spec.config.label_names = NULL;
    r->spec.sources = NULL;
    r->spec.name = mem_strndup(spec->name, strlen(spec->name));
    r->spec.path = mem_strndup(spec->path, strlen(spec->path));
    r->spec.files = mem_strndup(spec->files, strlen(spec->files));
    if (!r->spec.name || !r->spec.path || !r->spec.files)
        return err_set(msg, ERR_NOMEM, "%s: no memory", spec->path);
    return ERR_OK;
}

enum err replica_model_load(const struct replica_spec *spec, struct device *d,
                            struct replica_model **out, struct errmsg *msg) {
    *out = NULL;
    struct replica_model *r = mem_calloc(1, sizeof *r);
    if (!r)
        return err_set(msg, ERR_NOMEM, "%s: no memory", spec->path);
    r->device = d;
    enum err e = keep_spec(r, spec, msg);
    if (!e)
        e = bind(r, spec->sources, msg);
    if (e) {
        replica_model_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void replica_model_free(struct replica_model *r) {
    if (!r)
        return;
    score_head_free(r->head);
    pooling_free(r->pooler);
    encoder_free(r->encoder);
    decoder_free(r->decoder);
    if (r->answers)
        r->device->ops->weight_free(r->device, r->answers);
    mem_free((char *)r->spec.name);
    mem_free((char *)r->spec.path);
    mem_free((char *)r->spec.files);
    mem_free(r);
}

// ---- the forward pass

static size_t yes_no_bytes(const struct replica_model *r, size_t seqs) {
    if (!r->answers)
        return 0;
    return device_mat_bytes(seqs, r->spec.decoder_config.hidden) + device_mat_bytes(seqs, 2) +
           device_mat_bytes(seqs, 1);
}

size_t replica_model_workspace_bytes(const struct replica_model *r, size_t tokens, size_t seqs) {
    size_t pooled = r->pooler ? pooling_workspace_bytes(r->pooler, seqs)
                    : r->head ? score_head_workspace_bytes(r->head, seqs)
                              : yes_no_bytes(r, seqs);
    if (r->encoder)
        return encoder_workspace_bytes(r->encoder, tokens) + pooled;
    if (r->spec.task == TASK_GENERATE)
        return 0; // its steps have workspaces of their own
    return decoder_workspace_bytes(r->decoder, tokens, 0) + pooled;
}

// Logit differences yes - no, [S, 1] in ws, of a decoder's TASK_RERANK.
static struct mat yes_no(const struct replica_model *r, struct mat hidden, const struct batch *b,
                         struct arena *ws) {
    struct device *d = r->device;
    struct mat ends = device_mat(d, ws, b->seqs, r->spec.decoder_config.hidden);
    struct mat both = device_mat(d, ws, b->seqs, 2), out = device_mat(d, ws, b->seqs, 1);
    if (!hidden.data || !ends.data || !both.data || !out.data)
        return (struct mat){0};
    struct pool_args last = {
        .mode = POOL_LAST, .x = hidden, .out = ends, .cu_seqlens = b->cu_seqlens, .seqs = b->seqs};
    d->ops->pool(d, &last);
    d->ops->linear(d, r->answers, ends, both);
    d->ops->subtract(d, mat_cols(both, 0, 1), mat_cols(both, 1, 1), out);
    return out;
}

static struct mat forward(const struct replica_model *r, const struct batch *b, struct arena *ws,
                          const struct forward_hooks *hooks) {
    arena_reset(ws);
    return r->encoder ? encoder_forward(r->encoder, b, ws, hooks)
                      : decoder_encode(r->decoder, b, ws, hooks);
}

void replica_model_keep(const struct replica_model *r, size_t tokens, struct arena *ws) {
    const struct device_ops *ops = r->device->ops;
    size_t most = 0;
    if (!ops->keep || r->spec.task == TASK_GENERATE)
        return;
    for (size_t n = 0; (n = ops->keep_next(r->device, n, false)) && n <= tokens;)
        most = n;
    int32_t *zeros = mem_calloc(3, most * sizeof *zeros); // arrays of a forward lie apart
    ops->keep(r->device, true);
    for (size_t n = 0; zeros && most && (n = ops->keep_next(r->device, n, false)) && n <= most;) {
        const int32_t ends[2] = {0, (int32_t)n};
        struct batch b = {zeros, zeros + most, zeros + 2 * most, ends, n, 1};
        (void)forward(r, &b, ws, NULL);
    }
    ops->keep(r->device, false);
    mem_free(zeros);
}

enum err replica_model_run(const struct replica_model *r, const struct batch *b,
                           const int32_t *skip, bool normalize, struct arena *ws,
                           const struct forward_hooks *hooks, float *out, struct errmsg *msg) {
    struct mat hidden = forward(r, b, ws, hooks);
    struct mat rows = r->pooler ? pooling_apply(r->pooler, hidden, b, skip, normalize, ws)
                      : r->head ? score_head_apply(r->head, hidden, b, ws)
                                : yes_no(r, hidden, b, ws);
    if (rows.data)
        r->device->ops->read(r->device, rows, out);
    return device_sync(r->device, msg);
}
