// See cuda.h: makes the device, and has the table of its operations.
#include "compute/cuda/cuda_device.h"

#include "base/mem.h"
#include "compute/cuda/kernels/draw_step.h"

#include <stdio.h>

enum {
    DRAW_ROWS = 1024, // of logits in one draw
    DRAW_PARTS = 1024,
    BETWEEN_BYTES = 32 << 20, // of matrices that a product takes or gives in another type
    ROW_WASTE = 8,            // a graph has at most a row more for each eight (pass.c)
};
static const double MEMORY_PART = 0.9;

// ---- products

static void multiply(struct device *d, const struct weight *w, struct mat x,
                     const struct gpu_linear_how *how, struct mat y) {
    struct cuda_device *c = cuda_of(d);
    struct errmsg msg = {0};
    if (x.rows == 0)
        return;
    enum err e = gpu_linear(&c->products, w, cuda_mat(x), how, cuda_mat(y), &msg);
    if (e)
        device_fail(d, e, "%s", msg.text);
}

static void linear(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    multiply(d, w, x, NULL, y);
}

static void linear_activate(struct device *d, const struct weight *w, struct mat x,
                            enum activation f, struct mat y) {
    struct gpu_linear_how how = {.activation = cuda_activation(f)};
    multiply(d, w, x, &how, y);
}

static void linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    struct gpu_linear_how how = {.residual = cuda_mat(y)};
    multiply(d, w, x, &how, y);
}

static void linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                            struct mat residual, const struct norm *n, struct mat y) {
    struct gpu_linear_how how = {.residual = cuda_mat(residual)};
    multiply(d, w, x, &how, y);
    cuda_layer_norm(d, n, y, y);
}

static void norm_linear(struct device *d, const struct norm_linear_args *a) {
    struct gpu_linear_how how = {.gamma = gpu_weight_vector(a->gamma),
                                 .eps = a->eps,
                                 .normed = cuda_mat(a->normed),
                                 .swiglu = a->swiglu};
    if (a->swiglu)
        how.gate_up = cuda_mat(a->gate_up);
    multiply(d, a->w, a->x, &how, a->y);
}

static enum err weight_prepare(struct device *d, enum weight_kind kind,
                               const struct weight_part *parts, size_t n,
                               struct precision precision, struct weight **out,
                               struct errmsg *msg) {
    return gpu_weight_new(cuda_of(d)->weights, kind, parts, n, precision, out, msg);
}

static void weight_free(struct device *d, struct weight *w) {
    gpu_weight_free(cuda_of(d)->weights, w);
}

static size_t weight_bytes(const struct weight *w) { return w->bytes; }

// ---- drawing

static struct gpu_draw_limits draw_limits(const struct cuda_device *c) {
    return (struct gpu_draw_limits){.vocab = GPU_DRAW_VOCAB,
                                    .rows = DRAW_ROWS,
                                    .parts = DRAW_PARTS,
                                    .slots = c->base.drawn_slots};
}

static size_t draw_bytes(const struct device *d, size_t vocab) {
    struct gpu_draw_limits l = draw_limits((const struct cuda_device *)d);
    return gpu_draw_bytes(&l, vocab);
}

static void draw(struct device *d, const struct draw_args *a, struct arena *ws) {
    struct cuda_device *c = cuda_of(d);
    struct errmsg msg = {0};
    uint64_t ticket;
    if (c->draws_asked - c->draws_told == GPU_DRAWS_UNDER_WAY)
        cuda_wait_mark(d, cuda_mark(d));
    enum err e = gpu_draw_ask(c->draw, c->stream, a, ws, &ticket, &msg);
    if (e)
        device_fail(d, e, "%s", msg.text);
    else
        c->draws_asked = ticket;
}

// ---- what it is

static enum dtype activations(const struct device *d, struct precision p) {
    const struct cuda_device *c = (const struct cuda_device *)d;
    static const enum dtype dtypes[] = {
        [GPU_F32] = DTYPE_F32, [GPU_BF16] = DTYPE_BF16, [GPU_F16] = DTYPE_F16};
    return dtypes[gpu_type_of(p.floats, c->facts.bf16)];
}

