// JSON from outside: a strict check first, then cJSON builds the tree. Role: the one edge where
// JSON bytes become values, for requests and for model files alike. Getters never coerce. The check
// is RFC 8259 to the letter plus our own limits (depth, number of values, no duplicate key, no NUL,
// no lone surrogate, no number outside a double), linear in time, never recursive. Thread rule:
// pure functions; json_init once from main before any other.
#ifndef TRINE_BASE_JSON_H
#define TRINE_BASE_JSON_H

#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

struct json_limits {
    size_t max_depth;  // open arrays and objects at once; at most 64
    size_t max_values; // values of every kind, keys not counted
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

// Sends cJSON's allocations through base/mem.
void json_init(void);

// ERR_INVALID with issue filled and a message that gives the offset, and which value it is in
// ("input[3]"), and never the text; ERR_NOMEM.
// issue may be NULL.
enum err json_check(const char *text, size_t len, const struct json_limits *limits,
                    struct json_issue *issue, struct errmsg *msg) MUST_CHECK;

// json_check, then cJSON, which reads no number of over 63 characters: ERR_INVALID too. *root is
// the caller's (cJSON_Delete).
enum err json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **root,
                    struct json_issue *issue, struct errmsg *msg) MUST_CHECK;

// Reads and parses a file of at most max_bytes; the message begins with the path.
enum err json_parse_file(const char *path, size_t max_bytes, cJSON **root,
                         struct errmsg *msg) MUST_CHECK;

// The member `key` of an object (case-sensitive), NULL when absent. A JSON null counts as absent.
const cJSON *json_get(const cJSON *object, const char *key);

// Typed members. Absent (or null): `fallback` and ERR_OK. Another type or out of [min, max] or not
// an integer: ERR_INVALID naming the key.
enum err json_get_int(const cJSON *object, const char *key, int64_t min, int64_t max,
                      int64_t fallback, int64_t *out, struct errmsg *msg) MUST_CHECK;
enum err json_get_double(const cJSON *object, const char *key, double min, double max,
                         double fallback, double *out, struct errmsg *msg) MUST_CHECK;
enum err json_get_bool(const cJSON *object, const char *key, bool fallback, bool *out,
                       struct errmsg *msg) MUST_CHECK;
// *out borrows from the tree; fallback may be NULL.
enum err json_get_string(const cJSON *object, const char *key, const char *fallback,
                         const char **out, struct errmsg *msg) MUST_CHECK;

// Appends s[0..len) as a quoted JSON string: ", \ and control characters escaped, the rest as is.
// json_escape: what stands between the quotes, so that a string may be written in pieces.
struct buf;
void json_quote(struct buf *out, const char *s, size_t len);
void json_escape(struct buf *out, const char *s, size_t len);

#endif
