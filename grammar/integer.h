// Integers of any size as digit strings, and expressions for ranges of them: a schema's minimum and
// maximum hold exactly, beyond what a double or 64 bits can say.
#ifndef TRINE_GRAMMAR_INTEGER_H
#define TRINE_GRAMMAR_INTEGER_H

#include "grammar/expr.h"

enum { INTEGER_DIGITS_MAX = 100 };

struct integer {
    bool negative; // never of zero
    size_t n;      // digits, no leading zeros; 0: the number 0
    char digits[INTEGER_DIGITS_MAX + 2];
};

enum integer_read {
    INTEGER_READ,
    INTEGER_LARGE, // magnitude over 100 digits; out->negative is set
};

// Rounds the lexeme of a JSON number up (ceil) or down to an integer. *exact: it already was one.
enum integer_read integer_from_lexeme(const char *text, size_t len, bool up, struct integer *out,
                                      bool *exact);
int integer_compare(const struct integer *a, const struct integer *b);
// The integers from lo to hi as JSON writes them (no "-0"). An absent end is that of 64 bits, or
// further. NULL: memory is out.
const struct expr *integer_range(struct expr_arena *a, const struct integer *lo,
                                 const struct integer *hi);

#endif
