// See weight.h.
#include "compute/cpu/weight.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <string.h>

enum {
    STRIP = 16,            // inputs transposed at once: a cache line of each source row
    MAX_PANEL = 32,        // outputs
    TASK_FLOATS = 1 << 16, // copied per task at least: 256 KiB
};

// One part, being copied by many tasks.
struct copy {
    const struct cpu_kernels *k;
    struct weight *w;
    const struct tensor *src;
    size_t first_row;  // of this part in w
    size_t rows, cols; // of this part
    size_t rows_per_task;
    atomic_size_t bad; // index of the first value that is not finite, SIZE_MAX when none is
};

static void note_bad(struct copy *c, size_t at) {
    size_t now = atomic_load(&c->bad);
    while (at < now && !atomic_compare_exchange_weak(&c->bad, &now, at))
        ;
}

static const unsigned char *source(const struct copy *c, size_t row, size_t col) {
    return (const unsigned char *)c->src->data + (row * c->cols + col) * dtype_size(c->src->dtype);
}

static void copy_rows(void *job, size_t task, int worker) {
    (void)worker;
    struct copy *c = job;
    size_t from = task * c->rows_per_task;
    size_t rows = c->rows - from < c->rows_per_task ? c->rows - from : c->rows_per_task;
    float *dst = c->w->data + (c->first_row + from) * c->cols;
    size_t bad = c->k->convert(c->src->dtype, source(c, from, 0), dst, rows * c->cols);
    if (bad < rows * c->cols)
        note_bad(c, from * c->cols + bad);
}

// Rows [from, from + rows) of the part, which all lie in one panel, STRIP inputs at a time.
static void pack_rows(struct copy *c, size_t from, size_t rows) {
    size_t panel = c->w->panel, K = c->cols, out = c->first_row + from;
    float *dst = c->w->data + out / panel * panel * K + out % panel;
    float strip[MAX_PANEL][STRIP];
    for (size_t k = 0; k < K; k += STRIP) {
        size_t n = K - k < STRIP ? K - k : STRIP;
        for (size_t r = 0; r < rows; r++) {
            size_t bad = c->k->convert(c->src->dtype, source(c, from + r, k), strip[r], n);
            if (bad < n)
                note_bad(c, (from + r) * K + k + bad);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < rows; r++)
                dst[(k + i) * panel + r] = strip[r][i];
    }
}

// A task packs whole panels of w; a part may begin and end inside one.
static void pack_panels(void *job, size_t task, int worker) {
    (void)worker;
    struct copy *c = job;
    size_t panel = c->w->panel;
    size_t begin = c->first_row / panel * panel + task * c->rows_per_task;
    size_t end = begin + c->rows_per_task, last = c->first_row + c->rows;
    if (begin < c->first_row)
        begin = c->first_row;
    if (end > last)
        end = last;
    while (begin < end) {
        size_t stop = (begin / panel + 1) * panel;
        if (stop > end)
            stop = end;
        pack_rows(c, begin - c->first_row, stop - begin);
        begin = stop;
    }
}

static enum err copy_part(struct pool *pool, struct copy *c, struct errmsg *msg) {
    atomic_init(&c->bad, SIZE_MAX);
    bool packed = c->w->panel != 0;
    size_t unit = packed ? c->w->panel : 1;
    size_t per_unit = unit * c->cols;
    c->rows_per_task =
        unit * (per_unit >= TASK_FLOATS ? 1 : (TASK_FLOATS + per_unit - 1) / per_unit);
    size_t base = packed ? c->first_row / unit * unit : c->first_row;
    size_t span = c->first_row + c->rows - base;
    size_t tasks = (span + c->rows_per_task - 1) / c->rows_per_task;
    pool_run(pool, tasks, packed ? pack_panels : copy_rows, c);
    size_t bad = atomic_load(&c->bad);
    if (bad != SIZE_MAX)
        return err_set(msg, ERR_INVALID, "tensor '%s': non-finite at %zu", c->src->name, bad);
    return ERR_OK;
}

static enum err check_dtype(const struct tensor *t, struct errmsg *msg) {
    if (t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16)
        return ERR_OK;
    return err_set(msg, ERR_UNSUPPORTED, "tensor '%s': dtype %s; weights are f32, f16 or bf16",
                   t->name, dtype_name(t->dtype));
}

