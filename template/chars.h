// Strings as Python sees them: counted in characters, with Unicode's spaces and cases (Unicode 14,
// full mappings with the final sigma; no locale). Role: the base of filters and methods.
// Thread rule: pure functions.
#ifndef TRINE_TEMPLATE_CHARS_H
#define TRINE_TEMPLATE_CHARS_H

#include "base/buf.h"

#include <stdint.h>

// Characters of valid UTF-8.
size_t chars_count(const char *s, size_t len);
// Byte offset of character `index`, len when there are fewer.
size_t chars_offset(const char *s, size_t len, size_t index);
// Bytes of leading / trailing whitespace (str.isspace).
size_t chars_space_prefix(const char *s, size_t len);
size_t chars_space_suffix(const char *s, size_t len);
bool chars_is_printable(uint32_t cp);

enum chars_case { CHARS_UPPER, CHARS_LOWER, CHARS_TITLE, CHARS_CAPITALIZE };
// Appends str.upper, lower, title or capitalize of s.
void chars_append_case(struct buf *out, const char *s, size_t len, enum chars_case to);
// First place of `what` in s at or after `from`, SIZE_MAX when there is none.
size_t chars_find(const char *s, size_t len, const char *what, size_t what_len, size_t from);
// The same from the end.
size_t chars_find_last(const char *s, size_t len, const char *what, size_t what_len);
// Bytes to the end of the line that begins at s, its break not counted, and of the break
// (str.splitlines).
size_t chars_line(const char *s, size_t len, size_t *break_len);
// Order by code points (that of the bytes): <0, 0, >0.
int chars_compare(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
