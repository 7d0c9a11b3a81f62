// How many tokens of one or two texts are kept. Source followed: huggingface/tokenizers,
// utils/truncation.rs (truncate_encodings). Thread rule: pure function.
#ifndef TRINE_TOKENIZER_TRUNCATE_H
#define TRINE_TOKENIZER_TRUNCATE_H

#include "tokenizer/tokenizer.h"

// Cuts *first and *second (pair only) so that together they are at most room. ERR_INVALID.
enum err truncate_lengths(enum truncate_strategy strategy, size_t room, bool pair, size_t *first,
                          size_t *second, struct errmsg *msg) MUST_CHECK;

#endif
