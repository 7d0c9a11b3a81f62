// Operations on rows, and pooling: arguments for kernels, one launch each. See cuda_device.h.
#include "compute/cuda/cuda_device.h"

static bool has(const struct mat *m) { return m->rows > 0 && m->cols > 0; }

// Device memory of a norm's scale or shift; NULL stays NULL.
static const float *vector_of(const struct weight *w) { return w ? gpu_weight_vector(w) : NULL; }

void cuda_embed(struct device *d, const struct embed_args *a, struct mat y) {
    struct cuda_device *c = cuda_of(d);
    struct gpu_embed e = {.count = (int)a->count,
                          .drawn = gpu_draw_drawn(c->draw),
                          .drawn_slots = d->drawn_slots,
                          .bad = c->bad,
                          .y = cuda_mat(y)};
    if (!has(&y))
        return;
    for (size_t i = 0; i < a->count; i++) {
        e.tables[i] = a->tables[i]->segment[0].rows;
        e.index[i] = cuda_words(c, a->index[i], y.rows);
        if (!e.index[i])
            return;
    }
    gpu_launch_embed(c->stream, &e);
}

void cuda_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y) {
    struct gpu_layer_norm a = {.x = cuda_mat(x),
                               .y = cuda_mat(y),
                               .gamma = vector_of(n->gamma),
                               .beta = vector_of(n->beta),
                               .eps = n->eps};
    if (has(&x))
        gpu_launch_layer_norm(cuda_of(d)->stream, &a);
}

void cuda_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                   struct mat y) {
    struct gpu_rms_norm a = {.x = cuda_mat(x),
                             .y = cuda_mat(y),
                             .gamma = gpu_weight_vector(gamma),
                             .width = gamma->cols,
                             .eps = eps};
    if (has(&x))
        gpu_launch_rms_norm(cuda_of(d)->stream, &a);
}

enum gpu_activation cuda_activation(enum activation f) {
    switch (f) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_GELU:
        return GPU_GELU;
    case ACTIVATION_GELU_TANH:
        return GPU_GELU_TANH;
    case ACTIVATION_RELU:
        return GPU_RELU;
    case ACTIVATION_TANH:
        return GPU_TANH;
    case ACTIVATION_SILU:
        return GPU_SILU;
    }
    return GPU_NONE;
}

void cuda_activate(struct device *d, enum activation f, struct mat x) {
    if (has(&x) && f != ACTIVATION_NONE)
        gpu_launch_activate(cuda_of(d)->stream, cuda_activation(f), cuda_mat(x));
}

void cuda_add(struct device *d, struct mat x, struct mat y) {
    if (has(&x))
        gpu_launch_add(cuda_of(d)->stream, cuda_mat(x), cuda_mat(y));
}

void cuda_subtract(struct device *d, struct mat a, struct mat b, struct mat y) {
    if (has(&y))
        gpu_launch_subtract(cuda_of(d)->stream, cuda_mat(a), cuda_mat(b), cuda_mat(y));
}

void cuda_swiglu(struct device *d, struct mat gate_up, struct mat y) {
    if (has(&y))
        gpu_launch_swiglu(cuda_of(d)->stream, cuda_mat(gate_up), cuda_mat(y));
}

void cuda_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y) {
    struct cuda_device *c = cuda_of(d);
    const int32_t *there = has(&y) ? cuda_words(c, rows, y.rows) : NULL;
    if (there)
        gpu_launch_gather(c->stream, cuda_mat(x), there, cuda_mat(y));
}

void cuda_rope_table(struct device *d, const struct rope_table_args *a) {
    struct cuda_device *c = cuda_of(d);
    struct gpu_rope_table t = {.scale = a->scale, .cos = cuda_mat(a->cos), .sin = cuda_mat(a->sin)};
    if (!has(&a->cos))
        return;
    t.inv_freq = cuda_words(c, a->inv_freq, a->cos.cols);
    t.positions = cuda_words(c, a->positions, a->cos.rows);
    if (t.inv_freq && t.positions)
        gpu_launch_rope_table(c->stream, &t);
}

void cuda_rope(struct device *d, const struct rope_args *a) {
    struct gpu_rope r = {.x = cuda_mat(a->x),
                         .cos = cuda_mat(a->cos),
                         .sin = cuda_mat(a->sin),
                         .heads = a->heads,
                         .head_dim = a->head_dim};
    if (has(&a->x))
        gpu_launch_rope(cuda_of(d)->stream, &r);
}

void cuda_turn(struct device *d, const struct turn_args *a) {
    struct mat qk = mat_cols(a->qkv, 0, (a->heads + a->kv_heads) * a->head_dim);
    struct gpu_turn t = {.qk = cuda_mat(qk),
                         .cos = cuda_mat(a->cos),
                         .sin = cuda_mat(a->sin),
                         .heads = a->heads,
                         .kv_heads = a->kv_heads,
                         .head_dim = a->head_dim,
                         .q_norm = vector_of(a->q_norm),
                         .k_norm = vector_of(a->k_norm),
                         .eps = a->eps};
    if (has(&a->qkv))
        gpu_launch_turn(cuda_of(d)->stream, &t);
}

void cuda_pool(struct device *d, const struct pool_args *a) {
    static const enum gpu_pool_mode modes[] = {
        [POOL_CLS] = GPU_POOL_CLS,
        [POOL_MEAN] = GPU_POOL_MEAN,
        [POOL_MAX] = GPU_POOL_MAX,
        [POOL_LAST] = GPU_POOL_LAST,
        [POOL_MEAN_SQRT] = GPU_POOL_MEAN_SQRT,
    };
    struct cuda_device *c = cuda_of(d);
    struct gpu_pool p = {.mode = modes[a->mode],
                         .x = cuda_mat(a->x),
                         .out = cuda_mat(a->out),
                         .bad = c->bad + 1,
                         .seqs = a->seqs};
    if (!has(&a->x) || a->seqs == 0)
        return;
    p.cu_seqlens = cuda_words(c, a->cu_seqlens, a->seqs + 1);
    if (a->skip)
        p.skip = cuda_words(c, a->skip, a->seqs);
    if (p.cu_seqlens && (p.skip || !a->skip))
        gpu_launch_pool(c->stream, &p);
}

void cuda_l2_normalize(struct device *d, struct mat x) {
    if (has(&x))
        gpu_launch_l2_normalize(cuda_of(d)->stream, cuda_mat(x));
}
