// See weight.h.
#include "compute/cuda/weight.h"

#include "base/mem.h"
#include "compute/cuda/kernels/planes.h"
#include "compute/cuda/pack.h"
#include "compute/weight_parts.h"

#include <pthread.h>
#include <string.h>

enum { LINE = 256, PIECES = 2, READ_BYTES = 256 << 10 };

struct gpu_weights {
    const struct gpu_api *api;
    struct gpu *gpu;
    bool bf16;
    size_t piece_bytes;
    struct gpu_stream *stream;
    pthread_mutex_t mutex; // what is below
    unsigned char *source; // piece_bytes, of a file
    struct {
        unsigned char *data; // pinned
        struct gpu_event *copied;
        bool busy; // until `copied`
    } piece[PIECES];
    int next;
};

enum gpu_type gpu_type_of(enum compute_floats floats, bool bf16) {
    switch (floats) {
    case COMPUTE_BF16:
        return GPU_BF16;
    case COMPUTE_F16:
        return GPU_F16;
    case COMPUTE_DEVICE:
        return bf16 ? GPU_BF16 : GPU_F16;
    default:
        return GPU_F32;
    }
}

static enum gpu_format format_of_type(enum gpu_type t) {
    return t == GPU_F32 ? GPU_FORMAT_F32 : t == GPU_BF16 ? GPU_FORMAT_BF16 : GPU_FORMAT_F16;
}

// ---- the maker ----

enum err gpu_weights_new(const struct gpu_api *api, struct gpu *gpu, bool bf16, size_t piece_bytes,
                         struct gpu_weights **out, struct errmsg *msg) {
    *out = NULL;
    struct gpu_weights *m = mem_calloc(1, sizeof *m);
    if (!m)
        return err_set(msg, ERR_NOMEM, "no memory for the loading of weights");
    *m = (struct gpu_weights){.api = api, .gpu = gpu, .bf16 = bf16, .piece_bytes = piece_bytes};
    if (pthread_mutex_init(&m->mutex, NULL) != 0) {
        mem_free(m);
        return err_set(msg, ERR_NOMEM, "no mutex for the loading of weights");
    }
    m->source = mem_alloc(piece_bytes, 1);
    bool ok = m->source && api->stream_new(gpu, &m->stream) == ERR_OK;
    for (int i = 0; ok && i < PIECES; i++) {
        void *data = NULL;
        ok = api->alloc_host(gpu, piece_bytes, &data) == ERR_OK;
        m->piece[i].data = data;
        ok = ok && api->event_new(gpu, &m->piece[i].copied) == ERR_OK;
    }
    if (!ok) {
        gpu_weights_free(m);
        return err_set(msg, ERR_NOMEM, "no %zu bytes of memory for the loading of weights",
                       (PIECES + 1) * piece_bytes);
    }
    *out = m;
    return ERR_OK;
}

void gpu_weights_free(struct gpu_weights *m) {
    if (!m)
        return;
    for (int i = 0; i < PIECES; i++) {
        if (m->piece[i].copied)
            m->api->event_free(m->gpu, m->piece[i].copied);
        if (m->piece[i].data)
            m->api->free_host(m->gpu, m->piece[i].data);
    }
    if (m->stream)
        m->api->stream_free(m->gpu, m->stream);
    mem_free(m->source);
    pthread_mutex_destroy(&m->mutex);
    mem_free(m);
}

// A piece that no copy reads any more.
static unsigned char *take_piece(struct gpu_weights *m) {
    int i = m->next;
    if (m->piece[i].busy)
        m->api->wait(m->piece[i].copied);
    m->piece[i].busy = false;
    return m->piece[i].data;
}

// Its copies have been asked for.
static void send_piece(struct gpu_weights *m) {
    m->api->record(m->stream, m->piece[m->next].copied);
    m->piece[m->next].busy = true;
    m->next = (m->next + 1) % PIECES;
}

static void wait_pieces(struct gpu_weights *m) {
    for (int i = 0; i < PIECES; i++) {
        if (m->piece[i].busy)
            m->api->wait(m->piece[i].copied);
        m->piece[i].busy = false;
    }
}

