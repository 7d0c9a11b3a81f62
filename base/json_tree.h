// JSON from outside as a tree that keeps each number's own spelling: tools, schemas and messages
// are handed on (into a prompt, into a grammar), where 1 is not 1.0 and 2^60 is not its double.
// Role: strict check (json_check), then nodes in one block. Where values are only read as numbers
// and strings, cJSON by base/json.h serves.
// Thread rule: immutable after parse.
#ifndef TRINE_BASE_JSON_TREE_H
#define TRINE_BASE_JSON_TREE_H

#include "base/json.h"

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
    size_t count;                  // members or elements
};

struct json_tree;

// Copies what it keeps: `text` may go afterwards. Errors as json_parse.
enum err json_tree_parse(const char *text, size_t len, const struct json_limits *limits,
                         struct json_tree **out, struct json_issue *issue,
                         struct errmsg *msg) MUST_CHECK;
void json_tree_free(struct json_tree *t); // NULL is fine
const struct json_node *json_tree_root(const struct json_tree *t);

// The member `key` of an object; NULL when absent or `object` is no object. A null is returned.
const struct json_node *json_node_get(const struct json_node *object, const char *key);
// Appends the value as JSON, numbers as they were spelled. Compact, no spaces.
struct buf;
void json_node_print(struct buf *out, const struct json_node *node);

#endif
