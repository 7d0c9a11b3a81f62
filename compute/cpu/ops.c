// The device table over the CPU kernels. Role: cuts each operation into shares for the pool's
// threads. How it is cut never changes a bit of the result (see kernels.h), only the speed.
#include "compute/cpu/ops.h"

#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/gemm_openblas.h"
#include "compute/cpu/ops_causal.h"
#include "compute/cpu/ops_draw.h"
#include "compute/cpu/ops_linear.h"

#include <string.h>

enum {
    ROW_TASK_FLOATS = 1 << 13, // a share of a row-wise operation, about: a few microseconds
};

static struct cpu_device *cpu(struct device *d) { return (struct cpu_device *)d; }

// [*from, *to): part i of n equal parts of `all`.
static void part(size_t all, size_t n, size_t i, size_t *from, size_t *to) {
    *from = all / n * i + at_most(i, all % n);
    *to = *from + all / n + (i < all % n ? 1 : 0);
}

// ---- row by row ----

struct row_job {
    struct cpu_device *d;
    struct mat x, y;
    enum activation f;
    const struct norm *norm;
    const struct embed_args *embed;
    const struct pool_args *pool;
    float *host;
    void (*row)(const struct row_job *j, size_t row);
    size_t rows, tasks;
};

static void row_task(void *job, size_t task, int worker) {
    (void)worker;
    const struct row_job *j = job;
    size_t from, to;
    part(j->rows, j->tasks, task, &from, &to);
    for (size_t r = from; r < to; r++)
        j->row(j, r);
}

static void run_rows(struct row_job *j, size_t rows, size_t floats_per_row) {
    j->rows = rows;
    j->tasks = at_most(rows, ceil_div(rows * floats_per_row, ROW_TASK_FLOATS));
    pool_run(j->d->pool, j->tasks, row_task, j);
}

// Narrow rows are widened in y, but for those added to it, in the thread's scratch.
static void embed_row(const struct row_job *j, size_t r, float *scratch) {
    const struct embed_args *a = j->embed;
    const float *rows[3] = {0};
    float *y = j->y.data + r * j->y.ld;
    for (size_t t = 0; t < a->count; t++) {
        const struct weight *w = a->tables[t];
        size_t at = (size_t)a->index[t][r];
        float *to = t == 0 ? y : scratch + (t - 1) * w->cols;
        rows[t] = w->data ? w->data + at * w->cols : to;
        if (!w->data)
            weight_read_row(j->d->k, w, at, to);
    }
    if (a->count > 1 || rows[0] != y)
        j->d->k->sum_rows(rows, a->count, y, j->y.cols);
}

// Where the first of n indices is that lies outside [0, rows); n: none does.
static size_t index_beyond(const int32_t *index, size_t n, size_t rows) {
    size_t i = 0;
    while (i < n && (size_t)(uint32_t)index[i] < rows) // a negative one is above any table
        i++;
    return i;
}

static void embed_task(void *job, size_t task, int worker) {
    const struct row_job *j = job;
    size_t from, to;
    part(j->rows, j->tasks, task, &from, &to);
    for (size_t r = from; r < to; r++)
        embed_row(j, r, j->d->scratch + (size_t)worker * KERNEL_SCRATCH);
}

static void cpu_embed(struct device *d, const struct embed_args *a, struct mat y) {
    struct row_job j = {.d = cpu(d), .y = y, .embed = a};
    if (a->count == 0 || a->count > 3) {
        device_fail(d, ERR_INTERNAL, "embed: %zu tables", a->count);
        return;
    }
    for (size_t t = 0; t < a->count; t++)
        if (a->tables[t]->cols != y.cols) {
            device_fail(d, ERR_INTERNAL, "embed: table of %zu columns for %zu", a->tables[t]->cols,
                        y.cols);
            return;
        }
    for (size_t t = 0; t < a->count; t++) {
        size_t bad = index_beyond(a->index[t], y.rows, a->tables[t]->rows);
        if (bad < y.rows) {
            device_fail(d, ERR_INTERNAL, "embed: row %d of table %zu, which has %zu",
                        (int)a->index[t][bad], t, a->tables[t]->rows);
            return;
        }
    }
    if (a->count > 1 && y.cols > KERNEL_SCRATCH / 2) {
        device_fail(d, ERR_UNSUPPORTED, "embed: rows of %zu columns, at most %d", y.cols,
                    KERNEL_SCRATCH / 2);
        return;
    }
    j.rows = y.rows;
    j.tasks = at_most(y.rows, ceil_div(y.rows * y.cols, ROW_TASK_FLOATS));
    pool_run(j.d->pool, j.tasks, embed_task, &j);
}

