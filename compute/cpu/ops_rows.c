// See ops_rows.h. How the rows are cut never changes a bit of the result (see kernels.h).
#include "compute/cpu/ops_rows.h"

#include "compute/cpu/rows.h"
#include "compute/cpu/share.h"
#include "compute/cpu/weight.h"

#include <math.h>
#include <string.h>

// One operation: what its rows need of this.
struct row_op {
    const struct cpu_device *d;
    struct mat x, y, minus;
    enum activation f;
    const struct norm *norm;
    const struct weight *gamma;
    float eps;
    const struct embed_args *embed;
    const struct rope_table_args *angles;
    const struct rope_args *rope;
    const int32_t *rows_of;
    const struct pool_args *pool;
};

static void run(struct device *d, struct row_op *op, size_t rows, size_t floats_per_row,
                rows_fn *fn) {
    op->d = cpu_of(d);
    rows_run(cpu_of(d), rows, floats_per_row, fn, op);
}

static float *row_of(struct mat m, size_t r) { return m.data + r * m.ld; }

static bool same_shape(struct mat a, struct mat b) { return a.rows == b.rows && a.cols == b.cols; }

// ---- looking up ----

// Narrow rows are widened in y, but for those added to it, in the thread's scratch.
static void embed_row(const void *op, size_t r, int worker) {
    const struct row_op *o = op;
    const struct embed_args *a = o->embed;
    const float *rows[3] = {0};
    float *y = row_of(o->y, r), *scratch = cpu_scratch(o->d, worker);
    for (size_t t = 0; t < a->count; t++) {
        const struct weight *w = a->tables[t];
        size_t at = (size_t)a->index[t][r];
        float *to = t == 0 ? y : scratch + (t - 1) * w->cols;
        rows[t] = w->data ? w->data + at * w->cols : to;
        if (!w->data)
            weight_read_row(o->d->k, w, at, to);
    }
    if (a->count > 1 || rows[0] != y)
        o->d->k->sum_rows(rows, a->count, y, o->y.cols);
}

// Where the first of n indices is that lies outside [0, rows); n: none does.
static size_t index_beyond(const int32_t *index, size_t n, size_t rows) {
    size_t i = 0;
    while (i < n && (size_t)(uint32_t)index[i] < rows) // a negative one is above any table
        i++;
    return i;
}

void cpu_embed(struct device *d, const struct embed_args *a, struct mat y) {
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
    run(d, &(struct row_op){.y = y, .embed = a}, y.rows, y.cols, embed_row);
}

static void gather_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    memcpy(row_of(o->y, r), row_of(o->x, (size_t)o->rows_of[r]), o->x.cols * sizeof *o->y.data);
}

void cpu_gather(struct device *d, struct mat x, const int32_t *rows, struct mat y) {
    if (x.cols != y.cols || index_beyond(rows, y.rows, x.rows) < y.rows) {
        device_fail(d, ERR_INTERNAL, "gather: x %zu x %zu, y %zu x %zu", x.rows, x.cols, y.rows,
                    y.cols);
        return;
    }
    run(d, &(struct row_op){.x = x, .y = y, .rows_of = rows}, y.rows, y.cols, gather_row);
}

// ---- sums and activations ----

static void activate_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    o->d->k->activate(o->f, row_of(o->x, r), o->x.cols);
}

void cpu_activate(struct device *d, enum activation f, struct mat x) {
    run(d, &(struct row_op){.x = x, .f = f}, x.rows, x.cols, activate_row);
}

static void add_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    float *y = row_of(o->y, r);
    const float *rows[2] = {y, row_of(o->x, r)};
    o->d->k->sum_rows(rows, 2, y, o->y.cols);
}

void cpu_add(struct device *d, struct mat x, struct mat y) {
    run(d, &(struct row_op){.x = x, .y = y}, y.rows, y.cols, add_row);
}

static void subtract_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const float *x = row_of(o->x, r), *minus = row_of(o->minus, r);
    float *y = row_of(o->y, r);
    for (size_t i = 0; i < o->y.cols; i++)
        y[i] = x[i] - minus[i];
}

void cpu_subtract(struct device *d, struct mat a, struct mat b, struct mat y) {
    if (!same_shape(a, y) || !same_shape(b, y)) {
        device_fail(d, ERR_INTERNAL, "subtract: %zu x %zu less %zu x %zu, y %zu x %zu", a.rows,
                    a.cols, b.rows, b.cols, y.rows, y.cols);
        return;
    }
    run(d, &(struct row_op){.x = a, .minus = b, .y = y}, y.rows, y.cols, subtract_row);
}

static void swiglu_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const float *gate = row_of(o->x, r);
    o->d->k->causal->swiglu(gate, gate + o->y.cols, row_of(o->y, r), o->y.cols);
}

void cpu_swiglu(struct device *d, struct mat gate_up, struct mat y) {
    if (gate_up.cols != 2 * y.cols || gate_up.rows != y.rows) {
        device_fail(d, ERR_INTERNAL, "swiglu: x %zu x %zu, y %zu x %zu", gate_up.rows, gate_up.cols,
                    y.rows, y.cols);
        return;
    }
    run(d, &(struct row_op){.x = gate_up, .y = y}, y.rows, gate_up.cols, swiglu_row);
}

// ---- norms ----

static void layer_norm_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const struct norm *n = o->norm;
    o->d->k->layer_norm(row_of(o->x, r), n->gamma->data, n->beta->data, n->eps, row_of(o->y, r),
                        o->x.cols);
}

