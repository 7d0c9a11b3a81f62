// See linear.h.
#include "compute/cuda/linear.h"

enum err gpu_products_open(struct gpu_products *p, const struct gpu_api *api, struct gpu *gpu,
                           struct gpu_stream *stream, bool blocks, size_t rows_bytes,
                           struct errmsg *msg) {
    *p = (struct gpu_products){.api = api, .gpu = gpu, .stream = stream};
    if (blocks && api->alloc(gpu, GPU_WIDENED_BYTES, &p->widened) != ERR_OK)
        return err_set(msg, ERR_NOMEM, "no memory on the GPU for %d bytes of weights made plain",
                       (int)GPU_WIDENED_BYTES);
    p->widened_bytes = blocks ? GPU_WIDENED_BYTES : 0;
    if (rows_bytes && api->alloc(gpu, rows_bytes, &p->rows) != ERR_OK) {
        gpu_products_close(p);
        return err_set(msg, ERR_NOMEM, "no memory on the GPU for %zu bytes of rows between types",
                       rows_bytes);
    }
    p->rows_bytes = rows_bytes;
    return ERR_OK;
}

void gpu_products_close(struct gpu_products *p) {
    if (p->widened)
        p->api->free(p->gpu, p->widened);
    if (p->rows)
        p->api->free(p->gpu, p->rows);
    *p = (struct gpu_products){0};
}

// Columns [from, from + cols) of m.
static struct gpu_mat columns(struct gpu_mat m, size_t from, size_t cols) {
    if (m.data)
        m.data = (char *)m.data + from * gpu_type_size(m.type);
    m.cols = cols;
    return m;
}

static enum gpu_format format_of_floats(enum gpu_type t) {
    return t == GPU_F32 ? GPU_FORMAT_F32 : t == GPU_BF16 ? GPU_FORMAT_BF16 : GPU_FORMAT_F16;
}

// A matrix like m of `type`, from the scratch behind *used; data NULL where it does not fit.
static struct gpu_mat between(const struct gpu_products *p, struct gpu_mat m, enum gpu_type type,
                              size_t *used) {
    size_t ld = (m.cols + 63) / 64 * 64, bytes = m.rows * ld * gpu_type_size(type);
    struct gpu_mat out = {.rows = m.rows, .cols = m.cols, .ld = ld, .type = type};
    if (bytes > p->rows_bytes - *used)
        return out;
    out.data = (char *)p->rows + *used;
    *used += (bytes + 255) / 256 * 256;
    *used = *used < p->rows_bytes ? *used : p->rows_bytes;
    return out;
}

// What the library's product does at once with what is asked: the rest is done behind it.
struct tail {
    enum gpu_activation within, behind;
};

static struct tail split_activation(enum gpu_activation f, enum gpu_type floats) {
    struct tail t = {.within = GPU_NONE, .behind = f};
    // narrow numbers do not tell the two forms of gelu apart
    bool gelu = floats != GPU_F32 && (f == GPU_GELU || f == GPU_GELU_TANH);
    if (f == GPU_RELU || f == GPU_NONE || gelu)
        t = (struct tail){.within = gelu ? GPU_GELU_TANH : f, .behind = GPU_NONE};
    return t;
}

// y = f(x w' + bias) + residual of one segment; x, y and residual are of types that the product
// takes.
static void gemm_segment(const struct gpu_products *p, const struct weight *w,
                         const struct gpu_segment *seg, struct gpu_mat x, enum gpu_activation f,
                         struct gpu_mat residual, struct gpu_mat y) {
    size_t ld = gpu_widened_ld(w->cols), at_once = seg->rows.out;
    bool plain = seg->rows.format == format_of_floats(w->floats);
    bool wide = y.type != w->floats;
    if (!plain) { // whole runs of 8 outputs, so that columns of y begin at 16-byte addresses
        size_t most = p->widened_bytes / (ld * gpu_type_size(w->floats)) / 8 * 8;
        at_once = most < at_once ? most : at_once;
    }
    size_t bias_size = wide ? sizeof(float) : gpu_type_size(w->floats);
    const char *bias = wide ? (const char *)w->bias : (const char *)w->bias_floats;
    for (size_t from = 0; from < seg->rows.out; from += at_once) {
        size_t n = seg->rows.out - from < at_once ? seg->rows.out - from : at_once;
        size_t out = seg->first + from;
        if (!plain)
            gpu_launch_widen(p->stream, &seg->rows, from, n, w->floats, p->widened);
        struct gpu_mat to = columns(y, out, n), add = columns(residual, out, n);
        struct gpu_gemm g = {
            .type = w->floats,
            .wide_out = wide,
            .rows = x.rows,
            .out = n,
            .in = w->cols,
            .x = x.data,
            .w = plain ? seg->rows.quants : p->widened,
            .bias = bias ? bias + out * bias_size : NULL,
            .y = to.data,
            .ld_x = x.ld,
            .ld_w = plain ? seg->rows.quant_row_bytes / gpu_type_size(w->floats) : ld,
            .ld_y = to.ld,
            .residual = add.data,
            .ld_residual = add.ld,
            .activation = f,
        };
        p->api->gemm(p->stream, &g);
    }
}