static void activate_row(const struct row_job *j, size_t r) {
    j->d->k->activate(j->f, j->x.data + r * j->x.ld, j->x.cols);
}

static void cpu_activate(struct device *d, enum activation f, struct mat x) {
    struct row_job j = {.d = cpu(d), .x = x, .f = f, .row = activate_row};
    run_rows(&j, x.rows, x.cols);
}

static void add_row(const struct row_job *j, size_t r) {
    float *y = j->y.data + r * j->y.ld;
    const float *rows[2] = {y, j->x.data + r * j->x.ld};
    j->d->k->sum_rows(rows, 2, y, j->y.cols);
}

static void cpu_add(struct device *d, struct mat x, struct mat y) {
    struct row_job j = {.d = cpu(d), .x = x, .y = y, .row = add_row};
    run_rows(&j, y.rows, y.cols);
}

static void norm_row(const struct cpu_kernels *k, const struct norm *n, const float *x, float *y,
                     size_t cols) {
    k->layer_norm(x, n->gamma->data, n->beta->data, n->eps, y, cols);
}

static bool norm_fits(const struct norm *n, size_t cols) {
    return !n || (n->gamma->cols == cols && n->beta->cols == cols);
}

static void layer_norm_row(const struct row_job *j, size_t r) {
    norm_row(j->d->k, j->norm, j->x.data + r * j->x.ld, j->y.data + r * j->y.ld, j->x.cols);
}

static void cpu_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y) {
    struct row_job j = {.d = cpu(d), .x = x, .y = y, .norm = n, .row = layer_norm_row};
    if (!norm_fits(n, x.cols) || y.cols != x.cols || y.rows != x.rows) {
        device_fail(d, ERR_INTERNAL, "layer_norm: x %zu x %zu, gamma %zu, beta %zu, y %zu x %zu",
                    x.rows, x.cols, n->gamma->cols, n->beta->cols, y.rows, y.cols);
        return;
    }
    run_rows(&j, x.rows, x.cols);
}

static void l2_row(const struct row_job *j, size_t r) {
    j->d->k->l2_normalize(j->x.data + r * j->x.ld, j->x.cols);
}

static void cpu_l2_normalize(struct device *d, struct mat x) {
    struct row_job j = {.d = cpu(d), .x = x, .row = l2_row};
    run_rows(&j, x.rows, x.cols);
}

static void cpu_read(struct device *d, struct mat x, float *host) {
    (void)d;
    for (size_t r = 0; r < x.rows; r++)
        memcpy(host + r * x.cols, x.data + r * x.ld, x.cols * sizeof *host);
}

// Tokens [*from, *to) of sequence s take part in the pool.
static void pooled(const struct pool_args *a, size_t s, size_t *from, size_t *to) {
    *from = (size_t)a->cu_seqlens[s];
    *to = (size_t)a->cu_seqlens[s + 1];
    if (a->skip)
        *from += at_most((size_t)a->skip[s], *to - *from);
}

static void pool_row(const struct row_job *j, size_t s) {
    const struct pool_args *a = j->pool;
    size_t from, to;
    pooled(a, s, &from, &to);
    float *y = a->out.data + s * a->out.ld;
    if (a->mode == POOL_CLS)
        memcpy(y, a->x.data + from * a->x.ld, a->x.cols * sizeof *y);
    else if (a->mode == POOL_LAST)
        memcpy(y, a->x.data + (to - 1) * a->x.ld, a->x.cols * sizeof *y);
    else
        j->d->k->pool(a->mode, a->x.data + from * a->x.ld, a->x.ld, to - from, y, a->x.cols);
}

