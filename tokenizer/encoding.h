// A text's tokens: what tokenizer_encode fills. Thread rule: one owner.
#ifndef TRINE_TOKENIZER_ENCODING_H
#define TRINE_TOKENIZER_ENCODING_H

#include "base/err.h"
#include "tokenizer/token_span.h"

#include <stdbool.h>
#include <stddef.h>

// Parallel arrays of `len` tokens, owned by the encoding (encoding_free); reused from call to call.
struct encoding {
    int32_t *ids;
    int32_t *type_ids; // 0 or 1: which text of a pair
    struct token_span *spans;
    uint8_t *special; // 1: put in by the post-processor's template
    size_t len, cap;
    size_t full_len; // what len would be without truncation
    bool truncated;
};

void encoding_free(struct encoding *e);
// Frees it when it holds more than `bytes` of memory, used or not.
void encoding_trim(struct encoding *e, size_t bytes);
// Makes room for `more` tokens behind len. ERR_NOMEM.
enum err encoding_reserve(struct encoding *e, size_t more) MUST_CHECK;

#endif
