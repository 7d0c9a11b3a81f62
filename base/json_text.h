// Strings of JSON, both ways. Role: the one place that knows JSON's escapes.
// Thread rule: pure functions over what the caller owns.
#ifndef TRINE_BASE_JSON_TEXT_H
#define TRINE_BASE_JSON_TEXT_H

#include <stddef.h>

struct buf;

// Appends s[0..len) as a quoted JSON string: ", \ and control characters are escaped, the rest
// stays as it is. json_escape appends only what is between the quotes, so that a string may be
// written in pieces.
void json_quote(struct buf *out, const char *s, size_t len);
void json_escape(struct buf *out, const char *s, size_t len);

// Decodes what is at s[*at] and moves *at behind it; writes 1 to 4 bytes to out and returns how
// many. An escape (also a surrogate pair) gives the UTF-8 of its character; other bytes come one at
// a time. The string must have been checked: nothing here looks for its end.
size_t json_decode_char(const char *s, size_t *at, char out[4]);
// Decodes everything between the quotes of a checked string; returns how many bytes it wrote, at
// most len.
size_t json_decode(const char *s, size_t len, char *out);
// The value of four hex digits at p; -1: they are none.
int json_hex4(const char *p);

#endif
