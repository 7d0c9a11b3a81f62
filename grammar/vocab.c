// See vocab.h and grammar.h.
#include "grammar/vocab.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

struct vocab_tables {
    pthread_mutex_t lock; // of making one
    _Atomic(struct loop_table *) json[GRAMMAR_JSON_STATES];
};

enum err grammar_vocab_new(const struct grammar_token *tokens, size_t n, const int32_t *end_ids,
                           size_t ends, struct grammar_vocab **out, struct errmsg *msg) {
    *out = NULL;
    struct grammar_vocab *v = mem_calloc(1, sizeof *v);
    if (!v)
        return err_set(msg, ERR_NOMEM, "out of memory");
    v->is_end = mem_calloc(n, sizeof *v->is_end);
    v->ends = mem_calloc(ends, sizeof *v->ends);
    v->tables = mem_calloc(1, sizeof *v->tables);
    if (v->tables)
        pthread_mutex_init(&v->tables->lock, NULL);
    enum err e = v->is_end && v->ends && v->tables ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < ends && !e; i++)
        if (end_ids[i] >= 0 && (size_t)end_ids[i] < n) {
            v->is_end[end_ids[i]] = true;
            v->ends[v->n_ends++] = end_ids[i];
        }
    if (!e)
        e = trie_make(tokens, v->is_end, n, &v->trie);
    if (e) {
        grammar_vocab_free(v);
        return err_set(msg, e, "out of memory");
    }
    *out = v;
    return ERR_OK;
}

static void free_tables(struct vocab_tables *t) {
    for (size_t i = 0; i < GRAMMAR_JSON_STATES; i++)
        loop_table_free(atomic_load(&t->json[i]));
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

void grammar_vocab_free(struct grammar_vocab *v) {
    if (!v)
        return;
    if (v->tables)
        free_tables(v->tables);
    trie_free(&v->trie);
    mem_free(v->ends);
    mem_free(v->is_end);
    mem_free(v);
}

const struct loop_table *vocab_json_table(const struct grammar_vocab *v, uint32_t q) {
    return atomic_load(&v->tables->json[q]);
}

enum err vocab_json_table_make(const struct grammar_vocab *v, const struct grammar *g,
                               uint32_t start, uint32_t q, const struct loop_table **out) {
    struct vocab_tables *tables = v->tables;
    enum err e = ERR_OK;
    pthread_mutex_lock(&tables->lock);
    struct loop_table *t = atomic_load(&tables->json[q]);
    if (!t) {
        e = loop_table_make(g, &v->trie, (struct trie_part){0, v->trie.n_nodes, 0}, start, q, &t);
        atomic_store(&tables->json[q], t);
    }
    pthread_mutex_unlock(&tables->lock);
    *out = t;
    return e;
}

size_t grammar_mask_words(const struct grammar_vocab *v) { return (v->trie.n_tokens + 31) / 32; }
