// See draft.h. Guessed rows are nearly free while a step is bound by reading the weights, and cost
// their share where it is not; so a text whose guesses fail is left alone for longer each time.
#include "engine/draft.h"

#include <string.h>

enum {
    FIRST_LENGTH = 4,
    LONGEST_NGRAM = 4,
    SHORTEST_NGRAM = 2,
    LONGEST_REST = 64,
    WINDOW = 1 << 14, // tokens looked back over
};

// The latest earlier place where the last `ngram` tokens stood; returns the index behind it, 0:
// none.
static size_t find_ngram(const int32_t *tokens, size_t n, size_t ngram) {
    if (n < ngram + 1)
        return 0;
    const int32_t *tail = tokens + n - ngram;
    size_t lowest = n > WINDOW ? n - WINDOW : 0;
    for (size_t at = n - ngram; at-- > lowest;)
        if (tokens[at] == tail[0] && memcmp(tokens + at, tail, ngram * sizeof *tail) == 0)
            return at + ngram;
    return 0;
}

// Where the guess begins; 0: there is none.
static size_t find(const int32_t *tokens, size_t n) {
    size_t at = 0;
    for (size_t ngram = LONGEST_NGRAM; ngram >= SHORTEST_NGRAM && at == 0; ngram--)
        at = find_ngram(tokens, n, ngram);
    return at;
}

bool draft_is_likely(const struct draft_policy *p, const int32_t *tokens, size_t n) {
    return p->rests == 0 && find(tokens, n) > 0;
}

size_t draft_make(struct draft_policy *p, const int32_t *tokens, size_t n, size_t most,
                  const int32_t **draft) {
    if (p->rests > 0) {
        p->rests--;
        return 0;
    }
    size_t length = p->length ? p->length : FIRST_LENGTH;
    if (length > most)
        length = most;
    if (length == 0)
        return 0;
    size_t at = find(tokens, n);
    *draft = tokens + at;
    return at == 0 ? 0 : n - at < length ? n - at : length;
}

void draft_learn(struct draft_policy *p, size_t made, size_t came_true) {
    if (made == 0)
        return;
    if (came_true == 0) {
        p->misses = p->misses < 6 ? p->misses + 1 : 6;
        p->rests = 1U << p->misses;
        if (p->rests > LONGEST_REST)
            p->rests = LONGEST_REST;
        p->length = 2;
        return;
    }
    p->misses = 0;
    size_t next = came_true == made ? 2 * made : came_true + 1;
    p->length = next > DRAFT_MAX ? DRAFT_MAX : (unsigned)next;
}
