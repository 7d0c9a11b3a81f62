// A slice of text that someone else owns.
#ifndef TRINE_BASE_TEXT_H
#define TRINE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct text {
    const char *bytes; // valid UTF-8, checked at the edge by whoever brought it in
    size_t len;
};

// Whether the string s ends with `end`, or is it.
static inline bool text_ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

#endif
