// Where in the original text something came from. Role: what an encoding keeps of each token, and
// a normalized text of each byte.
#ifndef TRINE_TOKENIZER_TOKEN_SPAN_H
#define TRINE_TOKENIZER_TOKEN_SPAN_H

#include <stdint.h>

struct token_span {
    uint32_t begin, end; // bytes of the original text; [0,0) for tokens a template put in
};

#endif
