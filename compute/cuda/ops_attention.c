// Attention and the paged cache of keys and values. Role: which tiles, which kernel; the cache's
// memory. See cuda_device.h and kernels/kernels.h.
#include "compute/cuda/cuda_device.h"

#include "base/mem.h"

void cuda_attention(struct device *d, const struct attention_args *a) {
    struct cuda_device *c = cuda_of(d);
    size_t tokens = (size_t)a->cu_seqlens[a->seqs];
    bool whole = a->begin == 0 && (a->end == 0 || a->end >= tokens);
    size_t to = !whole ? a->end : c->pass_rows > tokens ? c->pass_rows : tokens;
    struct gpu_attention g = {.q = cuda_mat(a->q),
                              .k = cuda_mat(a->k),
                              .v = cuda_mat(a->v),
                              .out = cuda_mat(a->out),
                              .seqs = c->pass_seqs > a->seqs ? c->pass_seqs : a->seqs,
                              .heads = a->heads,
                              .kv_heads = a->kv_heads ? a->kv_heads : a->heads,
                              .head_dim = a->head_dim,
                              .scale = a->scale,
                              .causal = a->causal,
                              .window = a->window};
    if (a->q.rows == 0)
        return;
    g.cu_seqlens = cuda_words(c, a->cu_seqlens, a->seqs + 1);
    g.tiles =
        cuda_tiles(c, CUDA_ATTENTION_TILES, a->cu_seqlens, a->seqs, a->begin, to, &g.tile_count);
    if (g.cu_seqlens && g.tiles && g.tile_count > 0)
        gpu_launch_attention(c->stream, &g);
}

// ---- the cache

struct kv_cache {
    struct kv_shape shape;
    struct gpu_kv gpu;
    float *partial; // of split contexts: for `split_rows` rows
    uint32_t *done;
    size_t split_rows, pieces;
};

static bool shape_is_known(const struct kv_shape *s) {
    return s->layers && s->kv_heads && s->head_dim && s->block_tokens && s->blocks &&
           s->head_dim <= CUDA_MAX_HEAD_DIM && s->head_dim % 2 == 0 &&
           s->block_tokens <= GPU_PAGED_KEYS && GPU_PAGED_KEYS % s->block_tokens == 0 &&
           (s->dtype == DTYPE_F32 || s->dtype == DTYPE_F16 || s->dtype == DTYPE_BF16);
}

size_t cuda_kv_block_bytes(const struct device *d, const struct kv_shape *s) {
    size_t bytes = 2 * dtype_size(s->dtype);
    (void)d;
    if (!shape_is_known(s))
        return 0;
    bool over = mem_mul_overflows(bytes, s->layers, &bytes) ||
                mem_mul_overflows(bytes, s->kv_heads, &bytes) ||
                mem_mul_overflows(bytes, s->head_dim, &bytes) ||
                mem_mul_overflows(bytes, s->block_tokens, &bytes);
    size_t all;
    return over || mem_mul_overflows(bytes, s->blocks, &all) ? 0 : bytes;
}

enum {
    SPLIT_PER_PROCESSOR = 2, // blocks that keep it busy
    PARTIAL_MOST = 64 << 20, // bytes
};

// Room for the pieces of split contexts: of as many rows as leave processors idle.
static enum err make_partial(struct cuda_device *c, struct kv_cache *kv) {
    const struct kv_shape *s = &kv->shape;
    size_t context = s->context ? s->context : s->blocks * s->block_tokens;
    size_t heads = s->heads ? s->heads : s->kv_heads;
    size_t busy = (size_t)c->facts.processors * SPLIT_PER_PROCESSOR;
    kv->pieces = (context + GPU_PAGED_KEYS - 1) / GPU_PAGED_KEYS;
    size_t rows = (busy + s->kv_heads - 1) / s->kv_heads;
    size_t each = gpu_paged_partial_floats(1, heads, s->head_dim, kv->pieces) * sizeof(float);
    if (rows > PARTIAL_MOST / each)
        rows = PARTIAL_MOST / each;
    kv->split_rows = kv->pieces > 1 ? rows : 0;
    if (kv->split_rows == 0)
        return ERR_OK;
    void *partial, *done;
    size_t floats = gpu_paged_partial_floats(kv->split_rows, heads, s->head_dim, kv->pieces);
    enum err e = c->api->alloc(c->gpu, floats * sizeof(float), &partial);
    if (e)
        return e;
    kv->partial = partial;
    size_t counts = kv->split_rows * heads * sizeof *kv->done;
    if ((e = c->api->alloc(c->gpu, counts, &done)))
        return e;
    kv->done = done;
    cuda_fill_now(c, done, 0, counts);
    return ERR_OK;
}

