// What a struct tokenizer is made of. Role: shared by the files of this room only.
// A further model (Unigram) is a further member beside `wordpiece` and `bpe` and a case where
// encode.c asks for the kind.
#ifndef TRINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define TRINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/postprocess.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/text_decoder.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_config.h"
#include "tokenizer/wordpiece.h"

enum tokenizer_model { MODEL_WORDPIECE, MODEL_BPE };

enum tokenizer_ascii {
    ASCII_LETTER, // part of a word
    ASCII_SPACE,
    ASCII_PUNCTUATION, // a word of its own
    ASCII_SLOW,        // needs the general path
};

// The bytes that each token adds to a text when it is not the first.
struct tokenizer_bytes {
    struct buf blob;
    uint32_t *at; // [vocab_size + 1] into blob
};

struct tokenizer {
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    enum tokenizer_model kind;
    struct wordpiece wordpiece; // of the two, one is filled
    struct bpe bpe;
    const struct vocab *vocab; // of the model that is
    struct added_tokens added;
    struct postprocess postprocess;
    struct text_decoder decoder;
    size_t vocab_size;       // highest id + 1
    enum truncate_side side; // where a text is cut unless a request says it
    bool types_unread;       // see tokenizer_use_model_types
    bool types_unclear;      // see tokenizer_types_unclear
    struct tokenizer_bytes bytes;
    struct key_unknown unknown; // of tokenizer.json
    bool stable_nfc; // the normalizer is NFC or nothing: most texts need not pass through it

    // For each byte: what the normalizer and the pre-tokenizer do to it. Lets ASCII words skip
    // both.
    bool ascii_fast;
    uint8_t ascii_class[256];
    char ascii_normal[256];
};

struct tokenizer_scratch {
    const struct tokenizer *tokenizer;
    struct wordpiece_work words;
    struct bpe_work bpe;
    struct normal normal, prefixed;
    struct normalizer_work normalizer;
    struct added_splits raw, normalized;
    struct encoding first, second;
    char *lower; // [lower_cap] the ASCII word being read
    size_t lower_cap;
};

// Frees buffers that a large text made large. scratch.c.
void scratch_trim(struct tokenizer_scratch *s);

// Fills t->bytes from the pieces, added tokens and decoder. ERR_NOMEM.
enum err tokenizer_bytes_fill(struct tokenizer *t) MUST_CHECK;
void tokenizer_bytes_free(struct tokenizer_bytes *b);

// Makes a tokenizer from a tree in the form of tokenizer.json. files: what the other files of the
// folder say, which is written into the tree first; NULL: there are none.
enum err tokenizer_from_tree(cJSON *root, const struct tokenizer_files *files, size_t vocab_size,
                             struct tokenizer **out, struct errmsg *msg) MUST_CHECK;
// Makes one from the bytes of a tokenizer.json; messages begin with `name`. Otherwise as
// tokenizer_load.
enum err tokenizer_load_json(const char *bytes, size_t len, const char *name,
                             const struct tokenizer_files *files, size_t vocab_size,
                             struct tokenizer **out, struct errmsg *msg) MUST_CHECK;
// Makes, as a tree, the tokenizer.json that BertTokenizerFast would build from vocab.txt and
// tokenizer_config.json (NULL: none). The caller owns *root.
enum err vocab_txt_to_json(const char *vocab, size_t len, const cJSON *config, cJSON **root,
                           struct errmsg *msg) MUST_CHECK;

// The same from vocab.json (which it takes over in any case), merges.txt and tokenizer_config.json,
// whose class decides the pattern. The caller owns *root, after an error too.
enum err vocab_merges_to_json(cJSON *vocab, const char *merges, size_t len, const cJSON *config,
                              cJSON **root, struct errmsg *msg) MUST_CHECK;

// Fills ascii_fast, ascii_class and ascii_normal by trying every byte. ERR_NOMEM.
enum err tokenizer_probe_ascii(struct tokenizer *t) MUST_CHECK;

#endif
