// JSON from outside as a tree of nodes (json_node.h). Role: checks the text and makes the tree in
// one pass, and adds to trees. It is used for bodies of requests and for whatever goes on into a
// prompt or a grammar. When only the numbers and strings of a file are read, cJSON (base/json.h) is
// enough.
// Thread rule: one owner while it is made, then immutable.
#ifndef TRINE_BASE_JSON_TREE_H
#define TRINE_BASE_JSON_TREE_H

#include "base/json_check.h"
#include "base/json_node.h"

struct json_tree;

// Copies what it keeps, so `text` may be freed afterwards. Errors as json_check.
enum err json_tree_parse(const char *text, size_t len, const struct json_limits *limits,
                         struct json_tree **out, struct json_issue *issue,
                         struct errmsg *msg) MUST_CHECK;
void json_tree_free(struct json_tree *t);                          // NULL is fine
const struct json_node *json_tree_root(const struct json_tree *t); // NULL: nothing was added

// Trees that are put together. Each function returns NULL when memory is out.
struct json_tree *json_tree_new(void);
// Where a value goes: behind `last` in `parent`; {0}: the root of an empty tree.
struct json_place {
    struct json_node *parent, *last;
};
// Appends a value and moves `at` behind it. The caller fills its fields: key, text and children are
// borrowed, from this tree or from something that outlives it.
struct json_node *json_tree_add(struct json_tree *t, struct json_place *at, enum json_kind kind);
// Makes `node`, of this tree, the string s[0..len), which is copied. False: memory is out.
bool json_tree_set_string(struct json_tree *t, const struct json_node *node, const char *s,
                          size_t len);
// Parses a text whose nodes become this tree's, but stand nowhere in it: *root is the caller's to
// put there. Errors as json_check.
enum err json_tree_parse_into(struct json_tree *t, const char *text, size_t len,
                              const struct json_limits *limits, const struct json_node **root,
                              struct errmsg *msg) MUST_CHECK;

#endif
