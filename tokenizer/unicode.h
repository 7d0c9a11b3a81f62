// What the tokenizer asks about one code point, answered as Hugging Face tokenizers answers it.
// Role: property flags and lowercase come from generated tables (tools/make_tokenizer_tables.py);
// decomposition, combining class and composition from utf8proc, without the characters that Hugging
// Face's library does not know yet. Knows no strings. Thread rule: pure functions over constants.
#ifndef TRINE_TOKENIZER_UNICODE_H
#define TRINE_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNICODE_BLOCK 128         // code points a block of the flag table
#define UNICODE_DECOMPOSED_MAX 18 // the longest full decomposition (U+FDFA)

enum unicode_flag {
    UNICODE_WHITESPACE = 1,  // White_Space
    UNICODE_REMOVED = 2,     // clean_text drops it: control, format, unassigned, U+FFFD
    UNICODE_PUNCTUATION = 4, // BertPreTokenizer sets it apart
    UNICODE_NONSPACING = 8,  // strip_accents drops it after decomposition (Mn)
    UNICODE_MARK = 16,       // StripAccents drops it (M)
    UNICODE_WORD = 32,       // \w
    UNICODE_DECOMPOSES = 64, // has a canonical decomposition or a combining class
    UNICODE_LOWERS = 128,    // lowercase differs
};

struct unicode_range {
    uint32_t first, last;
};

// first, first + step, ..., last each become themselves plus delta.
struct unicode_lower_run {
    uint32_t first, last;
    int32_t step, delta;
};

extern const uint8_t unicode_block[0x110000 / UNICODE_BLOCK];
extern const uint8_t unicode_flag_blocks[][UNICODE_BLOCK];
extern const struct unicode_lower_run unicode_lower_runs[];
extern const size_t unicode_lower_run_count;
extern const struct unicode_range unicode_unknown[]; // utf8proc decomposes or orders these, HF not
extern const size_t unicode_unknown_count;

// cp is a scalar value in all of these.
static inline unsigned unicode_flags(uint32_t cp) {
    return unicode_flag_blocks[unicode_block[cp / UNICODE_BLOCK]][cp % UNICODE_BLOCK];
}

// The blocks that BERT calls Chinese characters.
static inline bool unicode_is_cjk(uint32_t cp) {
    if (cp < 0x3400)
        return false;
    return cp <= 0x4DBF || (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F) ||
           (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

// Writes the lowercase of cp; returns how many code points (1 or 2).
size_t unicode_lower(uint32_t cp, uint32_t out[2]);

// Writes the full canonical (or compatibility) decomposition; returns its length, at least 1.
size_t unicode_decompose(uint32_t cp, bool compatibility, uint32_t out[UNICODE_DECOMPOSED_MAX]);

uint8_t unicode_combining_class(uint32_t cp);

// The code point that a starter and what follows it compose to; 0 when they do not.
uint32_t unicode_compose(uint32_t a, uint32_t b);

#endif
