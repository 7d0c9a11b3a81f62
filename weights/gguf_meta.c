// See gguf.h: typed values. Where they lie was checked when the header was read.
#include "base/utf8.h"
#include "weights/gguf_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

size_t gguf_type_size(enum gguf_type type) { return types[type].size; }

struct lookup {
    const struct gguf *g;
    const char *key;
    size_t len;
};

static int compare(const void *a, const void *b) {
    const struct lookup *l = a;
    const struct gguf_value *v = b;
    size_t n = l->len < v->key_len ? l->len : v->key_len;
    int c = memcmp(l->key, l->g->bytes + v->key_at, n);
    return c ? c : (l->len > v->key_len) - (l->len < v->key_len);
}

static const struct gguf_value *find(const struct gguf *g, const char *key) {
    struct lookup l = {g, key, strlen(key)};
    return g->value_count ? bsearch(&l, g->values, g->value_count, sizeof *g->values, compare)
                          : NULL;
}

size_t gguf_key_count(const struct gguf *g) { return g->value_count; }

struct gguf_string gguf_key_at(const struct gguf *g, size_t i) {
    return (struct gguf_string){g->bytes + g->values[i].key_at, g->values[i].key_len};
}

bool gguf_has(const struct gguf *g, const char *key) { return find(g, key) != NULL; }

static bool is_int(enum gguf_type t) {
    return t != GGUF_F32 && t != GGUF_F64 && t != GGUF_BOOL && t != GGUF_STRING && t != GGUF_ARRAY;
}

// A u64 above INT64_MAX reads as INT64_MAX: out of every range asked for here.
static int64_t load_int(const char *bytes, enum gguf_type type) {
    uint64_t v = gguf_load(bytes, types[type].size);
    switch (type) {
    case GGUF_I8:
        return (int8_t)v;
    case GGUF_I16:
        return (int16_t)v;
    case GGUF_I32:
        return (int32_t)v;
    case GGUF_I64:
        return (int64_t)v;
    default:
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
}

static double load_float(const char *bytes, enum gguf_type type) {
    if (type == GGUF_F64) {
        double d;
        uint64_t v = gguf_load(bytes, sizeof d);
        memcpy(&d, &v, sizeof d);
        return d;
    }
    float f;
    uint32_t v = (uint32_t)gguf_load(bytes, sizeof f);
    memcpy(&f, &v, sizeof f);
    return (double)f;
}

static enum err wrong_type(const struct gguf *g, const char *key, const char *want,
                           enum gguf_type is, struct errmsg *msg) {
    return err_set(msg, ERR_INVALID, "%s: key '%s': %s is asked for, the file has %s", g->path, key,
                   want, types[is].name);
}

enum err gguf_get_int(const struct gguf *g, const char *key, int64_t min, int64_t max,
                      int64_t fallback, int64_t *out, struct errmsg *msg) {
    const struct gguf_value *v = find(g, key);
    *out = fallback;
    if (!v)
        return ERR_OK;
    if (!is_int(v->type))
        return wrong_type(g, key, "an integer", v->type, msg);
    int64_t n = load_int(g->bytes + v->at, v->type);
    if (n < min || n > max)
        return err_set(msg, ERR_INVALID, "%s: key '%s': %lld is not in %lld to %lld", g->path, key,
                       (long long)n, (long long)min, (long long)max);
    *out = n;
    return ERR_OK;
}

enum err gguf_get_float(const struct gguf *g, const char *key, double fallback, double *out,
                        struct errmsg *msg) {
    const struct gguf_value *v = find(g, key);
    *out = fallback;
    if (!v)
        return ERR_OK;
    if (v->type != GGUF_F32 && v->type != GGUF_F64)
        return wrong_type(g, key, "a float", v->type, msg);
    double d = load_float(g->bytes + v->at, v->type);
    if (!isfinite(d))
        return err_set(msg, ERR_INVALID, "%s: key '%s' is not finite", g->path, key);
    *out = d;
    return ERR_OK;
}

enum err gguf_get_bool(const struct gguf *g, const char *key, bool fallback, bool *out,
                       struct errmsg *msg) {
    const struct gguf_value *v = find(g, key);
    *out = fallback;
    if (!v)
        return ERR_OK;
    if (v->type != GGUF_BOOL)
        return wrong_type(g, key, "a bool", v->type, msg);
    *out = g->bytes[v->at] != 0;
    return ERR_OK;
}

// Length and bytes at `at`, both checked when the header was read.
static struct gguf_string string_at(const struct gguf *g, size_t at) {
    return (struct gguf_string){g->bytes + at + 8, (size_t)gguf_load(g->bytes + at, 8)};
}

enum err gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out,
                         struct errmsg *msg) {
    const struct gguf_value *v = find(g, key);
    *out = (struct gguf_string){0};
    if (!v)
        return ERR_OK;
    if (v->type != GGUF_STRING)
        return wrong_type(g, key, "a string", v->type, msg);
    struct gguf_string s = string_at(g, v->at);
    size_t bad = 0;
    if (!utf8_valid(s.bytes, s.len, &bad))
        return err_set(msg, ERR_INVALID, "%s: key '%s': not UTF-8 at byte %zu", g->path, key, bad);
    if (memchr(s.bytes, '\0', s.len))
        return err_set(msg, ERR_INVALID, "%s: key '%s': a NUL in a string", g->path, key);
    *out = s;
    return ERR_OK;
}

enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type,
                        struct gguf_array *out, struct errmsg *msg) {
    const struct gguf_value *v = find(g, key);
    *out = (struct gguf_array){.type = type, .owner = g};
    if (!v)
        return ERR_OK;
    const char *want = type == GGUF_STRING ? "an array of strings" : "an array of integers";
    if (v->type != GGUF_ARRAY)
        return wrong_type(g, key, want, v->type, msg);
    bool fits = type == GGUF_STRING ? v->element == GGUF_STRING : is_int(v->element);
    if (!fits)
        return err_set(msg, ERR_INVALID, "%s: key '%s': %s is asked for, the file has one of %s",
                       g->path, key, want, types[v->element].name);
    out->type = v->element;
    out->count = v->count;
    out->data = v;
    return ERR_OK;
}

struct gguf_string gguf_array_string(const struct gguf_array *a, size_t i) {
    const struct gguf_value *v = a->data;
    return string_at(a->owner, v->strings[i]);
}

int64_t gguf_array_int(const struct gguf_array *a, size_t i) {
    const struct gguf_value *v = a->data;
    return load_int(a->owner->bytes + v->at + i * types[v->element].size, v->element);
}
