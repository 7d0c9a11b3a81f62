// See gguf.h. A file is the magic, a version, the counts of tensors and of keys, the keys with
// their values, the list of tensors, padding to the alignment, and the tensors' data.
#include "weights/gguf.h"

#include "base/mem.h"
#include "weights/gguf_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_READ = 64 << 10,
    MAX_HEADER = 256 << 20, // offsets of strings are 32 bits
    MAX_VALUES = 1 << 16,
    MAX_KEY = 256,
    LEAST_VALUE = 8 + 1 + 4 + 1,          // a key's length, the key, a type, a value
    LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8, // a name, a rank, one dimension, a type, an offset
    VERSION_MIN = 2,
    VERSION_MAX = 3,
};

static const char magic[4] = "GGUF";

uint64_t gguf_load(const char *bytes, size_t n) {
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | (unsigned char)bytes[i];
    return v;
}

// In steps that double, so that a header of many megabytes is copied twice at most and a small one
// does not pull much of the tensors in.
static enum err grow(struct gguf_cursor *c, size_t need) {
    struct gguf *g = c->g;
    if (!g->file.path)
        return err_set(c->msg, ERR_INVALID, "%s: the header runs past the %zu bytes given", g->path,
                       g->len);
    if (need > MAX_HEADER)
        return err_set(c->msg, ERR_INVALID, "%s: the header is over the limit of %d bytes", g->path,
                       MAX_HEADER);
    size_t to = g->len < FIRST_READ / 2 ? FIRST_READ : g->len * 2;
    to = to < need ? need : to;
    to = to > MAX_HEADER ? MAX_HEADER : to; // so that every string's offset lies below it
    to = to > g->size ? g->size : to;
    char *bytes = mem_realloc(g->bytes, to, 1);
    if (!bytes)
        return err_set(c->msg, ERR_NOMEM, "%s: no memory for a header of %zu bytes", g->path, to);
    g->bytes = bytes;
    enum err e = file_read_at(&g->file, g->len, bytes + g->len, to - g->len, c->msg);
    if (!e)
        g->len = to;
    return e;
}

// The next n bytes are in g->bytes.
static enum err need(struct gguf_cursor *c, size_t n) {
    if (n > c->g->size - c->at)
        return err_set(c->msg, ERR_INVALID,
                       "%s: truncated: %zu bytes are needed at %zu, %zu remain", c->g->path, n,
                       c->at, c->g->size - c->at);
    return c->at + n > c->g->len ? grow(c, c->at + n) : ERR_OK;
}

static enum err next(struct gguf_cursor *c, size_t n, uint64_t *out) {
    enum err e = need(c, n);
    if (e)
        return e;
    *out = gguf_load(c->g->bytes + c->at, n);
    c->at += n;
    return ERR_OK;
}

enum err gguf_next_u32(struct gguf_cursor *c, uint32_t *out) {
    uint64_t v = 0;
    enum err e = next(c, 4, &v);
    *out = (uint32_t)v;
    return e;
}

enum err gguf_next_u64(struct gguf_cursor *c, uint64_t *out) {
    *out = 0;
    return next(c, 8, out);
}

enum err gguf_next_string(struct gguf_cursor *c, size_t *at, size_t *len) {
    uint64_t n;
    enum err e = gguf_next_u64(c, &n);
    if (e)
        return e;
    if (n > c->g->size - c->at)
        return err_set(c->msg, ERR_INVALID,
                       "%s: a string of %llu bytes at %zu exceeds the %zu remaining bytes",
                       c->g->path, (unsigned long long)n, c->at - 8, c->g->size - c->at);
    e = need(c, (size_t)n);
    *at = c->at;
    *len = (size_t)n;
    c->at += e ? 0 : (size_t)n;
    return e;
}

// `count` things of at least `least` bytes each still fit into the file (`what` names them).
static enum err check_count(const struct gguf_cursor *c, uint64_t count, size_t least,
                            const char *what) {
    // no array that a crafted count asks for is larger than the longest header either
    size_t end = c->g->size < MAX_HEADER ? c->g->size : MAX_HEADER;
    if (c->at > end || count > (end - c->at) / least)
        return err_set(c->msg, ERR_INVALID, "%s: %s: count %llu exceeds remaining bytes (%zu)",
                       c->g->path, what, (unsigned long long)count, c->g->size - c->at);
    return ERR_OK;
}

// For messages; a key may be any bytes.
#define KEY(c, v) (int)(v)->key_len, (c)->g->bytes + (v)->key_at

static enum err read_strings(struct gguf_cursor *c, struct gguf_value *v) {
    v->strings = mem_alloc(v->count, sizeof *v->strings);
    if (!v->strings)
        return err_set(c->msg, ERR_NOMEM, "%s: no memory for %zu strings", c->g->path, v->count);
    for (size_t i = 0; i < v->count; i++) {
        size_t at = 0, len = 0;
        enum err e = gguf_next_string(c, &at, &len);
        if (e)
            return e;
        v->strings[i] = (uint32_t)(at - 8); // below MAX_HEADER
    }
    return ERR_OK;
}

