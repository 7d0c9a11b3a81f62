// See weight.h.
#include "compute/cpu/weight.h"

#include "base/mem.h"
#include "compute/cpu/share.h"
#include "compute/cpu/weight_pack.h"
#include "compute/weight_parts.h"

#include <string.h>

enum { LINE = 64 };

static enum dtype kept_as(const struct weight_part *p, enum weight_storage storage) {
    enum dtype t = p->w.dtype;
    return storage == WEIGHT_STORAGE_F32 && !dtype_is_block(t) ? DTYPE_F32 : t;
}

// Whether every part is kept as f32: what OpenBLAS needs.
static bool all_f32(const struct weight_part *parts, size_t n, enum weight_storage storage) {
    for (size_t i = 0; i < n; i++)
        if (kept_as(&parts[i], storage) != DTYPE_F32)
            return false;
    return true;
}

// Adds `bytes`, rounded up to whole cache lines, to *total; false on overflow.
static bool add_lines(size_t *total, size_t bytes) {
    size_t padded;
    return !__builtin_add_overflow(bytes, (size_t)(LINE - 1), &padded) &&
           !__builtin_add_overflow(*total, padded / LINE * LINE, total);
}

static enum err too_large(const struct weight *w, struct errmsg *msg) {
    return err_set(msg, ERR_TOO_LARGE, "weight of %zu x %zu", w->rows, w->cols);
}

// Neighbouring parts of one format become one segment.
static enum err plan_segments(const struct weight_maker *m, struct weight *w,
                              const struct weight_part *parts, size_t n, struct precision precision,
                              struct errmsg *msg) {
    w->segment = mem_calloc(n, sizeof *w->segment);
    if (!w->segment)
        return err_set(msg, ERR_NOMEM, "no memory for a weight");
    bool blocks = false, pairs = m->k->pairs && (precision.rounding & ACTIVATION_ROUNDING_BF16);
    size_t row = 0;
    for (size_t i = 0; i < n; row += parts[i].w.shape[0], i++) {
        enum dtype format = kept_as(&parts[i], precision.storage);
        struct weight_segment *s = w->segments ? &w->segment[w->segments - 1] : NULL;
        if (!s || s->format != format) {
            s = &w->segment[w->segments++];
            s->format = format;
            s->first = row;
            s->panel = dtype_is_block(format) ? (size_t)BLOCK_PANEL : m->k->panel;
        }
        s->rows += parts[i].w.shape[0];
        blocks = blocks || dtype_is_block(format);
        pairs = pairs && format == DTYPE_BF16; // all of them: the rows are prepared one way
    }
    for (size_t i = 0; i < w->segments; i++) {
        struct weight_segment *s = &w->segment[i];
        s->panels = ceil_div(s->rows, s->panel);
        s->pairs = pairs;
        size_t steps = pairs ? pair_words(w->cols) : w->cols;
        if (dtype_is_block(s->format))
            s->panel_bytes = panel_bytes(s->format, w->cols);
        else if (mem_mul_overflows(steps, s->panel * segment_step(s), &s->panel_bytes))
            return too_large(w, msg);
    }
    bool int8 = precision.rounding & ACTIVATION_ROUNDING_INT8;
    w->acts = blocks && int8 ? ACTS_INT8 : blocks ? ACTS_F32 : pairs ? ACTS_PAIRS : ACTS_NONE;
    return ERR_OK;
}

// One block for everything: each segment's data, then its bias, each from a cache line on.
static enum err allocate_segments(struct slab_list *slabs, struct weight *w, struct errmsg *msg) {
    size_t total = 0;
    for (size_t i = 0; i < w->segments; i++) {
        const struct weight_segment *s = &w->segment[i];
        size_t data;
        if (mem_mul_overflows(s->panels, s->panel_bytes, &data) || !add_lines(&total, data) ||
            !add_lines(&total, s->panels * s->panel * sizeof(float)))
            return too_large(w, msg);
    }
    w->block = slab_alloc(slabs, total);
    unsigned char *at = w->block.data;
    if (!at)
        return err_set(msg, ERR_NOMEM, "no memory for a weight of %zu bytes", total);
    for (size_t i = 0; i < w->segments; i++) {
        struct weight_segment *s = &w->segment[i];
        s->data = at;
        at += round_up(s->panels * s->panel_bytes, LINE);
        s->bias = (float *)(void *)at;
        at += round_up(s->panels * s->panel * sizeof(float), LINE);
    }
    w->bytes = total + sizeof *w + w->segments * sizeof *w->segment;
    return ERR_OK;
}

