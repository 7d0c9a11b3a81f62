// Whether a text is JSON that may come in. Role: the strict check that all JSON from outside
// passes, requests and model files alike: RFC 8259 to the letter plus limits of our own (depth,
// number of values, no duplicate key, no NUL, no lone surrogate, no number that a double cannot
// hold). Linear in time, never recursive. json_scan.c does the work; the parsers (json_tree.h,
// json.h) check while they parse.
// Thread rule: pure functions.
#ifndef TRINE_BASE_JSON_CHECK_H
#define TRINE_BASE_JSON_CHECK_H

#include "base/err.h"

#include <stddef.h>

struct json_limits {
    size_t max_depth;  // open arrays and objects at once; at most 64
    size_t max_values; // values of every kind, keys not counted
    size_t max_number; // characters of a number; 0 and more than 511: 511
};

// What was wrong, for an API answer: a stable code ("invalid_json", "too_deep", "invalid_utf8",
// "nul_character", "lone_surrogate", "duplicate_key", "number_out_of_range", "too_many_values") and
// the byte offset where it was seen.
struct json_issue {
    const char *code;
    size_t offset;
};

extern const struct json_limits json_limits_request; // 64 deep, 200,000 values
extern const struct json_limits json_limits_file;    // 64 deep, 8,000,000 values

// ERR_INVALID fills issue and writes a message with the offset and the place of the value
// ("input[3]"), never with text of the input; ERR_NOMEM; ERR_TOO_LARGE (4 GiB). issue may be NULL.
enum err json_check(const char *text, size_t len, const struct json_limits *limits,
                    struct json_issue *issue, struct errmsg *msg) MUST_CHECK;

#endif
