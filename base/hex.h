// Hexadecimal digits. Thread rule: pure functions.
#ifndef TRINE_BASE_HEX_H
#define TRINE_BASE_HEX_H

// The value of one digit, of either case; -1: it is none.
static inline int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
