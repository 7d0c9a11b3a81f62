// One text on its way to ids. Role: shared by encode.c and encode_bpe.c only. Thread rule: one
// owner.
#ifndef TRINE_TOKENIZER_ENCODE_H
#define TRINE_TOKENIZER_ENCODE_H

#include "tokenizer/tokenizer_internal.h"

struct encode_job {
    const struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct text text;
    struct encoding *out;
};

static inline enum err encode_push(struct encoding *out, int32_t id, struct token_span span) {
    if (out->len == out->cap && encoding_reserve(out, 1))
        return ERR_NOMEM;
    out->ids[out->len] = id;
    out->spans[out->len++] = span;
    return ERR_OK;
}
// Appends a token that is spelled (or was found as) token[0..len), with the spaces at its ends left
// out of its span where the file asks for it.
enum err encode_push_trimmed(struct encode_job *j, int32_t id, const char *token, size_t len,
                             struct token_span span) MUST_CHECK;
// Encodes text[begin, end), which has no added token, by byte-level BPE. ERR_NOMEM.
enum err encode_bpe(struct encode_job *j, size_t begin, size_t end) MUST_CHECK;

#endif
