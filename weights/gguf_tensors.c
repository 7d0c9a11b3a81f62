// See gguf.h: the list of tensors, and that their ranges lie one behind the other in the file.
#include "base/mem.h"
#include "base/utf8.h"
#include "weights/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_NAME = 256,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32,
};

// By ggml's number. What has a name and no dtype here is refused by it.
static const struct {
    const char *name;
    int dtype; // -1: not supported
} types[] = {
    {"F32", DTYPE_F32},   {"F16", DTYPE_F16},   {"Q4_0", DTYPE_Q4_0},
    {"Q4_1", DTYPE_Q4_1}, {"Q4_2", -1},         {"Q4_3", -1},
    {"Q5_0", DTYPE_Q5_0}, {"Q5_1", DTYPE_Q5_1}, {"Q8_0", DTYPE_Q8_0},
    {"Q8_1", -1},         {"Q2_K", DTYPE_Q2_K}, {"Q3_K", DTYPE_Q3_K},
    {"Q4_K", DTYPE_Q4_K}, {"Q5_K", DTYPE_Q5_K}, {"Q6_K", DTYPE_Q6_K},
    {"Q8_K", -1},         {"IQ2_XXS", -1},      {"IQ2_XS", -1},
    {"IQ3_XXS", -1},      {"IQ1_S", -1},        {"IQ4_NL", DTYPE_IQ4_NL},
    {"IQ3_S", -1},        {"IQ2_S", -1},        {"IQ4_XS", -1},
    {"I8", -1},           {"I16", -1},          {"I32", DTYPE_I32},
    {"I64", DTYPE_I64},   {"F64", -1},          {"IQ1_M", -1},
    {"BF16", DTYPE_BF16}, {"Q4_0_4_4", -1},     {"Q4_0_4_8", -1},
    {"Q4_0_8_8", -1},     {"TQ1_0", -1},        {"TQ2_0", -1},
    {"IQ4_NL_4_4", -1},   {"IQ4_NL_4_8", -1},   {"IQ4_NL_8_8", -1},
    {"MXFP4", -1},        {"NVFP4", -1},
};
#define SUPPORTED "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, I32, I64 are"

struct gguf_entry { // of the list, until names and offsets have their place
    size_t name_at, name_len;
    size_t begin, bytes; // within the data
    size_t index;
};

struct listing {
    struct gguf_cursor *c;
    struct gguf *g;
    struct gguf_entry *entries; // [tensor_count]
    size_t names_bytes;
};

#define NAME(l, e) (int)(e)->name_len, (l)->g->bytes + (e)->name_at

static enum err read_name(struct listing *l, struct gguf_entry *e) {
    enum err code = gguf_next_string(l->c, &e->name_at, &e->name_len);
    if (code)
        return code;
    const char *name = l->g->bytes + e->name_at;
    if (e->name_len == 0 || e->name_len > MAX_NAME)
        return err_set(l->c->msg, ERR_INVALID,
                       "%s: a tensor's name has %zu bytes, 1 to %d are taken", l->g->path,
                       e->name_len, MAX_NAME);
    if (memchr(name, '\0', e->name_len) || !utf8_valid(name, e->name_len, NULL))
        return err_set(l->c->msg, ERR_INVALID, "%s: the name of tensor %zu is not UTF-8 text",
                       l->g->path, e->index);
    l->names_bytes += e->name_len + 1;
    return ERR_OK;
}

// The file lists the innermost dimension first.
static enum err read_shape(struct listing *l, const struct gguf_entry *e, struct tensor *t) {
    uint32_t rank;
    enum err code = gguf_next_u32(l->c, &rank);
    if (code)
        return code;
    if (rank == 0 || rank > TENSOR_MAX_RANK)
        return err_set(l->c->msg, ERR_UNSUPPORTED,
                       "%s: tensor '%.*s': %u dimensions, 1 to %d are taken", l->g->path,
                       NAME(l, e), rank, TENSOR_MAX_RANK);
    t->rank = (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t dim;
        if ((code = gguf_next_u64(l->c, &dim)))
            return code;
        if (dim == 0 || dim > SIZE_MAX)
            return err_set(l->c->msg, ERR_INVALID, "%s: tensor '%.*s': a dimension is %llu",
                           l->g->path, NAME(l, e), (unsigned long long)dim);
        t->shape[i] = (size_t)dim;
    }
    return ERR_OK;
}

static enum err read_dtype(struct listing *l, const struct gguf_entry *e, struct tensor *t) {
    uint32_t number;
    enum err code = gguf_next_u32(l->c, &number);
    if (code)
        return code;
    bool known = number < sizeof types / sizeof *types;
    if (!known || types[number].dtype < 0)
        return err_set(l->c->msg, ERR_UNSUPPORTED,
                       "%s: tensor '%.*s': type %u (%s) is not supported (" SUPPORTED ")",
                       l->g->path, NAME(l, e), number, known ? types[number].name : "unknown");
    t->dtype = (enum dtype)types[number].dtype;
    return ERR_OK;
}

static enum err count_bytes(const struct listing *l, struct gguf_entry *e, const struct tensor *t) {
    size_t row = t->shape[t->rank - 1], block = dtype_block(t->dtype);
    if (row % block != 0)
        return err_set(l->c->msg, ERR_INVALID,
                       "%s: tensor '%.*s': a row of %zu values is not whole blocks of %zu (%s)",
                       l->g->path, NAME(l, e), row, block, dtype_name(t->dtype));
    bool over = mem_mul_overflows(row / block, dtype_block_bytes(t->dtype), &e->bytes);
    size_t values = row; // below 2^63 whatever the blocks' size, for whoever counts them
    for (int i = 0; !over && i < t->rank - 1; i++)
        over = mem_mul_overflows(e->bytes, t->shape[i], &e->bytes) ||
               mem_mul_overflows(values, t->shape[i], &values);
    if (over || values > SIZE_MAX / 2)
        return err_set(l->c->msg, ERR_INVALID, "%s: tensor '%.*s': shape overflows", l->g->path,
                       NAME(l, e));
    return ERR_OK;
}

