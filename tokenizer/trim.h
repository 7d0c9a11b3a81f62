// RobertaProcessing's trim_offsets: spaces at the ends of a token are not part of its span.
// Source followed: huggingface/tokenizers, pre_tokenizers/byte_level.rs (process_offsets). There a
// truncation on the left comes first, so another token is the first one, which matters only with
// add_prefix_space; here the first token of the text is the first one.
// Thread rule: pure function.
#ifndef TRINE_TOKENIZER_TRIM_H
#define TRINE_TOKENIZER_TRIM_H

#include "base/text.h"
#include "tokenizer/token_span.h"

#include <stdbool.h>

// token: the token as spelled in the vocabulary or found in the text. first: it is the first one.
struct token_span trim_span(struct text text, const char *token, size_t len, bool first,
                            bool add_prefix_space, struct token_span span);

#endif