static enum err check_part(enum weight_kind kind, const struct weight_part *p, size_t cols,
                           struct errmsg *msg) {
    int rank = kind == WEIGHT_VECTOR ? 1 : 2;
    if (!p->w.data || p->w.rank != rank)
        return err_set(msg, ERR_INVALID, "tensor '%s': rank %d, need %d", p->w.name, p->w.rank,
                       rank);
    for (int i = 0; i < rank; i++)
        if (p->w.shape[i] == 0)
            return err_set(msg, ERR_INVALID, "tensor '%s': empty", p->w.name);
    if (p->w.shape[rank - 1] != cols)
        return err_set(msg, ERR_INVALID, "tensor '%s': %zu inputs, its neighbours have %zu",
                       p->w.name, p->w.shape[rank - 1], cols);
    enum err e = check_dtype(&p->w, msg);
    if (e != ERR_OK || !p->bias.data)
        return e;
    if (kind != WEIGHT_LINEAR || p->bias.rank != 1 || p->bias.shape[0] != p->w.shape[0])
        return err_set(msg, ERR_INVALID, "tensor '%s': not a bias for '%s'", p->bias.name,
                       p->w.name);
    return check_dtype(&p->bias, msg);
}

// The block: data, then (LINEAR) bias, each from a cache line on.
static enum err allocate(struct slabs *slabs, struct weight *w, struct errmsg *msg) {
    size_t panel = w->panel ? w->panel : 1;
    size_t padded = 0, data = 0, bias = 0, floats = 0, bytes = 0;
    bool over = __builtin_add_overflow(w->rows, panel - 1, &padded);
    padded = padded / panel * panel;
    over = over || mem_mul_overflows(padded, w->cols, &data) ||
           __builtin_add_overflow(data, (size_t)15, &data);
    data = data / 16 * 16;
    if (w->kind == WEIGHT_LINEAR)
        bias = padded;
    over = over || __builtin_add_overflow(data, bias, &floats) ||
           mem_mul_overflows(floats, sizeof(float), &bytes);
    if (over)
        return err_set(msg, ERR_TOO_LARGE, "weight of %zu x %zu", w->rows, w->cols);
    w->block = slab_alloc(slabs, bytes);
    w->data = w->block.data;
    if (!w->data)
        return err_set(msg, ERR_NOMEM, "no memory for a weight of %zu bytes", bytes);
    if (bias)
        w->bias = w->data + data;
    w->bytes = bytes + sizeof *w;
    return ERR_OK;
}

static enum err fill(const struct cpu_kernels *k, struct pool *pool, struct weight *w,
                     const struct weight_part *parts, size_t n, struct errmsg *msg) {
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        const struct weight_part *p = &parts[i];
        struct copy c = {.k = k, .w = w, .src = &p->w, .first_row = row, .cols = w->cols};
        c.rows = w->kind == WEIGHT_VECTOR ? 1 : p->w.shape[0];
        enum err e = copy_part(pool, &c, msg);
        if (e != ERR_OK)
            return e;
        if (p->bias.data) {
            size_t bad = k->convert(p->bias.dtype, p->bias.data, w->bias + row, c.rows);
            if (bad < c.rows)
                return err_set(msg, ERR_INVALID, "tensor '%s': non-finite at %zu", p->bias.name,
                               bad);
        }
        row += c.rows;
    }
    return ERR_OK;
}

enum err weight_new(const struct cpu_kernels *k, struct pool *pool, struct slabs *slabs,
                    enum weight_kind kind, const struct weight_part *parts, size_t n, size_t panel,
                    struct weight **out, struct errmsg *msg) {
    *out = NULL;
    if (n == 0 || (kind != WEIGHT_LINEAR && n != 1))
        return err_set(msg, ERR_INVALID, "a weight of %zu parts", n);
    size_t rows = 0, cols = parts[0].w.shape[kind == WEIGHT_VECTOR ? 0 : 1];
    for (size_t i = 0; i < n; i++) {
        enum err e = check_part(kind, &parts[i], cols, msg);
        if (e != ERR_OK)
            return e;
        if (__builtin_add_overflow(rows, kind == WEIGHT_VECTOR ? 1 : parts[i].w.shape[0], &rows))
            return err_set(msg, ERR_TOO_LARGE, "tensor '%s': too many rows", parts[i].w.name);
    }
    struct weight *w = mem_calloc(1, sizeof *w);
    if (!w)
        return err_set(msg, ERR_NOMEM, "no memory for a weight");
    w->kind = kind;
    w->rows = rows;
    w->cols = cols;
    w->panel = kind == WEIGHT_LINEAR ? panel : 0;
    enum err e = allocate(slabs, w, msg);
    if (e == ERR_OK)
        e = fill(k, pool, w, parts, n, msg);
    if (e != ERR_OK) {
        weight_free(slabs, w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void weight_free(struct slabs *slabs, struct weight *w) {
    if (!w)
        return;
    slab_free(slabs, w->block);
    mem_free(w);
}
