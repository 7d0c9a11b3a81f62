// See encoding.h.
#include "tokenizer/encoding.h"

#include "base/mem.h"

// The old array stays good when its growth fails, so a failure leaks nothing.
#define GROW(array, n)                                                                             \
    do {                                                                                           \
        void *p_ = mem_realloc((array), (n), sizeof *(array));                                     \
        if (!p_)                                                                                   \
            return ERR_NOMEM;                                                                      \
        (array) = p_;                                                                              \
    } while (0)

enum err encoding_reserve(struct encoding *e, size_t more) {
    if (more > SIZE_MAX / 2 - e->len)
        return ERR_NOMEM;
    size_t need = e->len + more;
    if (need <= e->cap)
        return ERR_OK;
    size_t cap = need > 2 * e->cap ? need : 2 * e->cap;
    cap = cap < 32 ? 32 : cap;
    GROW(e->ids, cap);
    GROW(e->type_ids, cap);
    GROW(e->spans, cap);
    GROW(e->special, cap);
    e->cap = cap;
    return ERR_OK;
}

void encoding_trim(struct encoding *e, size_t bytes) {
    size_t each = sizeof *e->ids + sizeof *e->type_ids + sizeof *e->spans + sizeof *e->special;
    if (e->cap > bytes / each)
        encoding_free(e);
}

void encoding_free(struct encoding *e) {
    if (!e)
        return;
    mem_free(e->ids);
    mem_free(e->type_ids);
    mem_free(e->spans);
    mem_free(e->special);
    *e = (struct encoding){0};
}
