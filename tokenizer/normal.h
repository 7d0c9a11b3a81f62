// A text on its way through the normalizers: its bytes and, for each byte, the span of the original
// text that it came from. Role: the only record of this alignment; knows no normalizer.
// Source followed: huggingface/tokenizers, tokenizer/normalizer.rs (NormalizedString).
// Thread rule: one owner.
#ifndef TRINE_TOKENIZER_NORMAL_H
#define TRINE_TOKENIZER_NORMAL_H

#include "tokenizer/token_span.h"

#include <stdbool.h>
#include <stddef.h>

struct normal {
    char *text;               // [len] valid UTF-8
    struct token_span *align; // [len]
    size_t len, cap;
    bool failed; // memory ran out: everything since is dropped
};

void normal_free(struct normal *n);
// Makes n the text original[begin, end), unchanged.
void normal_set(struct normal *n, const char *original, size_t begin, size_t end);
void normal_clear(struct normal *n); // keeps the memory
// Room for `more` bytes; false, and failed set, when memory is out.
bool normal_reserve(struct normal *n, size_t more);
void normal_put(struct normal *n, uint32_t cp, struct token_span from);
void normal_swap(struct normal *a, struct normal *b);

// The text before a rewrite, read in step with what is written: the bookkeeping of
// NormalizedString::transform.
struct normal_reader {
    const struct normal *in;
    size_t at; // byte of `in` read next
};
// The span of a code point that is written. change as in Hugging Face: 0: it replaces the next code
// point that is read; -N: it replaces the next one, and the N behind it are dropped; above 0: it is
// inserted, and shares the span of the one read last.
struct token_span normal_take(struct normal_reader *from, long change);

#endif