// ---- a weight's plan ----

static enum err too_large(const struct weight *w, struct errmsg *msg) {
    return err_set(msg, ERR_TOO_LARGE, "weight of %zu x %zu", w->rows, w->cols);
}

static enum gpu_format kept_as(const struct weight *w, const struct weight_part *p) {
    return dtype_is_block(p->w.dtype) ? gpu_pack_format(p->w.dtype)
           : w->kind == WEIGHT_VECTOR ? GPU_FORMAT_F32
                                      : format_of_type(w->floats);
}

static size_t part_rows(const struct weight *w, const struct weight_part *p) {
    return w->kind == WEIGHT_VECTOR ? 1 : p->w.shape[0];
}

// Neighbouring parts of one format become one segment.
static enum err plan_segments(struct weight *w, const struct weight_part *parts, size_t n,
                              struct errmsg *msg) {
    w->segment = mem_calloc(n, sizeof *w->segment);
    if (!w->segment)
        return err_set(msg, ERR_NOMEM, "no memory for a weight");
    if (w->cols > SIZE_MAX / 8)
        return too_large(w, msg);
    size_t row = 0;
    for (size_t i = 0; i < n; row += part_rows(w, &parts[i]), i++) {
        enum gpu_format format = kept_as(w, &parts[i]);
        struct gpu_segment *s = w->segments ? &w->segment[w->segments - 1] : NULL;
        if (!s || s->rows.format != format) {
            s = &w->segment[w->segments++];
            *s = (struct gpu_segment){.first = row, .rows = {.format = format, .in = w->cols}};
            s->rows.quant_row_bytes = gpu_quant_row_bytes(format, w->cols);
            s->rows.scale_row_bytes = gpu_scale_row_bytes(format, w->cols);
        }
        s->rows.out += part_rows(w, &parts[i]);
    }
    return ERR_OK;
}

// Takes `rows` times `row_bytes` from *total on, whole lines; false on overflow.
static bool place(size_t *total, size_t rows, size_t row_bytes, size_t *at) {
    size_t bytes;
    *at = *total;
    return !mem_mul_overflows(rows, row_bytes, &bytes) &&
           !__builtin_add_overflow(bytes, (size_t)(LINE - 1), &bytes) &&
           !__builtin_add_overflow(*total, bytes / LINE * LINE, total);
}

// One piece of the card's memory for everything.
static enum err allocate(struct gpu_weights *m, struct weight *w, bool bias, struct errmsg *msg) {
    size_t total = 0, at_bias = 0, at_floats = 0, end;
    bool fits = true;
    for (size_t i = 0; i < w->segments; i++) {
        const struct gpu_rows *r = &w->segment[i].rows;
        fits = fits && place(&total, r->out, r->quant_row_bytes, &end) &&
               place(&total, r->out, r->scale_row_bytes, &end);
    }
    if (bias)
        fits = fits && place(&total, w->rows, sizeof(float), &at_bias);
    if (bias && w->floats != GPU_F32)
        fits = fits && place(&total, w->rows, gpu_type_size(w->floats), &at_floats);
    if (!fits)
        return too_large(w, msg);
    if (m->api->alloc(m->gpu, total, &w->memory) != ERR_OK || !w->memory)
        return err_set(msg, ERR_NOMEM, "no memory on the GPU for a weight of %zu bytes", total);
    w->bytes = total;
    unsigned char *memory = w->memory;
    size_t at = 0, begin;
    for (size_t i = 0; i < w->segments; i++) {
        struct gpu_rows *r = &w->segment[i].rows;
        (void)place(&at, r->out, r->quant_row_bytes, &begin);
        r->quants = memory + begin;
        (void)place(&at, r->out, r->scale_row_bytes, &begin);
        r->scales = r->scale_row_bytes ? memory + begin : NULL;
    }
    if (bias) {
        w->bias = (const float *)(const void *)(memory + at_bias);
        w->bias_floats = w->floats == GPU_F32 ? w->bias : (const void *)(memory + at_floats);
    }
    return ERR_OK;
}

