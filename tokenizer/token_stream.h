// Ids to text one at a time, for an answer that is sent while it is made.
// Role: holds back the bytes of a character whose rest has not come yet; what it has given out is
// whole UTF-8 and is never taken back. Knows no stop strings and no HTTP.
// Source followed: tokenizer_decode of the same ids, to the byte.
// Thread rule: one owner; it needs no freeing, and may be copied to remember a point.
#ifndef TRINE_TOKENIZER_TOKEN_STREAM_H
#define TRINE_TOKENIZER_TOKEN_STREAM_H

#include "tokenizer/tokenizer.h"

struct token_stream {
    const struct tokenizer *tokenizer;
    bool skip_special;
    size_t index;    // tokens that took part so far
    char pending[4]; // the beginning of a character, valid as far as it goes
    size_t pending_len;
};

void token_stream_init(struct token_stream *s, const struct tokenizer *t, bool skip_special_tokens);

// Appends the text that the id completes: whole UTF-8 only. All that is appended for some ids and
// by token_stream_end is tokenizer_decode of them all. An id without a token is as if it were not
// there: what is pending stays so. ERR_NOMEM.
enum err token_stream_add(struct token_stream *s, int32_t id, struct buf *out,
                          struct errmsg *msg) MUST_CHECK;

// What is still incomplete becomes U+FFFD, as Hugging Face prints it. Failure shows in out->failed.
void token_stream_end(struct token_stream *s, struct buf *out);

#endif
