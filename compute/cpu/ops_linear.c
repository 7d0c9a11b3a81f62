// `linear` and what is fused with it: x w' + bias, then an activation, a residual, a norm. Role:
// prepares the rows for narrow weights, cuts the product into shares for the team's threads. How it
// is cut never changes a bit of the result (see kernels.h), only the speed.
#include "compute/cpu/ops_linear.h"

#include "compute/cpu/cpu_device.h"
#include "compute/cpu/gemm_openblas.h"
#include "compute/cpu/share.h"
#include "compute/cpu/weight_layout.h"

enum {
    BLOCK_ROWS = 64,        // of a share, about: these rows of x stay in L2 for it
    PART_BYTES = 384 << 10, // of its weights, about, so do these
    SHARES_PER_THREAD = 4,  // at least: a thread that is held up holds up little
    INLINE_ROWS = 4,        // prepared by the caller alone: sooner done than said to others
};

struct linear_job {
    struct cpu_device *d;
    const struct weight *w;
    struct mat x, y, residual;
    bool add;
    enum activation f;
    const struct norm *norm; // NULL: none
    const void *acts;        // of x's rows, as w's acts says
    size_t tile_rows;        // shares begin at multiples of it; 0: anywhere
    size_t row_tiles, row_blocks, col_parts;
    size_t tasks; // of the preparing
};

static void norm_rows(const struct linear_job *j, size_t from, size_t to) {
    const struct norm *n = j->norm;
    for (size_t r = from; r < to; r++) {
        float *y = j->y.data + r * j->y.ld;
        j->d->k->layer_norm(y, n->gamma->data, n->beta->data, n->eps, y, j->w->rows);
    }
}

// Rows [from, to) of the job, without weights or columns.
static struct kernel_linear_share share_of(const struct linear_job *j, size_t from, size_t to) {
    return (struct kernel_linear_share){
        .x = j->x.data + from * j->x.ld,
        .ldx = j->x.ld,
        .rows = to - from,
        .k = j->w->cols,
        .residual = j->add ? j->residual.data + from * j->residual.ld : NULL,
        .ldr = j->residual.ld,
        .f = j->f,
        .y = j->y.data + from * j->y.ld,
        .ldy = j->y.ld,
    };
}

// As linear_task, by OpenBLAS: whole rows, a call's worth.
static void openblas_task(void *job, size_t task, int worker) {
    const struct linear_job *j = job;
    size_t tile = j->d->openblas_rows, from = task * tile;
    struct kernel_linear_share s = share_of(j, from, at_most(from + tile, j->x.rows));
    s.panels = j->w->data;
    s.bias = j->w->bias;
    s.cols = j->w->rows;
    gemm_openblas_rows(j->d->k, &s, tile, cpu_scratch(j->d, worker));
    if (j->norm)
        norm_rows(j, from, from + s.rows);
}

// Panels [from, to) of one segment, for the rows of `rows`.
static void segment_share(const struct linear_job *j, const struct kernel_linear_share *rows,
                          size_t first_row, const struct weight_segment *g, size_t from,
                          size_t to) {
    struct kernel_linear_share s = *rows;
    size_t col = from * g->panel;
    s.format = g->format;
    s.panels = g->data + from * g->panel_bytes;
    s.bias = g->bias + col;
    s.cols = at_most(to * g->panel, g->rows) - col;
    s.y += g->first + col;
    if (s.residual)
        s.residual += g->first + col;
    s.int8 = j->w->acts == ACTS_INT8;
    if (j->acts)
        s.acts = (const char *)j->acts + first_row * weight_act_bytes(j->w);
    if (g->pairs)
        j->d->k->pairs->linear(&s);
    else if (dtype_is_block(g->format))
        j->d->k->linear_blocks(&s);
    else
        j->d->k->linear(&s);
}

static size_t panels_of(const struct weight *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->segments; i++)
        n += w->segment[i].panels;
    return n;
}

