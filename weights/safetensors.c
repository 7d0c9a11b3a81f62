// See safetensors.h. A file is 8 bytes of header length (little endian), that many bytes of JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end)}, ..., "__metadata__"}, and the data.
#include "weights/safetensors.h"

#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = SAFETENSORS_LENGTH_BYTES,
    MAX_HEADER = 100 * 1000 * 1000, // the reference implementation's cap
    MAX_NAME = 256,
};

struct safetensors_span {
    size_t begin, end, index;
};

struct safetensors_reader {
    const char *label;
    size_t data_offset, data_size; // of the bytes behind the header
    struct safetensors *out;
    struct safetensors_span *spans; // [out->count]
    size_t names_used;
    struct errmsg *msg;
};

static const struct {
    const char *name;
    enum dtype dtype;
} dtypes[] = {
    {"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"I64", DTYPE_I64},
    {"I32", DTYPE_I32}, {"U8", DTYPE_U8},   {"BOOL", DTYPE_U8},
};

// A count or an offset: a double holds integers exactly below 2^53, and no file is longer.
static bool read_size(const cJSON *item, size_t *out) {
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(v >= 0 && v < 9007199254740992.0) || v != floor(v))
        return false;
    *out = (size_t)v;
    return true;
}

static enum err read_dtype(const struct safetensors_reader *r, const char *name, const cJSON *item,
                           enum dtype *out) {
    const cJSON *dtype = json_get(item, "dtype");
    if (!cJSON_IsString(dtype))
        return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': no dtype", r->label, name);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, dtype->valuestring) == 0) {
            *out = dtypes[i].dtype;
            return ERR_OK;
        }
    }
    return err_set(r->msg, ERR_UNSUPPORTED,
                   "%s: tensor '%s': dtype '%.32s' is not supported (F32, F16, BF16, I64, I32, U8, "
                   "BOOL are)",
                   r->label, name, dtype->valuestring);
}

static enum err read_shape(const struct safetensors_reader *r, const cJSON *item, struct tensor *t,
                           size_t *bytes) {
    const cJSON *shape = json_get(item, "shape"), *dim;
    if (!cJSON_IsArray(shape))
        return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': no shape", r->label, t->name);
    *bytes = dtype_size(t->dtype);
    cJSON_ArrayForEach(dim, shape) {
        if (t->rank == TENSOR_MAX_RANK)
            return err_set(r->msg, ERR_UNSUPPORTED, "%s: tensor '%s': %d dimensions, at most %d",
                           r->label, t->name, cJSON_GetArraySize(shape), TENSOR_MAX_RANK);
        if (!read_size(dim, &t->shape[t->rank]))
            return err_set(r->msg, ERR_INVALID,
                           "%s: tensor '%s': shape[%d] is no whole number below 2^53", r->label,
                           t->name, t->rank);
        if (mem_mul_overflows(*bytes, t->shape[t->rank], bytes))
            return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': shape overflows", r->label,
                           t->name);
        t->rank++;
    }
    return ERR_OK;
}

static enum err read_span(const struct safetensors_reader *r, const cJSON *item, const char *name,
                          struct safetensors_span *s) {
    const cJSON *offsets = json_get(item, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !read_size(offsets->child, &s->begin) || !read_size(offsets->child->next, &s->end))
        return err_set(r->msg, ERR_INVALID,
                       "%s: tensor '%s': data_offsets must be two whole numbers below 2^53",
                       r->label, name);
    if (s->begin > s->end)
        return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': data_offsets [%zu,%zu) are reversed",
                       r->label, name, s->begin, s->end);
    if (s->end > r->data_size)
        return err_set(r->msg, ERR_INVALID,
                       "%s: tensor '%s': data_offsets [%zu,%zu) run past the end of the data (%zu "
                       "bytes): the file is truncated or damaged",
                       r->label, name, s->begin, s->end, r->data_size);
    return ERR_OK;
}

static enum err read_tensor(struct safetensors_reader *r, const cJSON *item) {
    size_t name_len = strlen(item->string), need = 0, i = r->out->count;
    if (name_len == 0 || name_len > MAX_NAME)
        return err_set(r->msg, ERR_INVALID, "%s: a tensor's name has %zu bytes, 1 to %d are taken",
                       r->label, name_len, MAX_NAME);
    char *name = r->out->names + r->names_used;
    memcpy(name, item->string, name_len + 1);
    r->names_used += name_len + 1;

    struct tensor *t = &r->out->tensors[i];
    struct safetensors_span *s = &r->spans[i];
    *t = (struct tensor){.name = name};
    if (!cJSON_IsObject(item))
        return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': not an object", r->label, name);
    enum err e = read_dtype(r, name, item, &t->dtype);
    if (!e)
        e = read_shape(r, item, t, &need);
    if (!e)
        e = read_span(r, item, name, s);
    if (e)
        return e;
    if (need != s->end - s->begin)
        return err_set(r->msg, ERR_INVALID, "%s: tensor '%s': shape needs %zu bytes, span has %zu",
                       r->label, name, need, s->end - s->begin);
    t->offset = r->data_offset + s->begin;
    s->index = i;
    r->out->count++;
    return ERR_OK;
}