static enum err read_tensor(struct listing *l, size_t i) {
    struct gguf_entry *e = &l->entries[i];
    struct tensor *t = &l->g->tensors[i];
    uint64_t begin = 0;
    e->index = i;
    enum err code = read_name(l, e);
    if (!code)
        code = read_shape(l, e, t);
    if (!code)
        code = read_dtype(l, e, t);
    if (!code)
        code = count_bytes(l, e, t);
    if (!code)
        code = gguf_next_u64(l->c, &begin);
    if (code)
        return code;
    if (begin > l->g->size)
        return err_set(l->c->msg, ERR_INVALID,
                       "%s: tensor '%.*s': its offset %llu is past the end of the file (%zu bytes)",
                       l->g->path, NAME(l, e), (unsigned long long)begin, l->g->size);
    e->begin = (size_t)begin;
    return ERR_OK;
}

static int by_begin(const void *a, const void *b) {
    const struct gguf_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

// Each tensor begins where the one before it ends, rounded up to the alignment: an overlap would
// let one show another's bytes, and a hole hides bytes from whoever looks through the file.
static enum err place(struct listing *l, size_t data, size_t alignment) {
    struct gguf *g = l->g;
    size_t at = 0, left = data < g->size ? g->size - data : 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        struct gguf_entry *e = &l->entries[i];
        if (e->begin % alignment != 0)
            return err_set(l->c->msg, ERR_INVALID,
                           "%s: tensor '%.*s': its offset %zu is not aligned to %zu", g->path,
                           NAME(l, e), e->begin, alignment);
        if (e->begin != at)
            return err_set(
                l->c->msg, ERR_INVALID,
                "%s: tensor '%.*s': its offset is %zu, %s of the tensor before it (%zu aligned)",
                g->path, NAME(l, e), e->begin, e->begin < at ? "inside" : "with a hole behind", at);
        if (e->begin > left || e->bytes > left - e->begin)
            return err_set(l->c->msg, ERR_INVALID,
                           "%s: tensor '%.*s': its %zu bytes at %zu run past the end of the data "
                           "(%zu bytes): the file is truncated or damaged",
                           g->path, NAME(l, e), e->bytes, e->begin, left);
        g->tensors[e->index].offset = data + e->begin;
        if (g->file.path)
            g->tensors[e->index].file = &g->file;
        else if (data + e->begin + e->bytes <= g->len)
            g->tensors[e->index].data = g->bytes + data + e->begin;
        at = e->begin + e->bytes; // at most the file's size
        at += (alignment - at % alignment) % alignment;
    }
    return ERR_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The header no longer moves: names get their NULs, and none stands twice.
static enum err set_names(const struct listing *l) {
    struct gguf *g = l->g;
    size_t n = g->tensor_count;
    g->names = mem_alloc(l->names_bytes, 1);
    const char **sorted = mem_alloc(n, sizeof *sorted);
    enum err e = ERR_OK;
    if (!g->names || !sorted)
        e = err_set(l->c->msg, ERR_NOMEM, "%s: no memory for the names of %zu tensors", g->path, n);
    char *to = g->names;
    for (size_t i = 0; !e && i < n; i++) {
        size_t len = l->entries[i].name_len;
        memcpy(to, g->bytes + l->entries[i].name_at, len);
        to[len] = '\0';
        sorted[i] = g->tensors[i].name = to;
        to += len + 1;
    }
    if (!e && n)
        qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 1; !e && i < n; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            e = err_set(l->c->msg, ERR_INVALID, "%s: tensor '%s' stands twice", g->path, sorted[i]);
    mem_free(sorted);
    return e;
}

static enum err read_alignment(const struct listing *l, size_t *out) {
    int64_t v;
    enum err e =
        gguf_get_int(l->g, "general.alignment", 1, MAX_ALIGNMENT, DEFAULT_ALIGNMENT, &v, l->c->msg);
    if (!e && (v & (v - 1)) != 0)
        e = err_set(l->c->msg, ERR_INVALID,
                    "%s: key 'general.alignment': %lld is not a power of two", l->g->path,
                    (long long)v);
    *out = (size_t)v;
    return e;
}

enum err gguf_read_tensors(struct gguf_cursor *c, size_t count) {
    struct gguf *g = c->g;
    struct listing l = {.c = c, .g = g};
    size_t alignment = 1;
    l.entries = mem_calloc(count, sizeof *l.entries);
    g->tensors = mem_calloc(count, sizeof *g->tensors);
    enum err e = ERR_OK;
    if (!l.entries || !g->tensors)
        e = err_set(c->msg, ERR_NOMEM, "%s: no memory for %zu tensors", g->path, count);
    for (size_t i = 0; !e && i < count; i++) {
        e = read_tensor(&l, i);
        g->tensor_count = e ? g->tensor_count : i + 1;
    }
    if (!e)
        e = set_names(&l);
    if (!e)
        e = read_alignment(&l, &alignment);
    if (!e) {
        if (count)
            qsort(l.entries, count, sizeof *l.entries, by_begin);
        // no overflow: both are far below the file's size and MAX_ALIGNMENT
        e = place(&l, c->at + (alignment - c->at % alignment) % alignment, alignment);
    }
    mem_free(l.entries);
    return e;
}

size_t gguf_tensor_count(const struct gguf *g) { return g->tensor_count; }

struct tensor gguf_tensor_at(const struct gguf *g, size_t i) {
    return g->tensors[i];
}
