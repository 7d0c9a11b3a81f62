// See weight_parts.h.
#include "compute/weight_parts.h"

#include "base/file.h"
#include "compute/blocks.h"

static bool is_float(enum dtype t) { return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16; }

static enum err check_dtype(const struct tensor *t, bool blocks, struct errmsg *msg) {
    if (is_float(t->dtype))
        return ERR_OK;
    if (!blocks || !dtype_is_block(t->dtype))
        return err_set(msg, ERR_UNSUPPORTED,
                       "tensor '%s': dtype %s; weights are f32, f16 or bf16%s", t->name,
                       dtype_name(t->dtype), blocks ? ", or of GGUF's blocks" : "");
    if (t->shape[t->rank - 1] % dtype_block(t->dtype) == 0)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "tensor '%s': rows of %zu values, %s has blocks of %zu",
                   t->name, t->shape[t->rank - 1], dtype_name(t->dtype), dtype_block(t->dtype));
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
    size_t hd = p->interleaved_head_dim;
    if (hd && (kind != WEIGHT_LINEAR || hd % 2 || p->w.shape[0] % hd))
        return err_set(msg, ERR_INVALID, "tensor '%s': %zu rows are not heads of %zu", p->w.name,
                       p->w.shape[0], hd);
    enum err e = check_dtype(&p->w, kind != WEIGHT_VECTOR, msg);
    if (e != ERR_OK || !tensor_present(&p->bias))
        return e;
    if (kind != WEIGHT_LINEAR || p->bias.rank != 1 || p->bias.shape[0] != p->w.shape[0])
        return err_set(msg, ERR_INVALID, "tensor '%s': not a bias for '%s'", p->bias.name,
                       p->w.name);
    return check_dtype(&p->bias, false, msg);
}

enum err weight_parts_check(enum weight_kind kind, const struct weight_part *parts, size_t n,
                            size_t *rows, size_t *cols, struct errmsg *msg) {
    *rows = *cols = 0;
    if (n == 0 || (kind != WEIGHT_LINEAR && n != 1))
        return err_set(msg, ERR_INVALID, "a weight of %zu parts", n);
    *cols = parts[0].w.shape[kind == WEIGHT_VECTOR ? 0 : 1];
    for (size_t i = 0; i < n; i++) {
        enum err e = check_part(kind, &parts[i], *cols, msg);
        if (e != ERR_OK)
            return e;
        if (__builtin_add_overflow(*rows, kind == WEIGHT_VECTOR ? 1 : parts[i].w.shape[0], rows))
            return err_set(msg, ERR_TOO_LARGE, "tensor '%s': too many rows", parts[i].w.name);
    }
    return ERR_OK;
}

enum err weight_read_stored(const struct tensor *t, size_t at, size_t n, void *scratch,
                            const unsigned char **out, struct errmsg *msg) {
    size_t from = weight_stored_bytes(t->dtype, at);
    *out = t->data ? (const unsigned char *)t->data + from : scratch;
    if (t->data)
        return ERR_OK;
    return file_read_at(t->file, t->offset + from, scratch, weight_stored_bytes(t->dtype, n), msg);
}

size_t weight_source_row(size_t interleaved_head_dim, size_t r) {
    if (interleaved_head_dim == 0)
        return r;
    size_t i = r % interleaved_head_dim, half = interleaved_head_dim / 2;
    return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

size_t weight_blocks_bad(enum dtype t, const unsigned char *src, size_t n) {
    for (size_t at = 0; at < n; at += dtype_block(t)) {
        struct block_unit u;
        block_unit_read(t, src, at / UNIT, &u);
        if (!block_unit_finite(&u))
            return at;
    }
    return n;
}
