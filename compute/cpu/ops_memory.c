// See ops_memory.h.
#include "compute/cpu/ops_memory.h"

#include "base/mem.h"
#include "base/poison.h"
#include "compute/cpu/gemm_openblas.h"
#include "compute/cpu/kv.h"
#include "compute/cpu/rows.h"
#include "compute/cpu/weight.h"

// ---- weights ----

static enum err make_room_for_acts(struct cpu_device *c, const struct weight *w, const char *name,
                                   struct errmsg *msg) {
    if (weight_act_bytes(w) > CPU_ACT_BYTES)
        return err_set(msg, ERR_UNSUPPORTED,
                       "tensor '%s': %zu inputs are more than a product with narrow weights takes",
                       name, w->cols);
    if (!c->acts && !(c->acts = mem_alloc_aligned(CPU_ACT_BYTES, 1)))
        return err_set(msg, ERR_NOMEM, "no memory for products of narrow weights");
    return ERR_OK;
}

enum err cpu_weight_prepare(struct device *d, enum weight_kind kind,
                            const struct weight_part *parts, size_t n, struct precision precision,
                            struct weight **out, struct errmsg *msg) {
    *out = NULL;
    struct cpu_device *c = cpu_of(d);
    size_t outputs = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(outputs, parts[i].w.shape[0], &outputs))
            outputs = SIZE_MAX; // which fits nowhere; weight_new refuses it
    bool openblas = c->openblas_rows && n > 0 &&
                    gemm_openblas_fits(c->openblas_rows, outputs, parts[0].w.shape[1]);
    struct weight_maker maker = {.k = c->k,
                                 .team = c->team,
                                 .scratch = c->scratch,
                                 .caller_scratch = c->making_scratch,
                                 .slabs = &c->slabs,
                                 .plain = openblas};
    pthread_mutex_lock(&c->making);
    enum err e = weight_new(&maker, kind, parts, n, precision, out, msg);
    if (e == ERR_OK && (*out)->acts != ACTS_NONE)
        e = make_room_for_acts(c, *out, parts[0].w.name, msg);
    if (e != ERR_OK) {
        weight_free(&c->slabs, *out);
        *out = NULL;
    }
    pthread_mutex_unlock(&c->making);
    return e;
}

void cpu_weight_free(struct device *d, struct weight *w) {
    struct cpu_device *c = cpu_of(d);
    pthread_mutex_lock(&c->making);
    weight_free(&c->slabs, w);
    pthread_mutex_unlock(&c->making);
}

size_t cpu_weight_bytes(const struct weight *w) { return w->bytes; }

// ---- workspaces ----

enum err cpu_workspace_new(struct device *d, size_t bytes, struct arena *out) {
    const struct cpu_pages *pages = cpu_of(d)->pages;
    if (!pages)
        return arena_init(out, bytes);
    *out = (struct arena){.base = pages->take(pages->ctx, bytes)};
    out->size = out->base ? bytes : 0;
    return out->base ? ERR_OK : ERR_NOMEM;
}

void cpu_workspace_free(struct device *d, struct arena *a) {
    const struct cpu_pages *pages = cpu_of(d)->pages;
    if (!pages) {
        arena_free(a);
        return;
    }
    if (a->base) {
        unpoison(a->base, a->size);
        pages->give(pages->ctx, a->base, a->size);
    }
    *a = (struct arena){0};
}

// ---- the cache ----

size_t cpu_kv_block_bytes(const struct device *d, const struct kv_shape *shape) {
    (void)d;
    return kv_block_bytes(shape);
}

enum err cpu_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                    struct errmsg *msg) {
    return kv_new(shape, cpu_of(d)->pages, out, msg);
}

void cpu_kv_free(struct device *d, struct kv_cache *kv) {
    (void)d;
    kv_free(kv);
}

struct store_op {
    const struct causal_kernels *k;
    const struct kv_store_args *args;
};

static void store_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct store_op *o = op;
    const struct kv_store_args *a = o->args;
    size_t hd = a->kv->shape.head_dim;
    for (size_t h = 0; h < a->kv->shape.kv_heads; h++)
        kv_put(a->kv, o->k, a->layer, h, (size_t)a->slots[r], a->k.data + r * a->k.ld + h * hd,
               a->v.data + r * a->v.ld + h * hd);
}

void cpu_kv_store(struct device *d, const struct kv_store_args *a) {
    const struct kv_shape *s = &a->kv->shape;
    size_t width = s->kv_heads * s->head_dim, slots = s->blocks * s->block_tokens;
    bool fits =
        a->layer < s->layers && a->k.cols == width && a->v.cols == width && a->v.rows == a->k.rows;
    for (size_t r = 0; r < a->k.rows && fits; r++)
        fits = a->slots[r] >= 0 && (size_t)a->slots[r] < slots;
    if (!fits) {
        device_fail(d, ERR_INTERNAL, "kv_store: layer %zu, k %zu x %zu, v %zu x %zu, or a slot",
                    a->layer, a->k.rows, a->k.cols, a->v.rows, a->v.cols);
        return;
    }
    // keys go to cache lines of their own
    rows_run(cpu_of(d), a->k.rows, 4 * width, store_row,
             &(struct store_op){cpu_of(d)->k->causal, a});
}