// ---- filling it ----

static enum err faults_told(const struct tensor *t, const struct gpu_pack_faults *f,
                            enum gpu_type type, struct errmsg *msg) {
    if (f->bad != SIZE_MAX)
        return err_set(msg, ERR_INVALID, "tensor '%s': non-finite at %zu", t->name, f->bad);
    if (f->large != SIZE_MAX)
        return err_set(msg, ERR_UNSUPPORTED,
                       "tensor '%s': the number at %zu is too large for %s; compute in %s", t->name,
                       f->large, type == GPU_F16 ? "f16" : "bf16",
                       type == GPU_F16 ? "bf16 or f32" : "f32");
    return ERR_OK;
}

static void pack_row(const struct tensor *t, const unsigned char *src, const struct gpu_rows *to,
                     size_t number, unsigned char *quants, unsigned char *scales,
                     struct gpu_pack_faults *f) {
    if (gpu_format_is_block(to->format)) {
        gpu_pack_blocks(t->dtype, src, to->in, quants, scales, number * to->in, f);
        return;
    }
    enum gpu_type type = to->format == GPU_FORMAT_F32    ? GPU_F32
                         : to->format == GPU_FORMAT_BF16 ? GPU_BF16
                                                         : GPU_F16;
    gpu_pack_floats(t->dtype, src, to->in, type, quants, number * to->in, f);
    size_t bytes = to->in * gpu_type_size(type);
    memset(quants + bytes, 0, to->quant_row_bytes - bytes);
}

// Rows [0, n) of t become those from `first` on of a segment, whole pieces at a time.
static enum err fill_rows(struct gpu_weights *m, const struct tensor *t, size_t n, size_t hd,
                          const struct gpu_rows *to, size_t first, struct errmsg *msg) {
    size_t stored = weight_stored_bytes(t->dtype, to->in);
    size_t each = to->quant_row_bytes + to->scale_row_bytes;
    if (stored > m->piece_bytes || each > m->piece_bytes)
        return err_set(msg, ERR_TOO_LARGE, "tensor '%s': a row of %zu bytes, at most %zu", t->name,
                       stored > each ? stored : each, m->piece_bytes);
    size_t in_piece = m->piece_bytes / each;
    size_t in_read = hd ? 1 : (stored < READ_BYTES ? READ_BYTES : stored) / stored;
    if (in_read > m->piece_bytes / stored)
        in_read = m->piece_bytes / stored;
    struct gpu_pack_faults faults = {SIZE_MAX, SIZE_MAX};
    for (size_t row = 0; row < n;) {
        size_t some = n - row < in_piece ? n - row : in_piece;
        unsigned char *quants = take_piece(m), *scales = quants + some * to->quant_row_bytes;
        for (size_t i = 0; i < some;) {
            size_t read = some - i < in_read ? some - i : in_read;
            size_t from = weight_source_row(hd, row + i);
            const unsigned char *src = NULL;
            enum err e = weight_read_stored(t, from * to->in, read * to->in, m->source, &src, msg);
            if (e != ERR_OK)
                return e;
            for (size_t j = 0; j < read; j++, i++)
                pack_row(t, src + j * stored, to, from + j, quants + i * to->quant_row_bytes,
                         scales + i * to->scale_row_bytes, &faults);
        }
        size_t at = first + row;
        m->api->copy_in(m->stream,
                        (unsigned char *)(uintptr_t)to->quants + at * to->quant_row_bytes, quants,
                        some * to->quant_row_bytes);
        if (to->scale_row_bytes)
            m->api->copy_in(m->stream,
                            (unsigned char *)(uintptr_t)to->scales + at * to->scale_row_bytes,
                            scales, some * to->scale_row_bytes);
        send_piece(m);
        row += some;
    }
    enum gpu_type type = to->format == GPU_FORMAT_F16 ? GPU_F16 : GPU_BF16;
    return faults_told(t, &faults, type, msg);
}

