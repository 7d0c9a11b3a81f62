// JSON of files and of the command line as cJSON's tree: a strict check (json_check.h) first, then
// cJSON. Role: the one door to cJSON. Getters never convert one type to another. Where the spelling
// of a number matters, and for bodies of requests, use json_tree.h. Thread rule: pure functions;
// main calls json_init once before any other.
#ifndef TRINE_BASE_JSON_H
#define TRINE_BASE_JSON_H

#include "base/json_check.h"
#include "base/json_text.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

// Sends cJSON's allocations through base/mem.
void json_init(void);

// Checks with json_check, then parses with cJSON, which reads no number of over 63 characters:
// ERR_INVALID too. The caller frees *root (cJSON_Delete).
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

#endif
