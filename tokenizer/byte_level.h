// The alphabet in which byte-level vocabularies are written: a printable character for each byte.
// Source followed: huggingface/tokenizers, pre_tokenizers/byte_level.rs (bytes_char).
// Thread rule: pure functions.
#ifndef TRINE_TOKENIZER_BYTE_LEVEL_H
#define TRINE_TOKENIZER_BYTE_LEVEL_H

#include <stddef.h>
#include <stdint.h>

// The code point that stands for a byte: the byte itself where it prints, else one of U+0100 to
// U+0143.
static inline uint32_t byte_level_cp(unsigned char byte) {
    if (byte < 0x21)
        return 0x100u + byte;
    if (byte < 0x7F)
        return byte;
    if (byte < 0xA1)
        return 0x121u + (byte - 0x7Fu);
    return byte == 0xAD ? 0x143 : byte;
}

// The byte that cp stands for; -1 when cp is not in the alphabet.
static inline int byte_level_byte(uint32_t cp) {
    if (cp < 0x21)
        return -1;
    if (cp < 0x7F || (cp >= 0xA1 && cp < 0x100 && cp != 0xAD))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    if (cp < 0x121)
        return (int)(cp - 0x100);
    return cp == 0x143 ? 0xAD : (int)(cp - 0x121 + 0x7F);
}

// How many bytes its character has in UTF-8.
static inline size_t byte_level_len(unsigned char byte) {
    return byte_level_cp(byte) < 0x80 ? 1 : 2;
}

// Writes the bytes that a piece stands for to out[0..len) and returns their number, at most len. A
// piece with a character outside the alphabet stands for itself.
size_t byte_level_decode(const char *piece, size_t len, char *out);

#endif
