// See trie.h.
#include "grammar/trie.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct spelling { // of a token, while sorting
    const char *bytes;
    size_t len;
    int32_t id;
};

static int by_bytes(const void *x, const void *y) {
    const struct spelling *a = x, *b = y;
    size_t n = a->len < b->len ? a->len : b->len;
    int c = memcmp(a->bytes, b->bytes, n);
    if (c)
        return c;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static size_t shared_prefix(const struct spelling *a, const struct spelling *b) {
    size_t n = a->len < b->len ? a->len : b->len, i = 0;
    while (i < n && a->bytes[i] == b->bytes[i])
        i++;
    return i;
}

// Walks the sorted spellings and makes their nodes; with `nodes` NULL it only counts them.
static uint32_t make_nodes(const struct spelling *s, size_t n, struct trie_node *nodes) {
    uint32_t count = 0, open[GRAMMAR_TOKEN_MAX] = {0};
    size_t depth = 0; // open[0..depth) are the nodes of the last spelling
    for (size_t i = 0; i < n; i++) {
        size_t same = i ? shared_prefix(&s[i - 1], &s[i]) : 0;
        for (; depth > same; depth--)
            if (nodes)
                nodes[open[depth - 1]].skip = count;
        for (; depth < s[i].len; depth++) {
            if (nodes)
                nodes[count] = (struct trie_node){.first = (uint32_t)i,
                                                  .depth = (uint8_t)depth,
                                                  .byte = (uint8_t)s[i].bytes[depth]};
            open[depth] = count++;
        }
        if (nodes && nodes[open[depth - 1]].n < UINT16_MAX)
            nodes[open[depth - 1]].n++;
    }
    for (; depth > 0; depth--)
        if (nodes)
            nodes[open[depth - 1]].skip = count;
    return count;
}

enum err trie_make(const struct grammar_token *tokens, const bool *left_out, size_t n,
                   struct trie *t) {
    t->n_tokens = n;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += tokens[i].len <= GRAMMAR_TOKEN_MAX ? tokens[i].len : 0;
    if (bytes >= UINT32_MAX)
        return ERR_NOMEM;
    t->bytes = mem_alloc(bytes + 1, 1);
    t->at = mem_calloc(n + 1, sizeof *t->at);
    t->order = mem_calloc(n, sizeof *t->order);
    struct spelling *s = mem_calloc(n, sizeof *s);
    if (!t->bytes || !t->at || !t->order || !s) {
        mem_free(s);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        size_t len = tokens[i].len <= GRAMMAR_TOKEN_MAX && !left_out[i] ? tokens[i].len : 0;
        if (len) {
            memcpy(t->bytes + t->at[i], tokens[i].bytes, len);
            s[t->n_order++] = (struct spelling){t->bytes + t->at[i], len, (int32_t)i};
        }
        t->longest = len > t->longest ? len : t->longest;
        t->at[i + 1] = t->at[i] + (uint32_t)len;
    }
    qsort(s, t->n_order, sizeof *s, by_bytes);
    for (size_t i = 0; i < t->n_order; i++)
        t->order[i] = s[i].id;
    t->n_nodes = make_nodes(s, t->n_order, NULL);
    t->nodes = mem_calloc(t->n_nodes, sizeof *t->nodes);
    if (t->nodes)
        make_nodes(s, t->n_order, t->nodes);
    mem_free(s);
    return t->nodes ? ERR_OK : ERR_NOMEM;
}

void trie_free(struct trie *t) {
    mem_free(t->nodes);
    mem_free(t->order);
    mem_free(t->at);
    mem_free(t->bytes);
    *t = (struct trie){0};
}
