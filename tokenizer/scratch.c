// A thread's buffers: they begin empty, grow with the texts, and are freed again after a text that
// made them large. See tokenizer.h.
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

// The limit of each buffer: a text of a hundred kilobytes fits. A larger text allocates anew each
// time, which costs some hundredths of what its tokens cost.
#define KEPT ((size_t)1 << 20)

enum err tokenizer_scratch_new(const struct tokenizer *t, struct tokenizer_scratch **out) {
    *out = NULL;
    struct tokenizer_scratch *s = mem_calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->tokenizer = t;
    if (t->kind == MODEL_BPE ? bpe_work_init(&s->bpe)
                             : wordpiece_work_init(&s->words, &t->wordpiece)) {
        tokenizer_scratch_free(s);
        return ERR_NOMEM;
    }
    *out = s;
    return ERR_OK;
}

void tokenizer_scratch_free(struct tokenizer_scratch *s) {
    if (!s)
        return;
    wordpiece_work_free(&s->words);
    bpe_work_free(&s->bpe);
    normal_free(&s->normal);
    normal_free(&s->prefixed);
    normalizer_work_free(&s->normalizer);
    mem_free(s->raw.items);
    mem_free(s->normalized.items);
    encoding_free(&s->first);
    encoding_free(&s->second);
    mem_free(s->lower);
    mem_free(s);
}

#define TRIM(items, cap)                                                                           \
    do {                                                                                           \
        if ((cap) > KEPT / sizeof *(items)) {                                                      \
            mem_free(items);                                                                       \
            (items) = NULL;                                                                        \
            (cap) = 0;                                                                             \
        }                                                                                          \
    } while (0)

static void trim_normal(struct normal *n) {
    if (n->cap > KEPT / (1 + sizeof *n->align))
        normal_free(n);
}

// Caches and hashes keep the size that they were made with; bpe.c frees its symbols itself.
void scratch_trim(struct tokenizer_scratch *s) {
    struct normalizer_work *w = &s->normalizer;
    trim_normal(&s->normal);
    trim_normal(&s->prefixed);
    trim_normal(&w->spare);
    TRIM(w->pending.items, w->pending.cap);
    TRIM(w->sorted.items, w->sorted.cap);
    TRIM(w->held.items, w->held.cap);
    TRIM(s->raw.items, s->raw.cap);
    TRIM(s->normalized.items, s->normalized.cap);
    TRIM(s->lower, s->lower_cap);
    TRIM(s->words.pieces, s->words.cap);
    TRIM(s->bpe.pieces, s->bpe.cap);
    TRIM(s->bpe.heap, s->bpe.heap_cap);
    encoding_trim(&s->first, KEPT);
    encoding_trim(&s->second, KEPT);
}