static void cpu_pool(struct device *d, const struct pool_args *a) {
    if (!ops_sequences_fit(a->cu_seqlens, a->seqs, a->x.rows) || a->out.rows < a->seqs ||
        a->out.cols != a->x.cols) {
        device_fail(d, ERR_INTERNAL, "pool: %zu sequences of %zu tokens, into %zu x %zu", a->seqs,
                    a->x.rows, a->out.rows, a->out.cols);
        return;
    }
    for (size_t s = 0; s < a->seqs; s++) {
        size_t from, to;
        pooled(a, s, &from, &to);
        if (from >= to) {
            device_fail(d, ERR_INVALID, "pool: sequence %zu has no tokens to pool", s);
            return;
        }
    }
    struct row_job j = {.d = cpu(d), .pool = a, .row = pool_row};
    run_rows(&j, a->seqs, ceil_div(a->x.rows, at_least(a->seqs, 1)) * a->x.cols);
}

// ---- attention ----

struct attention_job {
    struct cpu_device *d;
    const struct attention_args *a;
    size_t tokens, first; // queries are cut into ranges, every head apart; the first one of them
    size_t group;         // heads that share a head of keys and values
};

// The sequence that holds token t.
static size_t sequence_of(const struct attention_args *a, size_t t) {
    size_t low = 0, high = a->seqs;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if ((size_t)a->cu_seqlens[mid] <= t)
            low = mid;
        else
            high = mid;
    }
    return low;
}

// Where the range that would begin at token t begins: a short sequence is not cut, since each range
// packs all keys of its sequences; it goes with the range that holds its first token.
static size_t range_begin(const struct attention_job *j, size_t t) {
    if (t >= j->tokens)
        return j->tokens;
    size_t s = sequence_of(j->a, t);
    size_t from = (size_t)j->a->cu_seqlens[s], to = (size_t)j->a->cu_seqlens[s + 1];
    return t == from || to - from > ATTENTION_QUERIES ? t : to;
}

static void attention_task(void *job, size_t task, int worker) {
    const struct attention_job *j = job;
    const struct attention_args *a = j->a;
    size_t head = task % a->heads, range = j->first + task / a->heads;
    size_t col = head * a->head_dim, kv_col = head / j->group * a->head_dim;
    size_t from = range_begin(j, range * ATTENTION_QUERIES);
    size_t to = range_begin(j, (range + 1) * ATTENTION_QUERIES);
    if (from >= to)
        return;
    size_t s = sequence_of(a, from);
    while (from < to) {
        size_t begin = (size_t)a->cu_seqlens[s], end = (size_t)a->cu_seqlens[s + 1];
        if (end <= from) {
            s++;
            continue;
        }
        size_t stop = at_most(at_most(end, to), from + ATTENTION_QUERIES);
        struct attention_share share = {
            .q = a->q.data + from * a->q.ld + col,
            .k = a->k.data + begin * a->k.ld + kv_col,
            .v = a->v.data + begin * a->v.ld + kv_col,
            .out = a->out.data + from * a->out.ld + col,
            .ldq = a->q.ld,
            .ldk = a->k.ld,
            .ldv = a->v.ld,
            .ldo = a->out.ld,
            .queries = stop - from,
            .keys = end - begin,
            .head_dim = a->head_dim,
            .scale = a->scale,
            .scratch = j->d->scratch + (size_t)worker * KERNEL_SCRATCH,
        };
        j->d->k->attention(&share);
        from = stop;
    }
}