static void linear_task(void *job, size_t task, int worker) {
    (void)worker;
    const struct linear_job *j = job;
    const struct weight *w = j->w;
    size_t block = task % j->row_blocks;
    size_t tile_from, tile_to, from, to, unused, p_from, p_to;
    share_range(j->row_tiles, j->row_blocks, block, &tile_from, &tile_to);
    share_range(panels_of(w), j->col_parts, task / j->row_blocks, &p_from, &p_to);
    if (j->tile_rows) {
        from = tile_from * j->tile_rows;
        to = at_most(tile_to * j->tile_rows, j->x.rows);
    } else {
        share_range(j->x.rows, j->row_tiles, tile_from, &from, &unused);
        share_range(j->x.rows, j->row_tiles, tile_to - 1, &unused, &to);
    }
    struct kernel_linear_share s = share_of(j, from, to);
    size_t before = 0;
    for (size_t i = 0; i < w->segments && before < p_to; i++) {
        const struct weight_segment *g = &w->segment[i];
        size_t g_from = at_least(p_from, before), g_to = at_most(p_to, before + g->panels);
        if (g_from < g_to)
            segment_share(j, &s, from, g, g_from - before, g_to - before);
        before += g->panels;
    }
    if (j->norm && atomic_fetch_sub(&j->d->left[block], 1) == 1)
        norm_rows(j, from, to);
}

// Row r of what narrow weights are multiplied with; a row beyond the last is zero.
static void prepare_row(const struct linear_job *j, size_t r) {
    size_t k = j->w->cols, rows = j->x.rows;
    const float *x = r < rows ? j->x.data + r * j->x.ld : NULL;
    if (j->w->acts == ACTS_PAIRS) {
        j->d->k->pairs->round(x, k, (uint32_t *)j->d->acts + r * pair_stride(k));
        return;
    }
    size_t group = r / ACT_ROWS * ACT_ROWS, at = r - group, width = act_width(rows - group);
    char *base = (char *)j->d->acts + group * weight_act_bytes(j->w);
    if (j->w->acts == ACTS_INT8) {
        struct kernel_act_unit *to = (struct kernel_act_unit *)(void *)base + at;
        if (x)
            j->d->k->quantize(x, k, to, width);
        for (size_t i = 0; !x && i < k / UNIT; i++)
            to[i * width] = (struct kernel_act_unit){0};
        return;
    }
    float *to = (float *)(void *)base + at;
    for (size_t i = 0; i < k; i++)
        to[i * width] = x ? x[i] : 0;
}

// Groups are filled up with rows of zeros; pairs have no groups.
static size_t prepared_rows(const struct linear_job *j) {
    size_t rows = j->x.rows, rest = rows % ACT_ROWS;
    if (j->w->acts == ACTS_PAIRS)
        return rows;
    return rows - rest + (rest ? act_width(rest) : 0);
}

static void prepare_task(void *job, size_t task, int worker) {
    (void)worker;
    const struct linear_job *j = job;
    size_t from, to;
    share_range(prepared_rows(j), j->tasks, task, &from, &to);
    for (size_t r = from; r < to; r++)
        prepare_row(j, r);
}

static void prepare(struct linear_job *j) {
    size_t rows = prepared_rows(j);
    j->acts = j->d->acts;
    if (rows == 1 && j->w->acts == ACTS_F32) {
        j->acts = j->x.data; // a row alone is its own group
        return;
    }
    j->tasks = rows <= INLINE_ROWS
                   ? 1
                   : at_most(rows, SHARES_PER_THREAD * (size_t)team_threads(j->d->team));
    team_run(j->d->team, j->tasks, prepare_task, j);
}