static enum err read_array(struct gguf_cursor *c, struct gguf_value *v) {
    uint32_t type = 0;
    uint64_t count = 0;
    char what[MAX_KEY + 16];
    enum err e = gguf_next_u32(c, &type);
    if (!e)
        e = gguf_next_u64(c, &count);
    if (e)
        return e;
    if (type > GGUF_F64 || type == GGUF_ARRAY)
        return err_set(c->msg, ERR_UNSUPPORTED,
                       "%s: key '%.*s': an array of type %u is not supported (numbers, bools and "
                       "strings are)",
                       c->g->path, KEY(c, v), type);
    v->element = (enum gguf_type)type;
    size_t size = gguf_type_size(v->element);
    snprintf(what, sizeof what, "key '%.*s'", KEY(c, v));
    if ((e = check_count(c, count, size ? size : 8, what)))
        return e;
    v->count = (size_t)count;
    v->at = c->at;
    if (v->element == GGUF_STRING)
        return read_strings(c, v);
    if ((e = need(c, v->count * size))) // no overflow: it fits into the file
        return e;
    c->at += v->count * size;
    return ERR_OK;
}

static enum err read_value(struct gguf_cursor *c, struct gguf_value *v) {
    uint32_t type;
    size_t at, len;
    enum err e = gguf_next_string(c, &v->key_at, &v->key_len);
    if (e)
        return e;
    if (v->key_len == 0 || v->key_len > MAX_KEY)
        return err_set(c->msg, ERR_INVALID, "%s: a key has %zu bytes, 1 to %d are taken",
                       c->g->path, v->key_len, MAX_KEY);
    if ((e = gguf_next_u32(c, &type)))
        return e;
    if (type > GGUF_F64)
        return err_set(c->msg, ERR_UNSUPPORTED,
                       "%s: key '%.*s': value type %u is not supported (0 to %d are)", c->g->path,
                       KEY(c, v), type, GGUF_F64);
    v->type = (enum gguf_type)type;
    v->at = c->at;
    if (v->type == GGUF_ARRAY)
        return read_array(c, v);
    if (v->type == GGUF_STRING)
        return gguf_next_string(c, &at, &len);
    if ((e = need(c, gguf_type_size(v->type))))
        return e;
    if (v->type == GGUF_BOOL && (unsigned char)c->g->bytes[c->at] > 1)
        return err_set(c->msg, ERR_INVALID, "%s: key '%.*s': a bool is %u", c->g->path, KEY(c, v),
                       (unsigned char)c->g->bytes[c->at]);
    c->at += gguf_type_size(v->type);
    return ERR_OK;
}

struct keyed { // what qsort has to see: offsets alone compare nothing
    const char *key;
    struct gguf_value value;
};

static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    size_t n = x->value.key_len, m = y->value.key_len;
    int c = memcmp(x->key, y->key, n < m ? n : m);
    return c ? c : (n > m) - (n < m);
}

static enum err sort_values(struct gguf_cursor *c) {
    struct gguf *g = c->g;
    size_t n = g->value_count;
    struct keyed *k = mem_alloc(n, sizeof *k);
    if (!k)
        return err_set(c->msg, ERR_NOMEM, "%s: no memory for %zu keys", g->path, n);
    for (size_t i = 0; i < n; i++)
        k[i] = (struct keyed){g->bytes + g->values[i].key_at, g->values[i]};
    if (n)
        qsort(k, n, sizeof *k, by_key);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        g->values[i] = k[i].value;
        if (i > 0 && by_key(&k[i - 1], &k[i]) == 0)
            e = err_set(c->msg, ERR_INVALID, "%s: key '%.*s' stands twice", g->path,
                        KEY(c, &k[i].value));
    }
    mem_free(k);
    return e;
}

static enum err read_values(struct gguf_cursor *c, uint64_t count) {
    enum err e = check_count(c, count, LEAST_VALUE, "metadata");
    if (e)
        return e;
    if (count > MAX_VALUES)
        return err_set(c->msg, ERR_INVALID, "%s: %llu keys of metadata, at most %d are taken",
                       c->g->path, (unsigned long long)count, MAX_VALUES);
    c->g->values = mem_calloc((size_t)count, sizeof *c->g->values);
    if (!c->g->values)
        return err_set(c->msg, ERR_NOMEM, "%s: no memory for %llu keys", c->g->path,
                       (unsigned long long)count);
    for (size_t i = 0; i < count; i++) {
        c->g->value_count = i + 1; // gguf_close lets its strings go
        if ((e = read_value(c, &c->g->values[i])))
            return e;
    }
    return sort_values(c);
}