// Biases of the part's rows, or zeros, as `type` to the card's `to`.
static enum err fill_bias(struct gpu_weights *m, const struct weight_part *p, size_t rows,
                          enum gpu_type type, unsigned char *to, struct errmsg *msg) {
    const struct tensor *t = &p->bias;
    size_t size = gpu_type_size(type), in_piece = m->piece_bytes / sizeof(float);
    struct gpu_pack_faults faults = {SIZE_MAX, SIZE_MAX};
    for (size_t row = 0; row < rows;) {
        size_t some = rows - row < in_piece ? rows - row : in_piece;
        unsigned char *piece = take_piece(m);
        if (!tensor_present(t))
            memset(piece, 0, some * size);
        size_t in_read = p->interleaved_head_dim ? 1 : some;
        for (size_t i = 0; tensor_present(t) && i < some; i += in_read) {
            size_t from = weight_source_row(p->interleaved_head_dim, row + i);
            const unsigned char *src = NULL;
            enum err e = weight_read_stored(t, from, in_read, m->source, &src, msg);
            if (e != ERR_OK)
                return e;
            gpu_pack_floats(t->dtype, src, in_read, type, piece + i * size, from, &faults);
        }
        m->api->copy_in(m->stream, to + row * size, piece, some * size);
        send_piece(m);
        row += some;
    }
    return faults_told(t, &faults, type, msg);
}

static enum err fill(struct gpu_weights *m, struct weight *w, const struct weight_part *parts,
                     size_t n, struct errmsg *msg) {
    const struct gpu_segment *s = w->segment;
    size_t row = 0;
    for (size_t i = 0; i < n; row += part_rows(w, &parts[i]), i++) {
        size_t rows = part_rows(w, &parts[i]);
        while (row >= s->first + s->rows.out)
            s++;
        enum err e = fill_rows(m, &parts[i].w, rows, parts[i].interleaved_head_dim, &s->rows,
                               row - s->first, msg);
        if (e == ERR_OK && w->bias)
            e = fill_bias(m, &parts[i], rows, GPU_F32,
                          (unsigned char *)(uintptr_t)w->bias + row * sizeof(float), msg);
        if (e == ERR_OK && w->bias && w->floats != GPU_F32)
            e = fill_bias(
                m, &parts[i], rows, w->floats,
                (unsigned char *)(uintptr_t)w->bias_floats + row * gpu_type_size(w->floats), msg);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err gpu_weight_new(struct gpu_weights *m, enum weight_kind kind,
                        const struct weight_part *parts, size_t n, struct precision precision,
                        struct weight **out, struct errmsg *msg) {
    *out = NULL;
    size_t rows = 0, cols = 0;
    enum err e = weight_parts_check(kind, parts, n, &rows, &cols, msg);
    if (e != ERR_OK)
        return e;
    if (precision.floats == COMPUTE_BF16 && !m->bf16)
        return err_set(msg, ERR_UNSUPPORTED, "this GPU does not compute in bf16; f16 or f32");
    struct weight *w = mem_calloc(1, sizeof *w);
    if (!w)
        return err_set(msg, ERR_NOMEM, "no memory for a weight");
    w->kind = kind;
    w->rows = rows;
    w->cols = cols;
    w->floats = gpu_type_of(precision.floats, m->bf16);
    bool bias = false;
    for (size_t i = 0; i < n; i++)
        bias = bias || tensor_present(&parts[i].bias);
    e = plan_segments(w, parts, n, msg);
    if (e == ERR_OK)
        e = allocate(m, w, bias, msg);
    if (e == ERR_OK) {
        pthread_mutex_lock(&m->mutex);
        e = fill(m, w, parts, n, msg);
        wait_pieces(m); // other streams may read it, and the source may go
        pthread_mutex_unlock(&m->mutex);
    }
    if (e == ERR_OK)
        e = m->api->failure(m->gpu, msg);
    if (e != ERR_OK) {
        gpu_weight_free(m, w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void gpu_weight_free(struct gpu_weights *m, struct weight *w) {
    if (!w)
        return;
    if (w->memory)
        m->api->free(m->gpu, w->memory);
    mem_free(w->segment);
    mem_free(w);
}
