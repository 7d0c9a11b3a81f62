// Growth of the public struct encoding. Thread rule: one owner.
#ifndef TRINE_TOKENIZER_ENCODING_H
#define TRINE_TOKENIZER_ENCODING_H

#include "tokenizer/tokenizer.h"

// Room for `more` tokens behind len. ERR_NOMEM.
enum err encoding_reserve(struct encoding *e, size_t more) MUST_CHECK;

#endif
