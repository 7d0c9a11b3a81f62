// The split patterns of byte-level BPE as hand-written automata: where does the next match end.
// Role: a regular expression is recognised by its exact text; the caller refuses one that is not
// listed. Every pattern here matches at every position, so a text is cut into matches with nothing
// between them.
// Source followed: the expressions themselves, as the engine of Hugging Face tokenizers reads them;
// its character classes are tables made from its behaviour (tools/make_split_tables.py).
// Thread rule: pure functions over constants.
#ifndef TRINE_TOKENIZER_SPLIT_H
#define TRINE_TOKENIZER_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPLIT_BLOCK 128 // code points a block of the class table

enum split_class {
    SPLIT_LETTER = 1,    // \p{L}
    SPLIT_NUMBER = 2,    // \p{N}
    SPLIT_SPACE = 4,     // \s
    SPLIT_UPPER = 8,     // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
    SPLIT_LOWER = 16,    // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
    SPLIT_MARK = 32,     // \p{M}
    SPLIT_DIGIT = 64,    // what the Digits pre-tokenizer sets apart
    SPLIT_UNSTABLE = 128 // NFC may change it or join it to what stands before
};

extern const uint8_t split_block[0x110000 / SPLIT_BLOCK];
extern const uint8_t split_class_blocks[][SPLIT_BLOCK];

enum split_kind {
    SPLIT_GPT2,
    SPLIT_QWEN2,  // numbers one by one
    SPLIT_QWEN35, // and marks are letters
    SPLIT_LLAMA3, // numbers by three; cl100k is the same
    SPLIT_O200K,  // words end where lower case turns upper
    SPLIT_TEKKEN, // and no contractions, numbers one by one
    SPLIT_SEED,   // Qwen2's, but line ends never go with punctuation
    SPLIT_KINDS,
};

// The kind of the pattern with this exact text; SPLIT_KINDS when it is none of them.
enum split_kind split_by_regex(const char *regex);
const char *split_regex(enum split_kind kind); // as most files write it
const char *split_name(enum split_kind kind);

// The end of the match that begins at `at` < end; it is above `at`. Amortised linear time. text is
// valid UTF-8, and `at` and `end` lie between characters.
size_t split_next(enum split_kind kind, const char *text, size_t at, size_t end);

// The classes of the character at `at` < end; *next is the index behind it.
static inline unsigned split_class_at(const char *text, size_t at, size_t end, size_t *next) {
    const unsigned char *s = (const unsigned char *)text + at;
    uint32_t cp = s[0];
    size_t size = cp < 0x80 ? 1 : cp < 0xE0 ? 2 : cp < 0xF0 ? 3 : 4;
    if (size > end - at) { // cannot be, in valid UTF-8
        *next = end;
        return 0;
    }
    *next = at + size;
    if (size == 2)
        cp = (cp & 0x1F) << 6 | (s[1] & 0x3F);
    else if (size == 3)
        cp = (cp & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    else if (size == 4)
        cp = (cp & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 |
             (s[3] & 0x3F);
    return cp < 0x110000 ? split_class_blocks[split_block[cp / SPLIT_BLOCK]][cp % SPLIT_BLOCK] : 0;
}

// True when NFC certainly leaves text[0..len) unchanged.
bool split_is_stable(const char *text, size_t len);

#endif
