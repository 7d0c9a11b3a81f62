// See normal.h.
#include "tokenizer/normal.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

void normal_free(struct normal *n) {
    mem_free(n->text);
    mem_free(n->align);
    *n = (struct normal){0};
}

void normal_clear(struct normal *n) {
    n->len = 0;
    n->failed = false;
}

bool normal_reserve(struct normal *n, size_t more) {
    // spans and piece ends are 32 bits wide, and a Replace can make any text long
    if (n->failed || more > UINT32_MAX || n->len + more > UINT32_MAX) {
        n->failed = true;
        return false;
    }
    size_t need = n->len + more;
    if (need <= n->cap)
        return true;
    size_t cap = need > 2 * n->cap ? need : 2 * n->cap;
    cap = cap < 64 ? 64 : cap;
    char *text = mem_realloc(n->text, cap, 1);
    if (text)
        n->text = text;
    struct token_span *align = text ? mem_realloc(n->align, cap, sizeof *align) : NULL;
    if (!align) {
        n->failed = true;
        return false;
    }
    n->align = align;
    n->cap = cap;
    return true;
}

void normal_set(struct normal *n, const char *original, size_t begin, size_t end) {
    normal_clear(n);
    if (!normal_reserve(n, end - begin))
        return;
    for (size_t i = begin; i < end;) {
        uint32_t cp;
        size_t size = utf8_decode(original + i, end - i, &cp);
        size = size ? size : 1; // the bytes were checked at the edge
        struct token_span from = {(uint32_t)i, (uint32_t)(i + size)};
        for (size_t k = 0; k < size; k++)
            n->align[n->len + k] = from;
        memcpy(n->text + n->len, original + i, size);
        n->len += size;
        i += size;
    }
}

void normal_put(struct normal *n, uint32_t cp, struct token_span from) {
    if (n->cap - n->len < 4 && !normal_reserve(n, 4))
        return;
    if (n->failed)
        return;
    size_t size = utf8_encode(cp, n->text + n->len);
    for (size_t k = 0; k < size; k++)
        n->align[n->len + k] = from;
    n->len += size;
}

void normal_swap(struct normal *a, struct normal *b) {
    struct normal t = *a;
    *a = *b;
    *b = t;
}

static size_t size_at(const struct normal *n, size_t at) {
    uint32_t cp;
    size_t size = utf8_decode(n->text + at, n->len - at, &cp);
    return size ? size : 1;
}

struct token_span normal_take(struct normal_reader *from, long change) {
    const struct normal *in = from->in;
    struct token_span none = {0, 0};
    if (change > 0)
        return from->at ? in->align[from->at - 1] : none;
    if (from->at >= in->len)
        return none;
    struct token_span span = in->align[from->at];
    for (long i = 0; i <= -change && from->at < in->len; i++)
        from->at += size_at(in, from->at);
    return span;
}