static void free_device(struct device *d) { cuda_device_free(d); }

static const struct device_ops operations = {
    .weight_prepare = weight_prepare,
    .weight_free = weight_free,
    .weight_bytes = weight_bytes,
    .workspace_new = cuda_workspace_new,
    .workspace_free = cuda_workspace_free,
    .embed = cuda_embed,
    .linear = linear,
    .activate = cuda_activate,
    .add = cuda_add,
    .subtract = cuda_subtract,
    .layer_norm = cuda_layer_norm,
    .attention = cuda_attention,
    .rms_norm = cuda_rms_norm,
    .rope_table = cuda_rope_table,
    .rope = cuda_rope,
    .swiglu = cuda_swiglu,
    .gather = cuda_gather,
    .kv_block_bytes = cuda_kv_block_bytes,
    .kv_new = cuda_kv_new,
    .kv_free = cuda_kv_free,
    .kv_store = cuda_kv_store,
    .paged_attention = cuda_paged_attention,
    .pool = cuda_pool,
    .l2_normalize = cuda_l2_normalize,
    .read = cuda_read,
    .draw_bytes = draw_bytes,
    .draw = draw,
    .linear_activate = linear_activate,
    .linear_add = linear_add,
    .linear_add_norm = linear_add_norm,
    .norm_linear = norm_linear,
    .turn = cuda_turn,
    .step_attention = cuda_step_attention,
    .activations = activations,
    .begin = cuda_begin,
    .end = cuda_end,
    .keep = cuda_keep,
    .keep_next = cuda_keep_next,
    .forget = cuda_forget,
    .pace = cuda_pace,
    .mark = cuda_mark,
    .wait_mark = cuda_wait_mark,
    .wait = cuda_sync,
    .free = free_device,
};

// ---- making and freeing

static void describe(struct cuda_device *c) {
    snprintf(c->base.describe, sizeof c->base.describe, "%s:%d, %.64s, sm_%d%d, %zu MiB",
             c->api->name, c->facts.number, c->facts.name, c->facts.major, c->facts.minor,
             c->facts.memory_bytes >> 20);
}

// Of its memory: the part that may be used, less what others hold already.
static size_t usable(const struct cuda_device *c, double part) {
    size_t all = (size_t)((double)c->facts.memory_bytes * part);
    size_t held = c->facts.memory_bytes - c->facts.free_bytes;
    return all > held ? all - held : 0;
}

static enum err make_events(struct cuda_device *c) {
    enum err e = c->api->event_new(c->gpu, &c->done);
    if (!e)
        e = c->api->event_new(c->gpu, &c->side_done);
    for (int i = 0; i < CUDA_MARKS && !e; i++)
        e = c->api->event_new(c->gpu, &c->marks[i]);
    for (int i = 0; i < CUDA_PACES && !e; i++)
        e = c->api->event_new(c->gpu, &c->paces[i]);
    return e;
}

static enum err make_memory(struct cuda_device *c) {
    const struct gpu_api *api = c->api;
    void *bad = NULL, *bad_host = NULL, *read_device = NULL, *read_host = NULL;
    enum err e = api->alloc(c->gpu, CUDA_BAD_WORDS * sizeof *c->bad, &bad);
    c->bad = bad;
    if (!e)
        e = api->alloc_host(c->gpu, CUDA_BAD_WORDS * sizeof *c->bad, &bad_host);
    c->bad_host = bad_host;
    if (!e)
        e = api->alloc(c->gpu, CUDA_READ_BYTES, &read_device);
    c->read_device = read_device;
    if (!e)
        e = api->alloc_host(c->gpu, CUDA_READ_BYTES, &read_host);
    c->read_host = read_host;
    if (!e)
        e = staging_init(&c->staging, api, c->gpu, c->stream, CUDA_STAGING_BYTES);
    if (!e)
        cuda_fill_now(c, c->bad, 0, CUDA_BAD_WORDS * sizeof *c->bad);
    return e;
}

