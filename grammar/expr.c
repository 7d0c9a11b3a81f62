// See expr.h.
#include "grammar/expr.h"

#include <stdlib.h>
#include <string.h>

struct expr_block {
    struct expr_block *next;
    size_t size, used;
    max_align_t data[];
};

void expr_arena_free(struct expr_arena *a) {
    while (a->blocks) {
        struct expr_block *next = a->blocks->next;
        mem_free(a->blocks);
        a->blocks = next;
    }
}

void *expr_alloc(struct expr_arena *a, size_t count, size_t size) {
    size_t bytes = 0;
    if (mem_mul_overflows(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        a->failed = true;
        return NULL;
    }
    bytes = (bytes + sizeof(max_align_t)) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!a->blocks || bytes > a->blocks->size - a->blocks->used) {
        size_t want = bytes > 16384 ? bytes : 16384;
        struct expr_block *b = mem_calloc(1, sizeof *b + want);
        if (!b) {
            a->failed = true;
            return NULL;
        }
        *b = (struct expr_block){.next = a->blocks, .size = want};
        a->blocks = b;
    }
    void *p = (char *)a->blocks->data + a->blocks->used;
    a->blocks->used += bytes;
    return p;
}

static struct expr *make(struct expr_arena *a, enum expr_kind kind) {
    struct expr *e = expr_alloc(a, 1, sizeof *e);
    if (e)
        e->kind = kind;
    return e;
}

const struct expr *expr_bytes(struct expr_arena *a, const char *bytes, size_t n) {
    struct expr *e = make(a, EXPR_BYTES);
    char *copy = expr_alloc(a, n + 1, 1);
    if (!e || !copy)
        return NULL;
    if (n)
        memcpy(copy, bytes, n);
    e->bytes = copy;
    e->n = n;
    return e;
}

const struct expr *expr_text(struct expr_arena *a, const char *text) {
    return expr_bytes(a, text, strlen(text));
}

static int by_lo(const void *x, const void *y) {
    const struct expr_range *a = x, *b = y;
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

// Writes ranges[0..n) sorted and disjoint, or what they leave out, to out[0..n + 2).
static size_t normalise(struct expr_range *ranges, size_t n, bool negated, struct expr_range *out) {
    enum { LAST = 0x10FFFF };
    qsort(ranges, n, sizeof *ranges, by_lo);
    size_t merged = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        if (merged && ranges[i].lo <= ranges[merged - 1].hi + 1) {
            if (ranges[i].hi > ranges[merged - 1].hi)
                ranges[merged - 1].hi = ranges[i].hi;
        } else {
            ranges[merged++] = ranges[i];
        }
    }
    if (!negated) {
        if (merged)
            memcpy(out, ranges, merged * sizeof *out);
        return merged;
    }
    uint32_t from = 0;
    for (size_t i = 0; i < merged; i++) {
        if (ranges[i].lo > from)
            out[count++] = (struct expr_range){from, ranges[i].lo - 1};
        from = ranges[i].hi + 1;
    }
    if (from <= LAST)
        out[count++] = (struct expr_range){from, LAST};
    return count;
}

const struct expr *expr_class(struct expr_arena *a, const struct expr_range *ranges, size_t n,
                              bool negated) {
    struct expr *e = make(a, EXPR_CLASS);
    struct expr_range *copy = expr_alloc(a, n + 1, sizeof *copy);
    struct expr_range *out = expr_alloc(a, n + 2, sizeof *out);
    if (!e || !copy || !out)
        return NULL;
    if (n)
        memcpy(copy, ranges, n * sizeof *copy);
    e->n = normalise(copy, n, negated, out);
    e->ranges = out;
    return e;
}

const struct expr *expr_list(struct expr_arena *a, enum expr_kind kind,
                             const struct expr *const *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!items[i])
            return NULL;
    if (n == 1)
        return items[0];
    struct expr *e = make(a, kind);
    const struct expr **copy = expr_alloc(a, n + 1, sizeof *copy);
    if (!e || !copy)
        return NULL;
    if (n)
        memcpy(copy, items, n * sizeof *copy);
    e->items = copy;
    e->n = n;
    return e;
}

const struct expr *expr_repeat(struct expr_arena *a, const struct expr *item, uint32_t min,
                               uint32_t max) {
    if (!item)
        return NULL;
    struct expr *e = make(a, EXPR_REPEAT);
    const struct expr **copy = expr_alloc(a, 1, sizeof *copy);
    if (!e || !copy)
        return NULL;
    copy[0] = item;
    e->items = copy;
    e->n = 1;
    e->min = min;
    e->max = max;
    return e;
}

const struct expr *expr_rule(struct expr_arena *a, uint32_t rule) {
    struct expr *e = make(a, EXPR_RULE);
    if (e)
        e->rule = rule;
    return e;
}