static enum err check_start(struct gguf_cursor *c) {
    static const char lfs[] = "version https://git-lfs";
    struct gguf *g = c->g;
    uint32_t version;
    enum err e;
    size_t first = g->size < sizeof lfs - 1 ? g->size : sizeof lfs - 1;
    if ((e = need(c, first)))
        return e;
    if (first == sizeof lfs - 1 && memcmp(g->bytes, lfs, first) == 0)
        return err_set(c->msg, ERR_INVALID,
                       "%s: a Git LFS pointer, not the model: fetch it with git lfs pull", g->path);
    if (first < sizeof magic || memcmp(g->bytes, magic, sizeof magic) != 0)
        return err_set(c->msg, ERR_INVALID, "%s: not a GGUF file: it does not begin with 'GGUF'",
                       g->path);
    c->at = sizeof magic;
    if ((e = gguf_next_u32(c, &version)))
        return e;
    if (version > 0 && (version & 0xffff) == 0)
        return err_set(c->msg, ERR_UNSUPPORTED,
                       "%s: a big-endian GGUF file is not supported (little-endian is)", g->path);
    if (version < VERSION_MIN || version > VERSION_MAX)
        return err_set(c->msg, ERR_UNSUPPORTED,
                       "%s: GGUF version %u is not supported (2 and 3 are)", g->path, version);
    return ERR_OK;
}

static enum err read_header(struct gguf *g, struct errmsg *msg) {
    struct gguf_cursor c = {g, 0, msg};
    uint64_t tensors = 0, values = 0;
    enum err e = check_start(&c);
    if (!e)
        e = gguf_next_u64(&c, &tensors);
    if (!e)
        e = gguf_next_u64(&c, &values);
    if (!e)
        e = check_count(&c, tensors, LEAST_TENSOR, "tensors");
    if (!e)
        e = read_values(&c, values);
    if (!e)
        e = check_count(&c, tensors, LEAST_TENSOR, "tensors");
    if (!e && tensors > GGUF_MAX_TENSORS)
        e = err_set(msg, ERR_INVALID, "%s: %llu tensors, at most %d are taken", g->path,
                    (unsigned long long)tensors, GGUF_MAX_TENSORS);
    if (!e)
        e = gguf_read_tensors(&c, (size_t)tensors);
    return e;
}

static struct gguf *new_gguf(const char *label, struct errmsg *msg) {
    struct gguf *g = mem_calloc(1, sizeof *g);
    if (g)
        g->path = mem_strndup(label, strlen(label));
    if (!g || !g->path) {
        err_set(msg, ERR_NOMEM, "%s: no memory to open it", label);
        mem_free(g);
        return NULL;
    }
    return g;
}

static enum err finish(struct gguf *g, enum err e, struct gguf **out) {
    if (e)
        gguf_close(g);
    else
        *out = g;
    return e;
}

enum err gguf_open_one(const char *path, struct gguf **out, struct errmsg *msg) {
    *out = NULL;
    struct gguf *g = new_gguf(path, msg);
    if (!g)
        return ERR_NOMEM;
    enum err e = file_open(&g->file, path, msg);
    if (!e) {
        g->size = g->file.size;
        e = read_header(g, msg);
    }
    return finish(g, e, out);
}

enum err gguf_open(const char *path, struct gguf **out, struct errmsg *msg) {
    struct gguf *g;
    *out = NULL;
    enum err e = gguf_open_one(path, &g, msg);
    return e ? e : finish(g, gguf_open_parts(g, msg), out);
}

enum err gguf_parse(const char *label, const char *bytes, size_t len, size_t size,
                    struct gguf **out, struct errmsg *msg) {
    *out = NULL;
    struct gguf *g = new_gguf(label, msg);
    if (!g)
        return ERR_NOMEM;
    len = len < size ? len : size;
    g->bytes = mem_strndup(bytes, len);
    g->len = len;
    g->size = size;
    enum err e;
    if (!g->bytes)
        e = err_set(msg, ERR_NOMEM, "%s: no memory for it", label);
    else if (len > MAX_HEADER)
        e = err_set(msg, ERR_INVALID, "%s: the header is over the limit of %d bytes", label,
                    MAX_HEADER);
    else
        e = read_header(g, msg);
    return finish(g, e, out);
}

void gguf_close(struct gguf *g) {
    if (!g)
        return;
    for (size_t i = 0; i < g->value_count; i++)
        mem_free(g->values[i].strings);
    mem_free(g->values);
    mem_free(g->tensors);
    mem_free(g->names);
    mem_free(g->bytes);
    file_close(&g->file);
    for (size_t i = 0; g->parts && i < g->part_count; i++)
        gguf_close(g->parts[i]);
    mem_free(g->parts);
    mem_free(g->path);
    mem_free(g);
}

const char *gguf_path(const struct gguf *g) { return g->path; }

bool gguf_is_file(const char *path) {
    struct file f = {0};
    char first[sizeof magic];
    if (!file_exists(path) || file_open(&f, path, NULL))
        return false;
    bool is = f.size >= sizeof first && file_read_at(&f, 0, first, sizeof first, NULL) == ERR_OK &&
              memcmp(first, magic, sizeof magic) == 0;
    file_close(&f);
    return is;
}
