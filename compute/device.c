// See device.h.
#include "compute/device.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    uint16_t block, bytes;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = {"f32", 1, 4},         [DTYPE_F16] = {"f16", 1, 2},
    [DTYPE_BF16] = {"bf16", 1, 2},       [DTYPE_I64] = {"i64", 1, 8},
    [DTYPE_I32] = {"i32", 1, 4},         [DTYPE_U8] = {"u8", 1, 1},
    [DTYPE_Q4_0] = {"q4_0", 32, 18},     [DTYPE_Q4_1] = {"q4_1", 32, 20},
    [DTYPE_Q5_0] = {"q5_0", 32, 22},     [DTYPE_Q5_1] = {"q5_1", 32, 24},
    [DTYPE_Q8_0] = {"q8_0", 32, 34},     [DTYPE_Q2_K] = {"q2_K", 256, 84},
    [DTYPE_Q3_K] = {"q3_K", 256, 110},   [DTYPE_Q4_K] = {"q4_K", 256, 144},
    [DTYPE_Q5_K] = {"q5_K", 256, 176},   [DTYPE_Q6_K] = {"q6_K", 256, 210},
    [DTYPE_IQ4_NL] = {"iq4_nl", 32, 18},
};

const char *dtype_name(enum dtype t) { return t < DTYPE_COUNT ? dtypes[t].name : "unknown"; }

size_t dtype_block(enum dtype t) { return t < DTYPE_COUNT ? dtypes[t].block : 1; }
size_t dtype_block_bytes(enum dtype t) { return t < DTYPE_COUNT ? dtypes[t].bytes : 0; }

void device_fail(struct device *d, enum err code, const char *fmt, ...) {
    if (d->failed != ERR_OK)
        return;
    char text[sizeof d->failure.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->failed = err_set(&d->failure, code, "%s", text);
}

enum err device_sync(struct device *d, struct errmsg *msg) {
    if (d->ops->wait)
        d->ops->wait(d);
    return device_failure(d, msg);
}

enum err device_failure(struct device *d, struct errmsg *msg) {
    enum err e = d->failed;
    d->failed = ERR_OK;
    return e == ERR_OK ? ERR_OK : err_set(msg, e, "%s", d->failure.text);
}

void device_linear_activate(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y) {
    if (d->ops->linear_activate) {
        d->ops->linear_activate(d, w, x, f, y);
        return;
    }
    d->ops->linear(d, w, x, y);
    d->ops->activate(d, f, y);
}

void device_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y) {
    if (d->ops->linear_add_norm) {
        d->ops->linear_add_norm(d, w, x, residual, n, y);
        return;
    }
    if (y.data == residual.data) {
        device_fail(d, ERR_UNSUPPORTED, "%s: linear_add_norm in place needs the fused operation",
                    d->ops->name);
        return;
    }
    d->ops->linear(d, w, x, y);
    d->ops->add(d, residual, y);
    d->ops->layer_norm(d, n, y, y);
}

void device_linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y,
                       struct mat scratch) {
    if (d->ops->linear_add) {
        d->ops->linear_add(d, w, x, y);
        return;
    }
    d->ops->linear(d, w, x, scratch);
    d->ops->add(d, scratch, y);
}

void device_norm_linear(struct device *d, const struct norm_linear_args *a) {
    if (d->ops->norm_linear) {
        d->ops->norm_linear(d, a);
        return;
    }
    d->ops->rms_norm(d, a->gamma, a->eps, a->x, a->normed);
    d->ops->linear(d, a->w, a->normed, a->swiglu ? a->gate_up : a->y);
    if (a->swiglu)
        d->ops->swiglu(d, a->gate_up, a->y);
}

void device_turn(struct device *d, const struct turn_args *a) {
    if (d->ops->turn) {
        d->ops->turn(d, a);
        return;
    }
    size_t q = a->heads * a->head_dim, k = a->kv_heads * a->head_dim;
    if (a->q_norm) {
        struct mat qs = mat_cols(a->qkv, 0, q), ks = mat_cols(a->qkv, q, k);
        d->ops->rms_norm(d, a->q_norm, a->eps, qs, qs);
        d->ops->rms_norm(d, a->k_norm, a->eps, ks, ks);
    }
    d->ops->rope(d, &(struct rope_args){.x = mat_cols(a->qkv, 0, q + k), // k's heads follow q's
                                        .cos = a->cos,
                                        .sin = a->sin,
                                        .heads = a->heads + a->kv_heads,
                                        .head_dim = a->head_dim});
}

void device_step_attention(struct device *d, const struct step_attention_args *a) {
    if (d->ops->step_attention) {
        d->ops->step_attention(d, a);
        return;
    }
    device_turn(d, &a->turn);
    d->ops->kv_store(d, &a->store);
    d->ops->paged_attention(d, &a->paged);
}

size_t device_begin(struct device *d, struct forward_pass *p) {
    p->rows = p->tokens;
    p->replayed = false;
    if (d->ops->begin)
        d->ops->begin(d, p);
    return p->rows;
}

void device_end(struct device *d, const struct forward_pass *p) {
    if (d->ops->end)
        d->ops->end(d, p);
}

void device_forget(struct device *d, const void *model) {
    if (d->ops->forget)
        d->ops->forget(d, model);
}

enum dtype device_activations(const struct device *d, struct precision precision) {
    return d->ops->activations ? d->ops->activations(d, precision) : DTYPE_F32;
}

struct mat device_mat_of(struct device *d, struct arena *ws, size_t rows, size_t cols,
                         enum dtype dtype) {
    struct mat m = {.rows = rows, .cols = cols, .ld = mat_ld(cols, dtype), .dtype = dtype};
    size_t count;
    if (cols > SIZE_MAX / 2 || __builtin_mul_overflow(rows, m.ld, &count) ||
        !(m.data = arena_alloc(ws, count, dtype_size(dtype)))) {
        device_fail(d, ERR_INTERNAL, "workspace of %zu bytes has no room for a %zu x %zu matrix",
                    ws->size, rows, cols);
        m.data = NULL;
    }
    return m;
}

size_t device_mat_bytes_of(size_t rows, size_t cols, enum dtype dtype) {
    size_t count;
    if (cols > SIZE_MAX / 2 || __builtin_mul_overflow(rows, mat_ld(cols, dtype), &count))
        return SIZE_MAX;
    return arena_cost(count, dtype_size(dtype));
}
