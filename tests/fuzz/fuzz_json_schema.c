// Any JSON as a schema (and as a tool's parameters): it is refused with words, or it drives a text
// whose masks and tokens agree; a text that ends is JSON that the strict check takes.
#include "base/json_tree.h"
#include "tests/fuzz/grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json_tree *tree = NULL;
    struct errmsg msg = {0};
    if (json_tree_parse((const char *)data, size, &json_limits_request, &tree, NULL, &msg))
        return 0;
    const struct json_node *root = json_tree_root(tree);
    struct grammar *g = NULL;
    struct buf warnings = {0};
    enum err e = grammar_from_schema(root, &warnings, &g, &msg);
    if (e ? g != NULL || !msg.text[0] : g == NULL)
        abort();
    if (!e) {
        for (int led = 0; led < 2; led++) {
            struct buf text = grammar_walk(g, data, size, led);
            if (text.data && json_check(text.data, text.len, &json_limits_request, NULL, NULL))
                abort();
            buf_free(&text);
        }
    }
    grammar_free(g);
    struct grammar_tool tool = {"f", 1, root};
    struct grammar_answer answer = {size % 11 ? root : NULL};
    e = grammar_from_tools(&tool, 1, size % 2 ? GRAMMAR_TOOLS_AUTO : GRAMMAR_TOOLS_REQUIRED,
                           size % 3 == 0, size % 7 < 3 ? &answer : NULL, &g, &msg);
    if (e ? g != NULL || !msg.text[0] : g == NULL)
        abort();
    if (!e) {
        struct buf text = grammar_walk(g, data, size, size % 5 == 0);
        buf_free(&text);
    }
    grammar_free(g);
    json_tree_free(tree);
    buf_free(&warnings);
    return 0;
}
