// A slice of text that someone else owns.
#ifndef TRINE_BASE_TEXT_H
#define TRINE_BASE_TEXT_H

#include <stddef.h>

struct text {
    const char *bytes; // valid UTF-8, checked at the edge by whoever brought it in
    size_t len;
};

#endif
