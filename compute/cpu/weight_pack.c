// See weight_pack.h.
#include "compute/cpu/weight_pack.h"

#include "compute/cpu/share.h"
#include "compute/weight_parts.h"

#include <stdatomic.h>
#include <string.h>

enum {
    STRIP = 16,            // inputs transposed at once: a cache line of each source row
    TASK_FLOATS = 1 << 16, // copied per task at least: 256 KiB
    READ_FLOATS = 1 << 15, // read at once
};

// One part, being copied by many tasks.
struct copy {
    const struct weight_maker *m;
    const struct tensor *src;
    size_t rows, cols;       // of this part
    size_t interleaved_head; // 0: rows in order
    float *plain;            // plain rows of f32,
    unsigned char *stored;   // or as they are stored,
    const struct weight_segment *to;
    size_t first; // or panels: output of the segment that row 0 becomes
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

// Values [at, at + n) of the source; n of them fit the scratch. NULL, and the failure noted, where
// it cannot be read.
static const unsigned char *source(struct copy *c, size_t at, size_t n, void *scratch) {
    const unsigned char *out = NULL;
    struct errmsg msg = {0};
    enum err e = weight_read_stored(c->src, at, n, scratch, &out, &msg);
    if (e == ERR_OK)
        return out;
    if (!atomic_flag_test_and_set(&c->unread)) {
        c->failed = e;
        c->failure = msg;
    }
    return NULL;
}

static size_t source_row(const struct copy *c, size_t r) {
    return weight_source_row(c->interleaved_head, r);
}

// Values [from, from + n) of the source, in its order, to dst.
static void copy_run(struct copy *c, size_t from, size_t n, float *dst, float *scratch) {
    for (size_t at = 0; at < n; at += READ_FLOATS) {
        size_t some = at_most(n - at, READ_FLOATS);
        const unsigned char *src = source(c, from + at, some, scratch);
        if (!src)
            return;
        size_t bad = c->m->k->convert(c->src->dtype, src, dst + at, some);
        if (bad < some)
            note_bad(c, from + at + bad);
    }
}

// The first of n values that is not finite, n when all are. scratch: n floats, unless blocks.
static size_t first_bad(const struct copy *c, const unsigned char *src, size_t n, float *scratch) {
    enum dtype t = c->src->dtype;
    return dtype_is_block(t) ? weight_blocks_bad(t, src, n) : c->m->k->convert(t, src, scratch, n);
}

// As copy_run, in the source's format. READ_FLOATS is whole blocks of every type.
static void copy_stored(struct copy *c, size_t from, size_t n, unsigned char *dst, float *scratch) {
    enum dtype t = c->src->dtype;
    for (size_t at = 0; at < n; at += READ_FLOATS) {
        size_t some = at_most(n - at, READ_FLOATS);
        const unsigned char *src = source(c, from + at, some, scratch);
        if (!src)
            return;
        memcpy(dst + weight_stored_bytes(t, at), src, weight_stored_bytes(t, some));
        size_t bad = first_bad(c, dst + weight_stored_bytes(t, at), some, scratch);
        if (bad < some)
            note_bad(c, from + at + bad);
    }
}

static void copy_rows(void *job, size_t task, int worker) {
    struct copy *c = job;
    float *scratch = weight_maker_scratch(c->m, worker);
    size_t from = task * c->rows_per_task;
    size_t rows = at_most(c->rows - from, c->rows_per_task);
    size_t at = from * c->cols, n = rows * c->cols;
    for (size_t r = from; c->interleaved_head && r < from + rows; r++)
        copy_run(c, source_row(c, r) * c->cols, c->cols, c->plain + r * c->cols, scratch);
    if (c->interleaved_head)
        return;
    if (c->stored)
        copy_stored(c, at, n, c->stored + weight_stored_bytes(c->src->dtype, at), scratch);
    else
        copy_run(c, at, n, c->plain + at, scratch);
}

// `rows` source rows of STRIP or fewer inputs, one after the other at `from` (stride in bytes), to
// a panel of floats from output `lane` on, its input `k`.
struct strip {
    const unsigned char *from[MAX_PANEL];
    size_t source_rows[MAX_PANEL];
    size_t rows, lane;
};

static void pack_strip(struct copy *c, const struct strip *s, size_t at, size_t k, size_t n,
                       unsigned char *panel) {
    enum dtype from = c->src->dtype, to = c->to->format;
    size_t size = dtype_size(from), width = c->to->panel;
    float strip[MAX_PANEL][STRIP];
    for (size_t r = 0; r < s->rows; r++) {
        size_t bad = c->m->k->convert(from, s->from[r] + at * size, strip[r], n);
        if (bad < n)
            note_bad(c, s->source_rows[r] * c->cols + k + bad);
    }
    if (to == DTYPE_F32) {
        float *dst = (float *)(void *)panel + k * width + s->lane;
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < s->rows; r++)
                dst[i * width + r] = strip[r][i];
        return;
    }
    size_t odd = segment_at(c->to, 1, 0), even = segment_at(c->to, 2, 0); // k is even
    for (size_t r = 0; r < s->rows; r++) {
        unsigned char *dst = panel + segment_at(c->to, k, s->lane + r);
        for (size_t i = 0; i < n; i++)
            memcpy(dst + i / 2 * even + i % 2 * odd, s->from[r] + (at + i) * size, 2);
    }
}