void cpu_layer_norm(struct device *d, const struct norm *n, struct mat x, struct mat y) {
    if (n->gamma->cols != x.cols || n->beta->cols != x.cols || !same_shape(x, y)) {
        device_fail(d, ERR_INTERNAL, "layer_norm: x %zu x %zu, gamma %zu, beta %zu, y %zu x %zu",
                    x.rows, x.cols, n->gamma->cols, n->beta->cols, y.rows, y.cols);
        return;
    }
    run(d, &(struct row_op){.x = x, .y = y, .norm = n}, x.rows, x.cols, layer_norm_row);
}

static void rms_norm_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const float *x = row_of(o->x, r);
    float *y = row_of(o->y, r);
    size_t one = o->gamma->cols;
    for (size_t c = 0; c < o->x.cols; c += one)
        o->d->k->causal->rms_norm(x + c, o->gamma->data, o->eps, y + c, one);
}

void cpu_rms_norm(struct device *d, const struct weight *gamma, float eps, struct mat x,
                  struct mat y) {
    if (gamma->kind != WEIGHT_VECTOR || x.cols % gamma->cols || !same_shape(x, y)) {
        device_fail(d, ERR_INTERNAL, "rms_norm: x %zu x %zu, gamma %zu, y %zu x %zu", x.rows,
                    x.cols, gamma->cols, y.rows, y.cols);
        return;
    }
    run(d, &(struct row_op){.x = x, .y = y, .gamma = gamma, .eps = eps}, x.rows, x.cols,
        rms_norm_row);
}

static void l2_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    o->d->k->l2_normalize(row_of(o->x, r), o->x.cols);
}

void cpu_l2_normalize(struct device *d, struct mat x) {
    run(d, &(struct row_op){.x = x}, x.rows, x.cols, l2_row);
}

// ---- rope ----

// Rounded where transformers rounds (float32), so that angles at far positions agree.
static void rope_table_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const struct rope_table_args *a = o->angles;
    float *cos = row_of(a->cos, r), *sin = row_of(a->sin, r);
    for (size_t i = 0; i < a->cos.cols; i++) {
        float angle = (float)a->positions[r] * a->inv_freq[i];
        cos[i] = cosf(angle) * a->scale;
        sin[i] = sinf(angle) * a->scale;
    }
}

void cpu_rope_table(struct device *d, const struct rope_table_args *a) {
    enum { COSINE_FLOATS = 4 }; // what a pair of them costs
    if (!same_shape(a->cos, a->sin)) {
        device_fail(d, ERR_INTERNAL, "rope_table: cos %zu x %zu, sin %zu x %zu", a->cos.rows,
                    a->cos.cols, a->sin.rows, a->sin.cols);
        return;
    }
    run(d, &(struct row_op){.angles = a}, a->cos.rows, COSINE_FLOATS * a->cos.cols, rope_table_row);
}

static void rope_row(const void *op, size_t r, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const struct rope_args *a = o->rope;
    for (size_t h = 0; h < a->heads; h++)
        o->d->k->causal->rope(row_of(a->x, r) + h * a->head_dim, row_of(a->cos, r),
                              row_of(a->sin, r), a->head_dim / 2);
}

void cpu_rope(struct device *d, const struct rope_args *a) {
    if (a->head_dim % 2 || a->x.cols != a->heads * a->head_dim || a->cos.cols != a->head_dim / 2 ||
        a->cos.rows != a->x.rows || !same_shape(a->cos, a->sin)) {
        device_fail(d, ERR_INTERNAL, "rope: x %zu x %zu, %zu heads of %zu, cos %zu x %zu",
                    a->x.rows, a->x.cols, a->heads, a->head_dim, a->cos.rows, a->cos.cols);
        return;
    }
    run(d, &(struct row_op){.rope = a}, a->x.rows, a->x.cols, rope_row);
}

// ---- out of the device ----

// Tokens [*from, *to) of sequence s take part in the pool.
static void pooled(const struct pool_args *a, size_t s, size_t *from, size_t *to) {
    *from = (size_t)a->cu_seqlens[s];
    *to = (size_t)a->cu_seqlens[s + 1];
    if (a->skip)
        *from += at_most((size_t)a->skip[s], *to - *from);
}

static void pool_row(const void *op, size_t s, int worker) {
    (void)worker;
    const struct row_op *o = op;
    const struct pool_args *a = o->pool;
    size_t from, to;
    pooled(a, s, &from, &to);
    float *y = row_of(a->out, s);
    if (a->mode == POOL_CLS)
        memcpy(y, row_of(a->x, from), a->x.cols * sizeof *y);
    else if (a->mode == POOL_LAST)
        memcpy(y, row_of(a->x, to - 1), a->x.cols * sizeof *y);
    else
        o->d->k->pool(a->mode, row_of(a->x, from), a->x.ld, to - from, y, a->x.cols);
}

void cpu_pool(struct device *d, const struct pool_args *a) {
    if (!share_sequences_fit(a->cu_seqlens, a->seqs, a->x.rows) || a->out.rows < a->seqs ||
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
    run(d, &(struct row_op){.pool = a}, a->seqs,
        ceil_div(a->x.rows, at_least(a->seqs, 1)) * a->x.cols, pool_row);
}

void cpu_read(struct device *d, struct mat x, float *host) {
    (void)d;
    for (size_t r = 0; r < x.rows; r++)
        memcpy(host + r * x.cols, row_of(x, r), x.cols * sizeof *host);
}