static int by_offset(const void *a, const void *b) {
    const struct safetensors_span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

// The ranges must tile the data: an overlap would let one tensor show another's bytes, and a hole
// hides bytes from whoever looks through the file.
static enum err check_tiling(const struct safetensors_reader *r) {
    size_t count = r->out->count, at = 0;
    if (count)
        qsort(r->spans, count, sizeof *r->spans, by_offset);
    for (size_t i = 0; i < count; i++) {
        const struct safetensors_span *s = &r->spans[i];
        const char *name = r->out->tensors[s->index].name;
        if (s->begin < at)
            return err_set(r->msg, ERR_INVALID,
                           "%s: tensor '%s': data_offsets [%zu,%zu) overlap tensor '%s'", r->label,
                           name, s->begin, s->end, r->out->tensors[r->spans[i - 1].index].name);
        if (s->begin > at)
            return err_set(
                r->msg, ERR_INVALID,
                "%s: tensor '%s': data_offsets [%zu,%zu) leave a hole of %zu bytes before",
                r->label, name, s->begin, s->end, s->begin - at);
        at = s->end;
    }
    if (at != r->data_size)
        return err_set(r->msg, ERR_INVALID, "%s: %zu bytes after the last tensor belong to none",
                       r->label, r->data_size - at);
    return ERR_OK;
}

// The strict check gives an offset; where the trouble is a tensor that stands twice, its name says
// more (still as JSON spells it).
static enum err parse_header(const char *label, const char *text, size_t len, cJSON **root,
                             struct errmsg *msg) {
    struct json_issue issue = {0};
    enum err e = json_parse(text, len, &json_limits_file, root, &issue, msg);
    if (e == ERR_INVALID && issue.code && strcmp(issue.code, "duplicate_key") == 0) {
        size_t from = issue.offset + 1, to = from;
        while (to < len && text[to] != '"')
            to += text[to] == '\\' ? 2 : 1;
        size_t n = to < len ? to - from : 0;
        return err_set(msg, e, "%s: tensor '%.*s' stands twice in the header", label,
                       (int)(n < MAX_NAME ? n : MAX_NAME), text + from);
    }
    if (e)
        return err_prefix(msg, e, "%s: header", label);
    if (!cJSON_IsObject(*root)) {
        cJSON_Delete(*root);
        *root = NULL;
        return err_set(msg, ERR_INVALID, "%s: the header is not a JSON object", label);
    }
    return ERR_OK;
}

enum err safetensors_header(const char *label, const char *bytes, size_t size, size_t *length,
                            struct errmsg *msg) {
    static const char lfs[] = "version https://git-lfs";
    if (size >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        return err_set(msg, ERR_INVALID,
                       "%s: a Git LFS pointer, not the weights: fetch them with git lfs pull",
                       label);
    if (size < LENGTH_BYTES)
        return err_set(msg, ERR_INVALID, "%s: truncated: %zu bytes, the header's length needs %d",
                       label, size, LENGTH_BYTES);
    uint64_t n = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | (unsigned char)bytes[i];
    if (n > size)
        return err_set(msg, ERR_INVALID, "%s: header length %llu exceeds file size %zu", label,
                       (unsigned long long)n, size);
    if (n > size - LENGTH_BYTES)
        return err_set(msg, ERR_INVALID,
                       "%s: header length %llu and the %d bytes before it exceed file size %zu",
                       label, (unsigned long long)n, LENGTH_BYTES, size);
    if (n > MAX_HEADER)
        return err_set(msg, ERR_INVALID, "%s: header length %llu is over the limit of %d", label,
                       (unsigned long long)n, MAX_HEADER);
    *length = (size_t)n;
    return ERR_OK;
}

static enum err read_tensors(struct safetensors_reader *r, const cJSON *root) {
    enum err e = ERR_OK;
    const cJSON *item;
    cJSON_ArrayForEach(item, root) {
        if (strcmp(item->string, "__metadata__") == 0) {
            if (!cJSON_IsObject(item))
                e = err_set(r->msg, ERR_INVALID, "%s: __metadata__ is not an object", r->label);
        } else {
            e = read_tensor(r, item);
        }
        if (e)
            return e;
    }
    return check_tiling(r);
}

enum err safetensors_parse(const char *label, const char *bytes, size_t size,
                           struct safetensors *out, struct errmsg *msg) {
    *out = (struct safetensors){0};
    size_t length = 0;
    cJSON *root = NULL;
    enum err e = safetensors_header(label, bytes, size, &length, msg);
    if (!e)
        e = parse_header(label, bytes + LENGTH_BYTES, length, &root, msg);
    if (e)
        return e;
    size_t n = (size_t)cJSON_GetArraySize(root);
    struct safetensors_reader r = {.label = label,
                                   .data_offset = LENGTH_BYTES + length,
                                   .data_size = size - LENGTH_BYTES - length,
                                   .out = out,
                                   .msg = msg};
    out->tensors = mem_calloc(n, sizeof *out->tensors);
    out->names = mem_alloc(length, 1); // a name and its NUL never outgrow "name": in the JSON
    r.spans = mem_calloc(n, sizeof *r.spans);
    if (!out->tensors || !out->names || !r.spans)
        e = err_set(msg, ERR_NOMEM, "%s: no memory for the names of %zu tensors", label, n);
    else
        e = read_tensors(&r, root);
    mem_free(r.spans);
    cJSON_Delete(root);
    if (e)
        safetensors_free(out);
    return e;
}

void safetensors_free(struct safetensors *s) {
    mem_free(s->tensors);
    mem_free(s->names);
    *s = (struct safetensors){0};
}
