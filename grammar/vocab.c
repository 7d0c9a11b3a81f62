// See vocab.h and grammar.h.
#include "grammar/vocab.h"

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

// Walks the sorted spellings; `nodes` NULL only counts.
static uint32_t make_trie(const struct spelling *s, size_t n, struct vocab_node *nodes) {
    uint32_t count = 0, open[GRAMMAR_TOKEN_MAX] = {0};
    size_t depth = 0; // open[0..depth) are the nodes of the last spelling
    for (size_t i = 0; i < n; i++) {
        size_t same = i ? shared_prefix(&s[i - 1], &s[i]) : 0;
        for (; depth > same; depth--)
            if (nodes)
                nodes[open[depth - 1]].skip = count;
        for (; depth < s[i].len; depth++) {
            if (nodes)
                nodes[count] = (struct vocab_node){.first = (uint32_t)i,
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

static enum err fill(struct grammar_vocab *v, const struct grammar_token *tokens, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += tokens[i].len <= GRAMMAR_TOKEN_MAX ? tokens[i].len : 0;
    if (bytes >= UINT32_MAX)
        return ERR_NOMEM;
    v->bytes = mem_alloc(bytes + 1, 1);
    v->at = mem_calloc(n + 1, sizeof *v->at);
    v->order = mem_calloc(n, sizeof *v->order);
    struct spelling *s = mem_calloc(n, sizeof *s);
    if (!v->bytes || !v->at || !v->order || !s) {
        mem_free(s);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        size_t len = tokens[i].len <= GRAMMAR_TOKEN_MAX && !v->is_end[i] ? tokens[i].len : 0;
        if (len) {
            memcpy(v->bytes + v->at[i], tokens[i].bytes, len);
            s[v->n_order++] = (struct spelling){v->bytes + v->at[i], len, (int32_t)i};
        }
        v->longest = len > v->longest ? len : v->longest;
        v->at[i + 1] = v->at[i] + (uint32_t)len;
    }
    qsort(s, v->n_order, sizeof *s, by_bytes);
    for (size_t i = 0; i < v->n_order; i++)
        v->order[i] = s[i].id;
    v->n_nodes = make_trie(s, v->n_order, NULL);
    v->nodes = mem_calloc(v->n_nodes, sizeof *v->nodes);
    if (v->nodes)
        make_trie(s, v->n_order, v->nodes);
    mem_free(s);
    return v->nodes ? ERR_OK : ERR_NOMEM;
}

enum err grammar_vocab_new(const struct grammar_token *tokens, size_t n, const int32_t *end_ids,
                           size_t ends, struct grammar_vocab **out, struct errmsg *msg) {
    *out = NULL;
    struct grammar_vocab *v = mem_calloc(1, sizeof *v);
    if (!v)
        return err_set(msg, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&v->lock, NULL);
    v->n_tokens = n;
    v->is_end = mem_calloc(n, sizeof *v->is_end);
    v->ends = mem_calloc(ends, sizeof *v->ends);
    enum err e = v->is_end && v->ends ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < ends && !e; i++)
        if (end_ids[i] >= 0 && (size_t)end_ids[i] < n) {
            v->is_end[end_ids[i]] = true;
            v->ends[v->n_ends++] = end_ids[i];
        }
    if (!e)
        e = fill(v, tokens, n);
    if (e) {
        grammar_vocab_free(v);
        return err_set(msg, e, "out of memory");
    }
    *out = v;
    return ERR_OK;
}

void grammar_vocab_free(struct grammar_vocab *v) {
    if (!v)
        return;
    for (size_t i = 0; i < GRAMMAR_JSON_STATES; i++)
        loop_table_free(atomic_load(&v->json[i]));
    pthread_mutex_destroy(&v->lock);
    mem_free(v->nodes);
    mem_free(v->order);
    mem_free(v->at);
    mem_free(v->bytes);
    mem_free(v->ends);
    mem_free(v->is_end);
    mem_free(v);
}

size_t grammar_mask_words(const struct grammar_vocab *v) { return (v->n_tokens + 31) / 32; }
