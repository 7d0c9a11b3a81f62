// A model cut into several files: X-00001-of-00003.gguf and so on in one folder. The first has the
// metadata and is the one that is named; each has tensors. See gguf.h. Source followed: llama.cpp,
// tools/gguf-split and src/llama-model-loader.cpp.
#include "base/mem.h"
#include "weights/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_PARTS = 1024, // each is kept open
    MAX_COUNT = 65535,
    ENDING = 20, // "-00001-of-00003.gguf"
};

// "-00001-of-00003.gguf" at the end of a path: true, and the two numbers.
static bool read_ending(const char *path, size_t *part, size_t *count) {
    static const char form[] = "-00000-of-00000.gguf";
    size_t len = strlen(path), numbers[2] = {0};
    if (len < ENDING)
        return false;
    const char *end = path + len - ENDING;
    for (size_t i = 0; i < ENDING; i++) {
        if (form[i] != '0' ? end[i] != form[i] : end[i] < '0' || end[i] > '9')
            return false;
        if (form[i] == '0')
            numbers[i > 6] = numbers[i > 6] * 10 + (size_t)(end[i] - '0');
    }
    *part = numbers[0];
    *count = numbers[1];
    return true;
}

bool gguf_is_later_part(const char *path) {
    size_t part, count;
    return read_ending(path, &part, &count) && part > 1 && part <= count;
}

// Below 100,000, as both numbers are where they were read.
static void write_number(char *five, size_t n) {
    for (size_t i = 5; i-- > 0; n /= 10)
        five[i] = (char)('0' + n % 10);
}

bool gguf_part_path(const char *first, size_t i, char **out) {
    size_t part, count;
    *out = NULL;
    if (!read_ending(first, &part, &count) || part != 1 || i < 1 || i > count)
        return false;
    *out = mem_strndup(first, strlen(first));
    if (*out)
        write_number(*out + strlen(first) - ENDING + 1, i);
    return true;
}

struct split {
    int64_t no, count, tensors; // count 0: the file is whole; no begins at 0
};

static enum err read_split(const struct gguf *g, struct split *s, struct errmsg *msg) {
    enum err e = gguf_get_int(g, "split.count", 0, MAX_COUNT, 0, &s->count, msg);
    if (!e)
        e = gguf_get_int(g, "split.no", 0, MAX_COUNT, 0, &s->no, msg);
    return e ? e : gguf_get_int(g, "split.tensors.count", 0, INT32_MAX, -1, &s->tensors, msg);
}

static enum err check_part(const struct gguf *part, size_t i, const struct split *first,
                           struct errmsg *msg) {
    struct split s;
    enum err e = read_split(part, &s, msg);
    if (e)
        return e;
    if (s.count != first->count || s.no != (int64_t)i ||
        (s.tensors >= 0 && s.tensors != first->tensors))
        return err_set(msg, ERR_INVALID,
                       "%s: says part %lld of %lld with %lld tensors in all, but its name and the "
                       "first part say part %zu of %lld with %lld",
                       part->path, (long long)s.no + 1, (long long)s.count, (long long)s.tensors,
                       i + 1, (long long)first->count, (long long)first->tensors);
    return ERR_OK;
}

static enum err open_part(struct gguf *g, size_t i, const struct split *first, struct errmsg *msg) {
    char *path;
    if (!gguf_part_path(g->path, i + 1, &path) || !path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open its parts", g->path);
    enum err e = gguf_open_one(path, &g->parts[i - 1], msg);
    if (e == ERR_NOT_FOUND)
        err_prefix(msg, e, "part %zu of %lld is missing (all stand in one folder)", i + 1,
                   (long long)first->count);
    mem_free(path);
    if (e)
        return e;
    g->part_count = i;
    return check_part(g->parts[i - 1], i, first, msg);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The parts' tensors behind the first part's; none stands twice.
static enum err join(struct gguf *g, const struct split *first, struct errmsg *msg) {
    size_t all = g->tensor_count;
    for (size_t i = 0; i < g->part_count; i++)
        all += g->parts[i]->tensor_count;
    if ((int64_t)all != first->tensors || all > GGUF_MAX_TENSORS)
        return err_set(msg, ERR_INVALID,
                       "%s: its %lld parts hold %zu tensors, key 'split.tensors.count' says %lld",
                       g->path, (long long)first->count, all, (long long)first->tensors);
    struct tensor *tensors = mem_realloc(g->tensors, all, sizeof *tensors);
    const char **names = mem_calloc(all, sizeof(const char *));
    enum err e = ERR_OK;
    if (tensors)
        g->tensors = tensors;
    if (!tensors || !names) {
        mem_free(names);
        return err_set(msg, ERR_NOMEM, "%s: no memory for %zu tensors", g->path, all);
    }
    for (size_t i = 0; i < g->part_count; i++) {
        const struct gguf *part = g->parts[i];
        if (part->tensor_count)
            memcpy(g->tensors + g->tensor_count, part->tensors,
                   part->tensor_count * sizeof *g->tensors);
        g->tensor_count += part->tensor_count;
    }
    for (size_t i = 0; i < all; i++)
        names[i] = g->tensors[i].name;
    qsort(names, all, sizeof *names, by_name);
    for (size_t i = 1; i < all && !e; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            e = err_set(msg, ERR_INVALID, "%s: tensor '%s' stands in two parts", g->path, names[i]);
    mem_free(names);
    return e;
}

enum err gguf_open_parts(struct gguf *g, struct errmsg *msg) {
    struct split s;
    size_t part, count;
    enum err e = read_split(g, &s, msg);
    if (e || s.count <= 1)
        return e;
    if (s.no > 0)
        return err_set(msg, ERR_INVALID,
                       "%s: part %lld of %lld of a split file: name the first part "
                       "(...-00001-of-%05lld.gguf), the others are found beside it",
                       g->path, (long long)s.no + 1, (long long)s.count, (long long)s.count);
    if (s.count > MAX_PARTS)
        return err_set(msg, ERR_UNSUPPORTED, "%s: split into %lld files, at most %d are taken",
                       g->path, (long long)s.count, MAX_PARTS);
    if (!read_ending(g->path, &part, &count) || part != 1 || (int64_t)count != s.count)
        return err_set(msg, ERR_INVALID,
                       "%s: the first of %lld files, so its name must end in "
                       "-00001-of-%05lld.gguf for the others to be found",
                       g->path, (long long)s.count, (long long)s.count);
    if (s.tensors < 0)
        return err_set(msg, ERR_INVALID, "%s: key 'split.tensors.count' is missing", g->path);
    g->parts = mem_calloc(count - 1, sizeof(struct gguf *));
    if (!g->parts)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open its parts", g->path);
    for (size_t i = 1; i < count && !e; i++)
        e = open_part(g, i, &s, msg);
    return e ? e : join(g, &s, msg);
}
