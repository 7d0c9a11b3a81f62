// The strict check against cJSON: what it accepts, cJSON must parse to the last byte, and the tree
// must hold the same values; its answer must not depend on what follows the buffer. What a tree
// prints is a tree of the same values again.
#include "base/buf.h"
#include "base/json.h"
#include "base/json_tree.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void compare(const struct json_node *n, const cJSON *item) {
    if (n->key)
        must(item->string && strlen(item->string) == n->key_len && !strcmp(n->key, item->string));
    if (cJSON_IsBool(item))
        must(n->kind == (cJSON_IsTrue(item) ? JSON_TRUE : JSON_FALSE));
    else if (cJSON_IsNull(item))
        must(n->kind == JSON_NULL);
    else if (cJSON_IsString(item))
        must(n->kind == JSON_STRING && !strcmp(n->text, item->valuestring) &&
             strlen(n->text) == n->len);
    else if (cJSON_IsNumber(item))
        must(n->kind == JSON_NUMBER && !memcmp(&n->number, &item->valuedouble, sizeof n->number));
    else {
        size_t count = 0;
        const struct json_node *m = n->child;
        must(n->kind == (cJSON_IsArray(item) ? JSON_ARRAY : JSON_OBJECT));
        for (const cJSON *c = item->child; c; c = c->next, m = m->next, count++) {
            must(m != NULL);
            compare(m, c);
        }
        must(!m && n->count == count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json_limits limits = json_limits_request;
    limits.max_number = 63; // cJSON's
    // an exact-size copy, so that ASan sees a read past the end
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    struct json_issue issue = {0}, seen = {0};
    cJSON *root = NULL;
    struct json_tree *tree = NULL, *again = NULL;
    enum err e = json_parse(text, size, &limits, &root, &issue, NULL);
    must(e == ERR_OK ? root != NULL : !root && issue.code && issue.offset <= size);
    must(json_tree_parse(text, size, &limits, &tree, &seen, NULL) == e);
    must(!tree == !root && issue.code == seen.code && issue.offset == seen.offset);
    if (tree) {
        struct buf out = {0};
        compare(json_tree_root(tree), root);
        json_node_print(&out, json_tree_root(tree));
        must(!json_tree_parse(out.data, out.len, &limits, &again, NULL, NULL));
        must(json_is_same(json_tree_root(tree), json_tree_root(again)));
        buf_free(&out);
    }
    json_tree_free(tree);
    json_tree_free(again);
    cJSON_Delete(root);
    free(text);
    return 0;
}