static enum err make(struct cuda_device *c, struct errmsg *msg) {
    enum err e = c->api->open(c->options.number, &c->gpu, msg);
    if (e)
        return e;
    e = c->api->stream_new(c->gpu, &c->stream);
    if (!e)
        e = c->api->stream_new(c->gpu, &c->side);
    if (!e)
        e = make_events(c);
    if (!e)
        e = make_memory(c);
    if (e)
        return err_set(msg, e, "no memory on %s for what every model needs", c->base.describe);
    struct gpu_draw_limits limits = draw_limits(c);
    e = gpu_draw_new(c->api, c->gpu, c->stream, &limits, &c->draw, msg);
    if (!e)
        e = gpu_weights_new(c->api, c->gpu, c->facts.bf16, GPU_WEIGHT_PIECE, &c->weights, msg);
    if (!e)
        e = gpu_products_open(&c->products, c->api, c->gpu, c->stream, true, BETWEEN_BYTES, msg);
    if (!e && cuda_failed(c))
        e = device_sync(&c->base, msg);
    return e;
}

enum err cuda_device_new(const struct cuda_options *options, struct device **out,
                         struct errmsg *msg) {
    *out = NULL;
    struct cuda_device *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_set(msg, ERR_NOMEM, "no memory for a device");
    c->options = *options;
    c->api = options->api;
    c->graph_tokens = options->graph_tokens ? options->graph_tokens : CUDA_GRAPH_TOKENS;
    pthread_mutex_init(&c->making, NULL);
    enum err e = c->api->look(options->number, &c->facts, msg);
    c->ops = operations;
    c->ops.name = c->api->name;
    c->base = (struct device){.ops = &c->ops,
                              .max_head_dim = CUDA_MAX_HEAD_DIM,
                              .kv_block_tokens = CUDA_KV_BLOCK_TOKENS,
                              .row_waste = ROW_WASTE,
                              .piece_rows = CUDA_BATCH_TOKENS,
                              .batch_tokens = CUDA_BATCH_TOKENS,
                              .drawn_slots = CUDA_DRAWN_SLOTS};
    if (!e) {
        describe(c);
        c->base.memory_bytes =
            usable(c, options->memory_part > 0 ? options->memory_part : MEMORY_PART);
        e = make(c, msg);
    }
    if (e) {
        cuda_device_free(&c->base);
        return e;
    }
    *out = &c->base;
    return ERR_OK;
}

static void free_memory(struct cuda_device *c) {
    const struct gpu_api *api = c->api;
    gpu_products_close(&c->products);
    gpu_weights_free(c->weights);
    gpu_draw_free(c->draw);
    staging_free(&c->staging);
    void *const device[] = {c->bad, c->read_device}, *const host[] = {c->bad_host, c->read_host};
    for (int i = 0; i < 2; i++) {
        if (device[i])
            api->free(c->gpu, device[i]);
        if (host[i])
            api->free_host(c->gpu, host[i]);
    }
}

static void free_events(struct cuda_device *c) {
    struct gpu_event *const two[] = {c->done, c->side_done};
    for (int i = 0; i < 2; i++)
        if (two[i])
            c->api->event_free(c->gpu, two[i]);
    for (int i = 0; i < CUDA_MARKS; i++)
        if (c->marks[i])
            c->api->event_free(c->gpu, c->marks[i]);
    for (int i = 0; i < CUDA_PACES; i++)
        if (c->paces[i])
            c->api->event_free(c->gpu, c->paces[i]);
}

void cuda_device_free(struct device *d) {
    struct cuda_device *c = cuda_of(d);
    if (!d)
        return;
    if (c->gpu) {
        if (c->done && c->stream) { // what is under way works with memory that goes
            c->api->record(c->stream, c->done);
            c->api->wait(c->done);
        }
        free_memory(c);
        free_events(c);
        if (c->stream)
            c->api->stream_free(c->gpu, c->stream);
        if (c->side)
            c->api->stream_free(c->gpu, c->side);
        c->api->close(c->gpu);
    }
    pthread_mutex_destroy(&c->making);
    mem_free(c);
}

void cuda_device_graphs(const struct device *d, size_t *kept, size_t *launched) {
    const struct cuda_device *c = (const struct cuda_device *)d;
    *kept = c->graph_count;
    *launched = c->graph_launches;
}
