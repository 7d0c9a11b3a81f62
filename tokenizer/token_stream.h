// Ids to text, one at a time, for an answer that is sent while it is made.
// Role: holds back the bytes of a character that is not complete yet; what it has given out is
// whole UTF-8 and is never taken back. The result is the same, to the byte, as tokenizer_decode of
// all ids. Knows no stop strings and no HTTP.
// Thread rule: one owner. It needs no freeing, and may be copied to remember a point.
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

// Appends the text that the id completes, whole UTF-8 only. All that is appended for some ids and
// by token_stream_end together is tokenizer_decode of these ids. An id without a token is skipped;
// what is pending stays pending. ERR_NOMEM.
enum err token_stream_add(struct token_stream *s, int32_t id, struct buf *out,
                          struct errmsg *msg) MUST_CHECK;

// Appends U+FFFD for what is still incomplete, as Hugging Face does. A failure shows in
// out->failed.
void token_stream_end(struct token_stream *s, struct buf *out);

#endif