static enum err fill_segments(const struct weight_maker *m, struct weight *w,
                              const struct weight_part *parts, size_t n, struct errmsg *msg) {
    const struct weight_segment *s = w->segment;
    size_t row = 0;
    for (size_t i = 0; i < n; row += parts[i].w.shape[0], i++) {
        while (row >= s->first + s->rows)
            s++;
        enum err e = weight_pack_part(m, &parts[i], s, row - s->first, msg);
        if (e == ERR_OK && tensor_present(&parts[i].bias))
            e = weight_pack_bias(m, &parts[i], s->bias + (row - s->first), msg);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

// Plain rows: data, then (LINEAR) bias.
static enum err make_plain(const struct weight_maker *m, struct weight *w,
                           const struct weight_part *parts, size_t n, enum dtype format,
                           struct errmsg *msg) {
    size_t block = dtype_block(format), row_bytes = 0, data = 0, bytes = 0;
    bool over = mem_mul_overflows(w->cols / block, dtype_block_bytes(format), &row_bytes) ||
                mem_mul_overflows(w->rows, row_bytes, &data) || !add_lines(&bytes, data);
    size_t bias_at = bytes;
    if (over || (w->kind == WEIGHT_LINEAR && (w->rows > SIZE_MAX / sizeof(float) ||
                                              !add_lines(&bytes, w->rows * sizeof(float)))))
        return too_large(w, msg);
    w->block = slab_alloc(m->slabs, bytes);
    unsigned char *at = w->block.data;
    if (!at)
        return err_set(msg, ERR_NOMEM, "no memory for a weight of %zu bytes", bytes);
    w->bytes = bytes + sizeof *w;
    w->format = format;
    if (format == DTYPE_F32)
        w->data = (float *)(void *)at;
    else
        w->stored = at;
    if (w->kind == WEIGHT_LINEAR)
        w->bias = (float *)(void *)(at + bias_at);
    float *bias = w->bias;
    for (size_t i = 0; i < n; i++) {
        size_t rows = w->kind == WEIGHT_VECTOR ? 1 : parts[i].w.shape[0];
        enum err e = weight_pack_plain(m, &parts[i], rows, w->cols, at, format != DTYPE_F32, msg);
        if (e == ERR_OK && tensor_present(&parts[i].bias))
            e = weight_pack_bias(m, &parts[i], bias, msg);
        if (e != ERR_OK)
            return e;
        at += rows * row_bytes;
        bias += w->bias ? rows : 0;
    }
    return ERR_OK;
}

static enum err make(const struct weight_maker *m, struct weight *w,
                     const struct weight_part *parts, size_t n, struct precision precision,
                     struct errmsg *msg) {
    if (w->kind == WEIGHT_VECTOR)
        return make_plain(m, w, parts, n, DTYPE_F32, msg);
    if (w->kind == WEIGHT_TABLE)
        return make_plain(m, w, parts, n, kept_as(&parts[0], precision.storage), msg);
    if (m->plain && all_f32(parts, n, precision.storage))
        return make_plain(m, w, parts, n, DTYPE_F32, msg);
    enum err e = plan_segments(m, w, parts, n, precision, msg);
    if (e == ERR_OK)
        e = allocate_segments(m->slabs, w, msg);
    return e == ERR_OK ? fill_segments(m, w, parts, n, msg) : e;
}

enum err weight_new(const struct weight_maker *m, enum weight_kind kind,
                    const struct weight_part *parts, size_t n, struct precision precision,
                    struct weight **out, struct errmsg *msg) {
    *out = NULL;
    if (m->k->panel > MAX_PANEL)
        return err_set(msg, ERR_INTERNAL, "panels of %zu outputs, at most %d", m->k->panel,
                       MAX_PANEL);
    size_t rows = 0, cols = 0;
    enum err e = weight_parts_check(kind, parts, n, &rows, &cols, msg);
    if (e != ERR_OK)
        return e;
    struct weight *w = mem_calloc(1, sizeof *w);
    if (!w)
        return err_set(msg, ERR_NOMEM, "no memory for a weight");
    w->kind = kind;
    w->rows = rows;
    w->cols = cols;
    e = make(m, w, parts, n, precision, msg);
    if (e != ERR_OK) {
        weight_free(m->slabs, w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void weight_free(struct slab_list *slabs, struct weight *w) {
    if (!w)
        return;
    slab_free(slabs, w->block);
    mem_free(w->segment);
    mem_free(w);
}

static void read_stored(const struct cpu_kernels *k, const struct weight *w, size_t at,
                        float *out) {
    enum dtype t = w->format;
    const unsigned char *row = w->stored + at * (w->cols / dtype_block(t)) * dtype_block_bytes(t);
    if (!dtype_is_block(t)) {
        k->convert(t, row, out, w->cols);
        return;
    }
    for (size_t i = 0; i < w->cols / UNIT; i++) {
        struct block_unit u;
        block_unit_read(t, row, i, &u);
        block_unit_values(t, &u, out + i * UNIT);
    }
}

void weight_read_row(const struct cpu_kernels *k, const struct weight *w, size_t at, float *out) {
    if (w->data) {
        memcpy(out, w->data + at * w->cols, w->cols * sizeof *out);
        return;
    }
    if (w->stored) {
        read_stored(k, w, at, out);
        return;
    }
    const struct weight_segment *s = w->segment;
    while (at >= s->first + s->rows)
        s++;
    at -= s->first;
    const unsigned char *panel = s->data + at / s->panel * s->panel_bytes;
    if (dtype_is_block(s->format)) {
        panel_read_row(s->format, panel, w->cols, at % s->panel, out);
        return;
    }
    for (size_t i = 0; i < w->cols; i++)
        k->convert(s->format, panel + segment_at(s, i, at % s->panel), out + i, 1);
}