static void cpu_attention(struct device *d, const struct attention_args *a) {
    struct attention_job j = {.d = cpu(d), .a = a};
    size_t kv_heads = a->kv_heads ? a->kv_heads : a->heads;
    size_t width = a->heads * a->head_dim, kv_width = kv_heads * a->head_dim;
    if (a->head_dim == 0 || a->head_dim > j.d->k->max_head_dim) {
        device_fail(d, ERR_UNSUPPORTED, "attention: head dimension %zu, at most %zu", a->head_dim,
                    j.d->k->max_head_dim);
        return;
    }
    if (!(a->scale > 0)) {
        device_fail(d, ERR_INTERNAL, "attention: scale %g", (double)a->scale);
        return;
    }
    if (a->q.cols != width || a->k.cols != kv_width || a->v.cols != kv_width ||
        a->out.cols != width || a->heads % kv_heads) {
        device_fail(d, ERR_INTERNAL, "attention: %zu heads (%zu) of %zu in matrices of %zu columns",
                    a->heads, kv_heads, a->head_dim, a->q.cols);
        return;
    }
    size_t rows = at_most(at_most(a->q.rows, a->k.rows), at_most(a->v.rows, a->out.rows));
    if (!ops_sequences_fit(a->cu_seqlens, a->seqs, rows)) {
        device_fail(d, ERR_INTERNAL, "attention: %zu sequences that do not lie in %zu rows",
                    a->seqs, rows);
        return;
    }
    j.group = a->heads / kv_heads;
    j.tokens = (size_t)a->cu_seqlens[a->seqs];
    size_t end = a->end ? a->end : j.tokens;
    if (a->begin % ATTENTION_ROWS || a->begin > end || end > j.tokens ||
        (end % ATTENTION_ROWS && end != j.tokens)) {
        device_fail(d, ERR_INTERNAL, "attention: queries %zu to %zu of %zu", a->begin, end,
                    j.tokens);
        return;
    }
    if (a->causal) {
        cpu_causal_attention(d, a);
        return;
    }
    j.first = a->begin / ATTENTION_QUERIES;
    size_t ranges = ceil_div(end, ATTENTION_QUERIES) - j.first;
    pool_run(j.d->pool, ranges * a->heads, attention_task, &j);
}

// ---- memory ----

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

static enum err cpu_weight_prepare(struct device *d, enum weight_kind kind,
                                   const struct weight_part *parts, size_t n,
                                   struct precision precision, struct weight **out,
                                   struct errmsg *msg) {
    *out = NULL;
    struct cpu_device *c = cpu(d);
    size_t outputs = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(outputs, parts[i].w.shape[0], &outputs))
            outputs = SIZE_MAX; // which fits nowhere; weight_new refuses it
    bool openblas = c->openblas_rows && n > 0 &&
                    gemm_openblas_fits(c->openblas_rows, outputs, parts[0].w.shape[1]);
    struct weight_maker maker = {c->k, c->pool, c->scratch, &c->slabs, openblas};
    enum err e = weight_new(&maker, kind, parts, n, precision, out, msg);
    if (e == ERR_OK && (*out)->acts != ACTS_NONE)
        e = make_room_for_acts(c, *out, parts[0].w.name, msg);
    if (e != ERR_OK) {
        weight_free(&c->slabs, *out);
        *out = NULL;
    }
    return e;
}

static void cpu_weight_free(struct device *d, struct weight *w) { weight_free(&cpu(d)->slabs, w); }

static size_t cpu_weight_bytes(const struct weight *w) { return w->bytes; }

static enum err cpu_workspace_new(struct device *d, size_t bytes, struct arena *out) {
    (void)d;
    return arena_init(out, bytes);
}

static void cpu_workspace_free(struct device *d, struct arena *a) {
    (void)d;
    arena_free(a);
}

const struct device_ops cpu_ops = {
    .name = "cpu",
    .weight_prepare = cpu_weight_prepare,
    .weight_free = cpu_weight_free,
    .weight_bytes = cpu_weight_bytes,
    .workspace_new = cpu_workspace_new,
    .workspace_free = cpu_workspace_free,
    .embed = cpu_embed,
    .linear = ops_linear,
    .activate = cpu_activate,
    .add = cpu_add,
    .layer_norm = cpu_layer_norm,
    .attention = cpu_attention,
    .rms_norm = cpu_rms_norm,
    .rope = cpu_rope,
    .swiglu = cpu_swiglu,
    .gather = cpu_gather,
    .kv_block_bytes = cpu_kv_block_bytes,
    .kv_new = cpu_kv_new,
    .kv_free = cpu_kv_free,
    .kv_store = cpu_kv_store,
    .paged_attention = cpu_paged_attention,
    .pool = cpu_pool,
    .l2_normalize = cpu_l2_normalize,
    .read = cpu_read,
    .linear_activate = ops_linear_activate,
    .linear_add = ops_linear_add,
    .linear_add_norm = ops_linear_add_norm,
    .each = cpu_each,
    .draw_bytes = ops_draw_bytes,
    .draw = ops_draw,
    .free = cpu_device_free,
};
