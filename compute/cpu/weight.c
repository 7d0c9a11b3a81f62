// See weight.h.
#include "compute/cpu/weight.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <string.h>

enum {
    STRIP = 16,            // inputs transposed at once: a cache line of each source row
    MAX_PANEL = 32,        // outputs
    TASK_FLOATS = 1 << 16, // copied per task at least: 256 KiB
    READ_FLOATS = 1 << 15, // read at once
};

// One part, being copied by many tasks.
struct copy {
    const struct cpu_kernels *k;
    struct weight *w;
    const struct tensor *src;
    float *scratch;    // KERNEL_SCRATCH floats for each worker
    size_t first_row;  // of this part in w
    size_t rows, cols; // of this part
    size_t rows_per_task;
    atomic_size_t bad;  // index of the first value that is not finite, SIZE_MAX when none is
    atomic_flag unread; // set by the first task that could not read, whose error this is:
    enum err failed;
    struct errmsg failure;
};

static void note_bad(struct copy *c, size_t at) {
    size_t now = atomic_load(&c->bad);
    while (at < now && !atomic_compare_exchange_weak(&c->bad, &now, at))
        ;
}

// Values [at, at + n) of the source; n of them fit the scratch. A file is read by pread into memory
// that stays in L2, and not mapped: a mapping of a file that is truncated meanwhile ends the
// process, and reading all of it first needs as much fresh memory again, which takes longer to get
// than the reading. NULL, and the failure noted, where it cannot be read.
static const unsigned char *source(struct copy *c, size_t at, size_t n, void *scratch) {
    size_t size = dtype_size(c->src->dtype);
    if (c->src->data)
        return (const unsigned char *)c->src->data + at * size;
    struct errmsg msg = {0};
    enum err e = file_read_at(c->src->file, c->src->offset + at * size, scratch, n * size, &msg);
    if (e == ERR_OK)
        return scratch;
    if (!atomic_flag_test_and_set(&c->unread)) {
        c->failed = e;
        c->failure = msg;
    }
    return NULL;
}

// Values [from, from + n) of the source, in its order, to dst.
static void copy_run(struct copy *c, size_t from, size_t n, float *dst, float *scratch) {
    for (size_t at = 0; at < n; at += READ_FLOATS) {
        size_t some = n - at < READ_FLOATS ? n - at : READ_FLOATS;
        const unsigned char *src = source(c, from + at, some, scratch);
        if (!src)
            return;
        size_t bad = c->k->convert(c->src->dtype, src, dst + at, some);
        if (bad < some)
            note_bad(c, from + at + bad);
    }
}

static void copy_rows(void *job, size_t task, int worker) {
    struct copy *c = job;
    size_t from = task * c->rows_per_task;
    size_t rows = c->rows - from < c->rows_per_task ? c->rows - from : c->rows_per_task;
    copy_run(c, from * c->cols, rows * c->cols, c->w->data + (c->first_row + from) * c->cols,
             c->scratch + (size_t)worker * KERNEL_SCRATCH);
}

// Rows [from, from + rows) of the part, which all lie in one panel; its inputs [k, k + width), read
// to the scratch row behind row, STRIP of them at a time.
static void pack_block(struct copy *c, size_t from, size_t rows, size_t k, size_t width,
                       float *scratch) {
    size_t panel = c->w->panel, K = c->cols, out = c->first_row + from;
    size_t size = dtype_size(c->src->dtype), stride = width;
    float *dst = c->w->data + out / panel * panel * K + out % panel;
    const unsigned char *src = NULL;
    if (c->src->data || width == K) {
        src = source(c, from * K + k, rows * K, scratch);
        stride = K;
    } else {
        for (size_t r = 0; r < rows; r++) {
            unsigned char *to = (unsigned char *)scratch + r * width * size;
            if (!source(c, (from + r) * K + k, width, to))
                return;
        }
        src = (const unsigned char *)scratch;
    }
    if (!src)
        return;
    float strip[MAX_PANEL][STRIP];
    for (size_t at = 0; at < width; at += STRIP) {
        size_t n = width - at < STRIP ? width - at : STRIP;
        for (size_t r = 0; r < rows; r++) {
            size_t bad = c->k->convert(c->src->dtype, src + (r * stride + at) * size, strip[r], n);
            if (bad < n)
                note_bad(c, (from + r) * K + k + at + bad);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < rows; r++)
                dst[(k + at + i) * panel + r] = strip[r][i];
    }
}

