// The JSON tree: structure and order, strings decoded, numbers as they were spelled, and what is
// printed parses to the same.
#include "base/buf.h"
#include "base/fault.h"
#include "base/json_text.h"
#include "base/json_tree.h"
#include "tests/check.h"

#include <math.h>

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

// Strings of every length and at every offset of a word: what stops the scanner's stride, and what
// does not.
static void test_strings(void) {
    static const char *const odd[] = {"\"", "\\", "\n", "\xc3\xa9", "\x7f", "\xf0\x9f\x98\x80"};
    struct buf in = {0}, text = {0};
    for (size_t lead = 0; lead < 20; lead++)
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
            for (size_t behind = 0; behind < 12; behind++) {
                buf_reset(&text);
                buf_reset(&in);
                for (size_t k = 0; k < lead; k++)
                    buf_putc(&text, (char)(' ' + (k * 7 + lead) % 2));
                buf_puts(&text, odd[i]);
                for (size_t k = 0; k < behind; k++)
                    buf_putc(&text, '~');
                json_quote(&in, text.data, text.len);
                struct json_tree *t = parse(in.data);
                if (!t)
                    continue;
                CHECK_STR(json_tree_root(t)->text, text.data);
                CHECK_INT(json_tree_root(t)->len, text.len);
                json_tree_free(t);
            }
    buf_free(&in);
    buf_free(&text);
}

static void test_numbers(void) {
    static const struct {
        const char *text;
        double value;
    } rows[] = {{"0", 0},
                {"-7", -7},
                {"999999999999999", 999999999999999.0},
                {"9007199254740993", 9007199254740992.0},
                {"-0.5e1", -5},
                {"1E2", 100}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_tree *t = parse(rows[i].text);
        const struct json_node *n = t ? json_tree_root(t) : NULL;
        CHECK(n && n->number >= rows[i].value && n->number <= rows[i].value);
        json_tree_free(t);
    }
    struct json_tree *t = parse("-0");
    CHECK(t && signbit(json_tree_root(t)->number));
    json_tree_free(t);
    // a bound of the caller's own on how long a number is spelled
    const struct json_limits short_numbers = {64, 100, 63};
    struct json_issue issue;
    char text[72] = "[";
    memset(text + 1, '1', 64);
    strcpy(text + 65, "]");
    CHECK(json_tree_parse(text, 66, &short_numbers, &t, &issue, NULL) == ERR_INVALID);
    CHECK_STR(issue.code, "number_out_of_range");
    strcpy(text + 64, "]");
    CHECK(json_tree_parse(text, 65, &short_numbers, &t, &issue, NULL) == ERR_OK);
    json_tree_free(t);
}

static void test_same(void) {
    struct json_tree *t =
        parse("[{\"a\":[1,\"x\"]},{\"a\":[1.0,\"x\"]},{\"a\":[2,\"x\"]},{\"b\":[1,"
              "\"x\"]},{\"a\":[1]},[1,\"x\"],true]");
    const struct json_node *first = json_tree_root(t)->child;
    CHECK(json_is_same(first, first->next)); // 1 is 1.0
    for (const struct json_node *n = first->next->next; n; n = n->next)
        CHECK(!json_is_same(first, n) && json_is_same(n, n));
    json_tree_free(t);
}

// Trees that are put together, with values of another.
static void test_made(void) {
    struct json_tree *from = parse("{\"k\":[1.0,{}]}"), *t = json_tree_new();
    struct json_place top = {0};
    struct buf out = {0};
    CHECK(json_tree_root(t) == NULL);
    struct json_node *list = json_tree_add(t, &top, JSON_ARRAY);
    struct json_place in = {.parent = list};
    for (int i = 0; i < 100; i++) { // more than a chunk of nodes holds
        struct json_node *n = json_tree_add(t, &in, JSON_OBJECT);
        struct json_place at = {.parent = n};
        struct json_node *m = json_tree_add(t, &at, JSON_ARRAY);
        m->key = "v";
        m->key_len = 1;
        m->child = json_node_get(json_tree_root(from), "k")->child;
        m->count = 2;
    }
    CHECK_INT(list->count, 100);
    CHECK(json_tree_set_string(t, list->child, "ab", 2));
    json_node_print(&out, json_tree_root(t));
    const char want[] = "[\"ab\",{\"v\":[1.0,{}]},{\"v\"";
    CHECK(strncmp(out.data, want, sizeof want - 1) == 0);
    buf_free(&out);
    json_tree_free(t);
    json_tree_free(from);
}

// Values of another text, put into a tree by hand; what is wrong with it leaves the tree as it was.
static void test_parse_into(void) {
    static const struct json_limits flat = {.max_depth = 2, .max_values = 100};
    struct json_tree *t = parse("[7]");
    const struct json_node *root = NULL, *top = json_tree_root(t);
    struct errmsg msg;
    struct buf out = {0};
    CHECK_OK(json_tree_parse_into(t, "{\"a\":[1.0]}", 11, &flat, &root, &msg), msg);
    CHECK(json_tree_root(t) == top && root != top);
    json_node_print(&out, root);
    CHECK_STR(out.data, "{\"a\":[1.0]}");
    CHECK(json_tree_parse_into(t, "[[[]]]", 6, &flat, &root, &msg) == ERR_INVALID);
    CHECK(json_tree_root(t) == top && json_is(top, JSON_ARRAY) && top->count == 1);
    buf_free(&out);
    json_tree_free(t);
}

int main(void) {
    test_parse_into();
    test_strings();
    test_numbers();
    test_same();
    test_made();
    test_scalars();
    test_structure();
    test_refusals();
    test_no_memory();
    return check_done();
}
