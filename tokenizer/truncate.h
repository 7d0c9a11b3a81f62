// How many tokens of one or two texts are kept. Source followed: huggingface/tokenizers,
// utils/truncation.rs (truncate_encodings). Thread rule: pure function.
#ifndef TRINE_TOKENIZER_TRUNCATE_H
#define TRINE_TOKENIZER_TRUNCATE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum truncate_strategy {
    TRUNCATE_NONE,
    TRUNCATE_LONGEST_FIRST, // HF's rule: how two texts share the room
    TRUNCATE_ONLY_FIRST,
    TRUNCATE_ONLY_SECOND,
};

enum truncate_side { TRUNCATE_RIGHT, TRUNCATE_LEFT };

// Cuts *first and *second (pair only) so that together they are at most room. ERR_INVALID.
enum err truncate_lengths(enum truncate_strategy strategy, size_t room, bool pair, size_t *first,
                          size_t *second, struct errmsg *msg) MUST_CHECK;

#endif
