// One character of a JSON string that json_check has passed, for what reads strings after it: the
// check itself (keys) and the tree. Role: the one place that knows JSON's escapes.
// Thread rule: a pure function.
#ifndef TRINE_BASE_JSON_ESCAPE_H
#define TRINE_BASE_JSON_ESCAPE_H

#include <stddef.h>

// Decodes what stands at s[*at], advances *at behind it; writes 1 to 4 bytes to out and returns how
// many. An escape (a surrogate pair too) gives its character's UTF-8; other bytes come one by one.
// The string must have been checked: nothing here looks for its end.
size_t json_decode_char(const char *s, size_t *at, char out[4]);

#endif
