// The JSON tree: structure and order, strings decoded, numbers as they were spelled, and what is
// printed parses to the same.
#include "base/buf.h"
#include "base/fault.h"
#include "base/json_tree.h"
#include "tests/check.h"

static struct json_tree *parse(const char *text) {
    struct json_tree *t = NULL;
    struct errmsg msg = {0};
    CHECK_OK(json_tree_parse(text, strlen(text), &json_limits_request, &t, NULL, &msg), msg);
    return t;
}

// Printed, `text` must give `want`; and that again itself.
static void prints(const char *text, const char *want) {
    struct buf out = {0};
    struct json_tree *t = parse(text);
    if (!t)
        return;
    json_node_print(&out, json_tree_root(t));
    CHECK_STR(out.data, want);
    json_tree_free(t);
    t = parse(want);
    buf_reset(&out);
    if (t)
        json_node_print(&out, json_tree_root(t));
    CHECK_STR(out.data, want);
    json_tree_free(t);
    buf_free(&out);
}

static void test_scalars(void) {
    prints("null", "null");
    prints(" true ", "true");
    prints("false", "false");
    prints("\"\"", "\"\"");
    prints("0", "0");
    prints("-12.50e+3", "-12.50e+3");
    prints("1152921504606846977", "1152921504606846977");
    prints("[1.0,1,1e0,-0]", "[1.0,1,1e0,-0]");
    prints("\"a\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\"\\\\\"",
           "\"a\xc3\xa9\xf0\x9f\x98\x80/\\u0008\\u000c\\n\\r\\t\\\"\\\\\"");
}

static void test_structure(void) {
    prints("{}", "{}");
    prints("[ ]", "[]");
    prints("[[],[[]],{}]", "[[],[[]],{}]");
    prints("{ \"z\" : 1 , \"a\" : [ 1 , {\"b\": null} , \"x\" ] , \"\" : { } }",
           "{\"z\":1,\"a\":[1,{\"b\":null},\"x\"],\"\":{}}");
    struct json_tree *t = parse("{\"b\":[1,22,333],\"a\":\"x\\ty\",\"k\\u0031\":true,\"n\":null}");
    const struct json_node *root = json_tree_root(t);
    CHECK(root->kind == JSON_OBJECT && root->count == 4 && !root->next && !root->key);
    const struct json_node *b = json_node_get(root, "b");
    CHECK(b == root->child && b->kind == JSON_ARRAY && b->count == 3);
    CHECK_STR(b->key, "b");
    CHECK_STR(b->child->next->text, "22");
    CHECK_INT(b->child->next->next->len, 3);
    CHECK(b->child->next->next->next == NULL && b->child->key == NULL);
    CHECK_STR(json_node_get(root, "a")->text, "x\ty");
    CHECK(json_node_get(root, "k1")->kind == JSON_TRUE);
    CHECK(json_node_get(root, "n")->kind == JSON_NULL);
    CHECK(json_node_get(root, "k") == NULL && json_node_get(b, "a") == NULL);
    CHECK(json_node_get(NULL, "a") == NULL);
    struct buf out = {0};
    json_node_print(&out, b); // a member prints as a value, without its siblings
    CHECK_STR(out.data, "[1,22,333]");
    buf_free(&out);
    json_tree_free(t);
    json_tree_free(NULL);
}

static void test_refusals(void) {
    struct json_tree *t;
    struct json_issue issue;
    struct errmsg msg;
    CHECK(json_tree_parse("[1,]", 4, &json_limits_request, &t, &issue, &msg) == ERR_INVALID);
    CHECK(t == NULL && issue.offset == 3);
    CHECK(json_tree_parse("12", 1, &json_limits_request, &t, &issue, &msg) == ERR_OK);
    CHECK_STR(json_tree_root(t)->text, "1"); // not a byte beyond the length
    json_tree_free(t);
    struct buf deep = {0};
    for (int i = 0; i < 64; i++)
        buf_puts(&deep, i % 2 ? "[" : "{\"k\":");
    buf_puts(&deep, "7");
    for (int i = 63; i >= 0; i--)
        buf_puts(&deep, i % 2 ? "]" : "}");
    prints(deep.data, deep.data);
    buf_free(&deep);
}

static void test_no_memory(void) {
    const char *text = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":null}";
    for (long nth = 1; nth < 100; nth++) {
        struct json_tree *t;
        fault_arm(FAULT_ALLOC, nth, true);
        enum err e = json_tree_parse(text, strlen(text), &json_limits_request, &t, NULL, NULL);
        fault_disarm();
        if (e == ERR_OK) {
            CHECK(nth > 1);
            json_tree_free(t);
            return;
        }
        CHECK(e == ERR_NOMEM && t == NULL);
    }
    CHECK(!"json_tree_parse never succeeded");
}

int main(void) {
    test_scalars();
    test_structure();
    test_refusals();
    test_no_memory();
    return check_done();
}