// Rows [from, from + rows) of the part, which all lie in one panel of floats, from its output
// `lane` on; as many inputs at once as fit the scratch.
static void pack_floats(struct copy *c, size_t from, size_t rows, size_t lane, unsigned char *panel,
                        float *scratch) {
    size_t K = c->cols, size = dtype_size(c->src->dtype);
    size_t most = KERNEL_SCRATCH / rows / STRIP * STRIP;
    struct strip s = {.rows = rows, .lane = lane};
    for (size_t k = 0; k < K; k += most) {
        size_t width = at_most(K - k, most);
        bool one_read = !c->src->data && width == K && !c->interleaved_head;
        const unsigned char *all = one_read ? source(c, from * K, rows * K, scratch) : NULL;
        if (one_read && !all)
            return;
        for (size_t r = 0; r < rows; r++) {
            s.source_rows[r] = source_row(c, from + r);
            unsigned char *to = (unsigned char *)scratch + r * width * size;
            s.from[r] =
                one_read ? all + r * K * size : source(c, s.source_rows[r] * K + k, width, to);
            if (!s.from[r])
                return;
        }
        for (size_t at = 0; at < width; at += STRIP)
            pack_strip(c, &s, at, k + at, at_most(width - at, STRIP), panel);
    }
}

// As pack_floats, of a block type.
static void pack_blocks(struct copy *c, size_t from, size_t rows, size_t lane, unsigned char *panel,
                        float *scratch) {
    enum dtype t = c->src->dtype;
    size_t K = c->cols, most = READ_FLOATS;
    for (size_t r = 0; r < rows; r++) {
        size_t row = source_row(c, from + r);
        for (size_t k = 0; k < K; k += most) {
            size_t n = at_most(K - k, most);
            const unsigned char *src = source(c, row * K + k, n, scratch);
            if (!src)
                return;
            for (size_t i = 0; i < n / UNIT; i++) {
                struct block_unit u;
                block_unit_read(t, src, i, &u);
                if (!block_unit_finite(&u))
                    note_bad(c, row * K + (k + i * UNIT) / dtype_block(t) * dtype_block(t));
                panel_write(t, panel, K, lane + r, k / UNIT + i, &u);
            }
        }
    }
}

// A task packs whole panels; a part may begin and end inside one.
static void pack_panels(void *job, size_t task, int worker) {
    struct copy *c = job;
    const struct weight_segment *s = c->to;
    float *scratch = weight_maker_scratch(c->m, worker);
    size_t panel = s->panel;
    size_t from = c->first / panel * panel + task * c->rows_per_task;
    size_t begin = at_least(from, c->first);
    size_t end = at_most(from + c->rows_per_task, c->first + c->rows);
    while (begin < end) {
        size_t stop = at_most((begin / panel + 1) * panel, end);
        unsigned char *to = s->data + begin / panel * s->panel_bytes;
        if (dtype_is_block(s->format))
            pack_blocks(c, begin - c->first, stop - begin, begin % panel, to, scratch);
        else
            pack_floats(c, begin - c->first, stop - begin, begin % panel, to, scratch);
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

static size_t task_rows(size_t unit, size_t cols) {
    size_t per_unit = unit * cols;
    return unit * (per_unit >= TASK_FLOATS ? 1 : ceil_div(TASK_FLOATS, per_unit));
}

enum err weight_pack_plain(const struct weight_maker *m, const struct weight_part *p, size_t rows,
                           size_t cols, void *to, bool stored, struct errmsg *msg) {
    struct copy c = {.m = m,
                     .src = &p->w,
                     .interleaved_head = p->interleaved_head_dim,
                     .rows = rows,
                     .cols = cols,
                     .plain = stored ? NULL : to,
                     .stored = stored ? to : NULL,
                     .rows_per_task = task_rows(1, cols),
                     .bad = SIZE_MAX,
                     .unread = ATOMIC_FLAG_INIT};
    team_run_beside(m->team, ceil_div(rows, c.rows_per_task), copy_rows, &c);
    return copied(&c, msg);
}

enum err weight_pack_part(const struct weight_maker *m, const struct weight_part *p,
                          const struct weight_segment *to, size_t first, struct errmsg *msg) {
    struct copy c = {.m = m,
                     .src = &p->w,
                     .rows = p->w.shape[0],
                     .cols = p->w.shape[1],
                     .interleaved_head = p->interleaved_head_dim,
                     .to = to,
                     .first = first,
                     .rows_per_task = task_rows(to->panel, p->w.shape[1]),
                     .bad = SIZE_MAX,
                     .unread = ATOMIC_FLAG_INIT};
    size_t span = first + c.rows - first / to->panel * to->panel;
    team_run_beside(m->team, ceil_div(span, c.rows_per_task), pack_panels, &c);
    return copied(&c, msg);
}

enum err weight_pack_bias(const struct weight_maker *m, const struct weight_part *p, float *to,
                          struct errmsg *msg) {
    struct copy c = {.m = m,
                     .src = &p->bias,
                     .rows = 1,
                     .cols = 1,
                     .interleaved_head = p->interleaved_head_dim,
                     .bad = SIZE_MAX,
                     .unread = ATOMIC_FLAG_INIT};
    size_t rows = p->bias.shape[0];
    if (!c.interleaved_head)
        copy_run(&c, 0, rows, to, weight_maker_scratch(m, 0));
    for (size_t r = 0; c.interleaved_head && r < rows && c.failed == ERR_OK; r++)
        copy_run(&c, source_row(&c, r), 1, to + r, weight_maker_scratch(m, 0));
    return copied(&c, msg);
}