static enum err no_room(struct gpu_mat x, struct gpu_mat y, const struct gpu_products *p,
                        struct errmsg *msg) {
    return err_set(msg, ERR_TOO_LARGE,
                   "a product of [%zu, %zu] to [%zu, %zu] between types: more than %zu bytes",
                   x.rows, x.cols, y.rows, y.cols, p->rows_bytes);
}

// Of many rows, without norm and swiglu.
static enum err gemm(const struct gpu_products *p, const struct weight *w, struct gpu_mat x,
                     enum gpu_activation f, struct gpu_mat residual, struct gpu_mat y,
                     struct errmsg *msg) {
    size_t used = 0;
    bool blocks = false;
    for (size_t i = 0; i < w->segments; i++)
        blocks = blocks || w->segment[i].rows.format != format_of_floats(w->floats);
    if (blocks && p->widened_bytes / (gpu_widened_ld(w->cols) * gpu_type_size(w->floats)) < 8)
        return err_set(msg, ERR_TOO_LARGE, "8 rows of %zu numbers: more than %zu bytes", w->cols,
                       p->widened_bytes);
    if (x.type != w->floats) {
        struct gpu_mat same = between(p, x, w->floats, &used);
        if (!same.data)
            return no_room(x, y, p, msg);
        gpu_launch_convert(p->stream, x, same);
        x = same;
    }
    struct gpu_mat sum = y, within = residual;
    bool apart =
        (y.type != w->floats && y.type != GPU_F32) || (residual.data && residual.type != y.type);
    if (apart) { // the product gives f32, which is added and narrowed behind it
        sum = between(p, y, GPU_F32, &used);
        if (!sum.data)
            return no_room(x, y, p, msg);
        within.data = NULL;
    }
    struct tail tail = split_activation(f, w->floats);
    for (size_t i = 0; i < w->segments; i++)
        gemm_segment(p, w, &w->segment[i], x, tail.within, within, sum);
    if (tail.behind != GPU_NONE)
        gpu_launch_activate(p->stream, tail.behind, sum);
    if (apart && residual.data) {
        struct gpu_mat wide = between(p, residual, GPU_F32, &used);
        if (!wide.data)
            return no_room(x, y, p, msg);
        gpu_launch_convert(p->stream, residual, wide);
        gpu_launch_add(p->stream, wide, sum);
    }
    if (apart)
        gpu_launch_convert(p->stream, sum, y);
    return ERR_OK;
}

static void few(const struct gpu_products *p, const struct weight *w, struct gpu_mat x,
                const struct gpu_linear_how *how, bool swiglu, struct gpu_mat y) {
    for (size_t i = 0; i < w->segments; i++) {
        const struct gpu_segment *s = &w->segment[i];
        struct gpu_few a = {
            .w = s->rows,
            .bias = w->bias ? w->bias + s->first : NULL,
            .x = x,
            .y = swiglu ? y : columns(y, s->first, s->rows.out),
            .gamma = how->gamma,
            .eps = how->eps,
            .activation = how->activation,
            .swiglu = swiglu,
            .residual = columns(how->residual, s->first, s->rows.out),
        };
        gpu_launch_few(p->stream, &a);
    }
}

enum err gpu_linear(const struct gpu_products *p, const struct weight *w, struct gpu_mat x,
                    const struct gpu_linear_how *how, struct gpu_mat y, struct errmsg *msg) {
    static const struct gpu_linear_how plainly = {0};
    how = how ? how : &plainly;
    bool few_rows = x.rows <= GPU_FEW_ROWS;
    struct gpu_mat to = y;
    if (how->swiglu && !(few_rows && w->segments == 1))
        to = how->gate_up;
    to.rows = x.rows; // scratch may have more
    if (few_rows) {
        few(p, w, x, how, how->swiglu && w->segments == 1, to);
    } else {
        struct gpu_mat from = x;
        if (how->gamma) {
            from = how->normed;
            from.rows = x.rows;
            struct gpu_rms_norm n = {
                .x = x, .y = from, .gamma = how->gamma, .width = w->cols, .eps = how->eps};
            gpu_launch_rms_norm(p->stream, &n);
        }
        enum err e = gemm(p, w, from, how->activation, how->residual, to, msg);
        if (e != ERR_OK)
            return e;
    }
    if (to.data != y.data)
        gpu_launch_swiglu(p->stream, to, y);
    return ERR_OK;
}
