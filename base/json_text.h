// Strings of JSON, both ways. Role: the one place that knows JSON's escapes.
// Thread rule: pure functions over what the caller owns.
#ifndef TRINE_BASE_JSON_TEXT_H
#define TRINE_BASE_JSON_TEXT_H

#include <stddef.h>

struct buf;

// Appends s[0..len) as a quoted JSON string: ", \ and control characters escaped, the rest as is.
// json_escape: what stands between the quotes, so that a string may be written in pieces.
void json_quote(struct buf *out, const char *s, size_t len);
void json_escape(struct buf *out, const char *s, size_t len);

// Decodes what stands at s[*at], advances *at behind it; writes 1 to 4 bytes to out and returns how
// many. An escape (a surrogate pair too) gives its character's UTF-8; other bytes come one by one.
// The string must have been checked: nothing here looks for its end.
size_t json_decode_char(const char *s, size_t *at, char out[4]);
// Decodes all that stands between the quotes of a checked string; returns how many bytes were
// written, at most len.
size_t json_decode(const char *s, size_t len, char *out);
// The value of four hex digits at p; -1: they are none.
int json_hex4(const char *p);

#endif
