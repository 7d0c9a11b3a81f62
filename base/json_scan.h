// Reads one value after the other from a JSON text. Role: the one scanner of JSON: it knows the
// grammar, the limits, and where a fault is. json_check ignores the values, json_tree keeps them.
// Not recursive. Thread rule: one owner.
#ifndef TRINE_BASE_JSON_SCAN_H
#define TRINE_BASE_JSON_SCAN_H

#include "base/json_check.h"
#include "base/json_path.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSON_MAX_DEPTH = 64 };

enum json_token_kind {
    JSON_TOKEN_NULL,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_TRUE,
    JSON_TOKEN_NUMBER,
    JSON_TOKEN_STRING,
    JSON_TOKEN_OPEN_ARRAY,
    JSON_TOKEN_OPEN_OBJECT,
    JSON_TOKEN_CLOSE, // the innermost array or object
};

struct json_token {
    enum json_token_kind kind;
    struct json_span key;  // of an object's member; at NULL elsewhere
    struct json_span text; // of a number or string
    double number;
};

struct json_scan_key; // of an object, to find the second of its name

struct json_scan {
    const char *text;
    size_t len, at;
    struct json_limits limits;
    int expect;
    size_t values, depth;
    uint32_t objects; // serials given so far
    struct json_level levels[JSON_MAX_DEPTH];
    struct json_scan_key *keys; // owned: open addressing, power of two
    size_t key_count, key_cap;
    uint64_t seed;
    struct json_issue issue;
    const char *what; // is wrong: a static string, or `words`
    char words[64];
    enum err err;
};

// text is borrowed until json_scan_end. ERR_TOO_LARGE.
enum err json_scan_begin(struct json_scan *s, const char *text, size_t len,
                         const struct json_limits *limits, struct errmsg *msg) MUST_CHECK;
// False: the document is over, or at fault.
bool json_scan_next(struct json_scan *s, struct json_token *out);
// Frees what the scan took. ERR_OK when the document was whole; otherwise as json_check.
enum err json_scan_end(struct json_scan *s, struct json_issue *issue,
                       struct errmsg *msg) MUST_CHECK;

#endif
