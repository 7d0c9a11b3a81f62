// The pre_tokenizer section: cuts a normalized text into words.
// Role: BertPreTokenizer, Whitespace, WhitespaceSplit, Digits, Split by one of the known patterns,
// ByteLevel (its pattern only: the alphabet is the model's affair) and Sequence; any other is
// refused by name. Source followed: huggingface/tokenizers, src/pre_tokenizers. Thread rule:
// immutable after parse.
#ifndef TRINE_TOKENIZER_PRETOKENIZER_H
#define TRINE_TOKENIZER_PRETOKENIZER_H

#include "base/json.h"
#include "tokenizer/split.h"

#include <stddef.h>

#define PRETOKENIZER_STEPS_MAX 8

enum pretokenizer_kind {
    PRETOKENIZER_BERT,             // spaces go, each punctuation stands alone
    PRETOKENIZER_WHITESPACE,       // \w+ and [^\w\s]+
    PRETOKENIZER_WHITESPACE_SPLIT, // spaces go
    PRETOKENIZER_DIGITS,           // digits stand apart, together
    PRETOKENIZER_EACH_DIGIT,       // and one by one
    PRETOKENIZER_SPLIT,            // the matches of a pattern
};

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    enum split_kind split; // PRETOKENIZER_SPLIT
};

struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_STEPS_MAX]; // each cuts the words of the one before
    size_t count;                                           // 0: the text is one word
    bool byte_level;                                        // ByteLevel ends it
    bool add_prefix_space; // ByteLevel's: a text that begins with no space is given one
};

// json is NULL for `null`. ERR_UNSUPPORTED, ERR_INVALID.
enum err pretokenizer_parse(const cJSON *json, struct pretokenizer *out,
                            struct errmsg *msg) MUST_CHECK;
void pretokenizer_describe(const struct pretokenizer *p, struct buf *out);

// Takes the word text[begin, end). When it returns anything but ERR_OK the walk ends.
typedef enum err pretokenizer_sink(void *context, size_t begin, size_t end);

// Calls sink for each word of text[begin, end) in order. Words are never empty.
enum err pretokenizer_walk(const struct pretokenizer *p, const char *text, size_t begin, size_t end,
                           pretokenizer_sink *sink, void *context) MUST_CHECK;

#endif