enum err cuda_kv_new(struct device *d, const struct kv_shape *shape, struct kv_cache **out,
                     struct errmsg *msg) {
    struct cuda_device *c = cuda_of(d);
    *out = NULL;
    if (shape->dtype != DTYPE_F32 && shape->dtype != DTYPE_F16 && shape->dtype != DTYPE_BF16)
        return err_set(msg, ERR_UNSUPPORTED, "a KV cache of %s", dtype_name(shape->dtype));
    if (shape->head_dim > CUDA_MAX_HEAD_DIM)
        return err_set(msg, ERR_UNSUPPORTED, "a KV cache for heads of %zu, at most %d",
                       shape->head_dim, CUDA_MAX_HEAD_DIM);
    if (!shape_is_known(shape))
        return err_set(
            msg, ERR_INVALID,
            "a KV cache of %zu layers, %zu blocks of %zu tokens (a part of %d is needed)",
            shape->layers, shape->blocks, shape->block_tokens, GPU_PAGED_KEYS);
    size_t block = cuda_kv_block_bytes(d, shape), bytes;
    if (block == 0 || mem_mul_overflows(block, shape->blocks, &bytes) ||
        shape->blocks > INT32_MAX / shape->block_tokens)
        return err_set(msg, ERR_TOO_LARGE, "a KV cache of %zu blocks is too large", shape->blocks);
    struct kv_cache *kv = mem_calloc(1, sizeof *kv);
    void *data = NULL;
    enum err e = kv ? c->api->alloc(c->gpu, bytes, &data) : ERR_NOMEM;
    if (!e) {
        kv->shape = *shape;
        kv->gpu = (struct gpu_kv){.data = data,
                                  .type = cuda_type(shape->dtype),
                                  .layers = shape->layers,
                                  .kv_heads = shape->kv_heads,
                                  .head_dim = shape->head_dim,
                                  .block_tokens = shape->block_tokens,
                                  .blocks = shape->blocks};
        e = make_partial(c, kv);
    }
    if (e) {
        cuda_kv_free(d, kv);
        return err_set(msg, ERR_NOMEM, "no memory on %s for a KV cache of %zu bytes", d->describe,
                       bytes);
    }
    *out = kv;
    return ERR_OK;
}

void cuda_kv_free(struct device *d, struct kv_cache *kv) {
    struct cuda_device *c = cuda_of(d);
    if (!kv)
        return;
    cuda_drop_graphs(c, kv);
    void *const parts[] = {kv->gpu.data, kv->partial, kv->done};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i])
            c->api->free(c->gpu, parts[i]);
    mem_free(kv);
}

void cuda_kv_store(struct device *d, const struct kv_store_args *a) {
    struct cuda_device *c = cuda_of(d);
    struct gpu_kv_store g = {
        .kv = a->kv->gpu, .layer = a->layer, .k = cuda_mat(a->k), .v = cuda_mat(a->v)};
    if (a->k.rows == 0)
        return;
    g.slots = cuda_words(c, a->slots, a->k.rows);
    if (g.slots)
        gpu_launch_kv_store(c->stream, &g);
}

// ---- attention over it

// But for tiles.
static bool fill_paged(struct cuda_device *c, const struct paged_attention_args *a,
                       struct gpu_paged_attention *g) {
    *g = (struct gpu_paged_attention){.kv = a->kv->gpu,
                                      .layer = a->layer,
                                      .q = cuda_mat(a->q),
                                      .out = cuda_mat(a->out),
                                      .table_stride = a->table_stride,
                                      .seqs = a->seqs,
                                      .heads = a->heads,
                                      .scale = a->scale,
                                      .window = a->window};
    g->cu_seqlens = cuda_words(c, a->cu_seqlens, a->seqs + 1);
    g->context_lens = cuda_words(c, a->context_lens, a->seqs);
    g->block_tables = cuda_words(c, a->block_tables, a->seqs * a->table_stride);
    return g->cu_seqlens && g->context_lens && g->block_tables;
}

// Contexts of single rows are split where there are too few of them to keep the GPU busy.
static void split(const struct kv_cache *kv, struct gpu_paged_attention *g) {
    g->split = g->tile_count <= kv->split_rows;
    g->pieces = kv->pieces;
    g->partial = kv->partial;
    g->done = kv->done;
}

void cuda_paged_attention(struct device *d, const struct paged_attention_args *a) {
    static const enum cuda_what kinds[] = {CUDA_ROW_TILES, CUDA_PAGED_TILES};
    struct cuda_device *c = cuda_of(d);
    struct gpu_paged_attention g;
    if (a->q.rows == 0 || !fill_paged(c, a, &g))
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        g.tile_rows = kinds[i] == CUDA_ROW_TILES ? 1 : GPU_PAGED_ROWS;
        g.tiles = cuda_tiles(c, kinds[i], a->cu_seqlens, a->seqs, 0, a->q.rows, &g.tile_count);
        if (!g.tiles || g.tile_count == 0)
            continue;
        if (kinds[i] == CUDA_ROW_TILES)
            split(a->kv, &g);
        gpu_launch_paged_attention(c->stream, &g);
        g.split = 0;
    }
}

// Sequences of one row each, all in one launch.
static void decode(struct cuda_device *c, const struct step_attention_args *a) {
    const struct turn_args *t = &a->turn;
    struct gpu_decode_attention g = {.qkv = cuda_mat(t->qkv),
                                     .cos = cuda_mat(t->cos),
                                     .sin = cuda_mat(t->sin),
                                     .norm_eps = t->eps};
    if (!fill_paged(c, &a->paged, &g.paged))
        return;
    g.paged.seqs = t->qkv.rows; // those that belong to nothing included
    g.slots = cuda_words(c, a->store.slots, t->qkv.rows);
    g.q_norm = t->q_norm ? gpu_weight_vector(t->q_norm) : NULL;
    g.k_norm = t->k_norm ? gpu_weight_vector(t->k_norm) : NULL;
    g.paged.tile_count = t->qkv.rows;
    split(a->paged.kv, &g.paged);
    if (g.slots)
        gpu_launch_decode_attention(c->stream, &g);
}

void cuda_step_attention(struct device *d, const struct step_attention_args *a) {
    struct cuda_device *c = cuda_of(d);
    if (a->turn.qkv.rows == 0)
        return;
    if (c->decodes) {
        decode(c, a);
        return;
    }
    cuda_turn(d, &a->turn);
    cuda_kv_store(d, &a->store);
    cuda_paged_attention(d, &a->paged);
}