static void pack_rows(struct copy *c, size_t from, size_t rows, float *scratch) {
    size_t most = KERNEL_SCRATCH / rows / STRIP * STRIP; // inputs that the scratch holds
    for (size_t k = 0; k < c->cols; k += most)
        pack_block(c, from, rows, k, c->cols - k < most ? c->cols - k : most, scratch);
}

// A task packs whole panels of w; a part may begin and end inside one.
static void pack_panels(void *job, size_t task, int worker) {
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
        pack_rows(c, begin - c->first_row, stop - begin,
                  c->scratch + (size_t)worker * KERNEL_SCRATCH);
        begin = stop;
    }
}

static enum err copied(struct copy *c, struct errmsg *msg) {
    size_t bad = atomic_load(&c->bad);
    if (c->failed != ERR_OK)
        return err_set(msg, c->failed, "%s", c->failure.text);
    if (bad != SIZE_MAX)
        return err_set(msg, ERR_INVALID, "tensor '%s': non-finite at %zu", c->src->name, bad);
    return ERR_OK;
}

static enum err copy_part(struct pool *pool, struct copy *c, struct errmsg *msg) {
    bool packed = c->w->panel != 0;
    size_t unit = packed ? c->w->panel : 1;
    size_t per_unit = unit * c->cols;
    c->rows_per_task =
        unit * (per_unit >= TASK_FLOATS ? 1 : (TASK_FLOATS + per_unit - 1) / per_unit);
    size_t base = packed ? c->first_row / unit * unit : c->first_row;
    size_t span = c->first_row + c->rows - base;
    size_t tasks = (span + c->rows_per_task - 1) / c->rows_per_task;
    pool_run(pool, tasks, packed ? pack_panels : copy_rows, c);
    return copied(c, msg);
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
    if (!tensor_present(&p->w) || p->w.rank != rank)
        return err_set(msg, ERR_INVALID, "tensor '%s': rank %d, need %d", p->w.name, p->w.rank,
                       rank);
    for (int i = 0; i < rank; i++)
        if (p->w.shape[i] == 0)
            return err_set(msg, ERR_INVALID, "tensor '%s': empty", p->w.name);
    if (p->w.shape[rank - 1] != cols)
        return err_set(msg, ERR_INVALID, "tensor '%s': %zu inputs, its neighbours have %zu",
                       p->w.name, p->w.shape[rank - 1], cols);
    enum err e = check_dtype(&p->w, msg);
    if (e != ERR_OK || !tensor_present(&p->bias))
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

static enum err fill(const struct cpu_kernels *k, struct pool *pool, float *scratch,
                     struct weight *w, const struct weight_part *parts, size_t n,
                     struct errmsg *msg) {
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        const struct weight_part *p = &parts[i];
        size_t rows = w->kind == WEIGHT_VECTOR ? 1 : p->w.shape[0];
        struct copy c = {.k = k,
                         .w = w,
                         .src = &p->w,
                         .scratch = scratch,
                         .first_row = row,
                         .rows = rows,
                         .cols = w->cols,
                         .bad = SIZE_MAX,
                         .unread = ATOMIC_FLAG_INIT};
        enum err e = copy_part(pool, &c, msg);
        if (e == ERR_OK && tensor_present(&p->bias)) {
            c.src = &p->bias;
            copy_run(&c, 0, rows, w->bias + row, scratch);
            e = copied(&c, msg);
        }
        if (e != ERR_OK)
            return e;
        row += rows;
    }
    return ERR_OK;
}

enum err weight_new(const struct cpu_kernels *k, struct pool *pool, float *scratch,
                    struct slabs *slabs, enum weight_kind kind, const struct weight_part *parts,
                    size_t n, size_t panel, struct weight **out, struct errmsg *msg) {
    *out = NULL;
    if (panel > MAX_PANEL)
        return err_set(msg, ERR_INTERNAL, "panels of %zu outputs, at most %d", panel, MAX_PANEL);
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
        e = fill(k, pool, scratch, w, parts, n, msg);
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
