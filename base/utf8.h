// UTF-8 decoding and encoding, strict: no overlong forms, no surrogates, nothing over U+10FFFF.
// Thread rule: pure functions.
#ifndef TRINE_BASE_UTF8_H
#define TRINE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Decodes the scalar value at s[0..len); returns its length in bytes (1 to 4), 0 when the bytes are
// not valid UTF-8 (or len is 0).
size_t utf8_decode(const char *s, size_t len, uint32_t *cp);
// Writes cp (a valid scalar value) to out[0..4); returns its length.
size_t utf8_encode(uint32_t cp, char out[4]);
// Whether a byte is the second or a later one of a character.
static inline bool utf8_is_tail(char c) { return ((unsigned char)c & 0xC0) == 0x80; }
// True when all of s is valid; else *bad is the offset of the first wrong byte. bad may be NULL.
bool utf8_valid(const char *s, size_t len, size_t *bad);
// Cleans a string for display (a message, a log line), in place: it becomes one line of valid
// UTF-8. Control characters and bytes that are not UTF-8 become '?', and a character that a fixed
// buffer or "%.100s" cut in two is removed. Returns the new length.
size_t utf8_tidy(char *s);

#endif