static void run_rows(struct linear_job *j) {
    struct cpu_device *d = j->d;
    const struct weight *w = j->w;
    if (w->acts != ACTS_NONE)
        prepare(j);
    size_t panels = panels_of(w), threads = (size_t)team_threads(d->team);
    size_t bytes = 0;
    for (size_t i = 0; i < w->segments; i++)
        bytes += w->segment[i].panels * w->segment[i].panel_bytes;
    // Each thread keeps to columns of its own: their weights are read once and stay in its L2 for
    // all blocks of rows. The activations, which are less, go round.
    size_t shares = threads > 1 ? threads * SHARES_PER_THREAD : 1;
    size_t part_panels = at_least(1, PART_BYTES / at_least(1, bytes / panels));
    bool groups = w->acts == ACTS_F32 || w->acts == ACTS_INT8;
    j->tile_rows = groups ? ACT_ROWS : 0;
    j->row_tiles = ceil_div(j->x.rows, groups ? (size_t)ACT_ROWS : d->k->tile_rows);
    j->row_blocks = at_most(ceil_div(j->x.rows, BLOCK_ROWS), CPU_MAX_ROW_BLOCKS);
    j->col_parts = at_least(ceil_div(panels, part_panels), ceil_div(shares, j->row_blocks));
    j->col_parts = at_most(ceil_div(j->col_parts, threads) * threads, panels);
    j->row_blocks = at_least(j->row_blocks, ceil_div(shares, j->col_parts));
    j->row_blocks = at_most(at_most(j->row_blocks, CPU_MAX_ROW_BLOCKS), j->row_tiles);
    if (j->norm)
        for (size_t i = 0; i < j->row_blocks; i++)
            atomic_store_explicit(&d->left[i], (unsigned)j->col_parts, memory_order_relaxed);
    team_run(d->team, j->row_blocks * j->col_parts, linear_task, j);
}

static struct mat rows_of(struct mat m, size_t from, size_t rows) {
    return (struct mat){m.data ? m.data + from * m.ld : NULL, rows, m.cols, m.ld, DTYPE_F32};
}

// As many rows at a time as there is room for what narrow weights are multiplied with.
static void run_passes(const struct linear_job *all) {
    size_t most = all->x.rows;
    if (all->w->acts != ACTS_NONE) {
        size_t room = CPU_ACT_BYTES / weight_act_bytes(all->w);
        size_t width = 1;
        while (width * 2 <= room && width < ACT_ROWS)
            width *= 2;
        most = room / width * width;
    }
    for (size_t from = 0; from < all->x.rows; from += most) {
        struct linear_job j = *all;
        size_t rows = at_most(most, all->x.rows - from);
        j.x = rows_of(all->x, from, rows);
        j.y = rows_of(all->y, from, rows);
        j.residual = rows_of(all->residual, from, rows);
        run_rows(&j);
    }
}

static bool norm_fits(const struct norm *n, size_t cols) {
    return !n || (n->gamma->cols == cols && n->beta->cols == cols);
}

static void run_linear(struct linear_job *j) {
    struct cpu_device *d = j->d;
    const struct weight *w = j->w;
    if (w->kind != WEIGHT_LINEAR || j->x.cols != w->cols || j->y.cols != w->rows ||
        j->y.rows != j->x.rows) {
        device_fail(&d->base, ERR_INTERNAL, "linear: x %zu x %zu, w %zu x %zu, y %zu x %zu",
                    j->x.rows, j->x.cols, w->rows, w->cols, j->y.rows, j->y.cols);
        return;
    }
    bool fits = !j->add || (j->f == ACTIVATION_NONE && j->residual.rows == j->y.rows &&
                            j->residual.cols == j->y.cols);
    if (!fits || !norm_fits(j->norm, w->rows)) {
        device_fail(&d->base, ERR_INTERNAL, "linear: residual %zu x %zu or norm, y %zu x %zu",
                    j->residual.rows, j->residual.cols, j->y.rows, j->y.cols);
        return;
    }
    if (j->x.rows == 0)
        return;
    if (w->segments == 0) {
        team_run(d->team, ceil_div(j->x.rows, d->openblas_rows), openblas_task, j);
        return;
    }
    run_passes(j);
}

void cpu_linear(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    struct linear_job j = {.d = cpu_of(d), .w = w, .x = x, .y = y};
    run_linear(&j);
}

void cpu_linear_activate(struct device *d, const struct weight *w, struct mat x, enum activation f,
                         struct mat y) {
    struct linear_job j = {.d = cpu_of(d), .w = w, .x = x, .y = y, .f = f};
    run_linear(&j);
}

void cpu_linear_add(struct device *d, const struct weight *w, struct mat x, struct mat y) {
    struct linear_job j = {.d = cpu_of(d), .w = w, .x = x, .y = y, .residual = y, .add = true};
    run_linear(&j);
}

void cpu_linear_add_norm(struct device *d, const struct weight *w, struct mat x,
                         struct mat residual, const struct norm *n, struct mat y) {
    struct linear_job j = {
        .d = cpu_of(d), .w = w, .x = x, .y = y, .residual = residual, .add = true, .norm = n};
    run_linear(&j);
}
