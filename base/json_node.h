// A JSON value that keeps the spelling of each number: 1 is not 1.0, and 2^60 is not the nearest
// double. Role: the nodes of a json_tree, and looking into them, reading and printing them. Getters
// never convert one type to another. Thread rule: immutable once its tree is made; pure functions.
#ifndef TRINE_BASE_JSON_NODE_H
#define TRINE_BASE_JSON_NODE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_node {
    enum json_kind kind;
    const char *key; // of an object's member, decoded; NULL elsewhere
    size_t key_len;
    const char *text; // STRING: decoded, UTF-8; NUMBER: the source's lexeme; NUL behind either
    size_t len;
    const struct json_node *child; // the first member or element
    const struct json_node *next;  // its next sibling, in the source's order
    union {
        size_t count;  // ARRAY, OBJECT: members or elements
        double number; // NUMBER: finite
    };
};

// What NULL is none of.
static inline bool json_is(const struct json_node *n, enum json_kind kind) {
    return n && n->kind == kind;
}
static inline bool json_is_bool(const struct json_node *n) {
    return json_is(n, JSON_TRUE) || json_is(n, JSON_FALSE);
}
// Whether it is the string `word`.
bool json_is_word(const struct json_node *n, const char *word);
// "", [] and {}.
bool json_is_empty(const struct json_node *n);
// The same value: numbers by their doubles, members in the same order.
bool json_is_same(const struct json_node *a, const struct json_node *b);

// The member `key` of an object; NULL when it is absent or `object` is not an object. json_node_get
// returns a null member, json_node_value treats it as absent.
const struct json_node *json_node_get(const struct json_node *object, const char *key);
const struct json_node *json_node_value(const struct json_node *object, const char *key);

// Typed values; `key` is what messages call the value. NULL or a null: `fallback` and ERR_OK.
// Another type or out of [min, max] or not an integer: ERR_INVALID naming the key.
enum err json_node_int(const struct json_node *n, const char *key, int64_t min, int64_t max,
                       int64_t fallback, int64_t *out, struct errmsg *msg) MUST_CHECK;
enum err json_node_double(const struct json_node *n, const char *key, double min, double max,
                          double fallback, double *out, struct errmsg *msg) MUST_CHECK;
enum err json_node_bool(const struct json_node *n, const char *key, bool fallback, bool *out,
                        struct errmsg *msg) MUST_CHECK;
// *out borrows from the node; fallback may be NULL.
enum err json_node_string(const struct json_node *n, const char *key, const char *fallback,
                          const char **out, struct errmsg *msg) MUST_CHECK;

// Appends the value as JSON, numbers as they were spelled. Compact, no spaces.
struct buf;
void json_node_print(struct buf *out, const struct json_node *node);

#endif
