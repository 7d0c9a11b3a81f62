// The normalizer section of tokenizer.json: parsed once, applied to one text at a time.
// Role: BertNormalizer, Lowercase, NFD, NFC, NFKD, NFKC, StripAccents, Strip, Replace (of a plain
// string) and Sequence; any other is refused by name.
// Source followed: huggingface/tokenizers, src/normalizers, and the crate
// unicode-normalization-alignments for what a byte of a decomposed text is aligned to.
// Thread rule: immutable after parse.
#ifndef TRINE_TOKENIZER_NORMALIZER_H
#define TRINE_TOKENIZER_NORMALIZER_H

#include "base/json.h"
#include "tokenizer/normal.h"

enum normalizer_kind {
    NORMALIZER_BERT,
    NORMALIZER_LOWERCASE,
    NORMALIZER_NFD,
    NORMALIZER_NFKD,
    NORMALIZER_NFC,
    NORMALIZER_NFKC,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_STRIP,
    NORMALIZER_REPLACE,
};

struct normalizer_step {
    enum normalizer_kind kind;
    bool clean_text, chinese, strip_accents, lowercase; // BERT
    bool left, right;                                   // STRIP
    char *pattern, *content;                            // REPLACE, owned
    size_t pattern_len, content_len;
};

struct normalizer {
    struct normalizer_step *steps; // owned; in order, a Sequence is flattened
    size_t count;
};

// Code points that a decomposition or composition holds back; part of a scratch.
struct normalizer_mark {
    uint32_t cp;
    uint8_t ccc;
    long change; // as normal_take
};
struct normalizer_marks {
    struct normalizer_mark *items;
    size_t len, cap;
};
struct normalizer_work {
    struct normal spare;
    struct normalizer_marks pending, sorted, held;
    bool failed;
};

// json is NULL for `null`. ERR_UNSUPPORTED, ERR_INVALID, ERR_NOMEM; free it in either case.
enum err normalizer_parse(const cJSON *json, struct normalizer *out, struct errmsg *msg) MUST_CHECK;
void normalizer_free(struct normalizer *n);
void normalizer_describe(const struct normalizer *n, struct buf *out);

// Replaces text by its normal form. ERR_NOMEM.
enum err normalizer_apply(const struct normalizer *n, struct normal *text,
                          struct normalizer_work *work) MUST_CHECK;
void normalizer_work_free(struct normalizer_work *work);

// True when the normal form of "a b" is the normal forms of "a", " " and "b" put together.
bool normalizer_splits_at_spaces(const struct normalizer *n);

#endif
