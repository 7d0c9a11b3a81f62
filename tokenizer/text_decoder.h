// The decoder section: pieces back to text. Role: WordPiece, ByteLevel and none; any other is
// refused by name. Source followed: huggingface/tokenizers, src/decoders/wordpiece.rs and
// pre_tokenizers/byte_level.rs (decode_chain).
// Thread rule: immutable after parse.
#ifndef TRINE_TOKENIZER_TEXT_DECODER_H
#define TRINE_TOKENIZER_TEXT_DECODER_H

#include "base/buf.h"
#include "base/json.h"

enum text_decoder_kind { DECODER_NONE, DECODER_WORDPIECE, DECODER_BYTE_LEVEL };

struct text_decoder {
    enum text_decoder_kind kind;
    char *prefix; // owned
    size_t prefix_len;
    bool cleanup;
};

// json is NULL for `null`. ERR_UNSUPPORTED, ERR_INVALID, ERR_NOMEM; free it in either case.
enum err text_decoder_parse(const cJSON *json, struct text_decoder *out,
                            struct errmsg *msg) MUST_CHECK;
void text_decoder_free(struct text_decoder *d);
void text_decoder_describe(const struct text_decoder *d, struct buf *out);

// Appends one piece, the index-th of those that are decoded; `work` is scratch. With
// DECODER_BYTE_LEVEL raw bytes are appended, whatever the index. A failure shows in out->failed.
void text_decoder_append(const struct text_decoder *d, const char *piece, size_t index,
                         struct buf *work, struct buf *out);

#endif
