// What a struct tokenizer is made of. Role: shared by the files of this room only.
// A further model (byte-level BPE, Unigram) is a further member beside `wordpiece` and a case where
// encode.c calls wordpiece_encode.
#ifndef TRINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define TRINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/encoding.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/postprocess.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/wordpiece.h"

enum ascii_class {
    ASCII_LETTER, // part of a word
    ASCII_SPACE,
    ASCII_PUNCTUATION, // a word of its own
    ASCII_SLOW,        // needs the general path
};

struct tokenizer {
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct wordpiece wordpiece;
    struct added_tokens added;
    struct postprocess postprocess;
    struct text_decoder decoder;
    size_t vocab_size; // highest id + 1

    // What the normalizer and pre-tokenizer do to each byte, when ASCII words can skip both.
    bool ascii_fast;
    uint8_t ascii_class[256];
    char ascii_normal[256];
};

struct tokenizer_scratch {
    const struct tokenizer *tokenizer;
    struct word_work words;
    struct normal normal;
    struct normalizer_work normalizer;
    struct added_splits raw, normalized;
    struct encoding first, second;
    char *lower; // [lower_cap] the ASCII word being read
    size_t lower_cap;
};

// The tokenizer.json in bytes; messages begin with `name`. As tokenizer_load otherwise.
enum err tokenizer_load_json(const char *bytes, size_t len, const char *name, size_t vocab_size,
                             struct tokenizer **out, struct errmsg *msg) MUST_CHECK;
// The tokenizer.json that BertTokenizerFast would build from vocab.txt and tokenizer_config.json
// (NULL: none), as a tree. *root is the caller's.
enum err vocab_txt_to_json(const char *vocab, size_t len, const cJSON *config, cJSON **root,
                           struct errmsg *msg) MUST_CHECK;

// Fills ascii_fast, ascii_class and ascii_normal by trying every byte. ERR_NOMEM.
enum err tokenizer_probe_ascii(struct tokenizer *t) MUST_CHECK;

#endif
